"""SiloBN: the running statistics of batch normalisation stay with their client, its affine parameters are shared.

Andreux, Ogier du Terrail, Beguier, Tramel: "Siloed Federated Learning for Multi-Centric Histopathology Datasets",
DART (MICCAI workshop) 2020, arXiv 2008.07424.

In training batch normalisation normalises by the batch, so the shared weights are FedAvg's to the bit; what differs is
the model in use. For a centre that took no part the paper estimates the statistics anew on its images; here it gets
the average of the clients' statistics, as in FedBN, so that no test image is used to adapt a model.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedbench.algorithm import Setup
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.errors import UserError


class SiloBN(FedBN):
    """Batch normalisation statistics stay local. Andreux et al., DART 2020, arXiv 2008.07424."""

    name = "silobn"

    class Params(FedAvg.Params):
        """None: FedBN's choice of norm layers is not the paper's."""

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """Everything but the buffers of BatchNorm layers: running mean and variance, and the number of batches."""
        buffers = dict(owner.named_buffers(recurse=False))
        return not (isinstance(owner, _BatchNorm) and name.rpartition(".")[2] in buffers)

    def check(self, setup: Setup) -> None:
        """Refuse a network without such statistics: SiloBN would silently be FedAvg."""
        networks = nn.ModuleDict({"model": setup.model})
        if self.shared_names(networks) == set(networks.state_dict()):
            raise UserError(
                "algorithm 'silobn': the model has no BatchNorm layer with running statistics, so nothing would stay "
                'local. Use [model] norm = "batch".'
            )
