"""Centralised training: one model on all clients' data. The upper reference; not federated."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.algorithms.fedavg import FedAvg
from fedbench.federation import ClientData, pooled


class Centralised(FedAvg):
    """One model on the pooled data, with as many optimiser steps as all clients together."""

    name = "centralised"

    def training_clients(self, clients: Sequence[ClientData]) -> Sequence[ClientData]:
        """One client that holds everything."""
        return [pooled(clients)]
