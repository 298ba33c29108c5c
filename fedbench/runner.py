"""Runs one cell in this process: claim it, train (or go on), score, write, seal. Both executors call this."""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fedbench import checkpoint, planning, store
from fedbench.algorithm import Deployment
from fedbench.compute import Compute
from fedbench.errors import UserError
from fedbench.evaluation import evaluate
from fedbench.inference import pooled_features, truth
from fedbench.prepared import PreparedCase, load
from fedbench.store import Store
from fedbench.suite import Cell
from fedbench.training import Task, Training
from fedbench.views import array_key, cut, keep_views, save_arrays

SECONDS_BETWEEN_CHECKPOINTS = 2.0
PACKAGES = ("torch", "monai", "numpy", "scipy", "pandas", "ray")


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a cell ended; ``busy``: another process works on it."""

    run_id: str
    status: Literal["done", "failed", "busy"]
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Options:
    """How to run, nothing that changes results."""

    tensorboard: bool = False
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS


Report = Callable[[dict[str, Any]], None]


def execute(cell: Cell, root: Path, options: Options, report: Report = lambda _: None) -> Outcome:
    """Run ``cell`` to its end, from its checkpoint if there is one.

    Args:
        report: called after every round with round, rounds, loss, validation Dice.

    Returns:
        the outcome; an exception is recorded in the run's folder (``failure.json``, ``traceback.txt``), not raised.
    """
    results = Store(root)
    folder = results.folder(cell.id)
    with results.lock(cell.id) as free:
        if not free:
            return Outcome(cell.id, "busy")
        if results.status(cell.id) == "done":
            return Outcome(cell.id, "done")
        started = time.time()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (store.FAILURE, store.TRACEBACK):
                (folder / name).unlink(missing_ok=True)
            _run(cell, results, folder, options, report, started)
        except Exception as error:
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            _record_failure(folder, message)
            return Outcome(cell.id, "failed", time.time() - started, message)
    return Outcome(cell.id, "done", time.time() - started)


def _record_failure(folder: Path, message: str) -> None:
    try:
        store.write_text(folder / store.TRACEBACK, traceback.format_exc())
        store.write_json(folder / store.FAILURE, {"error": message, "at": _now()})
    except OSError:
        pass  # the folder is gone or the disk is full: the outcome still says what happened


def _run(cell: Cell, results: Store, folder: Path, options: Options, report: Report, started: float) -> None:
    prepared = load(Path(cell.prepared))
    task = planning.make_task(cell, prepared)
    compute = Compute.start(task.training, cell.identity["device"])
    training = Training(task, compute)
    earlier = _resume(training, results, cell.id)
    begun = time.perf_counter()

    def save() -> None:
        tensors, facts = training.state()
        spent = earlier + time.perf_counter() - begun
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / store.CHECKPOINT, tensors, facts | {"seconds": spent})

    board = _board(folder, training.server.round) if options.tensorboard else None
    saved = time.perf_counter()
    _tell(folder, report, cell, training, started, "training")
    for _ in training.rounds():
        if time.perf_counter() - saved > options.checkpoint_seconds:
            save()
            saved = time.perf_counter()
        if board is not None:
            _events(board, training)
        _tell(folder, report, cell, training, started, "training")
    save()
    if board is not None:
        board.close()
    _tell(folder, report, cell, training, started, "scoring")
    rows = _score(cell, task, training, compute, prepared.regions, folder)
    store.write_parquet(folder / store.CASES, rows)
    store.write_parquet(folder / store.ROUNDS, training.history)
    seconds = earlier + time.perf_counter() - begun
    views = keep_views(results.root, task.federation)
    store.write_json(
        folder / store.RUN,
        _provenance(cell, task, training, started, seconds) | {"views": views, "classes": list(prepared.classes)},
    )
    (folder / store.PROGRESS).unlink(missing_ok=True)
    store.seal(folder)


def _resume(training: Training, results: Store, run_id: str) -> float:
    """Take up the run's checkpoint if there is a whole one; return the seconds spent before."""
    path = results.folder(run_id) / store.CHECKPOINT
    if not path.exists():
        return 0.0
    try:
        tensors, facts = checkpoint.load(path)
    except checkpoint.CorruptCheckpoint as error:
        results.quarantine(run_id, str(error))
        results.folder(run_id).mkdir(parents=True)
        return 0.0
    training.restore(tensors, facts)
    return float(facts["seconds"])


