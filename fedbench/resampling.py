"""Volumes onto a common grid: image linear, label nearest, edges aligned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fedbench.dataset import Volume


def same_grid(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether two spacings are the same but for the rounding of headers, up to a thousandth."""
    return len(one) == len(other) and np.allclose(np.asarray(other) / np.asarray(one), 1.0, rtol=1e-3)


def resample(volume: Volume, spacing: tuple[float, ...]) -> Volume:
    """Return ``volume`` on a grid of the given spacing (mm): image linear, label nearest, edges aligned.

    An axis that gets coarser is low-pass filtered first (Gaussian, sigma = half the excess factor), or linear
    interpolation would alias.
    """
    if len(spacing) != len(volume.spacing):
        raise ValueError(f"spacing {spacing} has not the {len(volume.spacing)} axes of the volume")
    if same_grid(volume.spacing, spacing):
        return volume
    factor = np.asarray(spacing) / np.asarray(volume.spacing)
    shape = tuple(max(1, round(n / f)) for n, f in zip(volume.label.shape, factor, strict=True))
    offset = 0.5 * factor - 0.5  # voxel centres, not corners, so that both grids cover the same space
    sigma = np.maximum(factor - 1.0, 0.0) / 2.0

    def linear(channel: np.ndarray) -> np.ndarray:
        smooth = ndimage.gaussian_filter(channel, sigma, mode="nearest") if sigma.any() else channel
        return ndimage.affine_transform(smooth, factor, offset, shape, order=1, mode="nearest")

    image = np.stack([linear(channel) for channel in volume.image])
    label = ndimage.affine_transform(volume.label, factor, offset, shape, order=0, mode="nearest")
    return Volume(image.astype(np.float32), label.astype(np.uint8), tuple(float(s) for s in spacing))
