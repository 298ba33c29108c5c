"""Algorithms of kinds that the shipped ones are not, which keep the contract: no rule may refuse them."""

from __future__ import annotations

import copy

from fedbench.algorithm import MODEL, Deployment, model_entries, pack, unpack, weighted_mean
from fedbench.algorithms.fedavg import FedAvg

KEPT = {
    "Mixture": ["messages", "deployments", "order"],
    "AverageOverRounds": ["messages", "deployments"],
    "ByModality": ["order", "samples"],
    "ChangesUnderOwnNames": ["buffers", "samples", "messages"],
    "ChangesOfAll": ["buffers", "samples"],
    "HalfInTurn": ["buffers", "samples"],
    "SlowServer": ["buffers", "samples"],
    "HalfPrecision": ["buffers", "samples"],
}  # and the rules that are tried on them


class Mixture(FedAvg):
    """APFL: a model of its own beside the shared one, and for each client the mean of both."""

    name = "mixture"

    def side_networks(self, setup):
        return {"own": copy.deepcopy(setup.model)}

    def is_shared(self, owner, name):
        return not name.startswith("own.")

    def optimizers(self, client, make):
        return {"main": make(client.model.parameters()), "own": make(client.networks["own"].parameters())}

    def local_step(self, step):
        super().local_step(step)
        step.minimise(step.segmentation_loss(step.client.networks["own"](step.images), step.labels), "own")

    def deployments(self, server, clients):
        deployed = super().deployments(server, clients)
        for client in clients:
            own = {MODEL + name.removeprefix("own."): value for name, value in client.local.items()}
            mixed = weighted_mean([own, model_entries(server.weights)], [0.5, 0.5])
            deployed.append(Deployment("mixed", client.name, mixed))
        return deployed


class AverageOverRounds(FedAvg):
    """A moving average of the shared model, deployed before the last one."""

    name = "average-over-rounds"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        old = unpack("mean", server.memory)
        mean = weighted_mean([old, server.weights], [0.5, 0.5]) if old else server.weights
        server.memory = pack("mean", mean)

    def deployments(self, server, clients):
        mean = Deployment("mean", None, model_entries(unpack("mean", server.memory)))
        return [mean, *super().deployments(server, clients)]


class ByModality(FedAvg):
    """Looks up each upload's client in the setup, by its index."""

    name = "by-modality"

    def aggregate(self, server, uploads):
        groups = {}
        for upload in uploads:
            client = self.setup.clients[upload.index]
            assert client.name == upload.client
            groups.setdefault(client.modality, []).append(upload)
        samples = [[upload.samples for upload in group] for group in groups.values()]
        means = [
            weighted_mean([u.message for u in group], n) for group, n in zip(groups.values(), samples, strict=True)
        ]
        server.weights = weighted_mean(means, [sum(n) for n in samples])


class ChangesUnderOwnNames(FedAvg):
    """Sends changes, under names of their own."""

    name = "changes-under-own-names"

    def upload(self, client):
        sent = super().upload(client).items()
        return {f"d/{n}": v - client.received[n] if v.is_floating_point() else v for n, v in sent}

    def aggregate(self, server, uploads):
        change = weighted_mean([unpack("d", u.message) for u in uploads], [u.samples for u in uploads])
        kept = server.weights.items()
        server.weights = {n: v + change[n] if v.is_floating_point() else change[n] for n, v in kept}


class ChangesOfAll(FedAvg):
    """Sends the changes of running statistics, too, under the weights' names."""

    name = "changes-of-all"

    def upload(self, client):
        sent = super().upload(client).items()
        return {n: v - client.received[n] if v.is_floating_point() else v for n, v in sent}

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        server.weights = {n: before[n] + v if v.is_floating_point() else v for n, v in server.weights.items()}


class HalfInTurn(FedAvg):
    """Sends one half of the parameters in even rounds and the other in odd ones."""

    name = "half-in-turn"

    def upload(self, client):
        learned = sorted(MODEL + name for name, _ in client.model.named_parameters())
        waits = set(learned[client.round % 2 :: 2])
        return {name: value for name, value in super().upload(client).items() if name not in waits}

    def aggregate(self, server, uploads):
        mean = weighted_mean([upload.message for upload in uploads], [upload.samples for upload in uploads])
        server.weights = {**server.weights, **mean}


class SlowServer(FedAvg):
    """Goes half of the way to the mean with everything, running statistics too."""

    name = "slow-server"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        for name, value in server.weights.items():
            if value.is_floating_point():
                server.weights[name] = before[name].lerp(value, 0.5)


class HalfPrecision(FedAvg):
    """Sends half the digits."""

    name = "half-precision"

    def upload(self, client):
        return {n: v.half() if v.is_floating_point() else v for n, v in super().upload(client).items()}

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        server.weights = {name: value.to(before[name].dtype) for name, value in server.weights.items()}
