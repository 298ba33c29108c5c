"""How long runs will take: from finished runs of the same kind, else from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedbench.engine.compute import Compute
from fedbench.engine.training import Training
from fedbench.execution.planning import make_task
from fedbench.store import RUN, load_results, read_json
from fedbench.suite import Cell


def seconds_left(cells: Sequence[Cell], root: Path) -> tuple[float, str]:
    """Return the estimated compute seconds of ``cells`` on one worker, and what the estimate rests on."""
    finished = load_results(root, skip_damaged=True).runs
    if not finished.empty:
        records = [read_json(root / run_id / RUN) or {} for run_id in finished["run_id"]]
        finished = finished[[run["identity"]["device"] == cells[0].identity["device"] for run in records]]
    known: dict[Any, float] = {}
    if not finished.empty:
        rate = finished["seconds"] * finished["clients_at_once"] / finished["steps"]
        known = rate.groupby([finished["dataset"], finished["algorithm"]]).median().to_dict()
    general = sum(known.values()) / len(known) if known else _timed_step(cells[0])
    total = 0.0
    for cell in cells:
        task = make_task(cell)
        steps = Training(task, Compute.start(task.training, "cpu")).steps_per_round * task.training.rounds
        total += steps * known.get((cell.identity["dataset"], cell.identity["algorithm"]), general)
    return total, "from finished runs" if known else "from a timed round of the first run; others may differ"


def _timed_step(cell: Cell) -> float:
    """Seconds per optimiser step of one round of ``cell``, the second of two (the first one warms up)."""
    task = make_task(cell)
    task = replace(task, training=task.training.model_copy(update={"rounds": max(2, task.training.rounds)}))
    training = Training(task, Compute.start(task.training, cell.identity["device"]))
    rounds = training.rounds()
    next(rounds)
    started = time.perf_counter()
    next(rounds)
    return (time.perf_counter() - started) / training.steps_per_round
