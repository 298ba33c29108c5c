"""FedBN: normalisation layers stay with their client.

Li, Jiang, Zhang, Kamp, Dou: "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
arXiv 2102.07623, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fedbench.algorithm import ClientState, Deployment, Server, Setup, model_entries, weighted_mean
from fedbench.algorithms.fedavg import FedAvg
from fedbench.errors import UserError
from fedbench.parameters import hyperparameter

ALL_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


class FedBN(FedAvg):
    """Batch normalisation (affine and statistics) stays local. Li et al., ICLR 2021, arXiv 2102.07623."""

    name = "fedbn"

    class Params(FedAvg.Params):
        norms: Literal["batch", "all"] = hyperparameter("batch", doc="which norm layers stay local")

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """Everything but the parameters and buffers of norm layers, found by type."""
        return not isinstance(owner, _BatchNorm if self.params.norms == "batch" else ALL_NORMS)

    def check(self, setup: Setup) -> None:
        """Refuse a network whose state holds no such layer: FedBN would silently be FedAvg."""
        networks = nn.ModuleDict({"model": setup.model})
        if self.shared_names(networks) == set(networks.state_dict()):
            kind = "BatchNorm" if self.params.norms == "batch" else "normalisation"
            raise UserError(
                f"algorithm 'fedbn': the model has no {kind} layer with state, so nothing would stay local. "
                'Use [model] norm = "batch", or \'fedbn[norms=all]\' with norm = "instance" or "group".'
            )

    def deployments(self, server: Server, clients: Sequence[ClientState]) -> list[Deployment]:
        """Each client's own norms; and, for whoever took no part, their average (the authors' advice)."""
        average = weighted_mean([c.local for c in clients], [c.samples for c in clients])
        averaged = Deployment("averaged", None, model_entries({**server.weights, **average}))
        return [*super().deployments(server, clients), averaged]
