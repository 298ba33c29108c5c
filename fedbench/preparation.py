"""Raw cases -> a prepared store, once: common grid, normalised intensities, arrays that can be memory-mapped.

Layout of a prepared dataset: ``manifest.json`` (last written, so its presence means complete) and per case
``<number>.image.npy`` float32 ``(Z, C, X, Y)`` and ``<number>.label.npy`` uint8 ``(Z, X, Y)``; a 2-D image has Z = 1.
Slices come first so that one slice is one contiguous read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from fedbench.config import digest
from fedbench.dataset import Case, Dataset, Volume
from fedbench.errors import UserError
from fedbench.files import locked, write_text

FORMAT = 3


@dataclass(frozen=True)
class PreparedCase:
    """One case of a prepared store; arrays are memory-mapped when asked for.

    Attributes:
        spacing: mm per voxel, one number per spatial axis (X, Y[, Z]).
        content: sha256 of both arrays.
    """

    id: str
    patient: str
    modality: str
    site: str
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    content: str
    stem: str

    @cached_property
    def image(self) -> np.ndarray:
        """float32 ``(Z, C, X, Y)``, read-only."""
        return np.load(f"{self.stem}.image.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def label(self) -> np.ndarray:
        """uint8 ``(Z, X, Y)``, read-only."""
        return np.load(f"{self.stem}.label.npy", mmap_mode="r", allow_pickle=False)

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k not in ("image", "label")}


@dataclass(frozen=True)
class PreparedDataset:
    """All cases of one dataset on a common grid, with a digest of their content."""

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    size: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    regions: dict[str, tuple[int, ...]]
    channels: int
    cases: tuple[PreparedCase, ...]
    content: str


def resample(volume: Volume, spacing: tuple[float, ...]) -> Volume:
    """Return ``volume`` on a grid of the given spacing (mm): image linear, label nearest, edges aligned.

    An axis that gets coarser is low-pass filtered first (Gaussian, sigma = half the excess factor), or linear
    interpolation would alias.
    """
    if len(spacing) != len(volume.spacing):
        raise ValueError(f"spacing {spacing} has not the {len(volume.spacing)} axes of the volume")
    factor = np.asarray(spacing) / np.asarray(volume.spacing)
    if np.allclose(factor, 1.0, rtol=1e-3):
        return volume
    shape = tuple(max(1, round(n / f)) for n, f in zip(volume.label.shape, factor, strict=True))
    offset = 0.5 * factor - 0.5  # voxel centres, not corners, so that both grids cover the same space
    sigma = np.maximum(factor - 1.0, 0.0) / 2.0

    def linear(channel: np.ndarray) -> np.ndarray:
        smooth = ndimage.gaussian_filter(channel, sigma, mode="nearest") if sigma.any() else channel
        return ndimage.affine_transform(smooth, factor, offset, shape, order=1, mode="nearest")

    image = np.stack([linear(channel) for channel in volume.image])
    label = ndimage.affine_transform(volume.label, factor, offset, shape, order=0, mode="nearest")
    return Volume(image.astype(np.float32), label.astype(np.uint8), tuple(float(s) for s in spacing))


def _check(case: Case, volume: Volume, dataset: Dataset, grid: tuple[float, ...]) -> None:
    where = f"dataset '{dataset.name}', case {case.id}" + (f" ({case.sources[0]})" if case.sources else "")
    if volume.image.shape[1:] != volume.label.shape:
        raise UserError(f"{where}: image {volume.image.shape[1:]} and mask {volume.label.shape} differ in shape.")
    axes = volume.label.ndim
    if len(volume.spacing) != axes or len(grid) < axes:
        raise UserError(
            f"{where}: {axes} axes, spacing {volume.spacing}, [data] spacing {grid}; give one number per axis."
        )
    bad = int(np.count_nonzero(~np.isfinite(volume.image)))
    if bad:
        raise UserError(f"{where}: {bad} voxels are NaN or infinite; repair or remove the image.")
    unexpected = sorted(set(np.unique(volume.label).tolist()) - set(range(len(dataset.classes) + 1)))
    if unexpected:
        raise UserError(f"{where}: unexpected labels {unexpected}; allowed are 0..{len(dataset.classes)}.")


def _slices_first(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    image, label = volume.image, volume.label
    if label.ndim == 2:
        image, label = image[..., None], label[..., None]
    return np.ascontiguousarray(np.moveaxis(image, -1, 0)), np.ascontiguousarray(np.moveaxis(label, -1, 0), np.uint8)


def _source_stamp(cases: Iterable[Case], *, checksum: bool) -> dict[str, list[object]]:
    """Path -> [size, mtime_ns(, sha256)] of every source file."""
    stamp: dict[str, list[object]] = {}
    for path in sorted({path for case in cases for path in case.sources}):
        status = path.stat()
        stamp[str(path)] = [status.st_size, status.st_mtime_ns]
        if checksum:
            stamp[str(path)].append(hashlib.sha256(path.read_bytes()).hexdigest())
    return stamp


def prepare(dataset: Dataset, code: str, cache: Path, spacing: tuple[float, ...] | None = None) -> Path:
    """Return the folder of the prepared ``dataset``, making it under ``cache`` unless it is there already.

    Args:
        code: digest of the dataset plugin's source; a changed plugin is prepared anew.
        spacing: common grid in mm; None takes ``dataset.spacing``.

    Raises:
        UserError: a case cannot be read, or image and mask do not fit; nothing is left behind.
    """
    cases: list[Case] = []
    for found in dataset.cases():
        if isinstance(found, UserError):
            raise found
        cases.append(found)
    for case in cases:
        if case.modality not in dataset.modalities:
            raise UserError(f"dataset '{dataset.name}', case {case.id}: modality '{case.modality}' is not declared.")
    if not cases:
        raise UserError(f"dataset '{dataset.name}': no cases found in {dataset.path}.")
    ids = [case.id for case in cases]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise UserError(f"dataset '{dataset.name}': case listed twice: {', '.join(twice[:5])}.")
    grid = tuple(spacing or dataset.spacing)
    stamp = _source_stamp(cases, checksum=False)
    key = digest([FORMAT, dataset.name, dataset.params.model_dump(), str(dataset.path), code, list(grid), ids, stamp])
    folder = cache / f"{dataset.name}-{key[:12]}"
    with locked(cache / f"{folder.name}.lock"):
        if not (folder / "manifest.json").exists():
            _write(dataset, cases, grid, folder)
    return folder


def _write(dataset: Dataset, cases: list[Case], grid: tuple[float, ...], folder: Path) -> None:
    for stale in (folder, *folder.parent.glob(f".{folder.name}.*")):  # what a killed process left; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    work.chmod(0o755)
    try:
        records = [_write_case(dataset, case, grid, work / f"{number:05d}") for number, case in enumerate(cases)]
        manifest = {
            "format": FORMAT,
            "name": dataset.name,
            "modalities": list(dataset.modalities),
            "classes": list(dataset.classes),
            "size": list(dataset.size),
            "mirror_axes": list(dataset.mirror_axes),
            "regions": dict(dataset.regions) or {name: (i + 1,) for i, name in enumerate(dataset.classes)},
            "channels": _common_channels(dataset, records),
            "content": digest(sorted([r["id"], r["patient"], r["site"], r["content"]] for r in records)),
            "sources": _source_stamp(cases, checksum=True),
            "cases": records,
        }
        write_text(work / "manifest.json", json.dumps(manifest, indent=1))
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _common_channels(dataset: Dataset, records: list[dict[str, Any]]) -> int:
    channels = {record.pop("channels"): record["id"] for record in records}
    if len(channels) > 1:
        examples = ", ".join(f"{name} has {n}" for n, name in sorted(channels.items()))
        raise UserError(f"dataset '{dataset.name}': images differ in channels ({examples}); make them all alike.")
    return next(iter(channels))


def _write_case(dataset: Dataset, case: Case, grid: tuple[float, ...], stem: Path) -> dict[str, Any]:
    volume = case.read()
    _check(case, volume, dataset, grid)
    spacing = grid[: volume.label.ndim]
    volume = resample(volume, spacing)
    normalise = dataset.intensity[case.modality]
    image, label = _slices_first(Volume(normalise(volume.image), volume.label, spacing))
    np.save(f"{stem}.image.npy", image)
    np.save(f"{stem}.label.npy", label)
    return {
        "id": case.id,
        "patient": case.patient,
        "modality": case.modality,
        "site": case.site,
        "spacing": list(spacing),
        "shape": list(volume.label.shape),
        "content": hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest(),
        "stem": stem.name,
        "channels": image.shape[1],
    }


def load(folder: Path) -> PreparedDataset:
    """Open a prepared store; no array is read."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cases = []
    for record in manifest["cases"]:
        fields = record | {"spacing": tuple(record["spacing"]), "shape": tuple(record["shape"])}
        cases.append(PreparedCase(**fields | {"stem": str(folder / record["stem"])}))
    return PreparedDataset(
        name=manifest["name"],
        modalities=tuple(manifest["modalities"]),
        classes=tuple(manifest["classes"]),
        size=tuple(manifest["size"]),
        mirror_axes=tuple(manifest["mirror_axes"]),
        regions={name: tuple(labels) for name, labels in manifest["regions"].items()},
        channels=manifest["channels"],
        cases=tuple(cases),
        content=manifest["content"],
    )


def describe(case: PreparedCase) -> dict[str, object]:
    """Return the fields of a case that identify it in a digest (not where it lies)."""
    return {k: v for k, v in asdict(case).items() if k != "stem"}
