"""FedProx with the norm in place of its square, twice: as a norm, whose slope never fades, and as a root, NaN at 0."""

from __future__ import annotations

import torch

from fedbench.algorithm import squared_distance
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedprox import FedProx

CAUGHT_BY = {"UnsquaredNorm": ["smooth"], "UnsquaredRoot": ["finite"]}


class UnsquaredNorm(FedProx):
    """mu/2 * ||w - w_t||."""

    name = "unsquared-norm"

    def loss(self, step):
        ways = [(p - step.received[name]).flatten() for name, p in step.model.named_parameters()]
        return FedAvg.loss(self, step) + self.params.mu / 2 * torch.linalg.vector_norm(torch.cat(ways))


class UnsquaredRoot(FedProx):
    """mu/2 * sqrt(||w - w_t||^2)."""

    name = "unsquared-root"

    def loss(self, step):
        return FedAvg.loss(self, step) + self.params.mu / 2 * squared_distance(step.model, step.received).sqrt()
