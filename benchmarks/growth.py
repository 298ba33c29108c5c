"""Time and memory of a run as its rounds, clients, cases and classes grow.

Every point is a run (``fedbench.execution.runner.execute``, as in a worker: checkpoints, progress and scores included)
in a process of its own, which notes time and memory after each round. Memory is what the process holds for itself
(RssAnon); pages of memory-mapped data belong to the system and are shown apart.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.common import CommandFailed, Report, Settings, main, memory, output

TITLE = "time and memory as rounds, clients, cases and classes grow"
SMALL: dict[str, Any] = {
    "seeds": [0],
    "model": {"name": "unet", "norm": "batch", "channels": [8, 16, 32]},
    "training": {"batch_size": 8, "precision": "fp32", "augment": False, "schedule": "constant"},
}
CELL = "cell.pickle"
THIRDS = {"test_fraction": 0.34, "val_fraction": 0.34}
FEW = {"test_fraction": 0.0005, "val_fraction": 0.0005}


def measure(settings: Settings) -> Report:
    """Grow one thing at a time."""
    report = Report()
    quick = settings.quick
    _rounds(report, settings, 60 if quick else 1000)
    _clients(report, settings, (2, 8) if quick else (2, 8, 32, 128, 512))
    _keeping_clients(report, settings, (2, 8) if quick else (2, 32, 512))
    _working_clients(report, settings, (2, 4) if quick else (2, 32, 512))
    _cases(report, settings, (10, 100) if quick else (10, 100, 1000, 10_000))
    _classes(report, settings, (2, 8) if quick else (2, 4, 8, 16, 32))
    report.notes.append("Each point is one run in a fresh process, without repeats; times are medians over its rounds.")
    return report


# -- what grows ----------------------------------------------------------------------------------------------------


def _rounds(report: Report, settings: Settings, most: int) -> None:
    point = _point(settings, "clients=2,patients=3,slices=2,size=16", THIRDS, rounds=most)
    anonymous, took = point["anonymous"], point["seconds"]
    marks = [n for n in (10, 100, most) if n <= most]
    for mark in marks:
        window = slice(max(0, mark - 10), mark)
        report.add(f"round {mark}: memory held", float(np.median(anonymous[window])), "MiB")
        report.add(f"round {mark}: a round", 1000 * float(np.median(took[window])), "ms")
    growth = float(np.median(anonymous[most - 10 : most]) / np.median(anonymous[:10]))
    report.add(f"memory at round {most} over that at round 10", growth, target=("<=", 1.05))
    slower = float(np.median(took[most - 10 : most]) / np.median(took[5:15]))
    report.add(f"time of round {most} over that of round 10", slower)


def _clients(report: Report, settings: Settings, numbers: tuple[int, ...]) -> None:
    time_per, held = {}, {}
    for n in numbers:
        point = _small_clients(settings, n)
        time_per[n] = float(np.median(point["seconds"][1:-1])) / n
        held[n] = point["peak"] - point["mapped"]
        report.add(f"{n} clients of one step 32x32: a client's round", 1000 * time_per[n], "ms")
        report.add(f"{n} clients: peak memory in training, without mapped files", held[n], "MiB")
    first, last = numbers[0], numbers[-1]
    ratio = max(time_per.values()) / time_per[first]
    report.add(
        f"a client's round of one step 32x32, the slowest of {first} to {last} clients over {first}",
        ratio,
        target=("<=", 1.1),
    )
    parameters = point["parameters"]
    report.add(f"peak memory, {last} clients over {numbers[0]}", held[last] / held[numbers[0]], target=("<=", 1.05))
    each = (held[last] - held[numbers[0]]) / (last - numbers[0])
    report.add("memory for each further client", each, "MiB")
    report.notes.append(f"The model of the runs with many clients has {parameters * 4 / 2**20:.2f} MiB of weights.")


def _small_clients(settings: Settings, n: int, algorithm: str = "fedavg") -> dict[str, Any]:
    rounds = max(8, 128 // n)
    shapes = f"clients={n},patients=3,slices=8,size=32"
    return _point(settings, shapes, THIRDS, {"name": "basicunet"}, algorithm, rounds=rounds, validate_every=rounds)


def _keeping_clients(report: Report, settings: Settings, numbers: tuple[int, ...]) -> None:
    """As before, by an algorithm that keeps as much as a model for each client: SCAFFOLD's control variates."""
    time_per, held = {}, {}
    for n in numbers:
        point = _small_clients(settings, n, "scaffold")
        time_per[n] = float(np.median(point["seconds"][1:-1])) / n
        held[n] = point["peak"] - point["mapped"]
        report.add(f"SCAFFOLD, {n} clients of one step 32x32: a client's round", 1000 * time_per[n], "ms")
        report.add(f"SCAFFOLD, {n} clients: peak memory in training, without mapped files", held[n], "MiB")
        report.add(f"SCAFFOLD, {n} clients: mapped files", point["mapped"], "MiB")
    first, last = numbers[0], numbers[-1]
    ratio = max(time_per.values()) / time_per[first]
    report.add(f"SCAFFOLD: a client's round, the slowest of {first} to {last} clients over {first}", ratio)
    report.add(f"SCAFFOLD: peak memory, {last} clients over {first}", held[last] / held[first])
    report.add("SCAFFOLD: memory for each further client", (held[last] - held[first]) / (last - first), "MiB")


