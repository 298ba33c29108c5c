"""Whether a volume lies as its NIfTI file's header says: compared with every way of turning and mirroring it."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fedbench.dataset import Volume

AXES = ("X", "Y", "Z")


def turned(volume: Volume, path: Path) -> str | None:
    """Say how ``volume`` differs from the image or mask in ``path`` turned to RAS.

    Returns:
        empty if it lies as it should; None if the file is of another shape (cropped, resampled) or content.
    """
    if volume.label.ndim != 3:
        return None
    file: Any = nib.load(path)
    if len(file.shape) != 3 or sorted(file.shape) != sorted(volume.label.shape):
        return None
    stored: Any = nib.as_closest_canonical(file)
    content = np.asanyarray(stored.dataobj)
    zooms = tuple(float(n) for n in stored.header.get_zooms()[:3])
    for target in (*volume.image, volume.label):
        fits = [way for way in _ways() if _alike(_turn(content, way), target)]
        if not fits:
            continue
        if fits[0] == _ways()[0]:
            return "" if np.allclose(zooms, volume.spacing, rtol=1e-3) else _spacing(zooms, volume.spacing)
        order, flips = fits[0]
        mirrored = [axis for axis, flip in zip(AXES, flips, strict=True) if flip]
        return "its axes are not in RAS order" + (f": {', '.join(mirrored)} mirrored" if mirrored else "") + (
            f": {''.join(AXES[axis] for axis in order)} in place of XYZ" if order != (0, 1, 2) else ""
        )  # fmt: skip
    return None


def _spacing(header: tuple[float, ...], spacing: tuple[float, ...]) -> str:
    text = [" x ".join(f"{n:g}" for n in numbers) for numbers in (spacing, header)]
    return f"its spacing is {text[0]}, the header says {text[1]}"


Way = tuple[tuple[int, ...], tuple[bool, ...]]


def _ways() -> list[Way]:
    """Every order and mirroring of three axes, from none to all."""
    return [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def _turn(array: np.ndarray, way: Way) -> np.ndarray:
    order, flips = way
    return np.flip(array.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to a change of intensities that keeps their order, judged by correlation."""
    if a.shape != b.shape:
        return False
    step = tuple(slice(None, None, max(1, n // 64)) for n in a.shape)
    x, y = (array[step].astype(np.float64).ravel() for array in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return bool(size > 0 and (x @ y) / size > 0.999)
