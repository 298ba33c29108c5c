"""Many cells over workers: Ray actors that outlive runs, or this process itself (``workers = 0``).

The unit is the run. Each worker holds ``threads`` CPUs and a share of a GPU and takes one run at a time. A run that
raises is recorded and the others go on; a worker that dies is replaced and its run retried from its checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench.errors import UserError
from fedbench.runner import Options, Outcome, execute
from fedbench.suite import Cell

ATTEMPTS = 3  # of a run whose worker died
POLL_SECONDS = 0.5
BUSY_SECONDS = 2.0


@dataclass(frozen=True)
class Resources:
    """What to compute with. ``workers = 0`` runs in this process without Ray."""

    workers: int = 1
    threads: int = 1
    gpus_per_run: float = 0.0
    address: str | None = None


class Watcher:
    """What the scheduler tells; the console overrides it."""

    def started(self, cell: Cell) -> None:
        """A worker took the cell."""

    def finished(self, outcome: Outcome) -> None:
        """The cell ended."""

    def lost(self, cell: Cell, reason: str) -> None:
        """The cell's worker died; it will be retried."""

    def tick(self) -> None:
        """Called about twice a second."""


def run_cells(
    cells: Sequence[Cell], root: Path, resources: Resources, options: Options, watcher: Watcher
) -> list[Outcome]:
    """Execute ``cells`` and return their outcomes in the order they ended.

    Raises:
        UserError: GPUs were asked for and there are none, or the cluster cannot be reached.
    """
    root = root.resolve()  # workers may live in another folder
    if resources.workers == 0:
        return list(_in_process(cells, root, options, watcher))
    with _ray(resources) as ray:
        return list(_on_ray(ray, cells, root, resources, options, watcher))


def _in_process(cells: Sequence[Cell], root: Path, options: Options, watcher: Watcher) -> Iterator[Outcome]:
    todo = deque(cells)
    while todo:
        cell = todo.popleft()
        watcher.started(cell)
        outcome = execute(cell, root, options, lambda _: watcher.tick())
        if outcome.status == "busy":
            todo.append(cell)
            time.sleep(BUSY_SECONDS)
            continue
        watcher.finished(outcome)
        yield outcome


@contextlib.contextmanager
def _ray(resources: Resources) -> Iterator[Any]:
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address:
        try:
            ray.init(address=resources.address, **common)
        except (ConnectionError, ValueError) as error:
            raise UserError(f"no Ray cluster at --address {resources.address}: {error}") from None
    else:
        ray.init(
            num_cpus=resources.workers * resources.threads,
            include_dashboard=False,
            object_store_memory=128 * 1024 * 1024,
            _node_ip_address="127.0.0.1",
            **common,
        )
    try:
        yield ray
    finally:
        ray.shutdown()


class _Worker:
    """Lives in its own process and runs one cell after another."""

    def execute(self, cell: Cell, root: str, options: Options) -> Outcome:
        return execute(cell, Path(root), options)


def _on_ray(
    ray: Any, cells: Sequence[Cell], root: Path, resources: Resources, options: Options, watcher: Watcher
) -> Iterator[Outcome]:
    if resources.gpus_per_run > 0 and ray.cluster_resources().get("GPU", 0) < resources.gpus_per_run:
        raise UserError(f"--gpus-per-run {resources.gpus_per_run:g}: Ray sees no such GPU; drop it to use CPUs.")
    remote = ray.remote(num_cpus=resources.threads, num_gpus=resources.gpus_per_run)(_Worker)
    workers = min(resources.workers, len(cells))
    idle = [remote.remote() for _ in range(workers)]
    todo = deque((cell, 1, 0.0) for cell in cells)  # cell, attempt, not before
    busy: dict[Any, tuple[Any, Cell, int]] = {}
    try:
        while todo or busy:
            while idle and (job := _next(todo)):
                worker = idle.pop()
                watcher.started(job[0])
                busy[worker.execute.remote(job[0], str(root), options)] = (worker, *job)
            if not busy:
                time.sleep(POLL_SECONDS)  # every run left is held by another process
                continue
            ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS)
            watcher.tick()
            for reference in ready:
                worker, cell, attempt = busy.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    worker = remote.remote()
                    reason = f"worker lost: {type(error).__name__}"
                    if attempt < ATTEMPTS:
                        watcher.lost(cell, reason)
                        todo.appendleft((cell, attempt + 1, 0.0))
                        idle.append(worker)
                        continue
                    outcome = Outcome(cell.id, "failed", error=f"{reason} {ATTEMPTS} times")
                idle.append(worker)
                if outcome.status == "busy":
                    todo.append((cell, attempt, time.monotonic() + BUSY_SECONDS))
                    continue
                watcher.finished(outcome)
                yield outcome
    finally:
        for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
            ray.kill(worker)


def _next(todo: deque[tuple[Cell, int, float]]) -> tuple[Cell, int] | None:
    """Take the first cell whose time has come."""
    now = time.monotonic()
    for index, (cell, attempt, not_before) in enumerate(todo):
        if not_before <= now:
            del todo[index]
            return cell, attempt
    return None


def default_workers(threads: int, cores: Callable[[], int | None] = os.cpu_count) -> int:
    """As many workers as there are cores for their threads, at least one."""
    return max(1, (cores() or 1) // threads)
