"""Reading NIfTI images and their masks: one orientation, checked, every problem a message that names the file.

Format: NIfTI-1 and NIfTI-2 in one file (``.nii``, ``.nii.gz``), https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from fedbench.dataset import Volume
from fedbench.errors import UserError

GRID_TOLERANCE = 0.1  # of the smallest voxel size: how far corners of image and mask may lie apart
WHOLE = 0.01  # how far a value of a mask may be from a whole number: what scale factors and 32 bits leave
SHEAR = 1.0  # degrees: how far the angles between axes may be from right ones
UNITS = {1: 1e3, 3: 1e-3}  # mm in what a header counts in, by its code: metres, microns; else mm
SLACK = 2**20  # bytes that a compressed file may unpack to beyond what its header says
FORMATS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by header size, the first field of the header


def read_nifti(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Read an image, reoriented to the closest of the RAS axes; nothing is resampled.

    Args:
        path: a single-file NIfTI, compressed or not. Trailing axes of length 1 are dropped.

    Returns:
        The voxels ``(X, Y, Z)``, of a single slice with one axis of length 1, integers as stored and everything else
        float32; and the affine, 4 x 4 float64, from voxel indices to mm.

    Raises:
        UserError: the file is missing, damaged, not NIfTI or neither 2-D nor 3-D, its axes are not at right angles, or
            a voxel is NaN or infinite.
    """
    return to_ras(*_read(Path(path)))


def to_ras(array: np.ndarray, affine: np.ndarray, source: Path | str = "the image") -> tuple[np.ndarray, np.ndarray]:
    """Turn ``(I, J, K)`` and its 4 x 4 affine (voxel to RAS mm) to the closest RAS axes; nothing is resampled.

    Raises:
        UserError: the axes are not at right angles, so that no voxel sizes describe the grid; it names ``source``.
    """
    _require_right_angles(affine, source)
    array, affine = _turn(array, affine, io_orientation(affine))
    return np.ascontiguousarray(array), affine


def affine_of(image: nib.Nifti1Image) -> np.ndarray:
    """Return the 4 x 4 affine of a NIfTI image, in mm whatever its header counts in.

    A flat image ``(X, Y)`` is as if it were 1 mm thick: few headers say.
    """
    affine = np.array(image.affine, np.float64)
    affine[:3] *= UNITS.get(int(image.header["xyzt_units"]) % 8, 1.0)
    if len(image.shape) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    return affine


def extent(shape: Sequence[int]) -> list[int]:
    """Return the axes along which ``(X, Y, Z)`` extends: the two others if exactly one has length 1, else all."""
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    return axes if len(axes) == 2 else [0, 1, 2]


def as_volume(image: np.ndarray, label: np.ndarray, affine: np.ndarray) -> Volume:
    """Make a :class:`Volume` of image and label ``(X, Y, Z)`` in RAS order; a single slice is a 2-D one.

    Along the axis it lacks, a slice has no surface, and what headers say of its thickness is often made up.
    """
    axes, spacing = extent(image.shape), voxel_sizes(affine)
    shape = [image.shape[axis] for axis in axes]
    return Volume(
        image.astype(np.float32, copy=False).reshape(1, *shape), label.reshape(shape),
        tuple(float(spacing[axis]) for axis in axes),
    )  # fmt: skip


def read_pair(image_path: Path | str, mask_path: Path | str, labels: Sequence[int] | Mapping[int, int]) -> Volume:
    """Read an image and its mask.

    Args:
        image_path: see :func:`read_nifti`.
        mask_path: on the grid of the image; it may be stored in another orientation.
        labels: the values in the mask file, in the order of the classes: ``labels[i]`` becomes ``i + 1``. Or a mapping
            from value in the file to label. 0 is background unless mapped.

    Returns:
        Image float32 ``(1, X, Y, Z)``, label uint8 ``(X, Y, Z)``, spacing in mm; axes in RAS order. Of a single slice
        image and label are 2-D, with the two axes along which it extends: of a sagittal one Y and Z.

    Raises:
        UserError: a file cannot be read (:func:`read_nifti`), the grids differ, or the mask holds other values.
        ValueError: ``labels`` gives a value twice, or a label outside 0-255.
    """
    image_path, mask_path = Path(image_path), Path(mask_path)
    (image, affine), (mask, mask_affine) = _read(image_path), _read(mask_path)
    # To the axes of the image as stored, and only with them to RAS: of two grids that lie at 45 degrees and differ by a
    # rounding, each on its own may turn another way.
    mask, mask_affine = _turn(mask, mask_affine, io_orientation(np.linalg.solve(affine, mask_affine)))
    if image.shape != mask.shape:
        raise UserError(
            f"{mask_path}: the mask is {_by(mask.shape)} voxels, its image {image_path} {_by(image.shape)}: "
            "resample the mask onto the image, or give the mask that belongs to it."
        )
    corners = np.stack(
        np.meshgrid(*((-0.5, size - 0.5) if size > 1 else (0.0,) for size in image.shape)), axis=-1
    ).reshape(-1, 3)
    apart = np.linalg.norm(apply_affine(affine, corners) - apply_affine(mask_affine, corners), axis=1).max()
    if apart > GRID_TOLERANCE * voxel_sizes(affine)[extent(image.shape)].min():
        raise UserError(
            f"{mask_path}: the mask lies up to {apart:.3g} mm away from its image {image_path}: their affines differ. "
            "Resample the mask onto the image, or copy the image's affine if only the header is wrong."
        )
    (image, turned), (mask, _) = to_ras(image, affine), to_ras(mask, affine)
    return as_volume(image, relabel(mask, labels, mask_path), turned)


