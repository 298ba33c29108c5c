"""Generated discs, of any number, size and class count: ``-d 'benchmarks/shapes.py:Shapes[clients=4,size=64]'``.

Every client's modality is its own and every patient has one modality, so that each client holds the same number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fedbench.dataset import Case, Dataset, Intensity, Volume
from fedbench.parameters import Parameters, hyperparameter


class Shapes(Dataset):
    """Discs on noise, brighter or darker by class and modality."""

    name = "shapes"
    spacing = (1.0, 1.0, 4.0)
    needs_path = False
    licence = "Apache-2.0 (generated)"

    class Params(Parameters):
        clients: int = hyperparameter(4, ge=1, doc="modalities")
        patients: int = hyperparameter(6, ge=3, doc="of each modality, for training, validation and test together")
        slices: int = hyperparameter(8, ge=1, doc="of a patient")
        size: int = hyperparameter(64, ge=16, doc="in-plane voxels")
        classes: int = hyperparameter(2, ge=1, le=254, doc="a disc each")

    def __init__(self, path: Any = None, **params: Any) -> None:
        super().__init__(path, **params)
        self.modalities = tuple(f"M{k:03d}" for k in range(self.params.clients))
        self.classes = tuple(f"disc-{k}" for k in range(1, self.params.classes + 1))
        self.intensity = dict.fromkeys(self.modalities, Intensity("window", -10.0, 10.0))
        self.size = (self.params.size,) * 2

    def cases(self) -> Iterator[Case]:
        """Yield every patient of every modality."""
        for k, modality in enumerate(self.modalities):
            for number in range(self.params.patients):
                yield Case(f"P{k:03d}-{number:05d}", modality, partial(self.draw, k, number))

    def draw(self, client: int, number: int) -> Volume:
        """Return one patient: ``image (1, X, Y, Z)`` and ``label (X, Y, Z)``."""
        size, slices, classes = self.params.size, self.params.slices, self.params.classes
        rng = np.random.default_rng([client, number])
        label = np.zeros((size, size, slices), np.uint8)
        x, y = np.ogrid[:size, :size]
        radius = max(2.0, size / 5 / classes**0.5)
        for value in range(1, classes + 1):
            centre = rng.uniform(radius, size - radius, 2)
            drift = rng.uniform(-0.5, 0.5, 2)
            for z in range(slices):
                cx, cy = centre + drift * z
                label[(x - cx) ** 2 + (y - cy) ** 2 < radius**2, z] = value
        sign = 1.0 if client % 2 == 0 else -1.0
        image = sign * label / classes * 2 + rng.normal(0, 0.5, label.shape)
        return Volume(image[None].astype(np.float32), label, self.spacing)
