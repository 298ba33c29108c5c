"""Algorithms that train with other optimisers than the suite's, at other rates, or with older ones than all others."""

from __future__ import annotations

import torch

from fedbench.algorithm import pack, unpack
from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "OwnAdam": ["optimizers"],
    "KeptMoments": ["optimizers"],
    "KeptOptimizer": ["optimizers", "resume"],
    "OwnRate": ["learning-rate"],
    "LateRate": ["learning-rate"],
    "SlowEncoder": ["learning-rate"],
    "OwnDecay": ["learning-rate"],
    "NewEveryBatch": ["optimizers"],
    "Forgetful": ["optimizers"],
    "TwoOwners": ["batches"],
    "WarmsUp": ["batches", "modes"],
}


class OwnAdam(FedAvg):
    """Steps with an Adam, a rate and a schedule that no other algorithm has."""

    name = "own-adam"

    def optimizers(self, client, make):
        return {"main": torch.optim.Adam(client.networks.parameters(), lr=1e-3)}


class KeptMoments(FedAvg):
    """Keeps Adam's moments from round to round, as tensors in its memory."""

    name = "kept-moments"

    def begin_round(self, client):
        kept, optimizer = unpack("adam", client.memory), client.optimizers["main"]
        for number, p in enumerate(client.networks.parameters()) if kept else ():
            optimizer.state[p] = {what: kept[f"{number}/{what}"].clone() for what in ("step", "exp_avg", "exp_avg_sq")}

    def end_round(self, client):
        states = [client.optimizers["main"].state[p] for p in client.networks.parameters()]
        kept = {f"{number}/{what}": v for number, state in enumerate(states) for what, v in state.items()}
        client.memory = pack("adam", kept)


class KeptOptimizer(FedAvg):
    """Keeps every client's first optimiser."""

    name = "kept-optimizer"

    def __init__(self, **params):
        super().__init__(**params)
        self.kept = {}

    def optimizers(self, client, make):
        return self.kept.setdefault(client.name, super().optimizers(client, make))


class OwnRate(FedAvg):
    """Trains at the rate of its paper."""

    name = "own-rate"

    def begin_round(self, client):
        for group in client.optimizers["main"].param_groups:
            group["lr"] = 0.1


class LateRate(FedAvg):
    """Lowers the rate within the round."""

    name = "late-rate"

    def local_step(self, step):
        super().local_step(step)
        for group in step.client.optimizers["main"].param_groups:
            group["lr"] *= 0.9


class SlowEncoder(FedAvg):
    """Gives the encoder a rate of its own."""

    name = "slow-encoder"

    def optimizers(self, client, make):
        encoder = client.model.encoder_entries()
        parts = {True: [], False: []}
        for name, p in client.model.named_parameters():
            parts[name in encoder].append(p)
        return {"main": make([{"params": parts[True], "lr": 1e-3}, {"params": parts[False]}])}


class OwnDecay(FedAvg):
    """Decays the weights, as no other algorithm does."""

    name = "own-decay"

    def begin_round(self, client):
        for group in client.optimizers["main"].param_groups:
            group["weight_decay"] = 0.01


class NewEveryBatch(FedAvg):
    """Makes the optimiser anew for every batch, which makes Adam forget."""

    name = "new-every-batch"

    def optimizers(self, client, make):
        client.scratch["make"] = make
        return super().optimizers(client, make)

    def local_step(self, step):
        step.client.optimizers["main"] = step.client.scratch["make"](step.client.networks.parameters())
        super().local_step(step)


class Forgetful(FedAvg):
    """Clears what the optimiser has learned after every batch."""

    name = "forgetful"

    def local_step(self, step):
        super().local_step(step)
        step.client.optimizers["main"].state.clear()


class TwoOwners(FedAvg):
    """A second optimiser of the suite's making steps the encoder once more."""

    name = "two-owners"

    def optimizers(self, client, make):
        return {**super().optimizers(client, make), "encoder": make(client.model.parameters())}

    def local_step(self, step):
        super().local_step(step)
        step.minimise(step.model.encode(step.images)[0].float().square().mean(), "encoder")


class WarmsUp(FedAvg):
    """Takes a step before the first batch."""

    name = "warms-up"

    def begin_round(self, client):
        images = client.samples_without_augmentation(2, client.generator)
        client.optimizers["main"].zero_grad(set_to_none=True)
        client.model.encode(images)[0].float().square().mean().backward()
        client.optimizers["main"].step()
