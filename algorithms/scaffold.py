"""SCAFFOLD: control variates correct every local step for what this client's gradients lack of everybody's.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
ICML 2020, arXiv 1910.06378, Algorithm 1 with option II.

    local step:   y <- y - eta * (g_i(y) - c_i + c)
    option II:    c_i+ = c_i - c + (x - y) / (K * eta)             after K local steps from x
    server:       x <- x + eta_g * mean(y_i - x),  c <- c + mean(c_i+ - c_i)

Under the paper's plain SGD x - y is eta times the sum of the corrected gradients, so c_i+ = 1/K * sum_k g_i(y_k). This
form is used: it also holds for Adam, momentum and weight decay, which are given the corrected gradient. Means are
weighted by n_k / n, as the objective is; all clients take part, so c is the mean of the c_i. Buffers as in FedAvg.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedbench.algorithm import Client, ClientState, Message, Server, Step, Upload, pack, unpack, weighted_mean
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

CONTROL = "control"


class Scaffold(FedAvg):
    """Control variates against client drift. Karimireddy et al., ICML 2020, arXiv 1910.06378."""

    name = "scaffold"

    class Params(FedAvg.Params):
        eta_g: float = hyperparameter(1.0, search=[0.5, 1.0, 1.5], gt=0, doc="server step size")

    def download(self, server: Server, client: ClientState, index: int) -> Message:
        """(x, c); in the first round c = 0 does not travel."""
        return {**super().download(server, client, index), **server.memory}

    def begin_round(self, client: Client) -> None:
        """The correction c - c_i, which is 0 in the first round."""
        c, c_i = unpack(CONTROL, client.received), unpack(CONTROL, client.memory)
        zeros = {name: torch.zeros_like(y) for name, y in client.networks.named_parameters()}
        client.scratch["correction"] = {name: c[name] - c_i[name].to(c[name]) for name in c} or zeros
        client.scratch["sum"] = {name: zero.clone() for name, zero in zeros.items()}
        client.scratch["steps"] = 0

    def loss(self, step: Step) -> Tensor:
        """F_i(y) + <c - c_i, y>, whose gradient is g_i(y) - c_i + c."""
        correction = step.client.scratch["correction"]
        products = [(correction[name] * y).sum() for name, y in step.client.networks.named_parameters()]
        return super().loss(step) + torch.stack(products).sum()

    def local_step(self, step: Step) -> None:
        """The suite's optimiser steps on the corrected gradient, which is added up."""
        super().local_step(step)
        for name, y in step.client.networks.named_parameters():
            step.client.scratch["sum"][name] += y.grad
        step.client.scratch["steps"] += 1

    def end_round(self, client: Client) -> None:
        """c_i+ = c_i - c + mean of the corrected gradients."""
        correction, steps = client.scratch["correction"], client.scratch["steps"]
        c_i = {name: total / steps - correction[name] for name, total in client.scratch["sum"].items()}
        client.memory = pack(CONTROL, c_i)

    def upload(self, client: Client) -> Message:
        """(y_i, c_i+)."""
        return {**super().upload(client), **client.memory}

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """x + eta_g * mean(y_i - x), to the bit the mean of the y_i for eta_g = 1; c = mean of the c_i."""
        x = server.weights
        super().aggregate(server, uploads)
        c = weighted_mean((unpack(CONTROL, u.message) for u in uploads), [u.samples for u in uploads])
        server.memory = pack(CONTROL, c)
        for name in c:
            server.weights[name] = torch.lerp(x[name], server.weights[name], self.params.eta_g)
