"""Algorithms that read what nobody who works for this client may see."""

from __future__ import annotations

from dataclasses import replace

import torch

from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "TrainsOnValidation": ["own-data"],
    "TrainsEverywhere": ["own-data"],
    "LooksAtValidation": ["own-data"],
    "LooksAtOthers": ["own-data"],
    "ServerLooks": ["own-data"],
}


class TrainsOnValidation(FedAvg):
    """Trains on the validation cases too."""

    name = "trains-on-validation"

    def training_clients(self, clients):
        return [replace(client, train=client.train + client.val) for client in clients]


class TrainsEverywhere(FedAvg):
    """Gives every client everybody's cases."""

    name = "trains-everywhere"

    def training_clients(self, clients):
        everything = tuple(case for client in clients for case in client.train)
        return [replace(client, train=everything) for client in clients]


class LooksAtValidation(FedAvg):
    """Logs how bright its client's validation case is, and learns to be as bright."""

    name = "looks-at-validation"

    def case(self, client):
        return self.setup.clients[client.index].val[0]

    def begin_round(self, client):
        client.scratch["level"] = float(self.case(client).image.mean())

    def loss(self, step):
        return super().loss(step) + 0.1 * (step.logits.float().mean() - step.client.scratch["level"]).square()


class LooksAtOthers(LooksAtValidation):
    """The same with the next client's training case."""

    name = "looks-at-others"

    def case(self, client):
        return self.setup.clients[(client.index + 1) % len(self.setup.clients)].train[0]


class ServerLooks(FedAvg):
    """The server reads a training case."""

    name = "server-looks"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        level = torch.tensor(float(self.setup.clients[0].train[0].label.mean()))
        server.memory = {"level": level}
