"""Algorithms that say of themselves what is not so, skip batches, or deploy half a model or another's."""

from __future__ import annotations

from typing import Literal

import torch

from fedbench.algorithm import MODEL, Deployment, model_entries, pack, unpack
from fedbench.algorithms.ditto import Ditto
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedprox import FedProx
from fedbench.parameters import hyperparameter

CAUGHT_BY = {
    "Misspelt": ["declaration"],
    "AnythingGoes": ["parameters"],
    "WideSearch": ["search"],
    "UnnamedSearch": ["search"],
    "NotFedAvg": ["reduction"],
    "TwoSteps": ["batches"],
    "SkipsFirst": ["batches"],
    "HalfAModel": ["trains"],
    "ResetNorms": ["deployments"],
    "FirstNorms": ["deployments"],
    "FirstForAll": ["deployments"],
    "AllAlikePersonal": ["deployments"],
    "NoSuchReduction": ["declaration"],
    "UnreadParameter": ["values"],
    "OtherChoice": ["values"],
    "DividesByBound": ["values"],
    "SearchesTooFar": ["values"],
}


class Misspelt(FedAvg):
    """A hook that nobody calls."""

    name = "misspelt"

    def begin_rounds(self, client):
        client.scratch["ready"] = True


class AnythingGoes(FedAvg):
    """Swallows what it does not know."""

    name = "anything-goes"

    def __init__(self, **params):
        super().__init__()


class WideSearch(FedAvg):
    """Searches where it does not go."""

    name = "wide-search"

    class Params(FedAvg.Params):
        mu: float = hyperparameter(0.5, search=[0.1, 0.5, 2.0], ge=0, le=1)


class UnnamedSearch(FedAvg):
    """Searches what no suite can name."""

    name = "unnamed-search"

    class Params(FedAvg.Params):
        kinds: str = hyperparameter("a", search=["a", "b,c"])


class NotFedAvg(FedProx):
    """Has another term that mu does not switch off."""

    name = "not-fedavg"

    def loss(self, step):
        return super().loss(step) + 0.01 * step.logits.square().mean()


class TwoSteps(FedAvg):
    """Uses every batch twice."""

    name = "two-steps"

    def local_step(self, step):
        super().local_step(step)
        step.minimise(step.segmentation_loss(step.model(step.images), step.labels))


class SkipsFirst(FedAvg):
    """Uses the first batch to look around."""

    name = "skips-first"

    def local_step(self, step):
        if step.client.scratch.setdefault("seen", 0):
            super().local_step(step)
        step.client.scratch["seen"] += 1


class HalfAModel(FedBN):
    """Deploys what is shared."""

    name = "half-a-model"

    def deployments(self, server, clients):
        return [Deployment("global", None, model_entries(server.weights))]


class ResetNorms(FedBN):
    """Deploys norm layers as they were before training."""

    name = "reset-norms"

    def deployments(self, server, clients):
        fresh = {f"model.{name}": value for name, value in self.setup.model.state_dict().items()}
        for name in [name for name in fresh if name.endswith("running_mean")]:
            fresh[name] = fresh[name] * 0
        return [Deployment("global", None, {**model_entries(clients[0].local), **model_entries(server.weights)} | {
            name: value for name, value in fresh.items() if name.endswith("running_mean")})]  # fmt: skip


class FirstNorms(FedBN):
    """Deploys the first client's norm layers for every client."""

    name = "first-norms"

    def deployments(self, server, clients):
        entries = model_entries({**server.weights, **clients[0].local})
        return [Deployment("personal", client.name, entries) for client in clients]


class FirstForAll(FedAvg):
    """Deploys for everybody what the first client ended with."""

    name = "first-for-all"

    def end_round(self, client):
        client.memory = pack("end", {n: v for n, v in client.entries.items() if n.startswith(MODEL)})

    def deployments(self, server, clients):
        return [Deployment("global", None, unpack("end", clients[0].memory))]


class AllAlikePersonal(Ditto):
    """Merges the wrong way round: what is deployed as each client's own is the global model."""

    name = "all-alike-personal"

    def deployments(self, server, clients):
        own = [{MODEL + n.removeprefix("personal."): v for n, v in c.local.items()} for c in clients]
        merged = [model_entries({**entries, **server.weights}) for entries in own]
        return [Deployment("personal", c.name, entries) for c, entries in zip(clients, merged, strict=True)]


class NoSuchReduction(FedProx):
    """Is plain averaging with a parameter that it does not have."""

    name = "no-such-reduction"
    is_fedavg_with = {"mo": 0.0}


class UnreadParameter(FedAvg):
    """Reads a constant in place of its parameter."""

    name = "unread-parameter"

    class Params(FedAvg.Params):
        weight: float = hyperparameter(0.01, search=[0.001, 0.01, 0.1], gt=0)

    def loss(self, step):
        return super().loss(step) + 0.01 * step.logits.square().mean()


class OtherChoice(FedAvg):
    """Fails with a choice that is not the default."""

    name = "other-choice"

    class Params(FedAvg.Params):
        kind: Literal["square", "norm"] = hyperparameter("square")

    def loss(self, step):
        return super().loss(step) + 0.01 * {"square": step.logits.square()}[self.params.kind].mean()


class DividesByBound(FedAvg):
    """Divides by what may be 0."""

    name = "divides-by-bound"

    class Params(FedAvg.Params):
        tau: float = hyperparameter(0.5, ge=0)

    def loss(self, step):
        return super().loss(step) + 0.01 * (step.logits / torch.tensor(self.params.tau)).square().mean()


class SearchesTooFar(DividesByBound):
    """Diverges at an end of its search range."""

    name = "searches-too-far"

    class Params(FedAvg.Params):
        tau: float = hyperparameter(0.5, search=[0.1, 0.5, 1e-38])
