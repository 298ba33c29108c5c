"""FedAvg through fedbench against the bare loop of :mod:`benchmarks.bare`: rounds in one process, and whole jobs.

In process, one round of fedbench and one of the bare loop take turns on the same thread, so that whatever disturbs the
machine disturbs both. The comparison is void unless both end with the same weights.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import bare, workloads
from benchmarks.common import Report, Settings, command, interleave, main, ratios, seconds
from fedbench import store

TITLE = "FedAvg through fedbench against a bare PyTorch loop"
TOLERANCE = 1e-5
TINY = workloads.FOUR_CLIENTS | {
    "datasets": [f"{workloads.SHAPES}[clients=4,patients=3,slices=1,size=16]"],
    "data": {"test_fraction": 0.34, "val_fraction": 0.34},
}
JOB_ROUNDS = 5


def measure(settings: Settings) -> Report:
    """Measure rounds in process, then jobs."""
    report = Report()
    rounds = 6 if settings.quick else 40
    fp32 = {"precision": "fp32", "channels_last": False}
    _rounds(report, settings, "4 clients x 4 steps, UNet, fp32", workloads.FOUR_CLIENTS, rounds, **fp32)
    _rounds(report, settings, "phantom-heart, 2 clients x 10 steps, BasicUNet, defaults", workloads.HEART, rounds)
    _rounds(report, settings, "4 clients x 1 step of one 16x16 image", TINY, 5 * rounds, ratio=False, **fp32)
    _jobs(report, settings)
    report.notes.append(
        "A round of fedbench and a round of the bare loop take turns in one process on one thread; a ratio is of two "
        "neighbours. The bare loop holds all images in memory, fedbench reads them from its memory-mapped store."
    )
    return report


def _rounds(
    report: Report, settings: Settings, name: str, suite: dict[str, Any], rounds: int, *, ratio: bool = True,
    **training: Any,
) -> None:  # fmt: skip
    training = {"rounds": rounds + 3, "validate_every": rounds + 3, **training}
    task = workloads.task_of(workloads.changed(suite, **training), settings.scratch / "rounds")
    job = bare.load(workloads.export(task, settings.scratch / f"job {name}"))
    through, loop = workloads.start(task), bare.FedAvg(job)
    steps = through.rounds()
    cpu: dict[str, list[float]] = defaultdict(list)

    def clocked(name: str, round: Callable[[], Any]) -> Callable[[], float]:
        def one() -> float:
            begun = time.process_time()
            wall = seconds(round)
            cpu[name].append(time.process_time() - begun)
            return wall

        return one

    tasks = {"fedbench": clocked("fedbench", lambda: next(steps)), "bare": clocked("bare", _counting(loop))}
    times = interleave(tasks, rounds, warmups=2)
    difference = _difference(through, loop)
    report.facts[name] = {"largest difference of the final weights": difference}
    if difference > TOLERANCE:
        report.fail(name, f"void: final weights differ by {difference:.1e}", target=("<=", 1.05))
        return
    if ratio:
        report.add(f"{name}: a round of fedbench", times["fedbench"], "s")
        report.add(f"{name}: a round of the bare loop", times["bare"], "s")
        report.add(f"{name}: ratio of training time", ratios(times["fedbench"], times["bare"]), target=("<=", 1.05))
        report.add(f"{name}: ratio of CPU time", ratios(cpu["fedbench"][-rounds:], cpu["bare"][-rounds:]))
    clients = len(through.clients)
    extra = [1000 * (a - b) / clients for a, b in zip(times["fedbench"], times["bare"], strict=True)]
    report.add(f"{name}: overhead per client and round", extra, "ms", target=("<=", 3.0))


def _counting(loop: bare.FedAvg) -> Callable[[], None]:
    numbers = itertools.count()
    return lambda: loop.round(next(numbers))


def _difference(through: Any, loop: bare.FedAvg) -> float:
    """Of the weights; counters are left out."""
    ours = workloads.monai_names(through.server.weights)
    theirs = {name: value.numpy() for name, value in loop.weights.items()}
    return workloads.largest_difference(*({k: v for k, v in w.items() if v.dtype.kind == "f"} for w in (ours, theirs)))


def _jobs(report: Report, settings: Settings) -> None:
    """Whole jobs with start-up: ``fedbench run --workers 0`` against ``python -m benchmarks.bare``."""
    suite = workloads.changed(workloads.HEART, rounds=JOB_ROUNDS)
    scratch, made = settings.scratch / "jobs", []
    task = workloads.task_of(suite, scratch / "plan")
    job = workloads.export(task, scratch / "job")
    file = workloads.write_suite(suite, scratch / "job.toml")

    def ours() -> float:
        made.append(out := workloads.fresh_results(scratch / f"out{len(made)}", scratch / "plan"))
        return command("-m", "fedbench", "run", "--suite", file, "--workers", "0", "--out", out)

    tasks = {
        "fedbench": ours,
        "bare, scored": lambda: command("-m", "benchmarks.bare", job, scratch / "scored.npz", "--score"),
        "bare": lambda: command("-m", "benchmarks.bare", job, scratch / "bare.npz"),
    }
    times = interleave(tasks, settings.repeats, warmups=1)
    equal = _same_job(made[-1], scratch)
    report.facts["job"] = equal
    name = f"phantom-heart, {JOB_ROUNDS} rounds with start-up"
    if equal["weights"] > TOLERANCE:
        report.fail(name, f"void: final weights differ by {equal['weights']:.1e}", target=("<=", 1.3))
        return
    report.add(f"{name}: `fedbench run --workers 0`", times["fedbench"], "s")
    report.add(f"{name}: bare job, validated and scored", times["bare, scored"], "s")
    report.add(f"{name}: bare job, training only", times["bare"], "s")
    report.add(f"{name}: ratio for the same work", ratios(times["fedbench"], times["bare, scored"]), target=("<=", 1.3))
    report.add(f"{name}: ratio to the bare job without validation and scores", ratios(times["fedbench"], times["bare"]))
    report.notes.append(
        "The bare job that is validated and scored does what `fedbench run` does (Dice on the validation cases after "
        "each round; Dice, HD95 and NSD of the test cases at the end, by MONAI), but keeps no rows, draws no figure, "
        "writes no checkpoint. Data is prepared before either starts. Test Dice where the truth is not empty: "
        f"{equal['dice ours']:.6f} and {equal['dice bare']:.6f}."
    )


def _same_job(out: Path, scratch: Path) -> dict[str, float]:
    """Compare what the two jobs left: weights, and the mean test Dice of the last round."""
    (folder,) = [path.parent for path in out.glob(f"*/{store.DONE}")]
    ours = workloads.weights_of_run(out, folder.name)
    with np.load(scratch / "scored.npz", allow_pickle=False) as arrays:
        theirs = {name: arrays[name] for name in ours if ours[name].dtype.kind == "f"}
    cases = pd.read_parquet(folder / store.CASES)
    own = cases[(cases["selection"] == "last") & (cases["client"] == cases["client"].min())]
    own = own[own["volume_truth"] > 0]  # MONAI gives no Dice where the truth is empty
    bare_dice = [row["dice"] for row in json.loads((scratch / "scored.json").read_text())["cases"]]
    return {
        "weights": workloads.largest_difference({k: ours[k] for k in theirs}, theirs),
        "dice ours": float(own["dice"].mean()),
        "dice bare": float(np.nanmean(bare_dice)),
    }


if __name__ == "__main__":
    main("overhead", TITLE, measure)
