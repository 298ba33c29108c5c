"""Local training: what each client reaches alone. The lower reference of every comparison."""

from __future__ import annotations

from torch import nn

from fedbench.algorithms.fedavg import FedAvg


class Local(FedAvg):
    """Every client alone; nothing is shared."""

    name = "local"

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """Nothing travels."""
        return False