def _working_clients(report: Report, settings: Settings, numbers: tuple[int, ...]) -> None:
    """As before, with clients that have as much to do as those of the other benchmarks (``workloads.FOUR_CLIENTS``)."""
    time_per = {}
    for n in numbers:
        rounds = max(4, 64 // n)
        shapes = f"clients={n},patients=6,slices=8,size=64"
        point = _point(
            settings, shapes, workloads.FOUR_CLIENTS["data"], model=workloads.FOUR_CLIENTS["model"], rounds=rounds,
            validate_every=rounds,
        )  # fmt: skip
        time_per[n] = float(np.median(point["seconds"][1:-1])) / n
        report.add(f"{n} clients of 4 steps 64x64: a client's round", 1000 * time_per[n], "ms")
    what = f"a client's round of 4 steps 64x64, the slowest of {numbers[0]} to {numbers[-1]} clients over {numbers[0]}"
    report.add(what, max(time_per.values()) / time_per[numbers[0]], target=("<=", 1.1))


def _cases(report: Report, settings: Settings, numbers: tuple[int, ...]) -> None:
    per_sample, held = {}, {}
    for n in numbers:
        shapes = f"clients=2,patients={n // 2},slices=2,size=32"
        rounds = max(4, 400 // n)
        try:
            point = _point(settings, shapes, FEW, rounds=rounds, validate_every=rounds)
        except CommandFailed as error:
            report.fail(f"{n} cases: an image", f"failed: {str(error).strip().splitlines()[-1]}")
            continue
        per_sample[n] = float(np.median(point["seconds"][1:-1])) / point["samples"]
        held[n] = max(point["anonymous"])
        report.add(f"{n} cases: an image", 1000 * per_sample[n], "ms")
        report.add(f"{n} cases: memory without mapped files", held[n], "MiB")
        report.add(f"{n} cases: mapped files", point["mapped"], "MiB")
    first, last = numbers[1 if len(numbers) > 2 else 0], numbers[-1]  # a handful of cases makes no full batch
    for what, values, bound in (("an image", per_sample, 1.1), ("memory without mapped files", held, 1.1)):
        name = f"{what}, {last} cases over {first}"
        if last in values:
            report.add(name, values[last] / values[first], target=("<=", bound))
        else:
            report.fail(name, "the run failed", target=("<=", bound))
    report.facts["files a process may open"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _classes(report: Report, settings: Settings, numbers: tuple[int, ...]) -> None:
    took = {}
    for n in numbers:
        shapes = f"clients=2,patients=6,slices=8,size=64,classes={n}"
        point = _point(settings, shapes, {"test_fraction": 0.17, "val_fraction": 0.17}, rounds=4, validate_every=4)
        took[n] = float(np.median(point["seconds"][1:-1])) / point["steps"]
        report.add(f"{n} classes: a step of 8 images 64x64", 1000 * took[n], "ms")
        report.add(f"{n} classes: peak memory in training", point["peak"], "MiB")


# -- a point -------------------------------------------------------------------------------------------------------


def _point(
    settings: Settings, shapes: str, data: dict[str, float], model: dict[str, Any] | None = None,
    algorithm: str = "fedavg", **training: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run one point in a process of its own; return what it noted."""
    out = settings.scratch / algorithm / shapes
    suite = workloads.changed(SMALL, **training) | {"datasets": [f"{workloads.SHAPES}[{shapes}]"], "data": data}
    suite |= {"model": model or SMALL["model"], "algorithms": [algorithm]}
    (cell,) = workloads.cells(suite, out)  # prepared and planned outside the process that is watched, as for a worker
    (out / CELL).write_bytes(pickle.dumps(cell))
    noted = json.loads(output("-m", "benchmarks.growth", "point", out))
    return noted | {name: np.array(noted[name]) for name in ("seconds", "anonymous")}


def point(out: Path) -> dict[str, Any]:
    """Run the one run that was planned for ``out`` here, noting time and memory after every round."""
    from fedbench.execution.runner import Options, execute
    from fedbench.store import RUN, read_json

    cell = pickle.loads((out / CELL).read_bytes())  # written by the process that started this one
    ends: list[float] = []
    seen: dict[str, list[float]] = {"RssAnon": [], "RssFile": [], "VmHWM": []}

    def report(_: dict[str, Any]) -> None:
        if not ends:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew: imports and planning do not count
        ends.append(time.perf_counter())
        for name, value in memory(*seen).items():
            seen[name].append(value)

    outcome = execute(cell, out, Options(), report)
    if outcome.status != "done":
        raise RuntimeError(outcome.error)
    run = read_json(out / cell.id / RUN) or {}
    rounds = cell.identity["training"]["rounds"]
    return {
        "seconds": np.diff(ends[: rounds + 1]).tolist(),
        "anonymous": seen["RssAnon"][1 : rounds + 1],
        "mapped": seen["RssFile"][rounds] - seen["RssFile"][0],
        "peak": seen["VmHWM"][rounds],
        "samples": sum(run["samples"].values()),
        "steps": run["steps"] // rounds,
        "parameters": run["parameters"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["point"]:
        sys.stdout.write(json.dumps(point(Path(sys.argv[2]))))
    else:
        main("growth", TITLE, measure)
