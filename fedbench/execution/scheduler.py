"""Many cells over workers: processes of a Ray cluster that outlive runs, or this process itself (``workers = 0``).

The unit is the run. Each worker holds CPUs for the clients that train at once, and a share of a GPU, and takes one run
at a time. A run that raises is recorded and the others go on; a worker that dies is replaced and its run retried from
its checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fedbench.errors import UserError
from fedbench.execution.cluster import Node, compare_nodes, join, living_nodes, token_in
from fedbench.execution.dispatch import BUSY_SECONDS, PUT_BACK, Dispatcher, Freight, hire
from fedbench.execution.installation import installation
from fedbench.execution.packing import Packing, kinds, runs_per_gpu, share
from fedbench.execution.provenance import bf16_on_cpu
from fedbench.execution.runner import Options, Outcome, execute
from fedbench.execution.watcher import Watcher
from fedbench.execution.worker import Briefing
from fedbench.sources import harness_changed
from fedbench.suite import Cell

__all__ = ["Resources", "Watcher", "default_workers", "run_cells"]

FREE_GPU_SECONDS = 600.0


@dataclass(frozen=True)
class Resources:
    """What to compute with.

    Attributes:
        workers: runs at a time; 0 runs in this process without Ray, None takes as many as there is room for.
        threads: CPUs of each client that trains.
        clients_at_once: clients of a run that train side by side; None leaves no core of this machine idle when there
            are fewer runs than it has room for.
        gpus_per_run: a fraction packs several on a GPU; ``auto`` as many as its memory holds.
        address: of a running Ray cluster; None starts Ray on this machine.
    """

    workers: int | None = 1
    threads: int = 1
    gpus_per_run: float | Literal["auto"] = 0.0
    address: str | None = None
    clients_at_once: int | None = None

    def clients_of_each(self, runs: int, cores: Callable[[], int | None] = os.cpu_count) -> int:
        """Return how many clients of each of ``runs`` runs train side by side."""
        if self.clients_at_once is not None:
            return self.clients_at_once
        if self.workers is not None or self.address is not None or self.gpus_per_run != 0:
            return 1
        return max(1, default_workers(self.threads, cores) // runs)


def run_cells(
    cells: Sequence[Cell], root: Path, resources: Resources, options: Options, watcher: Watcher
) -> list[Outcome]:
    """Execute ``cells`` and return their outcomes in the order they ended.

    Raises:
        UserError: GPUs were asked for and there are none, the cluster cannot be reached, or a node differs from this
            machine in what determines results, or fedbench was edited since the runs were planned.
    """
    root = root.resolve()  # workers may live in another folder
    at_once = resources.clients_of_each(len(cells))
    options, cpus_per_run = replace(options, clients_at_once=at_once), resources.threads * at_once
    if resources.workers == 0:
        return list(_in_process(cells, root, options, watcher))
    if harness_changed():  # workers would import the new one
        raise UserError(f"the source of fedbench changed since the runs were planned: {PUT_BACK}.")
    cpus = (resources.workers or default_workers(cpus_per_run)) * cpus_per_run
    with join(resources.address, cpus) as ray, contextlib.ExitStack() as stack:
        briefing = Briefing(str(root), installation())
        if resources.address:
            nodes = [node for node in living_nodes(ray) if node.cpus >= cpus_per_run]
            bf16, gpus = any(bf16_on_cpu(cell.identity) for cell in cells), resources.gpus_per_run != 0
            for words in compare_nodes(ray, nodes, bf16, gpus):
                watcher.told(words)
            stores = {cell.prepared: cell.identity["dataset_content"] for cell in cells}
            briefing = replace(briefing, token=stack.enter_context(token_in(root)), stores=stores)
        packing = _packing(ray, cells, resources, cpus_per_run, briefing, watcher)
        dispatcher = Dispatcher(ray, cells, packing, cpus_per_run, briefing, options, watcher)
        return list(dispatcher.outcomes())


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
        if outcome.status == "failed" and todo and cell.identity["device"] != "cpu":
            _refuse_broken_gpu()


def _refuse_broken_gpu() -> None:
    """Raise :class:`UserError` if this process can use its GPU no more, as after an error of CUDA."""
    import torch

    try:
        torch.zeros(1, device="cuda").item()
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        raise UserError(
            f"after that failure this process cannot use the GPU any more ({first}); the same command goes on with the "
            "other runs."
        ) from None


def _packing(
    ray: Any, cells: Sequence[Cell], resources: Resources, cpus: int, briefing: Briefing, watcher: Watcher
) -> Packing:
    """Return how many runs go on at a time, each with which part of a GPU."""
    gpu = resources.gpus_per_run
    if gpu != 0 and ray.cluster_resources().get("GPU", 0) < (1 if gpu == "auto" else gpu):
        given = gpu if gpu == "auto" else f"{gpu:g}"
        raise UserError(f"--gpus-per-run {given}: Ray sees no such GPU; drop it to use CPUs.")
    if gpu == "auto":
        runs = _measured(ray, cells, cpus, briefing)
        gpu = share(runs)
        watcher.told(f"{runs} runs at a time on a GPU, by a measured step")
    room = sum(node.workers(cpus, gpu) for node in living_nodes(ray))
    if resources.address and room == 0:
        gpus = f" and {gpu:g} GPUs" if gpu else ""
        raise UserError(
            f"no node of the cluster has {cpus} CPUs{gpus} for a run; lower training.threads or "
            + ("--gpus-per-run." if gpu else "--clients-at-once.")
        )
    return Packing(max(1, room if resources.workers is None else resources.workers), gpu)


def _measured(ray: Any, cells: Sequence[Cell], threads: int, briefing: Briefing) -> int:
    """Measure on a GPU of the cluster how many runs it takes; other GPUs are taken to be like it."""
    actor = hire(ray, threads, 1)
    try:
        greeting = ray.get(actor.greet.remote(briefing), timeout=FREE_GPU_SECONDS)
        freight = Freight(ray, cells, briefing.token is not None)
        footprints = [ray.get(actor.measure.remote(cell, freight.cargo(cell, greeting, None))) for cell in kinds(cells)]
    except ray.exceptions.GetTimeoutError:
        raise UserError("--gpus-per-run auto: no GPU of the cluster became free; give a number.") from None
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"--gpus-per-run auto: {error.cause}") from None
    except ray.exceptions.RayError as error:
        raise UserError(f"--gpus-per-run auto: the measuring worker was lost ({error}); give a number.") from None
    finally:
        ray.kill(actor)
    node = next((node for node in living_nodes(ray) if node.id == greeting.node), None)
    if node is None:
        raise UserError("--gpus-per-run auto: the node that was measured is gone; start again, or give a number.")
    return runs_per_gpu(footprints, node.cpus / node.gpus, threads)


def room_here(threads: int, gpus_per_run: float | Literal["auto"]) -> int:
    """Return how many runs this machine takes at a time; with ``auto``, before it was measured, one for each GPU."""
    if gpus_per_run == 0:
        return default_workers(threads)
    import torch

    here = Node("", "", os.cpu_count() or 1, torch.cuda.device_count())
    return max(1, here.workers(threads, 1 if gpus_per_run == "auto" else gpus_per_run))


def default_workers(threads: int, cores: Callable[[], int | None] = os.cpu_count) -> int:
    """As many workers as there are cores for their threads, at least one."""
    return max(1, (cores() or 1) // threads)
