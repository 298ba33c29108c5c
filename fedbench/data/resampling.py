"""Volumes onto a common grid: image linear, label the class that has most of a voxel, edges aligned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fedbench.dataset import Volume

EQUAL = 0.01  # shares of a voxel that differ by less are the same: headers round voxel sizes


def same_grid(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether two spacings are the same but for the rounding of headers, up to a thousandth."""
    return len(one) == len(other) and np.allclose(np.asarray(other) / np.asarray(one), 1.0, rtol=1e-3)


def resample(volume: Volume, spacing: tuple[float, ...], labels: str = "majority") -> Volume:
    """Return ``volume`` on a grid of the given spacing (mm): image linear, edges aligned.

    An axis that gets coarser is low-pass filtered first (Gaussian, sigma = half the excess factor), or linear
    interpolation would alias.

    Args:
        labels: ``majority`` takes the class that has most of a voxel, by volume; of classes that have the same share
            (up to a hundredth) the one with the higher label, so that no class loses to the background what is half
            its own. ``nearest`` takes the class of the nearest raw voxel: where an axis gets coarser by an even factor,
            two are equally near, and the mask lies half a raw voxel off the image.
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
    if labels == "majority":
        label = _majority(volume.label, factor, shape)
    else:
        label = ndimage.affine_transform(volume.label, factor, offset, shape, order=0, mode="nearest")
    return Volume(image.astype(np.float32), label.astype(np.uint8), tuple(float(s) for s in spacing))


def _majority(label: np.ndarray, factor: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the class that has most of each voxel of a grid of ``shape`` whose voxels are ``factor`` times as wide."""
    along = [_shares(n, f, m).astype(np.float32) for n, f, m in zip(label.shape, factor, shape, strict=True)]
    most, found = np.zeros(shape, np.float32), np.zeros(shape, label.dtype)
    for value in np.unique(label):
        share = (label == value).astype(np.float32)
        for axis, weights in enumerate(along):
            share = np.moveaxis(np.tensordot(weights, share, (1, axis)), 0, axis)
        more = share >= most - EQUAL
        most[more], found[more] = share[more], value
    return found


def _shares(raw: int, factor: float, voxels: int) -> np.ndarray:
    """Return ``(voxels, raw)``: how much of each raw voxel lies in each voxel ``factor`` times as wide, over that."""
    low, high = (factor * (np.arange(voxels) + end) for end in (0, 1))
    at = np.arange(raw)
    return np.clip(np.minimum(high[:, None], at + 1) - np.maximum(low[:, None], at), 0, None) / factor
