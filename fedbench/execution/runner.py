"""Runs one cell in this process: claim it, train (or go on), score, write, seal. Every executor goes through here."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedbench import store
from fedbench.algorithm import Deployment
from fedbench.data.prepared import PreparedCase, load
from fedbench.differing import ATTEMPTS
from fedbench.engine import checkpoint
from fedbench.engine.compute import Compute
from fedbench.engine.inference import pooled_features, truth
from fedbench.engine.states import kept
from fedbench.engine.training import Training, score_rounds
from fedbench.errors import UserError, is_out_of_memory
from fedbench.execution import planning, surroundings
from fedbench.execution.provenance import (
    PEAK,
    conditions,
    forget_peak_memory,
    now,
    peak_memory,
    provenance,
    take_note,
    with_attempt,
)  # fmt: skip
from fedbench.reading import tables_in_system_memory
from fedbench.store import Store
from fedbench.suite import Cell
from fedbench.views import array_key, cut, keep_views, save_arrays

SECONDS_BETWEEN_CHECKPOINTS = 2.0
OF_RAY = "ray_terminate_msg"  # what a SystemExit has by which Ray ends a worker, for SIGTERM, say; a plugin's has not


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a cell ended.

    Attributes:
        status: ``busy``: another process works on it.
        out_of_memory: it failed for want of memory on the device; with fewer runs beside it, it may not.
    """

    run_id: str
    status: Literal["done", "failed", "busy"]
    seconds: float = 0.0
    error: str = ""
    out_of_memory: bool = False


@dataclass(frozen=True)
class Options:
    """How to run, nothing that changes results.

    Attributes:
        clients_at_once: clients of a round that train side by side on the CPU, each on ``training.threads`` threads.
    """

    tensorboard: bool = False
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS
    clients_at_once: int = 1


@dataclass(frozen=True)
class Inputs:
    """Where a cell's inputs lie on this machine, where that is elsewhere than on the one that planned it.

    Attributes:
        prepared: folder of the prepared dataset.
        algorithm: the algorithm as of :attr:`Cell.algorithm`, with this machine's path if it is a file.
    """

    prepared: str
    algorithm: str


@dataclass(frozen=True)
class Earlier:
    """What a checkpoint says of the attempts that led to it, as far as it does.

    Attributes:
        seconds: of all together.
        peak: the most memory that any of their processes held, in bytes.
        attempts: with what they computed.
    """

    seconds: float = 0.0
    peak: int = 0
    attempts: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Progress:
    """A round is over, or scoring begins; ``facts`` is what ``progress.json`` now holds."""

    facts: dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """The checkpoint was written."""

    path: Path


Report = Callable[[dict[str, Any]], None]


def execute(cell: Cell, root: Path, options: Options, report: Report = lambda _: None) -> Outcome:
    """Run ``cell`` to its end, from its checkpoint if there is one.

    Args:
        report: called after every round with round, rounds, loss, validation Dice.

    Returns:
        the outcome; an exception is recorded in the run's folder (``failure.json``, ``traceback.txt``), not raised.
    """
    for event in events(cell, root, options):
        if isinstance(event, Outcome):
            return event
        if isinstance(event, Progress):
            report(event.facts)
    raise AssertionError("a run ends with an outcome")


def events(
    cell: Cell, root: Path, options: Options, inputs: Inputs | None = None
) -> Iterator[Progress | Saved | Outcome]:
    """Run ``cell`` as :func:`execute` does, and yield what happens as it happens; last comes the outcome.

    Args:
        inputs: where its data and its algorithm lie here; None: where the cell says.
    """
    results = Store(root)
    folder = results.folder(cell.id)
    with contextlib.ExitStack() as held:
        try:
            free = held.enter_context(results.lock(cell.id))
            done = free and results.status(cell.id, claimed=True) == "done"
        except UserError as error:
            yield Outcome(cell.id, "failed", error=str(error))
            return
        if done or not free:
            yield Outcome(cell.id, "done" if done else "busy")
            return
        started = time.time()
        held.enter_context(surroundings.put_back())
        held.enter_context(tables_in_system_memory())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (store.FAILURE, store.TRACEBACK):
                (folder / name).unlink(missing_ok=True)
            given = inputs or Inputs(cell.prepared, cell.algorithm)
            yield from _run(cell, given, results, folder, options, started, held)
        except (Exception, SystemExit) as error:
            if hasattr(error, OF_RAY):
                raise
            message = _in_words(error)
            record_failure(folder, message)
            yield Outcome(cell.id, "failed", time.time() - started, message, is_out_of_memory(error))
            return
    yield Outcome(cell.id, "done", time.time() - started)


