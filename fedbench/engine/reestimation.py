"""BatchNorm statistics taken anew from one modality's training images; weights, scales and shifts stay.

Li, Wang, Shi, Hou, Liu: "Adaptive Batch Normalization for practical domain adaptation", Pattern Recognition 80, 2018.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedbench.data.prepared import PreparedCase
from fedbench.engine.batches import TrainingSet
from fedbench.engine.compute import Compute
from fedbench.federation import ClientData, Federation
from fedbench.streams import derive_seed


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def training_cases(federation: Federation) -> dict[str, list[PreparedCase]]:
    """Return all clients' training cases by modality; a modality left out has none."""
    cases: dict[str, list[PreparedCase]] = {}
    for client in federation.clients:
        for case in client.train:
            cases.setdefault(case.modality, []).append(case)
    return dict(sorted(cases.items()))


@torch.no_grad()
def reestimate(model: nn.Module, samples: TrainingSet, compute: Compute) -> None:
    """Replace the running means and variances of ``model`` by their means over one pass through ``samples``.

    The model is in eval mode afterwards.
    """
    layers = batch_norms(model.eval())
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    stream = torch.Generator().manual_seed(derive_seed("statistics taken anew"))
    for images, _ in samples.batches(stream, augmented=False):
        with compute.autocast():
            model(compute.images(images))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()


def samples_of(cases: list[PreparedCase], size: tuple[int, ...], batch_size: int, patches: int) -> TrainingSet:
    """Return the training samples of ``cases``."""
    return TrainingSet(ClientData(cases[0].modality, cases[0].modality, tuple(cases), ()), size, batch_size, patches)
