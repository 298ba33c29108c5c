"""Frozen models that compute in train mode, and a live one that computes in eval mode."""

from __future__ import annotations

import copy

import torch

from fedbench.algorithm import unpack
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.moon import MOON, PREVIOUS

CAUGHT_BY = {
    "MoonInTrainMode": ["modes"],
    "ForeverEval": ["modes"],
    "LiveUpload": ["modes"],
    "EvalWithinStep": ["modes"],
    "LooksBefore": ["modes"],
    "LooksTwice": ["modes"],
}


class MoonInTrainMode(MOON):
    """The global and the previous model normalise by the batch."""

    name = "moon-in-train-mode"

    def begin_round(self, client):
        previous = unpack(PREVIOUS, client.memory)
        if previous and self.params.mu:
            for which, entries in (("global", client.received), ("previous", previous)):
                client.scratch[which] = copy.deepcopy(client.networks).requires_grad_(False)
                client.scratch[which].load_state_dict(entries)


class ForeverEval(FedAvg):
    """Goes to eval mode to look at something, and forgets to come back."""

    name = "forever-eval"

    def begin_round(self, client):
        client.model.eval()
        client.model.encode(client.samples_without_augmentation(1, client.generator))


class LiveUpload(FedAvg):
    """Computes features with the network in training, whose statistics they move."""

    name = "live-upload"

    def upload(self, client):
        features = client.model.encode(client.samples_without_augmentation(2, client.generator))[0]
        return {**super().upload(client), "features": features.clone()}


class EvalWithinStep(FedAvg):
    """Goes to eval mode for a look at the logits, which are those it learns from."""

    name = "eval-within-step"

    def loss(self, step):
        step.model.eval()
        step.log("spread", step.logits.float().std())
        loss = super().loss(step)
        step.model.train()
        return loss


class LooksBefore(FedAvg):
    """Computes features of plain images with the network in training before the first batch."""

    name = "looks-before"

    def begin_round(self, client):
        with torch.no_grad():
            client.model.encode(client.samples_without_augmentation(2, client.generator))


class LooksTwice(FedAvg):
    """Computes a target with the network in training, without gradients, in train mode."""

    name = "looks-twice"

    def loss(self, step):
        loss = super().loss(step)
        with torch.no_grad():
            target = step.model(step.images.flip(-1)).flip(-1).float()
        return loss + 0.1 * (step.logits.float() - target).square().mean()
