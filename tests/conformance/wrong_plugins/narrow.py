"""Algorithms that work in their author's federation and in no other."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from fedbench.algorithm import weighted_mean
from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "NeedsTwo": ["one-client"],
    "NeedsBatch": ["batch-of-one"],
    "ThreeOnly": ["clients"],
    "Flat": ["three-dimensions"],
    "NeedsFloat": ["bf16"],
    "NeedsForeground": ["no-foreground"],
    "SilentlyFedAvg": ["refusal"],
}


class NeedsTwo(FedAvg):
    """Divides by the number of the others."""

    name = "needs-two"

    def begin_round(self, client):
        client.scratch["share"] = 1 / (len(self.setup.clients) - 1)


class NeedsBatch(FedAvg):
    """Keeps the spread of a batch, of which a batch of one has none."""

    name = "needs-batch"

    def loss(self, step):
        if len(step.images) > 1:
            step.client.scratch["spread"] = step.features.detach().std(0).mean()
        return super().loss(step)

    def end_round(self, client):
        client.memory["spread"] = client.scratch["spread"]


class ThreeOnly(FedAvg):
    """Knows how many clients there are."""

    name = "three-only"

    def aggregate(self, server, uploads):
        by = {upload.index: upload for upload in uploads}
        chosen = [by[index] for index in range(3)] if len(by) > 1 else uploads
        server.weights = weighted_mean([upload.message for upload in chosen], [upload.samples for upload in chosen])


class Flat(FedAvg):
    """Pools two axes."""

    name = "flat"

    def loss(self, step):
        batch, channels, _, _ = step.features.shape
        return super().loss(step) + 0.0 * step.features.view(batch, channels, -1).mean()


class NeedsFloat(FedAvg):
    """Adds features up by class in a tensor of torch's default type."""

    name = "needs-float"

    def loss(self, step):
        by_class = torch.zeros(3, *step.features.shape[1:])
        chosen = step.labels.flatten(1).amax(1).long()
        return super().loss(step) + 0.01 * by_class.index_add(0, chosen, step.features).square().mean()


class NeedsForeground(FedAvg):
    """Divides by the foreground."""

    name = "needs-foreground"

    def loss(self, step):
        return (
            super().loss(step)
            * (step.labels.numel() / (step.labels > 0).sum()).clamp(max=1.0)
            / ((step.labels > 0).any().float())
        )


class SilentlyFedAvg(FedAvg):
    """Keeps BatchNorm local, and trains without a word where there is none."""

    name = "silently-fedavg"

    def is_shared(self, owner, name):
        return not isinstance(owner, _BatchNorm)
