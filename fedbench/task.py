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
from fedbench.federation import Federation
from fedbench.held import first_broken
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
