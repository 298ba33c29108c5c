"""FedAvg: sample-weighted averaging of the clients' weights.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS 2017, arXiv 1602.05629, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.algorithm import Algorithm, Server, Upload, weighted_mean


class FedAvg(Algorithm):
    """Sample-weighted average of all weights and buffers. McMahan et al., AISTATS 2017, arXiv 1602.05629."""

    name = "fedavg"

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """w_{t+1} = sum_k n_k / n * w_k."""
        messages, samples = [u.message for u in uploads], [u.samples for u in uploads]
        server.weights = weighted_mean(messages, samples, names=server.weights)
