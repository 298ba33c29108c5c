"""Training on 1/2 * ||w - a||^2 without a harness, so that local steps can be worked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fedbench.algorithm import Algorithm, Client, Step


class Point(nn.Module):
    """A network whose only parameter ``w`` is its output, whatever the image."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values))

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.w, []

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return bottleneck

    def forward(self, images: Tensor) -> Tensor:
        return self.w


def train(
    algorithm: Algorithm,
    points: Mapping[str, Sequence[float]],
    targets: Sequence[Sequence[float]],
    lr: float = 0.1,
    curvature: float = 1.0,
    received: Mapping[str, Tensor] | None = None,
    memory: Mapping[str, Tensor] | None = None,
) -> Client:
    """One client's round of plain SGD on ``curvature / 2 * ||w - a||^2``, a step for each target ``a``.

    Args:
        points: where each network starts, by its name; ``model`` was received.
        received: what else came down.
    """
    networks = nn.ModuleDict({name: Point(values) for name, values in points.items()})
    client = Client(
        name="CT",
        index=0,
        samples=1,
        networks=networks,
        entries=networks.state_dict(),
        shared=frozenset(networks.state_dict()),
        received={"model.w": torch.tensor(points["model"]), **(received or {})},
        memory=dict(memory or {}),
        round=0,
        rounds=1,
        generator=torch.Generator(),
        samples_without_augmentation=lambda n, generator: torch.zeros(n),
    )
    client.optimizers = algorithm.optimizers(client, lambda parameters: SGD(parameters, lr=lr))
    algorithm.begin_round(client)
    for target in targets:
        algorithm.local_step(
            Step(
                client=client,
                images=torch.zeros(1),
                labels=torch.tensor(target),
                segmentation_loss=lambda w, a: curvature / 2 * (w - a).square().sum(),
                record=lambda term, value: None,
            )
        )
    with torch.no_grad():
        algorithm.end_round(client)
    return client
