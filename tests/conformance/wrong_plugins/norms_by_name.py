"""FedBN that looks for "bn" in names: MONAI's networks have none, so nothing stays local; and for MONAI's ".N."."""

from __future__ import annotations

from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {"NormsByName": ["by-type"], "NormsByMonaiName": ["by-type", "refusal"]}


class NormsByName(FedAvg):
    """Keeps what is called bn."""

    name = "norms-by-name"

    def is_shared(self, owner, name):
        return "bn" not in name


class NormsByMonaiName(FedAvg):
    """Keeps what is called N."""

    name = "norms-by-monai-name"

    def is_shared(self, owner, name):
        return ".N." not in name
