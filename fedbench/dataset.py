"""The dataset contract: what one file in ``datasets/`` declares and yields.

A dataset lists its cases lazily and reads one at a time. Splitting, resampling, normalising, caching and partitioning
belong to the harness (:mod:`fedbench.data.preparation`, :mod:`fedbench.federation`). Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fedbench.errors import UserError
from fedbench.parameters import Parameters, validate

TINY = 1e-6  # how far a constant image may seem to vary, of its largest value: by rounding


@dataclass(frozen=True)
class Volume:
    """One image with its label map on the same grid.

    Attributes:
        image: float32, ``(channels, X, Y, Z)`` or ``(channels, X, Y)``; 1 channel or 3 (RGB); raw intensities (HU, SUV,
            arbitrary MR units, 0-255).
        label: uint8, ``(X, Y, Z)`` or ``(X, Y)``; 0 is background, ``i + 1`` is ``Dataset.classes[i]``.
        spacing: size of a voxel in ``Dataset.unit``, one number per spatial axis. Axes in RAS order; of a single slice
            the two along which it extends (2-D volumes and 3-D ones do not mix in a set); of a picture, X runs to the
            right and Y upwards.
    """

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """One patient (or field of view) in one modality, read on demand.

    Attributes:
        patient: the statistical unit; the same person (or field of view) has the same name in every modality.
        modality: one of ``Dataset.modalities``.
        read: returns the :class:`Volume`; called once, when the dataset is prepared, perhaps in another thread.
        site: hospital or scanner, where known.
        sources: the files ``read`` opens; a change in any of them makes new runs. The harness checks that they are
            there, readable, not empty and not links out of the dataset's folder.
        part: tells the images of one patient in one modality apart, where there are several.
    """

    patient: str
    modality: str
    read: Callable[[], Volume]
    site: str = ""
    sources: tuple[Path, ...] = ()
    part: str = ""

    @property
    def id(self) -> str:
        """Unique within the dataset."""
        return f"{self.patient}/{self.modality}" + (f"/{self.part}" if self.part else "")


@dataclass(frozen=True)
class Intensity:
    """How raw intensities of one modality become network input: clipped, then mean 0 and variance 1 per volume.

    ``window``: clip to ``[low, high]`` in the image's own units (HU, SUV). ``percentile``: clip to the ``low``-th and
    ``high``-th percentile of the volume's voxels (MR, whose units mean nothing).
    """

    kind: Literal["window", "percentile"]
    low: float
    high: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        clipped = np.clip(image.astype(np.float64), *self.limits(image))
        deviation = float(clipped.std())
        if deviation < TINY and deviation <= TINY * float(np.abs(clipped).max()):  # constant, but for rounding
            deviation = TINY
        return ((clipped - clipped.mean()) / deviation).astype(np.float32)

    def limits(self, image: np.ndarray) -> tuple[float, float]:
        """Return what ``image`` is clipped to, in its own units."""
        if self.kind == "window":
            return self.low, self.high
        low, high = np.percentile(image, (self.low, self.high))
        return float(low), float(high)


class Dataset:
    """Base of every dataset plugin.

    Class attributes declare the set; :meth:`cases` lists what is there. ``needs_path`` datasets are given as
    ``-d name=PATH``; the others generate their images. A set whose modalities or classes depend on its folder sets
    these attributes on ``self`` in ``__init__``.
    """

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    regions: Mapping[str, tuple[int, ...]] = {}  # what is scored: name -> labels; empty: every class
    intensity: Mapping[str, Intensity]  # by modality
    spacing: tuple[float, ...]  # common grid of all modalities, in ``unit``
    unit: Literal["mm", "px"] = "mm"  # px: pictures of which nobody knows how large a pixel is
    size: tuple[int, ...]  # in-plane size of a 2-D training sample, voxels of the common grid
    mirror_axes: tuple[int, ...] = ()  # in-plane axes (0 = X, 1 = Y) along which a mirrored image is plausible
    needs_path: ClassVar[bool] = True
    licence: str = ""
    citation: str = ""
    where: str = ""  # where a user gets it, in words
    expected: str = ""  # what a complete copy holds, in words
    patient: str = "patient"  # what the statistical unit is, in words, such as: field of view
    caveats: str = ""  # what readers of scores must know of images and labels, in sentences; papers print it

    class Params(Parameters):
        """Parameters of the dataset; none by default."""

    def __init__(self, path: Path | str | None = None, **params: Any) -> None:
        self.params: Any = validate(self.Params, params, f"dataset '{self.name}'")
        if self.needs_path and path is None:
            raise UserError(f"dataset '{self.name}' needs its folder: write {self.name}=PATH. {self.where}".strip())
        if not self.needs_path and path is not None:
            raise UserError(f"dataset '{self.name}' is generated and takes no path; drop '={path}'.")
        self.path = Path(path).expanduser() if path is not None else None
        if self.path is not None and self.path.exists() and not self.path.is_dir():
            raise UserError(f"dataset '{self.name}': {self.path} is a file; give the folder that holds the data.")
        if self.path is not None and not self.path.is_dir():
            raise UserError(f"dataset '{self.name}': no such folder: {self.path}. {self.where}".strip())

    def cases(self) -> Iterable[Case | UserError]:
        """Yield every case, in a fixed order, without reading any image.

        Where something is wrong with one file, yield a :class:`UserError` that names it in place of the case, and go
        on: so a user sees all problems at once. An image without a mask is such a problem, and so is the reverse.

        Raises:
            UserError: nothing can be listed; the folder is not laid out as the dataset's docstring says.
        """
        raise NotImplementedError(f"dataset '{self.name}' must implement cases()")
