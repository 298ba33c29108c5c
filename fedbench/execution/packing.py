"""How many runs share a GPU: by memory, measured on a dry step, and by the CPUs that feed them.

How much faster several runs on a GPU are than one depends on both; it is not guessed. Memory says how many fit, and
whoever wants fewer gives a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any, Literal

import torch

from fedbench.config import canonical
from fedbench.engine.compute import Compute
from fedbench.engine.task import Task
from fedbench.engine.training import Training
from fedbench.errors import UserError, is_out_of_memory
from fedbench.execution.planning import make_task
from fedbench.suite import Cell

AUTO: Literal["auto"] = "auto"
SPARE = 0.1  # of a GPU's memory stays free: allocators fragment, and no dry step sees everything
DECIMALS = 10_000  # Ray counts GPUs in ten-thousandths


@dataclass(frozen=True)
class Footprint:
    """Bytes of a GPU that a run needs, its context included, and that the GPU has."""

    needed: int
    total: int


def runs_per_gpu(footprints: Sequence[Footprint], cpus_per_gpu: float, threads: int) -> int:
    """Return how many runs a GPU takes: as many of the hungriest as its memory holds, at most one per ``threads`` CPUs.

    At least one: that it fits alone was seen when it was measured.
    """
    by_memory = min(int(f.total * (1 - SPARE)) // f.needed for f in footprints)
    return max(1, min(by_memory, int(cpus_per_gpu // threads)))


def share(runs: int) -> float:
    """Return the part of a GPU of each of ``runs``, rounded down to what Ray can count."""
    return DECIMALS // runs / DECIMALS


@dataclass(frozen=True)
class Packing:
    """How many runs go on at a time, and the part of a GPU that each has (0: none)."""

    runs: int
    gpu: float

    def lowered(self) -> Packing | None:
        """Return half as many with twice as much, or None: a run had already all that it can be given."""
        if self.gpu == 0:
            return Packing(self.runs // 2, 0) if self.runs > 1 else None
        return Packing(max(1, self.runs // 2), min(1.0, 2 * self.gpu)) if self.gpu < 1 else None


# -- the dry step --------------------------------------------------------------------------------------------------


def kinds(cells: Sequence[Cell]) -> list[Cell]:
    """Return one cell of each kind: those that differ in seed, fold or client alone need the same memory."""
    found: dict[str, Cell] = {}
    for cell in cells:
        i = cell.identity
        found.setdefault(canonical([i[k] for k in _OF_A_KIND] + [cell.algorithm, i["data"]["size"]]), cell)
    return list(found.values())


_OF_A_KIND = ("dataset", "dataset_content", "algorithm", "algorithm_params", "model", "training")


def dry_step(task: Task, compute: Compute) -> None:
    """Let every client take a step with the largest batch there is, twice, and predict the largest case; forget it.

    Two rounds, since what an algorithm keeps of the one before (a previous model, its peers' features) needs memory.
    """
    federation = task.federation
    predicted = (*federation.test, *(case for client in federation.clients for case in client.val))
    largest = max(predicted, key=lambda case: prod(case.shape))
    small = replace(federation, clients=tuple(replace(client, val=(largest,)) for client in federation.clients))
    config = task.training.model_copy(update={"rounds": 2, "local_epochs": 1, "validate_every": 2})
    training = Training(replace(task, federation=small, training=config), compute)
    for samples in training.sets:
        vars(samples)["batches"] = _first_of(samples.batches)  # stands before the method of this one object
    for _ in training.rounds():
        pass


def _first_of(batches: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return ``batches`` cut after the first, of which no other is larger."""
    return lambda *arguments, **options: islice(batches(*arguments, **options), 1)


def measure(cell: Cell) -> Footprint:
    """Return what ``cell`` needs of this process's GPU.

    Needed is all that is taken after the dry step: what the allocator reserved at most, and the context. Where other
    programs use the GPU, theirs counts as the run's too, so that rather too few are packed than too many.

    Raises:
        UserError: it does not fit.
    """
    task = make_task(cell)
    compute = Compute.start(task.training, "cuda")
    torch.cuda.empty_cache()
    try:
        dry_step(task, compute)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"a run of '{cell.label}' on {cell.identity['dataset']} does not fit the GPU: lower training.batch_size, "
            f"data.size or model.channels ({str(error)[:200]})."
        ) from None
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return Footprint(total - free, total)
