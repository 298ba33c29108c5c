"""FedProx held near the wrong weights: those after the first step, and the live ones, which are never far."""

from __future__ import annotations

from fedbench.algorithm import squared_distance
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedprox import FedProx

CAUGHT_BY = {"LateReference": ["reference"], "LiveReference": ["effect"]}


class LateReference(FedProx):
    """Captures w_t when the first step has been made."""

    name = "late-reference"

    def loss(self, step):
        loss, held = FedAvg.loss(self, step), step.client.scratch.get("global")
        return loss if held is None else loss + self.params.mu / 2 * squared_distance(step.model, held)

    def local_step(self, step):
        super().local_step(step)
        if "global" not in step.client.scratch:
            step.client.scratch["global"] = {n: p.detach().clone() for n, p in step.model.named_parameters()}


class LiveReference(FedProx):
    """Captures w_t without a copy."""

    name = "live-reference"

    def begin_round(self, client):
        client.scratch["global"] = {name: p.detach() for name, p in client.model.named_parameters()}

    def loss(self, step):
        held = step.client.scratch["global"]
        return FedAvg.loss(self, step) + self.params.mu / 2 * squared_distance(step.model, held)