def relabel(mask: np.ndarray, labels: Sequence[int] | Mapping[int, int], path: Path) -> np.ndarray:
    """Return ``mask`` with the values of a file turned into labels, uint8; ``labels`` as in :func:`read_pair`.

    Values within 0.01 of a whole number are that number: masks are also stored with a scale factor.

    Raises:
        UserError: the mask holds other values; the message names ``path``.
    """
    table = _table(labels)
    values = np.unique(np.concatenate([np.unique(plane) for plane in mask]))  # by plane: a sort of all costs seconds
    whole = np.rint(values)
    odd = values[np.abs(values - whole) > WHOLE]
    if odd.size:
        raise UserError(f"{path}: a mask holds whole numbers, this one also {_some(odd)}; was it interpolated?")
    if (values != whole).any():
        mask, values = np.rint(mask), np.unique(whole)
    unknown = [value for value in map(int, values) if value not in table]
    if unknown:
        hint = " (many programs save a mask of one class as 0 and 255)" if 255 in unknown else ""
        raise UserError(
            f"{path}: it holds {_some(unknown)}{hint}, only {_some(sorted(table))} are allowed: correct it."
        )
    label = np.zeros(mask.shape, np.uint8)
    for value in map(int, values):
        if table[value]:
            label[mask == value] = table[value]
    return label


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels ``(I, J, K)`` and affine as stored, otherwise as :func:`read_nifti`."""
    image = _parse(path, _content(path))
    shape = image.shape if len(image.shape) != 2 else (*image.shape, 1)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"{path}: needs a 2-D or 3-D image, this one is {_by(image.shape)}; give one volume per file.")
    array, affine = np.asanyarray(image.dataobj).reshape(shape), affine_of(image)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: needs one number per voxel, not {array.dtype} (colour or complex); convert it.")
    _require_right_angles(affine, path)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is refused next
            array = array.astype(np.float32)
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise UserError(f"{path}: {bad} of {array.size} voxels are NaN or infinite; replace them and save again.")
    return array, affine


def _turn(array: np.ndarray, affine: np.ndarray, orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return apply_orientation(array, orientation), affine @ inv_ornt_aff(orientation, array.shape)


def _require_right_angles(affine: np.ndarray, source: Path | str) -> None:
    axes = affine[:3, :3] / voxel_sizes(affine)
    off = np.degrees(np.arcsin(min(1.0, np.abs(axes.T @ axes)[np.triu_indices(3, 1)].max())))
    if off > SHEAR:
        raise UserError(
            f"{source}: its axes are not at right angles but {off:.1f} degrees off (a tilted gantry?); resample it "
            "onto a rectangular grid first."
        )


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        packed = content[:2] == b"\x1f\x8b"
        known = packed or _reader(content) is not None
        if known and packed != (path.suffix == ".gz"):  # other programs, and nibabel, go by the name
            raise UserError(
                f"{path}: its name says that it is {'un' * packed}compressed, its content is "
                f"{'un' * (not packed)}compressed; rename it."
            )
        return _unpacked(path, content) if packed else content
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: cut short or damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _unpacked(path: Path, content: bytes) -> bytes:
    """Unpack as a whole: only at the end does gzip compare the checksum, without which a flipped bit goes unseen."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        unpacked = stream.read(max(FORMATS))
        needed = _length(unpacked) - len(unpacked)
        unpacked += stream.read(max(0, needed) + SLACK)
        if stream.read(1):
            raise UserError(f"{path}: it unpacks to more than its header says; copy or download it again.")
    return unpacked


