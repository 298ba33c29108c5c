"""MOON: a contrastive term pulls each client's representation towards the global model's.

Li, He, Song: "Model-Contrastive Federated Learning", CVPR 2021, arXiv 2103.16257, equations 3 and 4, Algorithm 1.

Segmentation networks have no representation vector. Here z = bottleneck -> global average pool -> Linear-ReLU-Linear, a
side branch trained by the contrastive term alone and averaged like the rest; ``feature = "decoder"`` takes the logits'
map, flattened, without a head.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus

from fedbench.algorithm import Client, Setup, Step, pack, unpack
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

PREVIOUS = "previous"


class ProjectionHead(nn.Module):
    """Global average pool, then Linear-ReLU-Linear: ``(B, channels, ...) -> (B, width)``."""

    def __init__(self, channels: int, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, width))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.flatten(2).mean(-1))


def contrastive_loss(z: Tensor, z_global: Tensor, z_previous: Tensor, tau: float) -> Tensor:
    """Batch mean of -log(exp(cos(z, z_glob)/tau) / (exp(cos(z, z_glob)/tau) + exp(cos(z, z_prev)/tau))).

    Args:
        z, z_global, z_previous: ``(B, width)``.
    """
    pull = cosine_similarity(z.float(), z_global.float(), dim=1) / tau
    push = cosine_similarity(z.float(), z_previous.float(), dim=1) / tau
    return softplus(push - pull).mean()  # = -log(sigmoid(pull - push))


class MOON(FedAvg):
    """Model-contrastive learning on bottleneck features. Li et al., CVPR 2021, arXiv 2103.16257."""

    name = "moon"
    is_fedavg_with = {"mu": 0.0}

    class Params(FedAvg.Params):
        mu: float = hyperparameter(0.1, search=[0.01, 0.1, 1.0, 5.0], ge=0, doc="weight of the contrastive term")
        tau: float = hyperparameter(0.5, gt=0, doc="temperature")
        feature: Literal["bottleneck", "decoder"] = hyperparameter("bottleneck", doc="where z is taken")

    def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
        """The projection head, unless z is the decoder's map."""
        if self.params.feature == "decoder":
            return {}
        return {"head": ProjectionHead(setup.model.bottleneck_channels)}

    def begin_round(self, client: Client) -> None:
        """Freeze w_t and this client's previous model; a client that has none trains as in FedAvg."""
        previous = unpack(PREVIOUS, client.memory)
        if previous and self.params.mu:
            client.scratch["global"] = client.frozen(client.received)
            client.scratch["previous"] = client.frozen(previous)

    def loss(self, step: Step) -> Tensor:
        """L_seg + mu * l_con."""
        loss = super().loss(step)
        frozen = step.client.scratch
        if not frozen:
            return loss
        z = self._represent(step.client.networks, step.features, step)
        z_global, z_previous = (self._represent(frozen[which], None, step) for which in ("global", "previous"))
        return loss + self.params.mu * step.log(
            "contrastive", contrastive_loss(z, z_global, z_previous, self.params.tau)
        )

    def _represent(self, networks: nn.ModuleDict, features: Tensor | None, step: Step) -> Tensor:
        if self.params.feature == "decoder":
            return (networks["model"](step.images) if features is None else step.logits).flatten(1)
        return networks["head"](networks["model"].encode(step.images)[0] if features is None else features)

    def end_round(self, client: Client) -> None:
        """Keep this client's model at the end of its participation."""
        client.memory.update(pack(PREVIOUS, client.networks.state_dict()))
