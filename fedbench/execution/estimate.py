"""How long runs will take: from finished runs of the same kind, else from a few timed steps."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from fedbench.config import canonical, section_of
from fedbench.data.prepared import load
from fedbench.engine.compute import Compute
from fedbench.engine.task import Task
from fedbench.engine.training import Training, training_sets
from fedbench.errors import UserError
from fedbench.execution.named import said_by
from fedbench.execution.planning import make_task
from fedbench.store import RUN, broken, finished, read_json
from fedbench.suite import Cell

Rates = Mapping[tuple[str, str], float]  # seconds per optimiser step, by kind of step and algorithm


class NoEstimate(Exception):
    """The run that is timed fails; the message says which, and why."""


def seconds_left(cells: Sequence[Cell], root: Path, workers: int, at_once: int) -> tuple[float, str]:
    """Return the estimated seconds until ``workers`` have run ``cells``, and what the estimate rests on.

    Args:
        at_once: clients of a run that train side by side, where it has as many.

    Raises:
        NoEstimate: no finished run is like the first of them, and this fails when it is tried.
    """
    known = _known_rates(root)
    rates = [_rate(known, cell.identity) for cell in cells]
    unlike = [cell for cell, rate in zip(cells, rates, strict=True) if rate is None]
    timed = _timed_step(unlike[0]) if unlike else 0.0
    stores = {folder: load(Path(folder)) for folder in {cell.prepared for cell in cells}}
    seconds = []
    for cell, rate in zip(cells, rates, strict=True):
        task = make_task(cell, stores[cell.prepared])
        sets = training_sets(task)
        steps = sum(samples.steps for samples in sets) * task.training.local_epochs * task.training.rounds
        seconds.append(steps * (timed if rate is None else rate) / min(at_once, len(sets)))
    return last_end(seconds, workers), _basis(len(unlike), len(cells))


def last_end(seconds: Iterable[float], workers: int) -> float:
    """Return when the last of runs ends, each of which the first worker that is free takes."""
    ends = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _basis(unlike: int, runs: int) -> str:
    if not unlike:
        return "from finished runs"
    if unlike == runs:
        return "from a timed round of the first run; others may differ"
    return f"from finished runs, and for {unlike} unlike them from a timed round of the first; others may differ"


_OF_A_KIND = ("device", "dataset_content", "model")


def _kind(identity: Mapping[str, Any]) -> str:
    """What a step costs, but for the algorithm: where, on which data and samples, with which network and settings."""
    training = {key: value for key, value in section_of(identity, "training").items() if key != "rounds"}
    return canonical([*(identity.get(key) for key in _OF_A_KIND), identity["data"].get("size"), training])


def _known_rates(root: Path) -> Rates:
    """Return the median of finished runs, of one client at a time; damaged runs tell nothing."""
    found: dict[tuple[str, str], list[float]] = {}
    for folder in finished(root):
        run = None if broken(folder) else read_json(folder / RUN)
        if run is not None:
            rate = run["seconds"] * run.get("clients_at_once", 1) / run["steps"]
            found.setdefault((_kind(run["identity"]), run["identity"]["algorithm"]), []).append(rate)
    return {key: median(rates) for key, rates in found.items()}


def _rate(known: Rates, identity: Mapping[str, Any]) -> float | None:
    """Return the rate of the algorithm, else the mean of others that take steps of its kind; None without any."""
    kind, algorithm = _kind(identity), identity["algorithm"]
    alike = {name: rate for (other, name), rate in known.items() if other == kind}
    return alike.get(algorithm, fmean(alike.values())) if alike else None


def _timed_step(cell: Cell) -> float:
    """Seconds per optimiser step of one round of ``cell``, the second of two (the first one warms up)."""
    task = make_task(cell)
    task = replace(task, training=task.training.model_copy(update={"rounds": max(2, task.training.rounds)}))
    try:
        return _timed_round(task, cell.identity["device"])
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise NoEstimate(f"{cell.id} fails when it is tried: {said_by(type(task.algorithm), error)}") from error


def _timed_round(task: Task, device: str) -> float:
    training = Training(task, Compute.start(task.training, device))
    rounds = training.rounds()
    next(rounds)
    started = time.perf_counter()
    next(rounds)
    return (time.perf_counter() - started) / training.steps_per_round
