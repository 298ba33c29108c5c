"""Another machine: other variables, another folder, another clock, another order. The same runs, the same bits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedbench.store import read_json
from tests import plugins
from tests.faults.machine import (
    PATIENCE,
    all_gone,
    bits,
    descendants,
    finish,
    finish_fresh,
    here,
    kill_at,
    make,
    start,
    start_fresh,
    wait_for,
)

ALGORITHMS = ("fedavg", "fedbn", "fedda-joint", "scaffold")
SECRET = "hunter2-f3db3nch"
SECRETS = {"AWS_SECRET_ACCESS_KEY": SECRET, "WANDB_API_KEY": SECRET}

ERRATIC_CLOCK = '''
"""fedbench with another wall clock: an hour back at each look, from the year 2100 on."""
import itertools, runpy, time
_looks = itertools.count()
time.time = lambda: 4102444800.0 - 3600 * next(_looks)
runpy.run_module("fedbench", run_name="__main__", alter_sys=True)
'''


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The bits of four algorithms in this environment, in this process's order."""
    folder = tmp_path_factory.mktemp("usual")
    status, _, err = here(make(folder, *ALGORITHMS, rounds=2), folder)
    assert status == 0, err
    return bits(folder / "runs")


BUSY_SERVER = {
    "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "PYTHONHASHSEED": "4321",
    "TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr",
}  # fmt: skip
BARE_CONTAINER = {
    "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/nonexistent", "COLUMNS": "20",
    "TZ": "",
}  # fmt: skip


def holding_the_secret(runs: Path) -> Iterator[Path]:
    return (file for file in runs.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes())


def test_a_bare_containers_environment_changes_no_bit(usual, tmp_path):
    status, _, err = finish_fresh(make(tmp_path, *ALGORITHMS, rounds=2), tmp_path, **BARE_CONTAINER)
    assert status == 0, err
    assert bits(tmp_path / "runs") == usual


