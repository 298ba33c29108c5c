"""Results on their way from a node that does not see the results folder to the driver, which does.

There the run works in a folder of its node's own; every file that matters goes to the driver as it is written, the seal
last, and the driver writes it where the run would have. A node that is lost takes with it what came after the last
checkpoint, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedbench import store
from fedbench.engine import checkpoint
from fedbench.execution.runner import Inputs, Options, Outcome, Progress, Saved, events
from fedbench.execution.shipping import Bytes, read_bytes
from fedbench.files import locked, try_lock, write_atomic
from fedbench.reading import plain_name
from fedbench.store import Store, read_json
from fedbench.suite import Cell
from fedbench.views import FOLDER as VIEWS

PATIENCE = 20  # whoever had to wait for the driver says nothing for so many times as long
SECONDS_BETWEEN_PROGRESS = 1.0


@dataclass(frozen=True)
class Delivery:
    """A file for the results folder; ``name`` is its path below it."""

    name: str
    content: Bytes


# -- on the node ---------------------------------------------------------------------------------------------------


def work_apart(
    cell: Cell, folder: Path, options: Options, inputs: Inputs, begun: Bytes | None
) -> Iterator[Delivery | Outcome]:
    """Run ``cell`` in ``folder``, a results folder of this node alone, and yield all that the driver must have.

    Args:
        begun: the driver's checkpoint of the run, to go on from.
    """
    results = Store(folder)
    own = results.folder(cell.id)
    shutil.rmtree(own, ignore_errors=True)  # what the driver has counts
    if begun is not None:
        own.mkdir()
        begun.tofile(own / store.CHECKPOINT)
    checkpoints, progress = _Pace(0.0), _Pace(SECONDS_BETWEEN_PROGRESS)
    for event in events(cell, folder, options, inputs):
        if isinstance(event, Saved):
            yield from checkpoints.send(own / store.CHECKPOINT, folder)
        elif isinstance(event, Progress):
            yield from progress.send(own / store.PROGRESS, folder)
        elif isinstance(event, Outcome):
            yield from _all_of(folder, own)
            shutil.rmtree(own, ignore_errors=True)
            yield event


class _Pace:
    """Sends a file again and again, less often where the driver lets it wait: at most 1/20 of the time goes by so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic()

    def send(self, file: Path, root: Path) -> Iterator[Delivery]:
        """Yield ``file`` if it is time."""
        started = time.monotonic()
        if started >= self._next:
            yield Delivery(str(file.relative_to(root)), read_bytes(file))  # comes back when the driver is not behind
            now = time.monotonic()
            self._next = now + max(self._seconds, PATIENCE * (now - started))


def _all_of(root: Path, own: Path) -> Iterator[Delivery]:
    """Everything a run left behind, in an order in which nothing ever looks finished that is not: the seal last."""
    views = (read_json(own / store.RUN) or {}).get("views")
    files = [root / VIEWS / f"{views}.npz"] if views else []
    files += sorted(path for path in own.rglob("*") if path.is_file() and not path.name.startswith("."))
    for file in sorted(files, key=lambda path: path == own / store.DONE):
        if file != own / store.PROGRESS:
            yield Delivery(str(file.relative_to(root)), read_bytes(file))


@contextlib.contextmanager
def own_folder(cache: Path) -> Iterator[Path]:
    """Yield a results folder under ``cache`` for this process alone; those of processes that are gone are deleted."""
    runs = cache / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for lock in runs.glob("*.lock"):
        with try_lock(lock) as free:
            if free:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
    name = secrets.token_hex(8)
    with locked(runs / f"{name}.lock"):
        yield runs / name
        shutil.rmtree(runs / name, ignore_errors=True)


# -- at the driver -------------------------------------------------------------------------------------------------


def begin(results: Store, run_id: str) -> Bytes | None:
    """Prepare the run's folder for another attempt; return its checkpoint if there is a whole one.

    The caller holds the run's lock.

    Raises:
        UserError: the checkpoint could not be read.
    """
    folder = results.folder(run_id)
    if (folder / store.CHECKPOINT).exists():
        try:
            checkpoint.load(folder / store.CHECKPOINT)
        except checkpoint.CorruptCheckpoint as error:
            results.quarantine(run_id, str(error))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (store.FAILURE, store.TRACEBACK):
        (folder / name).unlink(missing_ok=True)
    return read_bytes(folder / store.CHECKPOINT) if (folder / store.CHECKPOINT).exists() else None


def receive(results: Store, delivery: Delivery) -> None:
    """Write a delivered file, whole or not at all. The caller holds the run's lock.

    Raises:
        UserError: its name leads out of the results folder.
    """
    for name in delivery.name.removeprefix(f"{VIEWS}/").split("/"):
        plain_name(name, f"'{delivery.name}', sent by a node")
    target = results.root / delivery.name
    if target.name == store.PROGRESS:  # a rename without a flush: only ever read while the machine is up
        part = target.with_name(f".{target.name}.{os.getpid()}")
        delivery.content.tofile(part)
        part.replace(target)
        return
    if target.name in (store.DONE, store.FAILURE):
        target.with_name(store.PROGRESS).unlink(missing_ok=True)
    if target.name == store.DONE:
        store.remove_half_written(target.parent)
    write_atomic(target, delivery.content.tofile)
