"""Frozen models that compute in train mode, and a live one that computes in eval mode."""

from __future__ import annotations

import copy

from fedbench.algorithm import unpack
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.moon import MOON, PREVIOUS

CAUGHT_BY = {"MoonInTrainMode": ["modes"], "ForeverEval": ["modes"], "LiveUpload": ["modes"]}


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
