"""Servers that move where nobody learned anything, away from the clients, or not at all."""

from __future__ import annotations

from torch import nn

from fedbench.algorithm import MODEL, Deployment, model_entries, pack, unpack, weighted_mean
from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "AddsWeights": ["fixed-point"],
    "MomentOfWeights": ["fixed-point"],
    "GradientsForWeights": ["fixed-point"],
    "AverageFromZero": ["fixed-point"],
    "WrongSign": ["direction"],
    "SendsReceived": ["buffers", "direction"],
    "ForgetsHead": ["direction"],
}


def learned(algorithm) -> list[str]:
    return [MODEL + name for name, _ in algorithm.setup.model.named_parameters()]


class AddsWeights(FedAvg):
    """Was written for changes and gets weights."""

    name = "adds-weights"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        for name in learned(self):
            server.weights[name] = before[name] + 0.1 * server.weights[name]


class MomentOfWeights(FedAvg):
    """Server momentum that begins as the weights."""

    name = "moment-of-weights"

    def aggregate(self, server, uploads):
        before, v = server.weights, unpack("v", server.memory)
        super().aggregate(server, uploads)
        for name in learned(self):
            v[name] = 0.5 * v.get(name, before[name]) + server.weights[name] - before[name]
            server.weights[name] = before[name] + v[name]
        server.memory = pack("v", v)


class GradientsForWeights(FedAvg):
    """Sends gradients under the weights' names."""

    name = "gradients-for-weights"

    def upload(self, client):
        gradients = {MODEL + name: p.grad for name, p in client.model.named_parameters()}
        return {**super().upload(client), **gradients}


class AverageFromZero(FedAvg):
    """Deploys a moving average that begins at zero."""

    name = "average-from-zero"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        mean = unpack("mean", server.memory)
        mean = {name: 0.5 * mean.get(name, 0.0) + 0.5 * server.weights[name] for name in learned(self)}
        server.memory = pack("mean", mean)

    def deployments(self, server, clients):
        entries = {**model_entries(server.weights), **unpack("mean", server.memory)}
        return [Deployment("mean", None, entries)]


class WrongSign(FedAvg):
    """Sends w_t - w_k, which the server adds."""

    name = "wrong-sign"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        for name in learned(self):
            server.weights[name] = before[name] + (before[name] - server.weights[name])


class SendsReceived(FedAvg):
    """Sends back what it received."""

    name = "sends-received"

    def upload(self, client):
        return {name: value for name, value in client.received.items() if name in client.shared}


class ForgetsHead(FedAvg):
    """Averages the model alone: the head that is shared with it is what it was before every round."""

    name = "forgets-head"

    def side_networks(self, setup):
        return {"head": nn.Linear(setup.model.bottleneck_channels, 4)}

    def loss(self, step):
        z = step.client.networks["head"](step.features.float().flatten(2).mean(-1))
        return super().loss(step) + 0.1 * (z - 1).square().mean()

    def aggregate(self, server, uploads):
        names = [name for name in server.weights if name.startswith(MODEL)]
        mean = weighted_mean([u.message for u in uploads], [u.samples for u in uploads], names=names)
        server.weights = {**server.weights, **mean}