def _in_words(error: Exception | SystemExit) -> str:
    if is_out_of_memory(error):
        first = str(error).partition("\n")[0][:200]
        return f"out of memory on the device; lower training.batch_size, data.size or model.channels ({first})"
    if isinstance(error, SystemExit):
        return (
            f"SystemExit: {error}; a plugin called sys.exit, which ends no run; raise an error that says what is wrong"
        )
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def record_failure(folder: Path, message: str, details: str = "") -> None:
    """Keep why a run failed in its folder.

    Args:
        details: for ``traceback.txt``; else the exception that is being handled.
    """
    try:
        store.write_text(folder / store.TRACEBACK, details or traceback.format_exc())
        store.write_json(folder / store.FAILURE, {"error": message, "at": now()})
    except OSError:
        pass  # the folder is gone or the disk is full: the outcome still says what happened


def _run(
    cell: Cell, inputs: Inputs, results: Store, folder: Path, options: Options, started: float,
    held: contextlib.ExitStack,
) -> Iterator[Progress | Saved]:  # fmt: skip
    take_note()
    forget_peak_memory()
    prepared = load(Path(inputs.prepared))
    task = planning.make_task(replace(cell, prepared=inputs.prepared, algorithm=inputs.algorithm), prepared)
    own, classes = type(task.algorithm), surroundings.Classes()
    held.callback(classes.put_back, own)
    compute = Compute.start(task.training, cell.identity["device"])
    training = Training(task, compute, options.clients_at_once)
    training.states = kept(training.states)
    earlier = _resume(training, results, cell.id)
    here = conditions(cell.identity["device"], len(training.trainers))
    attempts = with_attempt(earlier.attempts, training.server.round, here)
    begun = time.perf_counter()

    def save() -> Saved:
        tensors, facts = training.state()
        so_far = {"seconds": earlier.seconds + time.perf_counter() - begun, PEAK: max(earlier.peak, peak_memory())}
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / store.CHECKPOINT, tensors, facts | so_far | {ATTEMPTS: attempts})
        return Saved(folder / store.CHECKPOINT)

    board = _board(folder, training.server.round) if options.tensorboard else None
    saved = time.perf_counter()
    yield _tell(folder, cell, training, started, "training")
    with surroundings.put_back():  # before folders are made
        for _ in training.rounds():
            if time.perf_counter() - saved > options.checkpoint_seconds:
                yield save()
                saved = time.perf_counter()
            if board is not None:
                _events(board, training)
            yield _tell(folder, cell, training, started, "training")
    yield save()
    if board is not None:
        board.close()
    yield _tell(folder, cell, training, started, "scoring")
    rows = _score(cell, training, prepared.regions, folder)
    classes.refuse_changed(own)
    store.write_parquet(folder / store.CASES, rows)
    store.write_parquet(folder / store.ROUNDS, training.history)
    seconds = earlier.seconds + time.perf_counter() - begun
    peak = max(earlier.peak, peak_memory())
    views = keep_views(results.root, task.federation)
    store.write_json(
        folder / store.RUN,
        provenance(cell, task, training, started, seconds, peak, attempts)
        | {"views": views, "classes": list(prepared.classes)},
    )
    (folder / store.PROGRESS).unlink(missing_ok=True)
    store.seal(folder)


def _resume(training: Training, results: Store, run_id: str) -> Earlier:
    """Take up the run's checkpoint if there is a whole one; return what it says of the attempts before."""
    path = results.folder(run_id) / store.CHECKPOINT
    if not path.exists():
        return Earlier()
    try:
        tensors, facts = checkpoint.load(path)
    except checkpoint.CorruptCheckpoint as error:
        results.quarantine(run_id, str(error))
        results.folder(run_id).mkdir(parents=True)
        return Earlier()
    training.restore(tensors, facts)
    return Earlier(float(facts["seconds"]), facts.get(PEAK, 0), facts.get(ATTEMPTS, []))


def _score(cell: Cell, training: Training, regions: Mapping[str, Sequence[int]], folder: Path) -> list[dict[str, Any]]:
    """Score the run's models; keep slices and features of the last round's."""
    predictions: dict[str, np.ndarray] = {}
    features: dict[str, np.ndarray] = {}
    model: Any = training.networks["model"]

    def keep(deployment: Deployment, case: PreparedCase, prediction: np.ndarray) -> None:
        key = array_key(deployment.kind, deployment.client, case.id)
        predictions[key] = cut(prediction, truth(case))
        features[key] = pooled_features(model, case, training.compute, training.task.size)

    rows = score_rounds(training, regions, planning.evaluation_of(cell), keep)
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


def _tell(folder: Path, cell: Cell, training: Training, started: float, phase: str) -> Progress:
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
    return Progress(progress)


def _board(folder: Path, round: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs the package tensorboard: pip install tensorboard.") from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=round)


def _events(board: Any, training: Training) -> None:
    done = training.server.round - 1
    for row in training.history:
        if row["round"] == done:
            board.add_scalar(f"{row['metric']}/{row['client'] or 'all'}", row["value"], done)
