"""A prepared store, as runs read it: arrays that can be memory-mapped, a manifest, and the digest of its content.

Layout: per case ``<number>.image.npy`` float32 ``(Z, C, X, Y)`` and ``<number>.label.npy`` uint8 ``(Z, X, Y)`` (a 2-D
image has Z = 1; slices come first so that one slice is one contiguous read); ``manifest.parquet``, a row per case with
the checksums of its files; ``dataset.json``, what holds for all cases. It is written last: with it a store is complete.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fedbench.config import EARLIER
from fedbench.errors import UserError
from fedbench.files import sha256
from fedbench.reading import map_array, plain_name, read_table

FORMAT = 4
MANIFEST = "manifest.parquet"
FACTS = "dataset.json"
TUPLES, TEXTS = ("spacing", "shape", "voxels"), ("id", "patient", "modality", "site", "content")  # of a case
MAPS = 256  # arrays mapped at a time: each holds an open file, and a process may have about a thousand


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """One case of a prepared store.

    Attributes:
        spacing: size of a voxel in ``unit``, one number per spatial axis (X, Y[, Z]).
        shape: voxels per spatial axis.
        content: sha256 of both arrays.
        stem: where the arrays lie, without ``.image.npy``.
        channels: what :attr:`image` has; a grey image among colour images shows its one channel three times.
        voxels: how many voxels each class has, by label from 1.
    """

    id: str
    patient: str
    modality: str
    site: str
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    content: str
    stem: str
    unit: str = "mm"
    channels: int = 1
    voxels: tuple[int, ...] = ()

    @property
    def image(self) -> np.ndarray:
        """float32 ``(Z, C, X, Y)``, read-only, memory-mapped."""
        stored = _mapped(f"{self.stem}.image.npy")
        return (
            np.broadcast_to(stored, (len(stored), self.channels, *stored.shape[2:])) if self.channels == 3 else stored
        )

    @property
    def label(self) -> np.ndarray:
        """uint8 ``(Z, X, Y)``, read-only, memory-mapped."""
        return _mapped(f"{self.stem}.label.npy")


def _mapped(file: str) -> np.ndarray:
    try:
        return _recently_mapped(file, os.stat(file).st_mtime_ns)
    except FileNotFoundError:
        raise UserError(f"{file} is missing; prepare the data again.") from None


@lru_cache(maxsize=MAPS)
def _recently_mapped(file: str, _changed: int) -> np.ndarray:
    return map_array(file)


@dataclass(frozen=True)
class PreparedDataset:
    """All cases of one dataset on a common grid, with a digest of their content and of what was declared."""

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    size: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    regions: dict[str, tuple[int, ...]]
    channels: int
    cases: tuple[PreparedCase, ...]
    content: str
    unit: str = "mm"
    label_resampling: str = "nearest"


def is_store(folder: Path) -> bool:
    """Say whether ``folder`` is a complete prepared store."""
    return (folder / FACTS).is_file() and (folder / MANIFEST).is_file()


def load(folder: Path) -> PreparedDataset:
    """Open a prepared store; no array is read.

    Raises:
        UserError: it is damaged, of another version of fedbench, or lacks arrays.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        records = _read_manifest(folder, *TUPLES, *TEXTS)
        if facts["format"] != FORMAT:
            raise UserError(f"{folder}: prepared by another version of fedbench; prepare the data again.")
        shared = {"unit": facts["unit"], "channels": facts["channels"]}
        cases = tuple(_case(folder, record, shared) for record in records)
        return PreparedDataset(
            name=facts["name"],
            modalities=tuple(facts["modalities"]),
            classes=tuple(facts["classes"]),
            size=tuple(facts["size"]),
            mirror_axes=tuple(facts["mirror_axes"]),
            regions={name: tuple(labels) for name, labels in facts["regions"].items()},
            channels=facts["channels"],
            cases=cases,
            content=facts["content"],
            unit=facts["unit"],
            label_resampling=facts.get("label_resampling", EARLIER["data"]["label_resampling"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{folder}: not a whole prepared store ({reason}); delete it and prepare again.") from None


def _read_manifest(folder: Path, *columns: str) -> list[dict[str, Any]]:
    """Return ``stem`` and these columns of the manifest's rows; lists are lists.

    Raises:
        UserError: it is damaged, or a row names arrays outside the folder.
    """
    rows = read_table(folder / MANIFEST, ("stem", *columns)).to_dict("records")
    for row in rows:
        plain_name(str(row["stem"]), folder / MANIFEST)
    return [{str(k): v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in rows]


def _case(folder: Path, record: dict[str, Any], shared: dict[str, Any]) -> PreparedCase:
    stem = f"{folder}/{record['stem']}"  # no Path: Python keeps the names in every path it ever made
    for part in ("image", "label"):
        if not os.path.isfile(f"{stem}.{part}.npy"):
            raise UserError(f"{stem}.{part}.npy is missing; delete {folder} and prepare the data again.")
    fields: dict[str, Any] = {name: tuple(record[name]) for name in TUPLES}
    fields |= {name: record[name] for name in TEXTS}
    return PreparedCase(stem=stem, **fields, **shared)


def damage(folder: Path) -> list[str]:
    """Return what is wrong with a store's arrays: every file whose checksum is not the manifest's. Reads everything."""
    problems = []
    for record in _read_manifest(folder, "image_sha256", "label_sha256"):
        for part in ("image", "label"):
            file = folder / f"{record['stem']}.{part}.npy"
            if not file.is_file():
                problems.append(f"{file} is missing; delete {folder} and prepare the data again.")
            elif sha256(file) != record[f"{part}_sha256"]:
                problems.append(f"{file} does not match its checksum; delete {folder} and prepare the data again.")
    return problems


def describe(case: PreparedCase) -> dict[str, object]:
    """Return the fields of a case that identify it in a digest (not where it lies)."""
    return {k: v for k, v in asdict(case).items() if k != "stem"}
