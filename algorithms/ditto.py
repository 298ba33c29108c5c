"""Ditto: beside the global model each client trains a personal one that is held near it.

Li, Hu, Beirami, Smith: "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021,
arXiv 2012.04221, Algorithm 1:

    personal step:  v_k <- v_k - eta * (grad F_k(v_k) + lambda * (v_k - w_t))

The global model is FedAvg's to the bit. Every batch is used for one step of each model, so a client sees the batches
of FedAvg and computes twice as much; nothing more travels. v_k starts from the common initial weights, persists
between rounds, keeps its buffers, and is stepped by the suite's optimiser. lambda = 0 is training alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

from torch import nn
from torch.optim import Optimizer

from fedbench.algorithm import MODEL, Client, ClientState, Deployment, Server, Setup, Step, squared_distance
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

PERSONAL = "personal"


class Ditto(FedAvg):
    """A personal model per client, held near the global one. Li et al., ICML 2021, arXiv 2012.04221."""

    name = "ditto"

    class Params(FedAvg.Params):
        lam: float = hyperparameter(1.0, search=[0.1, 1.0, 2.0], ge=0, doc="how near personal models stay")

    def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
        """v_k, which starts as w_0."""
        return {PERSONAL: copy.deepcopy(setup.model)}

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """v_k stays with its client."""
        return not name.startswith(f"{PERSONAL}.")

    def optimizers(self, client: Client, make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> dict[str, Optimizer]:
        """One of the suite's optimisers for each model."""
        personal = client.networks[PERSONAL]
        return {"main": make(client.model.parameters()), PERSONAL: make(personal.parameters())}

    def local_step(self, step: Step) -> None:
        """FedAvg's step of w; then one of v_k on F_k(v_k) + lambda/2 * ||v_k - w_t||^2."""
        super().local_step(step)
        personal = step.client.networks[PERSONAL]
        segmentation = step.log(PERSONAL, step.segmentation_loss(personal(step.images), step.labels))
        proximal = step.log("proximal", squared_distance(personal, step.received))
        step.minimise(segmentation + self.params.lam / 2 * proximal, PERSONAL)

    def deployments(self, server: Server, clients: Sequence[ClientState]) -> list[Deployment]:
        """Each client's v_k; and the global model."""
        personal = [
            Deployment(PERSONAL, c.name, {MODEL + k.removeprefix(f"{PERSONAL}."): v for k, v in c.local.items()})
            for c in clients
        ]
        return personal + super().deployments(server, clients)
