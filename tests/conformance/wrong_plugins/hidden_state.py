"""Algorithms that keep or send what nobody sees, edit what is not theirs, or draw from everybody's random numbers."""

from __future__ import annotations

import torch

from fedbench.algorithm import weighted_mean
from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "HiddenChannel": ["messages"],
    "NumberInMessage": ["trains"],
    "KeptOnSelf": ["resume"],
    "ClientOnSelf": ["side-by-side"],
    "EditsWeights": ["in-place"],
    "EditsMemory": ["in-place"],
    "EditsUploads": ["in-place", "on-disk"],
    "MergesUploads": ["on-disk"],
    "GlobalRandom": ["global-state", "same-bits"],
    "Seeds": ["global-state"],
    "Settings": ["global-state"],
    "HashOrder": ["other-process"],
}


class HiddenChannel(FedAvg):
    """The server reads what the clients left on self, and counts no byte of it."""

    name = "hidden-channel"

    def __init__(self, **params):
        super().__init__(**params)
        self.shifts = {}

    def end_round(self, client):
        self.shifts[client.index] = 0.01 * client.index

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        for name, _ in self.setup.model.named_parameters():
            server.weights[f"model.{name}"] = server.weights[f"model.{name}"] + sum(self.shifts.values())


class NumberInMessage(FedAvg):
    """Sends a number that is no tensor."""

    name = "number-in-message"

    def upload(self, client):
        return {**super().upload(client), "lr": 0.1}


class KeptOnSelf(FedAvg):
    """Keeps a momentum on self, which a restart loses."""

    name = "kept-on-self"

    def __init__(self, **params):
        super().__init__(**params)
        self.last = None

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        names = [f"model.{name}" for name, _ in self.setup.model.named_parameters()]
        last, self.last = self.last, {name: server.weights[name] for name in names}
        for name in names if last else []:
            server.weights[name] = server.weights[name] + 0.1 * (server.weights[name] - last[name])


class ClientOnSelf(FedAvg):
    """Keeps on self how far this client's loss counts, until the next client writes its own over it."""

    name = "client-on-self"

    def begin_round(self, client):
        self.weight = 1 + 0.1 * client.index

    def loss(self, step):
        return self.weight * super().loss(step)


class EditsWeights(FedAvg):
    """Writes the mean into the old tensors, which the best round's models are made of."""

    name = "edits-weights"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        for name, value in server.weights.items():
            before[name].copy_(value)
        server.weights = before


class EditsMemory(FedAvg):
    """Counts rounds in a tensor of its memory, in place."""

    name = "edits-memory"

    def end_round(self, client):
        client.memory.setdefault("rounds", torch.zeros(())).add_(1)


class EditsUploads(FedAvg):
    """Weighs the uploads in their own tensors, which on disk are read anew."""

    name = "edits-uploads"

    def aggregate(self, server, uploads):
        for upload in uploads:
            share = len(uploads) * upload.samples / sum(each.samples for each in uploads)
            for value in (v for v in upload.message.values() if v.is_floating_point()):
                value.mul_(share)
        server.weights = weighted_mean([upload.message for upload in uploads], [1] * len(uploads))


class MergesUploads(FedAvg):
    """Takes a message for a dict, which it is while messages are small."""

    name = "merges-uploads"

    def aggregate(self, server, uploads):
        messages = [upload.message | {"model.weight": torch.zeros(())} for upload in uploads]
        server.weights = weighted_mean(messages, [u.samples for u in uploads], names=server.weights)


class GlobalRandom(FedAvg):
    """Noise from torch's global generator."""

    name = "global-random"

    def loss(self, step):
        return super().loss(step) * (1 + 0.1 * torch.rand(()))


class Seeds(FedAvg):
    """Seeds everybody's generator."""

    name = "seeds"

    def begin_round(self, client):
        torch.manual_seed(0)


class Settings(FedAvg):
    """Sets what belongs to the process."""

    name = "settings"

    def begin_round(self, client):
        torch.backends.cudnn.benchmark = True


class HashOrder(FedAvg):
    """Weighs by a hash, which is another in every process."""

    name = "hash-order"

    def loss(self, step):
        return super().loss(step) * (1 + hash(self.name) % 1000 / 1e4) + 0.01 * (
            hash("penalty") % 1000 / 1e3 * step.logits.square().mean()
        )
