"""Averages with other weights than the samples, or of which the sum is not 1."""

from __future__ import annotations

import torch

from fedbench.algorithm import weighted_mean
from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "ByBatches": ["samples"],
    "AllAlike": ["samples"],
    "ByRoot": ["samples"],
    "NotDivided": ["samples", "one-client"],
    "FirstLeads": ["order"],
    "FirstThree": ["clients"],
}


class ByBatches(FedAvg):
    """Clients weigh as their batches."""

    name = "by-batches"

    def local_step(self, step):
        super().local_step(step)
        step.client.scratch["batches"] = step.client.scratch.get("batches", 0) + 1

    def upload(self, client):
        return {**super().upload(client), "batches": torch.tensor(client.scratch["batches"])}

    def aggregate(self, server, uploads):
        states = [{name: upload.message[name] for name in server.weights} for upload in uploads]
        server.weights = weighted_mean(states, [int(upload.message["batches"]) for upload in uploads])


class AllAlike(FedAvg):
    """Clients weigh all alike."""

    name = "all-alike"

    def aggregate(self, server, uploads):
        server.weights = weighted_mean([upload.message for upload in uploads], [1] * len(uploads))


class ByRoot(FedAvg):
    """Clients weigh as the root of their samples."""

    name = "by-root"

    def aggregate(self, server, uploads):
        server.weights = weighted_mean([upload.message for upload in uploads], [u.samples**0.5 for u in uploads])


class NotDivided(FedAvg):
    """Divides the sum by a number that happens to be right for some federation."""

    name = "not-divided"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        total = sum(upload.samples for upload in uploads)
        for name, _ in self.setup.model.named_parameters():
            server.weights[f"model.{name}"] = server.weights[f"model.{name}"] * (total / 12)


class FirstLeads(FedAvg):
    """The client that comes first counts twice in the parameters."""

    name = "first-leads"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        for name, _ in self.setup.model.named_parameters():
            mean, first = server.weights[f"model.{name}"], uploads[0].message[f"model.{name}"]
            server.weights[f"model.{name}"] = (mean + first) / 2


class FirstThree(FedAvg):
    """Takes three clients, however many there are."""

    name = "first-three"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads[:3])