def test_workers_in_the_opposite_order_from_another_folder_change_no_bit(usual, tmp_path, rays_folder):
    """Two beside each other, with another user's variables, results at a relative path.

    Nothing is kept of the variables, and no session of Ray.
    """
    elsewhere = tmp_path / "deep" / "er with a space"
    elsewhere.mkdir(parents=True)
    command = make(tmp_path, *ALGORITHMS[::-1], rounds=2, workers=2)
    command[command.index("--out") + 1] = "here/runs"
    status, out, err = finish_fresh(command, elsewhere, **BUSY_SERVER, **SECRETS, RAY_TMPDIR=rays_folder)
    assert status == 0, err
    assert bits(elsewhere / "here" / "runs") == usual
    assert SECRET not in out + err and not list(holding_the_secret(elsewhere))
    assert [file.name for file in elsewhere.iterdir()] == ["here"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deep", "toy"]
    assert not list(Path(rays_folder).rglob("session_*"))


def test_a_clock_that_runs_backwards_changes_no_bit(usual, tmp_path):
    """Stopped half-way, and gone on with: nothing is taken for older or newer than it is."""
    (tmp_path / "erratic.py").write_text(ERRATIC_CLOCK)
    command = make(tmp_path, *ALGORITHMS, rounds=2)
    command[command.index("fedbench")] = "erratic"
    kill_at(tmp_path / "runs", "*fedbn*/progress.json", start(command, tmp_path))
    status, _, err = finish(command, tmp_path)
    assert status == 0, err
    assert bits(tmp_path / "runs") == usual
    years = re.findall(r'"started": "(\d+)-', "".join(f.read_text() for f in (tmp_path / "runs").glob("*/run.json")))
    assert len(years) == len(ALGORITHMS)
    assert all(int(year) > 2090 for year in years)  # the clock was what it was made to be


def test_no_variable_of_the_environment_is_kept(tmp_path):
    """Not in provenance, nor in what a failing run leaves behind. With Ray: the test of workers above."""
    raising = plugins.write(tmp_path, "raising", plugins.RAISING)
    status, out, err = here(make(tmp_path, "fedavg", raising, rounds=2), tmp_path, **SECRETS)
    assert status == 1
    assert {"run.json", "traceback.txt", "failure.json"} <= {file.name for file in (tmp_path / "runs").rglob("*")}
    assert not list(holding_the_secret(tmp_path / "runs"))
    assert SECRET not in out + err


CHOICE = "ONEDNN_MAX_CPU_ISA=SSE41"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_variable_that_chooses_how_the_cpu_computes_is_kept_and_named(tmp_path, workers):
    """Torch says of its own instructions what it always does."""
    name, _, value = CHOICE.partition("=")
    status, _, err = finish_fresh(make(tmp_path, "fedavg", rounds=1, workers=workers), tmp_path, **{name: value})
    assert status == 0 and CHOICE not in err
    (run,) = (tmp_path / "runs").glob("toy.fedavg.*/run.json")
    assert (read_json(run) or {})["hardware"]["variables"] == CHOICE
    status, _, err = finish_fresh(make(tmp_path, "fedavg", "fedprox", rounds=1, workers=workers), tmp_path)
    assert status == 0
    assert f"1 finished run was made with {CHOICE}, here no variables that choose how" in err
    (other,) = (tmp_path / "runs").glob("toy.fedprox.*/run.json")
    assert "variables" not in (read_json(other) or {})["hardware"]
    looking = [sys.executable, "-m", "fedbench"]
    out = finish([*looking, "verify", "toy.fedavg", "--from", "runs"], tmp_path)[1]
    assert f"made with {CHOICE}, here no variables that choose how" in out
    out = finish([*looking, "diff", "toy.fedavg", "toy.fedprox", "--out", "runs"], tmp_path)[1]
    assert "hardware.variables" in out
    out = "".join(finish([*looking, "tables", "--from", "runs", "--to", "tables"], tmp_path)[1:])
    assert f"runs were made with the variables {CHOICE} (1 run) or none (1 run)" in out


def test_a_worker_that_always_dies_fails_its_run_alone(usual, tmp_path):
    """As by the system's out-of-memory killer: three attempts, then the run failed; the next one is what it is."""
    dying = plugins.FRAGILE.replace("not marker.exists()", "True").replace("step.client.round == 2", "True")
    plugin = plugins.write(tmp_path, "dying", dying)
    command = make(tmp_path, plugin, "fedavg", rounds=2, workers=1)
    process = start(command, tmp_path, FEDBENCH_TEST_MARKER=str(tmp_path / "marker"))
    wait_for(tmp_path / "runs", "*/failure.json", process)
    family = descendants(process.pid)  # Ray's, and the worker of the next run
    assert family
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "worker lost" in err
    assert "3 times" in err
    assert "Traceback" not in out + err
    (said,) = re.findall(r"traceback: (\S+)", err)
    assert "its process ended" in (tmp_path / said).read_text()
    (failure,) = (tmp_path / "runs").glob("*/failure.json")
    assert "3 times" in failure.read_text()
    found = bits(tmp_path / "runs")
    assert len(found) == 1
    assert found.items() <= usual.items()
    assert all_gone(family | {process.pid})


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Return (address, port) of every TCP socket on which one of the processes listens."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].rpartition(":")
                found.add((address, int(port, 16)))
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_what_ray_left_of_a_killed_driver_is_removed_by_the_next(tmp_path, rays_folder):
    """Not what is somebody else's: a session without our mark stays."""
    command, sessions = make(tmp_path, "fedavg", rounds=200, workers=1), Path(rays_folder) / "ray"
    process = start_fresh(command, tmp_path, RAY_TMPDIR=rays_folder)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    process.kill()
    process.communicate()
    (dead,) = (path for path in sessions.glob("session_2*") if path.is_dir())
    (sessions / "session_2000-01-01_00-00-00_000000_1").mkdir()
    command[command.index("--rounds") + 1] = "1"
    status, _, err = finish_fresh(command, tmp_path, RAY_TMPDIR=rays_folder)
    assert status == 0, err
    assert [path.name for path in sessions.glob("session_2*")] == ["session_2000-01-01_00-00-00_000000_1"], dead


def test_ray_listens_to_this_machine_alone_and_ends_with_a_killed_driver(tmp_path):
    """No dashboard, no port that another machine could reach, and nobody who goes on with the work."""
    process = start(make(tmp_path, rounds=200, workers=1), tmp_path)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    ports = listening(descendants(process.pid) | {process.pid})
    workers = {(read_json(f) or {}).get("pid") for f in (tmp_path / "runs").glob("*/progress.json")} - {None}
    process.kill()
    process.communicate()
    assert ports  # Ray's processes talk over some
    assert {address for address, _ in ports} <= LOOPBACK
    assert workers and process.pid not in workers
    assert all_gone(workers)
