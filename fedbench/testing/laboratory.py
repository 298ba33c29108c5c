"""Tiny federations in memory, a small network with BatchNorm, and plain averaging to compare with."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbench.algorithm import Algorithm, Server, State, Upload, weighted_mean
from fedbench.config import DataConfig, ModelConfig, TrainingConfig
from fedbench.data.prepared import PreparedCase
from fedbench.engine.compute import Compute
from fedbench.engine.task import Task
from fedbench.engine.training import Training
from fedbench.federation import ClientData, Federation

MODALITIES = ("CT", "MR", "PET", "T1", "T2")
SLICES = ((3,), (4,), (3, 2), (2,), (6,))  # of each client's training cases: unequal, and some with a partial batch
SIZE, CLASSES = 8, 2


@dataclass(frozen=True)
class GeneratedCase(PreparedCase):
    """Squares of two classes on noise, a function of the case's id alone; brighter in one half of the modalities."""

    foreground: bool = True

    @property
    def image(self) -> np.ndarray:
        """float32 ``(Z, 1, X, Y)``, read-only."""
        _is_read(self)
        return self._image

    @property
    def label(self) -> np.ndarray:
        """uint8 ``(Z, X, Y)``, read-only."""
        _is_read(self)
        return self._label

    @cached_property
    def _image(self) -> np.ndarray:
        sign = 1.0 if MODALITIES.index(self.modality) % 2 else -1.0
        noise = self._stream("image").standard_normal((len(self._label), 1, *self.shape[:2]))
        return _read_only((sign * self._label[:, None] / CLASSES + 0.2 * noise).astype(np.float32))

    @cached_property
    def _label(self) -> np.ndarray:
        rng, label = self._stream("label"), np.zeros((self.shape[2], *self.shape[:2]), np.uint8)
        for z in range(len(label) if self.foreground else 0):
            for value in range(1, CLASSES + 1):
                x, y = rng.integers(0, SIZE - 3, 2)
                label[z, x : x + 4, y : y + 4] = value
        return _read_only(label)

    def _stream(self, what: str) -> np.random.Generator:
        return np.random.default_rng(list(hashlib.sha256(f"{self.id} {what}".encode()).digest()))


_readers: list[Callable[[GeneratedCase], None]] = []  # who hears of a case that is read


def _is_read(case: GeneratedCase) -> None:
    for hears in _readers:
        hears(case)


@contextlib.contextmanager
def reads_told(hears: Callable[[GeneratedCase], None]) -> Iterator[None]:
    """Within the block, tell of every case whose image or label somebody reads."""
    _readers.append(hears)
    try:
        yield
    finally:
        _readers.remove(hears)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)  # as a memory-mapped file is
    return array


@dataclass(frozen=True)
class Scenario:
    """One tiny federation and how it is trained.

    Attributes:
        empty: clients, by number, without any foreground.
        backwards: the clients are listed from the last to the first.
    """

    clients: int = 3
    rounds: int = 3
    batch_size: int = 2
    spatial_dims: int = 2
    norm: str = "batch"
    local_epochs: int = 1
    empty: tuple[int, ...] = ()
    backwards: bool = False
    precision: str = "fp32"

    def task(self, algorithm: Algorithm) -> Task:
        """Return what a run of ``algorithm`` needs."""
        clients = [self._client(k) for k in range(self.clients)]
        test = tuple(self._case("X0", modality, 1, True) for modality in MODALITIES[: self.clients])
        return Task(
            federation=Federation("tiny", tuple(clients[::-1] if self.backwards else clients), test, None, "tiny"),
            algorithm=algorithm,
            seed=0,
            classes=CLASSES,
            channels=1,
            size=(SIZE,) * self.spatial_dims,
            mirror_axes=(0, 1),
            model=ModelConfig(name="unet", channels=(4, 8), norm=self.norm, spatial_dims=self.spatial_dims),
            training=TrainingConfig(
                rounds=self.rounds, batch_size=self.batch_size, local_epochs=self.local_epochs, lr=0.01,
                validate_every=self.rounds, precision=self.precision, threads=1,
            ),
            data=DataConfig(patches_per_case=2),
        )  # fmt: skip

    def start(self, algorithm: Algorithm, at_once: int = 1) -> Training:
        """Return a training of ``algorithm`` before its first round, with ``at_once`` clients side by side."""
        task = self.task(algorithm)
        return Training(task, Compute.start(task.training, "cpu"), at_once)

    def _client(self, k: int) -> ClientData:
        modality, foreground = MODALITIES[k], k not in self.empty
        train = [self._case(f"T{k}{i}", modality, n, foreground) for i, n in enumerate(SLICES[k])]
        return ClientData(modality, modality, tuple(train), (self._case(f"V{k}", modality, 1, foreground),))

    def _case(self, patient: str, modality: str, slices: int, foreground: bool) -> GeneratedCase:
        depth = slices if self.spatial_dims == 2 else SIZE
        name, shape = f"{patient}/{modality}", (SIZE, SIZE, depth)
        return GeneratedCase(name, patient, modality, "", (2.0, 2.0, 4.0), shape, name, name, foreground=foreground)


class Averaging(Algorithm):
    """The reference: sample-weighted averages of all entries, and nothing else.

    Args:
        like: whose choice of training clients is taken over.
    """

    name = "averaging"

    def __init__(self, like: Algorithm | None = None) -> None:
        super().__init__()
        if like is not None:
            self.training_clients = like.training_clients  # type: ignore[method-assign]

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """w_{t+1} = sum_k n_k / n * w_k."""
        server.weights = weighted_mean([upload.message for upload in uploads], [upload.samples for upload in uploads])


def same(a: Tensor, b: Tensor) -> bool:
    """Equal type, shape and bits; NaN equals itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    flat = (value.detach().contiguous().reshape(-1).view(torch.uint8) for value in (a, b))
    return torch.equal(*flat)


def differing(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """Return the names that only one of two states has, or whose bits differ."""
    return sorted(name for name in a.keys() | b.keys() if name not in a or name not in b or not same(a[name], b[name]))


def copied(state: Mapping[str, Tensor]) -> State:
    """Return ``state`` with tensors of its own."""
    return {name: value.detach().clone() for name, value in state.items()}


def fingerprint(training: Training) -> str:
    """Return the sha256 of everything a finished training holds: states, memories, deployed models."""
    tensors: dict[str, Any] = dict(training.state()[0])
    for deployment in training.deployments():
        tensors |= {f"{deployment.kind}/{deployment.client}/{name}": v for name, v in deployment.entries.items()}
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().contiguous()
        sha.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