def _length(content: bytes) -> int:
    """Return how many bytes a header says that there are; 0 where it says nothing that can be understood."""
    reader = _reader(content)
    if reader is None:
        return 0
    try:
        header = reader.header_class(content[: reader.header_class.sizeof_hdr], check=False)
        return int(header["vox_offset"]) + prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    except Exception:  # as in _parse, which then says that the header is damaged
        return 0


def _reader(content: bytes) -> type[nib.Nifti1Image] | None:
    sizes = (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
    return FORMATS.get(sizes[0]) or FORMATS.get(sizes[1])


def _parse(path: Path, content: bytes) -> nib.Nifti1Image:
    if not content:
        raise UserError(f"{path}: the file is empty; copy or download it again.")
    reader = _reader(content)
    if reader is None:
        raise UserError(f"{path}: not a NIfTI file (.nii or .nii.gz); convert it first.")
    try:
        stored = reader.header_class(content[: reader.header_class.sizeof_hdr], check=False)
        _require_voxel_sizes(path, stored)
        image = reader.from_bytes(content)
        affine = affine_of(image)
        _require_one_size(path, image, stored)
        singular = not np.isfinite(affine).all() or not np.isfinite(io_orientation(affine)).all()
    except UserError:
        raise
    except Exception as error:  # nibabel answers damaged headers with many types: KeyError, ValueError, its own
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its NIfTI header is damaged ({reason}); copy or download it again.") from None
    proxy: Any = image.dataobj
    needed = proxy.offset + prod(image.shape) * image.get_data_dtype().itemsize
    if len(content) < needed:
        raise UserError(f"{path}: cut short: {len(content)} of {needed} bytes; copy or download it again.")
    if singular:
        raise UserError(f"{path}: its affine gives no voxel sizes; write a valid sform or qform to its header.")
    return image


def _require_voxel_sizes(path: Path, header: nib.Nifti1Header) -> None:
    """Refuse voxel sizes that are none, in a header as stored: nibabel replaces 0 by 1 mm and drops a minus sign.

    Only where they are used: a header with an sform has its voxel sizes from that, and a slice has no thickness.
    """
    if header["sform_code"] != 0:
        return
    shape = [*header.get_data_shape(), 1, 1][:3]
    for axis in extent(shape):
        size = float(header["pixdim"][axis + 1])
        if not 0 < size < np.inf:
            raise UserError(
                f"{path}: its header says that voxels are {size:g} mm wide along axis {axis + 1} (pixdim[{axis + 1}]), "
                "and has no sform; write the true voxel size to its header, or a valid sform."
            )


def _require_one_size(path: Path, image: nib.Nifti1Image, stored: nib.Nifti1Header) -> None:
    """Refuse a header whose qform and sform give other voxel sizes: nobody can say which of them is true.

    Only where both say something: a size of 0 says nothing (``stored``: the header without nibabel's repairs).
    """
    if not (stored["qform_code"] > 0 and stored["sform_code"] > 0):
        return
    axes = [axis for axis in extent([*image.shape, 1, 1][:3]) if 0 < stored["pixdim"][axis + 1] < np.inf]
    one, other = (voxel_sizes(affine)[axes] for affine in (image.get_qform(), image.get_sform()))
    if not np.allclose(one, other, rtol=WHOLE, atol=0, equal_nan=True):
        sizes = [" x ".join(f"{size:.4g}" for size in each) for each in (one, other)]
        raise UserError(
            f"{path}: its header gives two voxel sizes, {sizes[0]} (qform) and {sizes[1]} (sform); correct the one "
            "that is wrong, or set its code to 0."
        )


def _table(labels: Sequence[int] | Mapping[int, int]) -> dict[int, int]:
    pairs = labels.items() if isinstance(labels, Mapping) else [(value, i) for i, value in enumerate(labels, start=1)]
    table = {int(value): int(label) for value, label in pairs}
    if len(table) != len(labels) or any(not 0 <= label <= 255 for label in table.values()):
        raise ValueError(f"labels must be distinct and become 0 to 255: {labels!r}")
    if not isinstance(labels, Mapping) and 0 in table:
        raise ValueError(f"labels lists classes; 0 is the background: {labels!r}")
    return {0: 0} | table


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _some(values: Sequence[float] | np.ndarray) -> str:
    more = f" and {len(values) - 10} more" if len(values) > 10 else ""
    return ", ".join(f"{value:.6g}" for value in values[:10]) + more
