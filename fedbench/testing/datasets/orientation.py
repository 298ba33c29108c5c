"""Whether a volume lies as its file says: compared with every way of turning, mirroring and cropping the file."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fedbench.data.folders import NIFTI
from fedbench.data.pictures import read_mask, read_picture
from fedbench.dataset import Volume
from fedbench.errors import UserError

AXES = ("X", "Y", "Z")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
PLACES = 50  # where a part of an image may lie in it


def turned(volume: Volume, path: Path) -> str | None:
    """Say how ``volume`` differs from the image or mask in ``path``, a NIfTI file turned to RAS or a picture.

    Returns:
        empty if it lies as it should; None if the file is no such file, or of another shape (resampled) or content.
    """
    if path.suffix.lower() in PICTURES:
        return _turned_picture(volume, path)
    if not path.name.endswith(NIFTI) or volume.label.ndim != 3:
        return None
    file: Any = nib.load(path)
    if len(file.shape) != 3:
        return None
    stored: Any = nib.as_closest_canonical(file)
    zooms = tuple(float(n) for n in stored.header.get_zooms()[:3])
    content = np.asanyarray(stored.dataobj)
    for target in (*volume.image, volume.label):
        way = _way(content, target)
        if way is not None and way != _ways(3)[0]:
            return _said(way)
        if way is not None and not np.allclose(zooms, volume.spacing, rtol=1e-3):
            return _spacing(zooms, volume.spacing)
        if way is not None:
            return ""
    if _is_permuted(volume.spacing, zooms):
        return _spacing(zooms, volume.spacing)
    return None


def _turned_picture(volume: Volume, path: Path) -> str | None:
    if volume.label.ndim != 2:
        return None
    for read, targets in ((read_picture, volume.image), (read_mask, volume.label[None])):
        try:
            content = read(path)
        except UserError:  # a mask of several values, say
            continue
        for layer, target in zip(content if content.ndim == 3 else content[None], targets, strict=False):
            way = _way(layer, target)
            if way is not None:
                return "" if way == _ways(2)[0] else _said(way)
    return None


def _spacing(header: tuple[float, ...], spacing: tuple[float, ...]) -> str:
    text = [" x ".join(f"{n:g}" for n in numbers) for numbers in (spacing, header)]
    return f"its spacing is {text[0]}, the header says {text[1]}"


def _is_permuted(spacing: tuple[float, ...], header: tuple[float, ...]) -> bool:
    """Whether voxel sizes are the header's in another order; resampling makes other ones."""
    alike = np.allclose(sorted(spacing), sorted(header), rtol=1e-3)
    return bool(alike) and not np.allclose(spacing, header, rtol=1e-3)


Way = tuple[tuple[int, ...], tuple[bool, ...]]


def _ways(axes: int) -> list[Way]:
    """Every order and mirroring of some axes, from none to all."""
    return [(order, flips) for order in permutations(range(axes)) for flips in product((False, True), repeat=axes)]


def _said(way: Way) -> str:
    order, flips = way
    mirrored = [axis for axis, flip in zip(AXES, flips, strict=False) if flip]
    text = "its axes are not in RAS order" if len(order) == 3 else "X does not run to the right and Y upwards"
    return text + (f": {', '.join(mirrored)} mirrored" if mirrored else "") + (
        f": {''.join(AXES[axis] for axis in order)} in place of {''.join(AXES[: len(order)])}"
        if order != tuple(range(len(order))) else ""
    )  # fmt: skip


def _turn(array: np.ndarray, way: Way) -> np.ndarray:
    order, flips = way
    return np.flip(array.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))


def _way(content: np.ndarray, target: np.ndarray) -> Way | None:
    """Return the first way of turning ``content`` that gives ``target``, or of which it is a part."""
    ways = _ways(target.ndim)
    if sorted(content.shape) == sorted(target.shape):
        return next((way for way in ways if _alike(_turn(content, way), target)), None)
    if any(n > most for n, most in zip(sorted(target.shape), sorted(content.shape), strict=True)):
        return None
    exact = content.astype(np.float32)
    # A voxel whose value is rare in the file tells where the part lies.
    inside = np.flatnonzero(target == (target.max() if target.max() != target.min() else np.nan))
    if not inside.size or np.count_nonzero(exact == target.flat[inside[0]]) > PLACES:
        return None
    mark = np.array(np.unravel_index(inside[0], target.shape))
    return next((way for way in ways if _holds(_turn(exact, way), target, mark)), None)


def _holds(content: np.ndarray, part: np.ndarray, mark: np.ndarray) -> bool:
    """Whether ``part`` is a block of ``content``; the voxel ``mark`` of it is of a rare value."""
    for place in np.argwhere(content == part[tuple(mark)]) - mark:
        if (place >= 0).all() and (place + part.shape <= content.shape).all():
            block = content[tuple(slice(start, start + n) for start, n in zip(place, part.shape, strict=True))]
            if np.array_equal(block, part):
                return True
    return False


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to a change of intensities that keeps their order, judged by correlation."""
    if a.shape != b.shape:
        return False
    step = tuple(slice(None, None, max(1, n // 64)) for n in a.shape)
    x, y = (array[step].astype(np.float64).ravel() for array in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return bool(size > 0 and (x @ y) / size > 0.999)
