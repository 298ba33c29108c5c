"""FedAdam: the server takes the clients' mean change for a gradient and steps with Adam.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan: "Adaptive Federated Optimization", ICLR 2021,
arXiv 2003.00295, Algorithm 2 (no bias correction; m starts at 0, v at tau^2):

    Delta = mean(x_k - x)
    m <- beta1 * m + (1 - beta1) * Delta
    v <- beta2 * v + (1 - beta2) * Delta^2
    x <- x + eta * m / (sqrt(v) + tau)

The mean is weighted by n_k / n. Only trainable parameters are stepped: Adam could carry a running variance below 0, so
buffers are averaged as in FedAvg. FedAdam has no setting that is FedAvg to the bit; with beta1 = beta2 = 0 and
eta = tau it tends to FedAvg as tau grows: x + Delta / (1 + |Delta| / tau).
"""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.algorithm import MODEL, Server, Upload, pack, unpack
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

FIRST, SECOND = "m", "v"


class FedAdam(FedAvg):
    """Adam at the server. Reddi et al., ICLR 2021, arXiv 2003.00295."""

    name = "fedadam"

    class Params(FedAvg.Params):
        eta: float = hyperparameter(0.01, search=[0.001, 0.003, 0.01, 0.03, 0.1], gt=0, doc="server learning rate")
        beta1: float = hyperparameter(0.9, ge=0, lt=1, doc="decay of the first moment")
        beta2: float = hyperparameter(0.99, ge=0, lt=1, doc="decay of the second moment")
        tau: float = hyperparameter(1e-3, search=[1e-4, 1e-3, 1e-2], gt=0, doc="adaptivity: small is more adaptive")

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """FedAvg, then Adam from the old parameters along the way to the mean."""
        x, p = server.weights, self.params
        super().aggregate(server, uploads)
        m, v = unpack(FIRST, server.memory), unpack(SECOND, server.memory)
        for name in [MODEL + name for name, _ in self.setup.model.named_parameters()]:
            delta = server.weights[name] - x[name]
            m[name] = p.beta1 * m.get(name, 0.0) + (1 - p.beta1) * delta
            v[name] = p.beta2 * v.get(name, p.tau**2) + (1 - p.beta2) * delta.square()
            server.weights[name] = x[name] + p.eta * m[name] / (v[name].sqrt() + p.tau)
        server.memory = {**pack(FIRST, m), **pack(SECOND, v)}
