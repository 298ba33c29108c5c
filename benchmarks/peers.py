"""The same federated training by fedbench, by Flower's simulation, by pfl-research and by the bare loop.

Same start weights, images, batches and local steps; every program writes its final weights, and a program whose
weights differ by more than 1e-5 has done other work and gets no number. Whole jobs are timed as commands, in turn; a
steady round is the difference between a long and a short job over the difference in rounds, for all programs alike.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.common import CommandFailed, Report, Settings, command, interleave, main, output, ratios
from fedbench import store

TITLE = "the same training by Flower, pfl-research, fedbench and a bare loop"
REQUIREMENTS = Path(__file__).with_name("peers.txt")
CORES = os.cpu_count() or 1
TOLERANCE = 1e-5
EXPERIMENTS = 12
Program = Callable[[int, Path], float]  # rounds, where to put the weights -> seconds


def install(env: Path) -> str:
    """Install ``peers.txt`` into ``env`` unless it is there; return what went wrong, ``""`` if nothing."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    marker = env / "fedbench-peers"
    if marker.exists() and marker.read_text() == wanted:
        return ""
    for line in (
        [sys.executable, "-m", "venv", env],
        [env / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", REQUIREMENTS],
    ):
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
        if done.returncode:
            return (done.stderr.strip() or done.stdout.strip())[-400:]
    marker.write_text(wanted)
    return ""


def measure(settings: Settings) -> Report:
    """Time every program on short and long jobs, then a matrix of experiments."""
    report = Report()
    short, long = (2, 6) if settings.quick else (5, 50)
    repeats = 1 if settings.quick else min(settings.repeats, 3)
    problem = install(settings.env)
    if problem:
        report.notes.append(f"The peers could not be installed on this machine: `{' '.join(problem.split())}`")
    else:
        listed = output("-m", "pip", "freeze", python=settings.env / "bin/python").splitlines()
        report.facts["peers"] = [x for x in listed if x.split("==")[0] in ("flwr", "pfl", "ray", "torch", "monai")]
    bench = Bench(settings, long)
    everything = bench.programs(with_peers=not problem)
    times, weights = _time(everything, short, long, repeats, settings.scratch, report)
    _report(report, times, weights, (short, long), bool(problem))
    _matrix(report, bench, times, short, repeats)
    report.notes.append(
        "4 clients x 32 images 64x64, MONAI UNet(16, 32, 64, 128), batch 8, SGD, fp32, 1 epoch a round. pfl trains one "
        f"client after the other, on one or {CORES} threads; Flower trains {CORES} clients at a time on one thread "
        "each; fedbench does either (by itself it trains clients side by side where cores would be idle). A "
        "job of fedbench also validates after the last round, scores its test cases, draws a figure and leaves a "
        "checkpoint; the others only write their weights."
    )
    return report


class Bench:
    """The job, in files that all programs read, and how each program is started on it."""

    def __init__(self, settings: Settings, rounds: int) -> None:
        self.scratch, self.env = settings.scratch, settings.env
        self.made = 0
        for threads in (1, CORES):
            task = workloads.task_of(self.suite(rounds, threads), self.scratch / "plan")
            workloads.export(task, self.scratch / f"job{threads}")

    def suite(self, rounds: int, threads: int) -> dict[str, Any]:
        """Return the suite; it is validated once, after the last round."""
        return workloads.changed(workloads.FOUR_CLIENTS, rounds=rounds, validate_every=rounds, threads=threads)

    def programs(self, with_peers: bool) -> dict[str, Program]:
        """Return every program by the name it has in the table."""
        found = {
            "fedbench": self.fedbench(1),
            f"fedbench, {CORES} threads": self.fedbench(CORES),
            f"fedbench, {CORES} clients at a time": self.fedbench(1, CORES),
            "bare loop": self.script("bare", sys.executable, 1, "--rounds"),
        }
        if with_peers:
            python = self.env / "bin/python"
            found["pfl"] = self.script("peer_pfl", python, 1)
            found[f"pfl, {CORES} threads"] = self.script("peer_pfl", python, CORES)
            found["Flower"] = self.script("peer_flower", python, 1)
        return found

    def fedbench(self, threads: int, clients: int = 1) -> Program:
        """``fedbench run --workers 0``, with so many clients side by side."""

        def run(rounds: int, weights: Path) -> float:
            out = self.fresh()
            file = workloads.write_suite(self.suite(rounds, threads), out / "job.toml")
            took = command("-m", "fedbench", "run", "--suite", file, "--workers", "0",
                           "--clients-at-once", clients, "--out", out)  # fmt: skip
            (done,) = out.glob(f"*/{store.DONE}")
            np.savez(weights, allow_pickle=False, **workloads.weights_of_run(out, done.parent.name))
            return took

        return run

    def script(self, module: str, python: Path | str, threads: int, *before_rounds: str) -> Program:
        """A module of this folder, in an environment of its own."""

        def run(rounds: int, weights: Path) -> float:
            arguments = (self.scratch / f"job{threads}", weights, *before_rounds, str(rounds))
            return command("-m", f"benchmarks.{module}", *arguments, python=python, FLWR_TELEMETRY_ENABLED="0")

        return run

    def fresh(self) -> Path:
        """Return a new results folder."""
        self.made += 1
        return workloads.fresh_results(self.scratch / f"out{self.made}", self.scratch / "plan")


Times = dict[tuple[str, int], list[float]]
Weights = dict[tuple[str, int], dict[str, np.ndarray]]


def _time(
    programs: dict[str, Program], short: int, long: int, repeats: int, scratch: Path, report: Report
) -> tuple[Times, Weights]:
    """Time every program on both jobs in turn; one that fails is noted and left out."""
    weights: Weights = {}
    working: dict[str, Program] = {}

    def task(name: str, rounds: int) -> Callable[[], float]:
        def one() -> float:
            file = scratch / "weights.npz"
            file.unlink(missing_ok=True)
            took = programs[name](rounds, file)
            with np.load(file, allow_pickle=False) as arrays:
                weights[name, rounds] = {k: arrays[k] for k in arrays.files if k != "ends"}
            return took

        return one

    for name in programs:  # once without a clock: it fills caches and shows what does not work
        try:
            task(name, short)()
            working[name] = programs[name]
        except CommandFailed as error:
            report.fail(f"{name}: {short} rounds with start-up", f"failed: {' '.join(str(error).split())[-300:]}")
    timed = interleave({(name, r): task(name, r) for name in working for r in (short, long)}, repeats)  # type: ignore[misc]
    return timed, weights  # type: ignore[return-value]


def _report(report: Report, times: Times, weights: Weights, jobs: tuple[int, int], missing: bool) -> None:
    short, long = jobs
    names = list(dict.fromkeys(name for name, _ in times))
    differences = {
        (name, r): workloads.largest_difference(weights[name, r], weights["bare loop", r])
        for name in names
        for r in jobs
    }
    report.facts["largest difference from the bare loop's weights"] = {
        f"{name}, {r} rounds": value for (name, r), value in differences.items()
    }
    steady: dict[str, list[float]] = {}
    for name in names:
        worst = max(differences[name, r] for r in jobs)
        if worst > TOLERANCE:
            report.fail(name, f"void: weights differ from the bare loop's by {worst:.1e}")
            continue
        pairs = zip(times[name, short], times[name, long], strict=True)
        steady[name] = [(b - a) / (long - short) for a, b in pairs]
        report.add(f"{name}: a steady round", steady[name], "s")
        report.add(f"{name}: {short} rounds with start-up", times[name, short], "s")
        report.add(f"{name}: {long} rounds with start-up", times[name, long], "s")
    for peer, what, target in (
        ("pfl", "a steady round of pfl over one of fedbench", (">=", 1.0)),
        ("Flower", "a steady round of Flower over one of fedbench", (">=", 1.5)),
    ):
        ours, theirs = _best(steady, "fedbench"), _best(steady, peer)
        if missing or ours is None or theirs is None:
            report.fail(what, "not measured", target=target)
        else:
            report.add(f"{what}, each the way it is fastest", ratios(theirs, ours), target=target)


def _best(steady: dict[str, list[float]], name: str) -> list[float] | None:
    """Return the repeats of the variant of ``name`` with the smallest median."""
    variants = [values for variant, values in steady.items() if variant.split(",")[0] == name]
    return min(variants, key=lambda values: float(np.median(values)), default=None)


def _matrix(report: Report, bench: Bench, times: Times, rounds: int, repeats: int) -> None:
    """A dozen experiments in one command, against a dozen jobs of Flower one after the other."""
    suite = bench.suite(rounds, 1) | {"seeds": list(range(EXPERIMENTS))}

    def run() -> float:
        out = bench.fresh()
        file = workloads.write_suite(suite, out / "matrix.toml")
        took = command("-m", "fedbench", "run", "--suite", file, "--workers", CORES, "--out", out)
        assert len(list(out.glob(f"*/{store.DONE}"))) == EXPERIMENTS
        return took

    took = [run() for _ in range(repeats)]
    report.add(f"fedbench: {EXPERIMENTS} experiments of {rounds} rounds on {CORES} workers", took, "s")
    what, target = f"{EXPERIMENTS} jobs of Flower, timed as above, over these", (">=", 3.0)
    if ("Flower", rounds) not in times:
        report.fail(what, "not measured", target=target)
    else:
        report.add(
            what, [EXPERIMENTS * b / a for a, b in zip(took, times["Flower", rounds], strict=True)], target=target
        )


if __name__ == "__main__":
    main("peers", TITLE, measure)
