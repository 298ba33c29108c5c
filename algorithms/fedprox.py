"""FedProx: a proximal term holds each client near the weights it received.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: "Federated Optimization in Heterogeneous Networks", MLSys 2020,
arXiv 1812.06127, equation 2.
"""

from __future__ import annotations

from torch import Tensor

from fedbench.algorithm import Step, squared_distance
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter


class FedProx(FedAvg):
    """Proximal term against client drift. Li et al., MLSys 2020, arXiv 1812.06127."""

    name = "fedprox"
    is_fedavg_with = {"mu": 0.0}

    class Params(FedAvg.Params):
        mu: float = hyperparameter(0.01, search=[0.001, 0.01, 0.1, 1.0], ge=0, doc="weight of the proximal term")

    def loss(self, step: Step) -> Tensor:
        """F_k(w) + mu/2 * ||w - w_t||^2."""
        proximal = step.log("proximal", squared_distance(step.model, step.received))
        return super().loss(step) + self.params.mu / 2 * proximal