def _score(
    cell: Cell, task: Task, training: Training, compute: Compute, regions: Mapping[str, Sequence[int]], folder: Path
) -> list[dict[str, Any]]:
    """Score the last round's and the best validation round's models; keep slices and features of the last round's."""
    predictions: dict[str, np.ndarray] = {}
    features: dict[str, np.ndarray] = {}
    model: Any = training.networks["model"]

    def keep(deployment: Deployment, case: PreparedCase, prediction: np.ndarray) -> None:
        key = array_key(deployment.kind, deployment.client, case.id)
        predictions[key] = cut(prediction, truth(case))
        features[key] = pooled_features(model, case, compute, task.size)

    config = planning.evaluation_of(cell)
    last = training.deployments()
    rows = evaluate(task, regions, config, training.networks, last, "last", compute, keep)
    best = training.best
    if best is None or best.round == task.training.rounds - 1:
        rows += [row | {"selection": "best-validation"} for row in rows]
    else:
        rows += evaluate(task, regions, config, training.networks, best.deployments, "best-validation", compute)
    save_arrays(folder / store.PREDICTIONS, predictions)
    save_arrays(folder / store.FEATURES, features)
    return rows


# -- what the outside sees -----------------------------------------------------------------------------------------


def _latest(training: Training, metric: str) -> float | None:
    values: list[float] = []
    last = None
    for row in reversed(training.history):  # from the end: a run may have a hundred thousand rows
        if row["metric"] == metric:
            last = row["round"] if last is None else last
            if row["round"] != last:
                break
            values.append(row["value"])
        elif last is not None and row["round"] < last:
            break
    return sum(values) / len(values) if values else None


def _tell(folder: Path, report: Report, cell: Cell, training: Training, started: float, phase: str) -> None:
    progress = {
        "run_id": cell.id,
        "label": cell.label,
        "phase": phase,
        "round": training.server.round,
        "rounds": training.task.training.rounds,
        "loss": _latest(training, "segmentation"),
        "dice": _latest(training, "validation dice"),
        "started": started,
        "pid": os.getpid(),
    }
    part = folder / f".{store.PROGRESS}.{os.getpid()}"
    part.write_text(json.dumps(progress))  # a rename without a flush: only ever read while the machine is up
    part.replace(folder / store.PROGRESS)
    report(progress)


def _board(folder: Path, round: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs the package tensorboard: pip install 'fedbench[tensorboard]'.") from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=round)


def _events(board: Any, training: Training) -> None:
    done = training.server.round - 1
    for row in training.history:
        if row["round"] == done:
            board.add_scalar(f"{row['metric']}/{row['client'] or 'all'}", row["value"], done)


# -- provenance ----------------------------------------------------------------------------------------------------


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git_state() -> dict[str, Any]:
    """Commit of the checkout that fedbench runs from; empty outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    if commit.returncode or "site-packages" in folder.parts:
        return {}
    return {"commit": commit.stdout.strip(), "modified": bool(changes.stdout.strip())}


def _hardware(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "system": platform.platform()}
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _provenance(cell: Cell, task: Task, training: Training, started: float, seconds: float) -> dict[str, Any]:
    start = datetime.datetime.fromtimestamp(started, datetime.UTC)
    return {
        "run_id": cell.id,
        "label": cell.label,
        "spec": cell.algorithm,
        "identity": cell.identity,
        "declared": cell.declared,
        "partition": {
            "clients": {c.name: {"train": [x.id for x in c.train], "val": [x.id for x in c.val]}
                        for c in task.federation.clients},
            "test": [x.id for x in task.federation.test],
            "unseen": task.federation.unseen,
        },
        "best_validation_round": training.best.round if training.best else None,
        "samples": {s.name: s.samples for s in training.states},
        "steps": training.steps_per_round * task.training.rounds,
        "parameters": sum(p.numel() for p in training.networks["model"].parameters()),
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "git": _git_state(),
        "hardware": _hardware(cell.identity["device"]),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "started": start.isoformat(timespec="seconds"),
        "ended": _now(),
        "seconds": seconds,
    }  # fmt: skip
