"""Twelve runs on one and on as many workers as there are cores, through Ray: speed-up, and how long workers idled.

Then one run alone, whose clients train one after the other or side by side.

A run is claimed when its lock file is made and ends when its folder is sealed, so the idle time of workers can be read
from the file system to the millisecond, for the command as a user gives it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks import workloads
from benchmarks.common import Report, Settings, command, interleave, main, ratios, seconds
from fedbench import store

TITLE = "twelve runs on one worker and on one per core; the clients of one run side by side"
WORKERS = os.cpu_count() or 1
SUITE = workloads.HEART | {"algorithms": ["fedavg", "fedprox", "fedbn"], "seeds": [0, 1, 2, 3]}
RUNS = 12


def measure(settings: Settings) -> Report:
    """Time the command with both numbers of workers, in turn."""
    report = Report()
    suite = workloads.changed(SUITE, rounds=2 if settings.quick else 24)
    plan = settings.scratch / "plan"
    workloads.cells(suite, plan)
    file = workloads.write_suite(suite, settings.scratch / "suite.toml")
    made: dict[int, list[dict[str, float]]] = {1: [], WORKERS: []}

    def task(workers: int) -> Callable[[], float]:
        def one() -> float:
            out = workloads.fresh_results(settings.scratch / f"w{workers}-{len(made[workers])}", plan)
            took = command("-m", "fedbench", "run", "--suite", file, "--workers", workers, "--out", out)
            made[workers].append(timeline(out, workers) | {"command": took})
            return took

        return one

    repeats = 1 if settings.quick else min(settings.repeats, 3)
    times = interleave({str(workers): task(workers) for workers in made}, repeats)
    for workers, lines in made.items():
        name = f"{workers} worker{'s' * (workers > 1)}"
        report.add(f"{name}: the whole command", times[str(workers)], "s")
        report.add(f"{name}: from the first run's claim to the last one's seal", [x["span"] for x in lines], "s")
        report.add(f"{name}: a run", [x["run"] for x in lines], "s")
        report.add(f"{name}: idle time of workers in that span", [100 * x["idle"] for x in lines], "%")
        report.add(f"{name}: before the first run and after the last", [x["command"] - x["span"] for x in lines], "s")
    one, many = made[1], made[WORKERS]
    span = ratios([x["span"] for x in one], [x["span"] for x in many])
    target = (">=", 0.925 * WORKERS)  # 1.85 on 2
    report.add(f"speed-up of {WORKERS} workers, whole command", ratios(times["1"], times[str(WORKERS)]), target=target)
    report.add(f"speed-up of {WORKERS} workers, first claim to last seal", span)
    assert all(x["runs"] == RUNS for x in (*one, *many))
    _side_by_side(report, settings)
    report.notes.append(
        f"{RUNS} runs (3 algorithms, 4 seeds) of {suite['training']['rounds']} rounds on phantom-heart, one thread "
        "each. With one worker the other cores are free for Ray's own processes; with one per core they are not. How "
        "much slower a run is beside others shows in the two lines `a run`."
    )
    return report


def _side_by_side(report: Report, settings: Settings) -> None:
    """Time rounds of one run with its clients one after the other and side by side, in turn in one process."""
    rounds = 4 if settings.quick else 30
    suite = workloads.changed(workloads.FOUR_CLIENTS, rounds=rounds + 2, validate_every=rounds + 2)
    task = workloads.task_of(suite, settings.scratch / "alone")
    ways = {n: workloads.start(task, at_once=n) for n in (1, WORKERS)}
    steps = {str(n): training.rounds() for n, training in ways.items()}
    tasks = {n: lambda going=going: seconds(lambda: next(going)) for n, going in steps.items()}
    times = interleave(tasks, rounds, warmups=2)
    name = "one run of 4 clients, a round"
    report.add(f"{name}: clients one after the other", times["1"], "s")
    report.add(f"{name}: {WORKERS} clients at a time, one thread each", times[str(WORKERS)], "s")
    report.add(f"{name}: speed-up", ratios(times["1"], times[str(WORKERS)]))
    a, b = (training.server.weights for training in ways.values())
    assert all(a[entry].equal(b[entry]) for entry in a), "side by side, the weights have other bits"


def timeline(out: Path, workers: int) -> dict[str, float]:
    """Read from a results folder when runs began and ended."""
    sealed = list(out.glob(f"*/{store.DONE}"))
    frame = pd.DataFrame(
        {
            "begun": [(out / ".locks" / path.parent.name).stat().st_mtime for path in sealed],
            "ended": [path.stat().st_mtime for path in sealed],
        }
    )
    busy = (frame["ended"] - frame["begun"]).sum()
    span = frame["ended"].max() - frame["begun"].min()
    return {"runs": len(frame), "span": span, "run": busy / len(frame), "idle": 1 - busy / (workers * span)}


if __name__ == "__main__":
    main("parallel", TITLE, measure)
