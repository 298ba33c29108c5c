"""A client's training samples: slices (2-D models) or patches (3-D models), batched from its own random stream.

The order, the crops and the augmentation of round r depend on (seed, client, round) alone, so every algorithm of a
suite sees the same batches, and a resumed run the same as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbench.data.prepared import PreparedCase
from fedbench.engine.arrays import MappedArrays, window
from fedbench.engine.augmentation import augment
from fedbench.federation import ClientData

PADDING = -1.0  # about where air lies in a volume of mean 0 and variance 1


@dataclass(frozen=True, slots=True)
class _Sample:
    case: PreparedCase
    z: int | None  # None: a patch


class TrainingSet:
    """The samples of one client.

    Args:
        client: whose training cases.
        size: spatial size of a sample; 2 numbers for slices, 3 for patches.
        batch_size: samples per step. A pooled client makes as many steps per epoch as its parts together.
        patches_per_case: samples of a volume (3-D) in one epoch; the most crops of a 2-D picture, which gives about as
            many as cover it.
        mirror_axes: in-plane axes that augmentation may flip.
        arrays: where samples are read and where batches end up; None is the store and the CPU.
        label_edges: see :class:`fedbench.config.TrainingConfig`.
    """

    def __init__(
        self,
        client: ClientData,
        size: Sequence[int],
        batch_size: int,
        patches_per_case: int = 1,
        mirror_axes: Sequence[int] = (),
        arrays: MappedArrays | None = None,
        label_edges: str = "repeat",
    ) -> None:
        self.arrays = arrays or MappedArrays()
        self.size = tuple(size)
        self.mirror_axes = tuple(mirror_axes)
        self.label_edges = label_edges
        self.samples = [_Sample(case, z) for case in client.train for z in self._slices(case, patches_per_case)]
        parts: list[TrainingSet] = [TrainingSet(part, size, batch_size, patches_per_case) for part in client.parts]
        self.steps: int = sum(part.steps for part in parts) if parts else math.ceil(len(self.samples) / batch_size)

    def _slices(self, case: PreparedCase, most: int) -> Iterator[int | None]:
        """Yield the slice of each sample; None stands for a patch. A large picture is worth several crops."""
        if len(self.size) == 3:
            yield from [None] * most
            return
        area = math.prod(case.shape[:2]) / math.prod(self.size)
        crops = min(most, max(1, round(area))) if len(case.shape) == 2 else 1
        slices = case.shape[2] if len(case.shape) == 3 else 1
        yield from [z for z in range(slices) for _ in range(crops)]

    def __len__(self) -> int:
        """n_k: training samples of one epoch."""
        return len(self.samples)

    def batches(self, generator: torch.Generator, *, augmented: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of ``(images (B, C, *size) float32, labels (B, 1, *size) uint8)``, all samples once."""
        order = torch.randperm(len(self.samples), generator=generator)
        for chosen in torch.tensor_split(order, self.steps):
            images, labels = self._stack(chosen.tolist(), generator)
            if augmented:
                images, labels = augment(images, labels, self.mirror_axes, generator, self.label_edges)
            yield images, labels

    def plain(self, n: int, generator: torch.Generator) -> Tensor:
        """Return up to ``n`` training images without augmentation, spread evenly over the cases."""
        taken = min(n, len(self.samples))
        return self._stack([i * len(self.samples) // taken for i in range(taken)], generator)[0]

    def _stack(self, indices: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pairs = [self._read(self.samples[i], generator) for i in indices]
        images, labels = (self.arrays.batch(windows) for windows in zip(*pairs, strict=True))
        return images, labels

    def _read(self, sample: _Sample, generator: torch.Generator) -> tuple[Any, Any]:
        image, label = self.arrays.of(sample.case)
        if sample.z is not None:
            corner = _random_corner(label.shape[1:], self.size, generator)
            return (
                window(image[sample.z], corner, self.size, PADDING),
                window(label[sample.z][None], corner, self.size, 0),
            )
        corner = self._patch_corner(sample.case, (*label.shape[1:], label.shape[0]), generator)
        # (Z, C, X, Y) -> (C, X, Y, Z): views; only the window is read
        patch = window(_slices_last(image), corner, self.size, PADDING)
        return patch, window(_slices_last(label)[None], corner, self.size, 0)

    def _patch_corner(self, case: PreparedCase, shape: Sequence[int], generator: torch.Generator) -> list[int]:
        """Half of the patches are centred on a random foreground voxel, the others lie anywhere."""
        if torch.rand(1, generator=generator).item() < 0.5:
            foreground = _foreground(case)
            if len(foreground):
                at = int(torch.randint(len(foreground), (1,), generator=generator))
                z, x, y = np.unravel_index(foreground[at], case.label.shape)
                return [
                    int(np.clip(c - w // 2, 0, n - w)) if n > w else -((w - n) // 2)
                    for c, n, w in zip((x, y, z), shape, self.size, strict=True)
                ]
        return _random_corner(shape, self.size, generator)


@lru_cache(maxsize=128)
def _foreground(case: PreparedCase) -> np.ndarray:
    """Where the label is not background: flat indices, int32 or int64."""
    found = np.flatnonzero(case.label)
    return found.astype(np.int32) if case.label.size < 2**31 else found


def _slices_last(array: Any) -> Any:
    """View ``(Z, ...)`` as ``(..., Z)``."""
    axes = [*range(1, len(array.shape)), 0]
    return array.permute(axes) if isinstance(array, Tensor) else array.transpose(axes)


def _random_corner(shape: Sequence[int], size: Sequence[int], generator: torch.Generator) -> list[int]:
    """Where a window starts: anywhere it fits; centred (negative = padding) on an axis that is too short."""
    return [
        int(torch.randint(n - w + 1, (1,), generator=generator)) if n > w else -((w - n) // 2)
        for n, w in zip(shape, size, strict=True)
    ]
