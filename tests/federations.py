"""Tiny federations on random images, for tests that train: two or three clients, a few steps, BN or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedbench.algorithm import Algorithm
from fedbench.config import DataConfig, ModelConfig, TrainingConfig
from fedbench.data.prepared import PreparedCase
from fedbench.engine.compute import Compute
from fedbench.engine.task import Task
from fedbench.engine.training import Training
from fedbench.federation import ClientData, Federation

MODALITIES = ("CT", "MR", "PET")


def make_case(folder: Path, patient: str, modality: str, slices: int, size: int, classes: int = 2) -> PreparedCase:
    """A random image in which brighter (CT) or darker (others) squares are the classes."""
    seed = int.from_bytes(hashlib.sha256(f"{patient}/{modality}".encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    label = np.zeros((slices, size, size), np.uint8)
    for z in range(slices):
        for value in range(1, classes + 1):
            x, y = rng.integers(0, size - 6, 2)
            label[z, x : x + 6, y : y + 6] = value
    sign = 1.0 if modality == "CT" else -1.0
    image = (sign * label[:, None] / classes + 0.1 * rng.standard_normal((slices, 1, size, size))).astype(np.float32)
    stem = folder / f"{patient}-{modality}"
    np.save(f"{stem}.image.npy", image)
    np.save(f"{stem}.label.npy", label)
    content = hashlib.sha256(image.tobytes()).hexdigest()
    return PreparedCase(
        f"{patient}/{modality}", patient, modality, "", (2.0, 2.0, 4.0), (size, size, slices), content, str(stem)
    )


def make_federation(folder: Path, clients: int = 2, slices: Sequence[int] = (4, 6, 5), size: int = 16) -> Federation:
    """Clients with one training and one validation patient each (of different numbers of slices); one test patient."""
    data = tuple(
        ClientData(m, m, (make_case(folder, f"T{k}", m, slices[k], size),), (make_case(folder, f"V{k}", m, 2, size),))
        for k, m in enumerate(MODALITIES[:clients])
    )
    test = tuple(make_case(folder, "X0", m, 2, size) for m in MODALITIES[:clients])
    return Federation("toy", data, test, None, "digest")


def make_training(
    federation: Federation,
    algorithm: Algorithm,
    *,
    model: dict[str, Any] | None = None,
    size: int = 16,
    at_once: int = 1,
    **training: Any,
) -> Training:
    """A training at fp32 on one thread with a small network."""
    network = {"name": "unet", "channels": (4, 8), "norm": "batch"} | (model or {})
    settings = {"rounds": 3, "batch_size": 2, "precision": "fp32", "lr": 0.01} | training
    task = Task(
        federation=federation,
        algorithm=algorithm,
        seed=0,
        classes=2,
        channels=1,
        mirror_axes=(0, 1),
        size=(size,) * network.get("spatial_dims", 2),
        model=ModelConfig(**network),
        training=TrainingConfig(**settings),
        data=DataConfig(patches_per_case=2),
    )
    return Training(task, Compute.start(task.training, "cpu"), at_once)


def trained(federation: Federation, algorithm: Algorithm, **settings: Any) -> Training:
    """A training run to its end."""
    training = make_training(federation, algorithm, **settings)
    for _ in training.rounds():
        pass
    return training


def model_state(training: Training, client: str | None = None) -> dict[str, torch.Tensor]:
    """The deployed model of a client (or the only one)."""
    return next(d for d in training.deployments() if client is None or d.client in (None, client)).entries


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Equal names and equal bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
