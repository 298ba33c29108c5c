"""Drivers and workers killed at random moments, again and again, until a matrix of runs is finished.

Every matrix begins with an empty folder and is started as a user would, as often as it takes. After every blow all that
is finished is looked at: it must be there, whole, and the same file by file; at the end, bit by bit that of a matrix to
which nothing happened. The moments and victims are drawn from a seed; what they hit depends on the machine.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks import workloads
from benchmarks.common import ROOT, CommandFailed, Report, Settings, console, main
from benchmarks.processes import Process, alive_after, at_work, family, send, wait_seconds
from fedbench import store
from fedbench.errors import UserError
from fedbench.execution.comparison import differing_bits
from fedbench.files import sha256

TITLE = "runs killed at random moments end with the bits of an undisturbed one"
WORKERS = 2
CLIENTS_AT_ONCE = (1, 2)  # of a run: an equal share of the kills each; the undisturbed matrix trains one by one
SEED = 82421
SUITE = {
    "algorithms": ["fedavg", "fedbn", "fedda-joint", "scaffold"],
    "datasets": [f"{workloads.SHAPES}[clients=3,patients=6,slices=4,size=32]"],
    "seeds": [0, 1, 2],
    "model": {"name": "unet", "channels": [4, 8]},
    "training": {"rounds": 16, "batch_size": 4, "precision": "fp32"},
    "data": {"test_fraction": 0.17, "val_fraction": 0.17},
}
BLOWS = {"kill driver": 40, "kill worker": 40, "stop": 10, "interrupt": 5, "terminate": 5}  # of a hundred
INTERRUPTED = 130
LEFT = 180  # seconds until Ray's last processes see that their driver is dead; some wait for a minute
SLOWEST = 600  # seconds for a start that nobody disturbs any more


def measure(settings: Settings) -> Report:
    """Strike until there were enough kills and the last matrix is finished."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, as do its children
    suite = SUITE | ({"algorithms": ["fedavg", "scaffold"], "seeds": [0]} if settings.quick else {})
    wanted = 6 if settings.quick else 100
    file = workloads.write_suite(suite, settings.scratch / "suite.toml")
    calm = Matrix(file, settings.scratch / "calm")
    calm.finish()
    seen, left, matrices, killed = Counter[str](), set[Process](), 0, Counter[int]()
    for number, at_once in enumerate(CLIENTS_AT_ONCE, start=1):
        while (missing := wanted * number // len(CLIENTS_AT_ONCE) - killed.total()) > 0:
            matrix = Matrix(file, settings.scratch / f"struck-{matrices}", at_once)
            _strike(matrix, random.Random(f"{SEED}/{matrices}"), missing)
            matrix.compare(calm)
            killed[at_once] += matrix.kills
            seen, left, matrices = seen + matrix.seen, left | matrix.family, matrices + 1
            console.print(f"matrix {matrices}, {at_once} clients at a time: {dict(matrix.seen)}")
    seen["left behind"] = len(alive_after(left, LEFT))
    return _report(seen, matrices, wanted, killed)


def _report(seen: Counter[str], matrices: int, wanted: int, killed: Counter[int]) -> Report:
    report = Report()
    report.add("kills (SIGKILL) of drivers and workers", killed.total(), target=(">=", wanted))
    for at_once in CLIENTS_AT_ONCE:
        report.add(f"... while runs train {at_once} client{'s' * (at_once > 1)} at a time", killed[at_once])
    for what, name in (
        ("kill driver", "drivers killed"),
        ("kill worker", "workers killed"),
        ("stop", "drivers or workers stopped for a while (SIGSTOP, SIGCONT)"),
        ("interrupt", "drivers interrupted (SIGINT)"),
        ("terminate", "drivers asked to end (SIGTERM)"),
        ("restart", "starts of the command after the first"),
        ("gave up", "starts that ended with a run failed, its worker killed three times"),
        ("look", "times that all finished runs were looked at"),
        ("finished", f"runs finished, of {matrices} matri{'x' if matrices == 1 else 'ces'}"),
    ):
        report.add(name, seen[what])
    for what, name in (
        ("lost", "results lost"),
        ("altered", "results altered, or other bits than undisturbed"),
        ("half-written", "half-written results visible"),
        ("wrong end", "starts with a wrong exit status or a Python traceback"),
        ("left behind", "processes left behind"),
    ):
        report.add(name, seen[what], target=("<=", 0))
    report.notes.append(
        f"{WORKERS} Ray workers, a checkpoint after every round; the undisturbed matrix trains one client at a time. "
        f"Moments and victims are drawn from seed {SEED}; half of the "
        "kills of a driver fall on its start, before or while its workers begin. An altered result is a finished run "
        "with any file changed, or with scores, curves, weights, slices or features that differ from the "
        "undisturbed matrix in any bit. Ray's own agents may need a minute to see that a killed driver is gone; they "
        f"are given {LEFT} s."
    )
    return report


class Matrix:
    """A results folder and the command that fills it; what was done to it and what was found is counted in ``seen``."""

    def __init__(self, suite: Path, root: Path, at_once: int = 1) -> None:
        self.root, self.seen, self.family = root, Counter[str](), set[Process]()
        self.kept: dict[str, dict[str, str]] = {}  # run -> digests of its files when it was first seen finished
        self.command = [
            sys.executable, "-m", "fedbench", "run", "--suite", str(suite), "--workers", str(WORKERS),
            "--checkpoint-seconds", "0", "--clients-at-once", str(at_once), "--out", str(root),
        ]  # fmt: skip
        self.log = root.with_suffix(".log")

    @property
    def kills(self) -> int:
        """How often SIGKILL was sent."""
        return self.seen["kill driver"] + self.seen["kill worker"]

    def start(self) -> subprocess.Popen[str]:
        """Start a driver in a process group of its own."""
        with open(self.log, "w") as log:
            return subprocess.Popen(
                self.command, cwd=ROOT, text=True, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def finish(self) -> None:
        """Run to the end, undisturbed."""
        process = self.start()
        if process.wait(SLOWEST):
            raise CommandFailed(f"an undisturbed start ended with {process.returncode}: {self.log.read_text()[-1500:]}")
        self.look()
        self.seen["finished"] = len(self.kept)

    def look(self) -> None:
        """Look at all that is finished; count what is lost, altered or half-written."""
        self.seen["look"] += 1
        finished = {done.parent.name for done in self.root.glob(f"*/{store.DONE}")}
        self.seen["lost"] += len(self.kept.keys() - finished)
        for run in sorted(finished):
            folder = self.root / run
            now = {file.name: sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}
            half = store.broken(folder) or [name for name in now if name.startswith(".")]
            self.seen["half-written"] += run not in self.kept and bool(half)
            self.seen["altered"] += self.kept.setdefault(run, now) != now
        try:
            store.load_results(self.root)
        except (UserError, OSError):
            self.seen["half-written"] += self.root.exists()

    def compare(self, calm: Matrix) -> None:
        """Count the runs that are missing or differ from the undisturbed ones in any bit."""
        self.seen["lost"] += len(calm.kept.keys() - self.kept.keys())
        common = calm.kept.keys() & self.kept.keys()
        self.seen["altered"] += sum(bool(differing_bits(calm.root / run, self.root / run)) for run in common)


def _strike(matrix: Matrix, chance: random.Random, kills: int) -> None:
    """Start the command until it ends by itself; strike it meanwhile, ``kills`` times at most with SIGKILL."""
    while True:
        process = matrix.start()
        ended = ""
        while not ended and matrix.kills < kills:
            ended = _blow(matrix, process, chance)
            if ended != "kill driver":  # those were noted before
                matrix.family |= family(process.pid)
            matrix.look()
        try:
            status = process.wait(SLOWEST)
        except subprocess.TimeoutExpired:
            process.kill()
            status, ended = process.wait(), "hung"
        matrix.look()
        if status == 0:
            break
        matrix.seen["restart"] += 1
        matrix.seen["wrong end"] += not _fitting(status, ended, matrix)
    matrix.seen["finished"] = len(matrix.kept)


def _blow(matrix: Matrix, process: subprocess.Popen[str], chance: random.Random) -> str:
    """Wait for a moment and strike; return what ends the driver, empty if it goes on."""
    what = chance.choices(list(BLOWS), list(BLOWS.values()))[0]
    early = what == "kill driver" and chance.random() < 0.5
    moment = chance.uniform(0, 8 if early else 3)
    while not early and process.poll() is None and not at_work(process.pid):
        time.sleep(0.05)
    wait_seconds(process, moment)
    if process.poll() is not None:
        return "itself"
    matrix.family |= family(process.pid)
    workers = at_work(process.pid)
    if what in ("kill worker", "stop") and not workers:
        return ""  # the last of them is just being replaced, or all runs are done
    matrix.seen[what] += 1
    if what == "kill worker":
        send(chance.choice(workers), signal.SIGKILL)
        return ""
    if what == "stop":
        victim = chance.choice([process.pid, *workers])
        send(victim, signal.SIGSTOP)
        time.sleep(chance.uniform(0.2, 3))
        send(victim, signal.SIGCONT)
        return ""
    signals = {"kill driver": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
    process.send_signal(signals[what])
    return what


def _fitting(status: int, ended: str, matrix: Matrix) -> bool:
    """Whether a start that did not finish ended as it should have."""
    text = matrix.log.read_text(errors="replace")
    if ended == "kill driver":
        return status == -signal.SIGKILL
    if ended in ("interrupt", "terminate"):
        good = status == INTERRUPTED and "Traceback" not in text
    else:
        good = status == 1 and "worker lost" in text and "Traceback" not in text
        matrix.seen["gave up"] += good
    if not good:
        console.print(f"after {ended or 'nothing'}: exit status {status}\n{text[-1500:]}", markup=False)
    return good


if __name__ == "__main__":
    main("chaos", TITLE, measure)
