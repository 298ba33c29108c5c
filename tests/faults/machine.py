"""A small matrix of runs driven by real processes, and what must hold after anything that happened to them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from benchmarks.processes import family, send
from fedbench.store import DONE, Store, load_results
from tests import plugins
from tests.command_line import called
from tests.toys import TOY, full, write_toy
from tests.warm import Warm

PATIENCE = 300  # seconds until what never comes is given up; no test asks how long a thing takes
Driver = subprocess.Popen[str] | Warm
STARTED: list[Driver] = []
QUICK = (
    "--set",
    "model.name=unet",
    "--set",
    "model.channels=[4,8]",
    "--set",
    "training.precision=fp32",
    "--seeds",
    "0",
)


def make(tmp_path: Path, *algorithms: str, rounds: int = 8, workers: int = 0) -> list[str]:
    """Return the command of a matrix on 24 toy patients; the data is written if it is not there."""
    data = tmp_path / "toy"
    if not data.exists():
        write_toy(data, full(24))
    names = [part for name in algorithms or ("fedavg", "fedprox", "moon") for part in ("-a", name)]
    return [
        sys.executable, "-m", "fedbench", "run", *names, "-d", f"{TOY}={data}", "--rounds", str(rounds), *QUICK,
        "--workers", str(workers), "--checkpoint-seconds", "0", "--out", str(tmp_path / "runs"),
    ]  # fmt: skip


def here(command: Sequence[str], folder: Path, **environment: str) -> tuple[int, str, str]:
    """Run a command in this process, where nothing is to happen to it: one of its own spends its time with imports."""
    with contextlib.chdir(folder), mock.patch.dict(os.environ, environment):
        return called(command[3:])


def start(command: Sequence[str], folder: Path, **environment: str) -> Driver:
    """Start a driver in a session of its own, forked from a process that has imported everything."""
    if "COVERAGE_PROCESS_START" in os.environ or "COVERAGE_PROCESS_CONFIG" in os.environ:  # a fork is not measured
        return start_fresh(command, folder, **environment)
    STARTED.append(process := Warm(command, folder, os.environ | environment))
    return process


def start_fresh(command: Sequence[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a driver as a user does, which takes seconds: where it matters how its process begins."""
    process = subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | environment,
    )  # fmt: skip
    STARTED.append(process)
    return process


def clear_away() -> None:
    """Kill what a test that failed has left at work, stopped or waiting."""
    for process in STARTED:
        if process.poll() is None:
            for pid in (*descendants(process.pid), process.pid):
                send(pid, signal.SIGKILL)
            process.communicate()
    STARTED.clear()


def finish(command: Sequence[str], folder: Path) -> tuple[int, str, str]:
    """Run a command to its end: (exit status, standard output, standard error)."""
    return _ended(start(command, folder))


def finish_fresh(command: Sequence[str], folder: Path, **environment: str) -> tuple[int, str, str]:
    """The same in a process that was started as a user starts it."""
    return _ended(start_fresh(command, folder, **environment))


def _ended(process: Driver) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode is not None
    return process.returncode, out, err


def wait_for(root: Path, pattern: str, process: Driver) -> None:
    """Wait until a file is there, or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not list(root.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} never came"
        time.sleep(0.02)


def kill_at(root: Path, pattern: str, process: Driver) -> None:
    """SIGKILL as soon as a file is there."""
    wait_for(root, pattern, process)
    process.kill()
    process.communicate()


def make_gated(tmp_path: Path, *more: str, workers: int = 0) -> tuple[list[str], dict[str, str]]:
    """Return the command and the variables of a matrix whose first run waits in round 1 until the gate is open.

    Args:
        more: the algorithms after the first; ``[number=1]`` is another one that waits.
    """
    plugin = plugins.write(tmp_path, "gated", plugins.GATED)
    names = [f"{plugin}:Gated{name}" if name.startswith("[") else name for name in ("[number=0]", *more)]
    return make(tmp_path, *names, rounds=3, workers=workers), {"FEDBENCH_TEST_MARKER": str(tmp_path)}


def make_hanging(tmp_path: Path) -> str:
    """Write a plugin that never comes back, and makes a file ``hangs`` when it is there; return how a user names it."""
    says = f"open({str(tmp_path / 'hangs')!r}, 'w').close()"
    source = plugins.HANGING.replace("time.sleep(10_000)", f"{says}; time.sleep(10_000)")
    assert says in source
    return plugins.write(tmp_path, "hanging", source)


def open_gate(tmp_path: Path) -> None:
    """Let the runs of :func:`make_gated` go on."""
    (tmp_path / "go").touch()


def begun(tmp_path: Path) -> Counter[tuple[str, ...]]:
    """How often each (number of the run, round, client) of :func:`make_gated` was begun."""
    return Counter(tuple(line.split()) for line in (tmp_path / "begun").read_text().splitlines())


def at_the_gate(tmp_path: Path, process: Driver, numbers: str = "0") -> None:
    """Wait until the runs of these numbers wait at the gate."""
    deadline = time.monotonic() + PATIENCE
    wait_for(tmp_path, "begun", process)
    while not set(numbers) <= {number for number, round_, _ in begun(tmp_path) if round_ == "1"}:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "they never came to the gate"
        time.sleep(0.05)


def kill_at_the_gate(tmp_path: Path, command: list[str], environment: dict[str, str]) -> None:
    """Start what :func:`make_gated` returned and SIGKILL it in round 1; the gate is open for whoever comes next."""
    process = start(command, tmp_path, **environment)
    at_the_gate(tmp_path, process)
    process.kill()
    process.communicate()
    open_gate(tmp_path)


def bits(root: Path) -> dict[str, str]:
    """Return run id -> digest of scores and predictions of every finished run; each is whole."""
    results = Store(root)
    found = {}
    for run_id in results.run_ids():
        folder = results.folder(run_id)
        if (folder / DONE).exists():
            assert results.status(run_id) == "done", run_id
            content = [(folder / name).read_bytes() for name in ("cases.parquet", "predictions.npz", "features.npz")]
            found[run_id] = hashlib.sha256(b"".join(content)).hexdigest()
    return found


def nothing_half_written(root: Path) -> None:
    """No temporary file is left where a reader looks, and the finished runs can be read."""
    load_results(root)
    assert not [file for folder in root.iterdir() if (folder / DONE).exists() for file in folder.glob("*.part")]


def descendants(pid: int) -> set[int]:
    """All living descendants of a process."""
    return {child for child, _ in family(pid)}


def all_gone(pids: set[int]) -> bool:
    """Wait until none of the processes is alive."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
