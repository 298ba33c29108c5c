"""Reading a DICOM series of one slice per file: ordered by position, in physical units, every problem a message.

Format: https://www.dicomstandard.org/current, PS3.3 C.7.6.2 (where a slice lies) and C.11.1 (what its numbers mean).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_rescale, get_decoder

from fedbench.data.folders import content_of
from fedbench.errors import UserError

GAP_TOLERANCE = 0.1  # of the distance between slices: how far one may lie from its place in an even stack
ALIKE = 1e-3  # how far pixel spacing (relative) and direction cosines may differ within a series
SAME_PLACE = 1e-3  # mm

# pydicom warns of every oddity of a header; what is used of it is checked here. For the whole process, and once:
# warnings.catch_warnings is not thread-safe.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
logging.getLogger("pydicom").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Series:
    """A stack of slices as stored. ``imaging.to_ras(series.array, series.affine)`` turns it to RAS, and so a mask.

    Attributes:
        files: one per slice, in the order of the third axis.
        array: float32 ``(I, J, K)``. I counts the columns of a slice, J its rows, K the slices: ``array[:, :, k]`` is
            the picture ``(rows, columns)`` in ``files[k]``, transposed. Rescaled as the file says; in CT to HU.
        affine: 4 x 4 float64, from voxel indices to mm, RAS. A tilted gantry shows as a shear, which ``to_ras``
            refuses: pass it the folder as ``source``, and its message names it.
    """

    files: tuple[Path, ...]
    array: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class _Slice:
    path: Path
    series: str
    position: np.ndarray  # (3,) mm, LPS: centre of the first pixel
    axes: np.ndarray  # (2, 3) LPS: along a row, down a column
    spacing: np.ndarray  # (2,) mm: between rows, between columns
    depth: float | None  # mm: what the header says of the distance to the next slice
    pixels: np.ndarray  # float32 (rows, columns)


def read_series(files: Sequence[Path | str]) -> Series:
    """Read the slices of one series, in any order; names and instance numbers do not matter.

    Slices are ordered by their position along their common normal, and their distance is that of their positions; only
    of a single slice it is what the header says. Slices may be oblique. May be called from several threads.

    Raises:
        UserError: a file is no DICOM image of one grey slice, is damaged, cut short or compressed in a way for which no
            decoder is installed; it does not say where its slice lies; or the slices are not one even stack (several
            series, sizes, spacings or directions, one slice twice, one missing).
        ValueError: ``files`` is empty.
    """
    if not files:
        raise ValueError("a series has at least one file")
    slices = [_read(Path(file)) for file in files]
    for other in slices[1:]:
        _require_alike(other, slices[0])
    normal = np.cross(*slices[0].axes)
    slices.sort(key=lambda slice: float(slice.position @ normal))
    first = slices[0]
    affine = np.eye(4)
    affine[:3] = np.column_stack([*(first.axes * first.spacing[::-1, None]), _step(slices, normal), first.position])
    affine[:2] *= -1  # LPS to RAS
    return Series(tuple(slice.path for slice in slices), np.stack([slice.pixels for slice in slices]).T, affine)


def _read(path: Path) -> _Slice:
    content = content_of(path)
    try:
        return _slice(path, dcmread(BytesIO(content)))
    except UserError:
        raise
    except InvalidDicomError:
        raise UserError(f"{path}: not a DICOM file; remove it, or copy or download it again.") from None
    except Exception as error:  # pydicom answers damaged files with many types: ValueError, AttributeError, zlib's own
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: damaged DICOM ({reason}); copy or download it again.") from None


def _slice(path: Path, dataset: Dataset) -> _Slice:
    if "PixelData" not in dataset:
        raise UserError(f"{path}: no PixelData: it is cut short or no image; download it again, or remove it.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UserError(f"{path}: a multi-frame image ({frames} frames); convert it to one file per slice.")
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise UserError(f"{path}: a colour image; only grey ones, one number per pixel, can be read.")
    position = _numbers(path, dataset, "ImagePositionPatient", 3)
    axes = _numbers(path, dataset, "ImageOrientationPatient", 6).reshape(2, 3)
    spacing = _numbers(path, dataset, "PixelSpacing", 2)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=0.01):
        raise UserError(f"{path}: ImageOrientationPatient is not two perpendicular directions; export it again.")
    if spacing.min() <= 0:
        raise UserError(f"{path}: PixelSpacing is not positive; export it again.")
    series = str(dataset.get("SeriesInstanceUID", ""))
    return _Slice(path, series, position, axes, spacing, _depth(dataset), _pixels(path, dataset))


def _numbers(path: Path, dataset: Dataset, name: str, count: int) -> np.ndarray:
    try:
        values = np.atleast_1d(np.asarray(dataset.get(name), np.float64))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise UserError(f"{path}: {name} is missing or damaged, so where the slice lies is unknown; export it again.")
    return values


def _depth(dataset: Dataset) -> float | None:
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        try:
            mm = float(dataset.get(name))
        except (TypeError, ValueError):  # missing or damaged; it matters for a single slice only
            continue
        if 0 < mm < np.inf:
            return mm
    return None


def _pixels(path: Path, dataset: Dataset) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UserError(f"{path}: stored as {syntax.name!r}, which cannot be read; decompress the files.") from None
    if not decoder.is_available:
        ways = [way.split(" requires ")[-1] for way in decoder.missing_dependencies]
        way = next((way for way in ways if "pylibjpeg" in way), ways[0])
        raise UserError(f"{path}: compressed as {syntax.name}; to read that, install {way}, or decompress the files.")
    shape = (int(dataset.Rows), int(dataset.Columns))
    if not syntax.is_encapsulated:
        row = shape[1] * int(dataset.BitsAllocated) // 8
        held, needed = len(dataset.PixelData), shape[0] * row
        if held < needed:
            raise UserError(f"{path}: cut short: {held} of {needed} bytes of pixels; copy or download it again.")
        if held >= needed + row:  # less is padding
            raise UserError(f"{path}: {held} bytes of pixels, its header says {needed}; copy or download it again.")
    stored = dataset.pixel_array
    if stored.shape != shape:
        raise UserError(f"{path}: its pixels are {stored.shape}, its header says {shape}; copy or download it again.")
    missing = [name for name in ("RescaleSlope", "RescaleIntercept") if name not in dataset]
    if len(missing) == 1:  # then neither would be applied
        raise UserError(f"{path}: it lacks {missing[0]}, which its values cannot be rescaled without; export it again.")
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is refused next
        pixels = apply_rescale(stored, dataset).astype(np.float32)
    bad = pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
    if bad:
        raise UserError(f"{path}: {bad} pixels are NaN or infinite once rescaled; export it again.")
    return pixels


def _require_alike(other: _Slice, first: _Slice) -> None:
    if other.series != first.series:
        raise UserError(
            f"{other.path}: it belongs to another series (SeriesInstanceUID) than {first.path}; keep one per folder."
        )
    for what, a, b, alike in (
        ("size (rows, columns)", other.pixels.shape, first.pixels.shape, other.pixels.shape == first.pixels.shape),
        ("PixelSpacing", other.spacing, first.spacing, np.allclose(other.spacing, first.spacing, rtol=ALIKE, atol=0)),
        ("ImageOrientationPatient", other.axes, first.axes, np.allclose(other.axes, first.axes, rtol=0, atol=ALIKE)),
    ):
        if not alike:
            raise UserError(
                f"{other.path}: its {what} is {_list(a)}, that of {first.path} {_list(b)}; "
                "the slices of a series are alike: remove what does not belong to it."
            )


def _step(slices: Sequence[_Slice], normal: np.ndarray) -> np.ndarray:
    """Return the way from one slice to the next ``(3,)`` in mm, LPS; ``slices`` are in order."""
    if len(slices) == 1:
        if slices[0].depth is None:
            raise UserError(
                f"{slices[0].path}: a single slice without SpacingBetweenSlices or SliceThickness; add the others."
            )
        return normal * slices[0].depth
    places = np.array([slice.position for slice in slices])
    gaps = np.diff(places @ normal)
    closest = int(gaps.argmin())
    if gaps[closest] < SAME_PLACE:
        raise UserError(
            f"{slices[closest].path} and {slices[closest + 1].path} lie at the same position: "
            "one is a copy, or two series are mixed; keep one."
        )
    usual = np.sort(gaps)[(len(gaps) - 1) // 2]  # of an even number the smaller: of 3 and 6 mm, 6 is the gap
    step = (places[-1] - places[0]) / len(gaps)
    off = np.linalg.norm(places - places[0] - np.arange(len(slices))[:, None] * step, axis=1)
    if off.max() > GAP_TOLERANCE * usual:
        odd = int(np.abs(gaps - usual).argmax())
        if abs(gaps[odd] - usual) > GAP_TOLERANCE * usual:
            raise UserError(
                f"{slices[odd].path} and {slices[odd + 1].path} are {gaps[odd]:.4g} mm apart, other slices "
                f"{usual:.4g} mm: a slice is missing, or they are not evenly spaced; add it, or resample the series."
            )
        raise UserError(
            f"{slices[int(off.argmax())].path}: it lies {off.max():.3g} mm off the line on which the slices of its "
            "series lie; remove what does not belong to it, or resample the series."
        )
    return step


def _list(values: Sequence[float] | np.ndarray) -> str:
    return "\\".join(f"{value:g}" for value in np.ravel(values))
