"""What a run computes: everything that determines its weights, and the rules of its optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from fedbench.algorithm import Algorithm
from fedbench.config import DataConfig, ModelConfig, TrainingConfig
from fedbench.data.prepared import PreparedDataset
from fedbench.engine.held import first_broken
from fedbench.errors import UserError
from fedbench.federation import Federation
from fedbench.streams import derive_seed


@dataclass(frozen=True)
class Task:
    """Everything that determines a run's weights."""

    federation: Federation
    algorithm: Algorithm
    seed: int
    classes: int
    channels: int
    size: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    model: ModelConfig
    training: TrainingConfig
    data: DataConfig


def sample_size(prepared: PreparedDataset, model: ModelConfig, data: DataConfig) -> tuple[int, ...]:
    """Return the spatial size of a training sample: from the suite, else the dataset's (3-D: with a depth of 16).

    Raises:
        UserError: not as many numbers as the model has axes, or not multiples of 16.
    """
    declared = (
        (*prepared.size[:2], 16) if len(prepared.size) < model.spatial_dims else prepared.size[: model.spatial_dims]
    )
    size = data.size or declared
    if len(size) != model.spatial_dims:
        raise UserError(f"[data] size has {len(size)} numbers, the model is {model.spatial_dims}-D.")
    whole = tuple(int(n) for n in size)
    if any(n % 16 for n in whole):
        raise UserError(f"[data] size {list(whole)}: every number must be a multiple of 16.")
    return whole


class TrainingDiverged(Exception):
    """A loss term, a weight or a memory became NaN or infinite; the run has failed and has no result."""


def learning_rate(config: TrainingConfig, round: int) -> float:
    """The rate of a round: constant, or ``lr/2 (1 + cos(pi r / R))``."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * round / config.rounds))


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Return a fresh optimiser as the suite says."""
    if config.optimizer == "adam":
        return Adam(parameters, lr=lr, weight_decay=config.weight_decay, fused=True)
    return SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


def refuse_broken(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse a CPU state that is not finite.

    Args:
        what: whose it is, for the message: ``round 3, client 'CT': memory``.

    Raises:
        TrainingDiverged: an entry holds NaN or an infinity; it is named.
    """
    if (name := first_broken(state)) is not None:
        raise TrainingDiverged(f"{what} '{name}' is NaN or infinite")


def stream(*names: object) -> torch.Generator:
    """Return the random stream of that name; whoever asks for it gets the same numbers."""
    return torch.Generator().manual_seed(derive_seed(*names))
