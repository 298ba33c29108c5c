"""What the images and masks of a dataset show, and whether it is what their files hold."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from math import prod, sqrt
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from fedbench.data.folders import NIFTI
from fedbench.data.imaging import WHOLE
from fedbench.dataset import Case
from fedbench.testing.datasets.subject import FEW, Subject
from fedbench.testing.findings import Broken, NotApplicable, rule

VALUES = 32  # of a mask: an image has more
FEW_VALUES = 10  # of which a class may be made of up to four
SAME_SPACE = 0.1  # how far space may be off, relatively: resampling changes it, most of all of what is small
SAME_VALUE = 0.01  # how far values may be off, of the range of an image


@rule("images", "does a pattern such as *t1*.nii.gz match another file, too: t1ce, or the mask?")
def images(subject: Subject) -> str:
    """A patient's modalities show different images, and an image is more than its label."""
    owners: dict[tuple[str, bytes], Case] = {}
    few = subject.first(FEW)
    for case in few:
        volume = case.read()
        other = owners.setdefault((case.patient, hashlib.sha256(volume.image.tobytes()).digest()), case)
        if other.modality != case.modality:
            raise Broken(f"cases {other.id} and {case.id} have the same image")
        inside = [volume.image[:, volume.label == label] for label in np.unique(volume.label)]
        if all((values == values[:, :1]).all() for values in inside):
            raise Broken(f"case {case.id}: its image is its mask: it has one value per label")
    return f"{len(few)} images are other than their masks and than those of other modalities"


@rule(
    "masks", "resample labels by nearest neighbour, spacing with the grid, and map each value of the mask to its class."
)
def masks(subject: Subject) -> str:
    """Each class takes up as much space as the values of its NIfTI mask that it is made of."""
    d, few = subject.dataset, subject.first(FEW)
    here, there, voxels = (Counter[int]() for _ in range(3))
    cases = 0
    for case in few:
        volume = case.read()
        if volume.label.ndim == 3 and (held := _mask_of(case)):
            there.update(held)
            here.update(_space(volume.label, prod(volume.spacing)))
            voxels.update(_space(volume.label, 1))
            cases += 1
    if not cases:
        raise NotApplicable("no case has one NIfTI file that is a mask")
    used: set[int] = set()
    for label in sorted(here.keys() - {0}):
        values = _made_of(here[label], there, used, max(SAME_SPACE, 3 / sqrt(voxels[label])))
        if values is None:
            said = ", ".join(f"{value}: {_ml(space)}" for value, space in sorted(there.items()) if value)
            raise Broken(f"class '{d.classes[label - 1]}' takes up {_ml(here[label])}, the values of the masks {said}")
        used |= values
    left = sorted(there.keys() - used - {0})
    asked = f"; sure that {', '.join(map(str, left))} in the masks is background?" if left else ""
    return f"{cases} masks: every class takes up as much space as in the files{asked}"


def _mask_of(case: Case) -> dict[int, float] | None:
    """Return the space (mm3) that each value of a case's mask takes up; None where no one file is its mask."""
    found = [held for path in case.sources if path.name.endswith(NIFTI) and (held := _held(path))]
    return found[0] if len(found) == 1 else None


def _held(path: Path) -> dict[int, float] | None:
    """Return the space (mm3) that each value of a NIfTI mask takes up; None if the file is no mask."""
    file: Any = nib.load(path)
    stored = np.asanyarray(file.dataobj)
    if stored.ndim != 3 or not 0 <= stored.min() < stored.max() <= np.iinfo(np.uint16).max:
        return None
    whole = np.rint(stored)
    if np.abs(whole - stored).max() > WHOLE:
        return None
    held = _space(whole.astype(np.uint16), prod(voxel_sizes(file.affine)))
    return held if len(held) <= VALUES else None


def _space(label: np.ndarray, voxel: float) -> dict[int, float]:
    return {value: number * voxel for value, number in enumerate(np.bincount(label.ravel()).tolist()) if number}


def _made_of(space: float, there: Mapping[int, float], used: set[int], tolerance: float) -> set[int] | None:
    """Return which values of a mask together take up ``space``: as few as do, and not those ``used`` if others do."""
    for number in range(1, 5 if len(there) <= FEW_VALUES else 3):
        fits = [
            (round(abs(sum(there[value] for value in values) / space - 1), 3), len(used & set(values)), values)
            for values in combinations(sorted(there), number)
        ]
        off, _, best = min(fits, default=(1.0, 0, ()))
        if off <= tolerance:
            return set(best)
    return None


def _ml(space: float) -> str:
    return f"{space / 1000:.3g} ml"


@rule("values", "a window is in the image's own units: apply the header's slope and intercept, and normalise nothing.")
def values(subject: Subject) -> str:
    """Images that are clipped to a window hold the values of their NIfTI file, with its scale factors applied."""
    seen = 0
    for case in subject.first(FEW):
        files = [path for path in case.sources if path.name.endswith(NIFTI) and not _held(path)]
        if subject.dataset.intensity[case.modality].kind == "window" and len(files) == 1:
            image, file = case.read().image, nib.load(files[0])
            stored = np.asanyarray(file.dataobj)  # type: ignore[attr-defined]
            if stored.size != image.size:
                continue  # cropped or resampled
            low, high = float(image.min()), float(image.max())
            kept = np.clip(stored, low, high)  # an image may be clipped as it is read
            mine, its = (np.array([a.min(), a.max(), a.mean(dtype=np.float64)]) for a in (image, kept))
            if np.abs(mine - its).max() > SAME_VALUE * (high - low):
                here, there = (f"{least:g} to {most:g}" for least, most in ((low, high), (stored.min(), stored.max())))
                raise Broken(f"case {case.id}: its values are {here}, those of {files[0].name} {there}")
            seen += 1
    if not seen:
        raise NotApplicable("no modality with a window has NIfTI files of the shape of its volumes")
    return f"{seen} images hold the values of their files"


RULES = (images, masks, values)
