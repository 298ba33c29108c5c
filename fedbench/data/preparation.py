"""Raw cases -> a prepared store, once: common grid, normalised intensities. A store: :mod:`fedbench.data.prepared`.

Cases are read by several threads and written one by one, each with a record of its own, into a folder that becomes the
store by a rename when all are there: killed at any time, the next attempt goes on. Raw files are only ever read.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedbench.config import DataConfig, digest
from fedbench.data.inspection import check_contrast, check_volume, inventory, mixture, read_case, refuse
from fedbench.data.prepared import FACTS, FORMAT, MANIFEST, damage, is_store
from fedbench.data.resampling import resample
from fedbench.data.sealing import edited, sealed
from fedbench.dataset import Case, Dataset, Volume
from fedbench.errors import UserError
from fedbench.files import locked, sha256, try_lock, write_atomic, write_text

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
KEY = "[0-9a-f]" * 12  # a pattern: the digest in a store's name
Progress = Callable[[int, int], None]  # cases done, cases in all


def default_workers() -> int:
    """How many cases are read at a time: one per core, at most 4, since each holds a raw image in memory."""
    return min(4, os.cpu_count() or 1)


def grid_of(dataset: Dataset, data: DataConfig) -> tuple[float, ...]:
    """Return the common grid's spacing, as asked for or as declared."""
    return tuple(float(mm) for mm in data.spacing or dataset.spacing)


def store_folder(dataset: Dataset, code: str, cache: Path, data: DataConfig, cases: Iterable[Case]) -> Path:
    """Return where the store of ``dataset`` lies under ``cache``: named by a digest of all that it is made from."""
    cases = list(cases)
    key = digest(
        [FORMAT, dataset.name, dataset.params.model_dump(), str(dataset.path), code, list(grid_of(dataset, data)),
         list(data.size or dataset.size), data.colour, data.label_resampling,
         [[case.id, case.patient, case.site] for case in cases], _stamp(cases)]
    )  # fmt: skip
    return cache / f"{dataset.name}-{key[:12]}"


def prepare(
    dataset: Dataset, code: str, cache: Path, data: DataConfig | None = None, *,
    target: Path | None = None, workers: int | None = None, progress: Progress = lambda done, total: None,
) -> Path:  # fmt: skip
    """Return the folder of the prepared ``dataset``, making it unless it is there already.

    Args:
        code: digest of the dataset plugin's source; a changed plugin is prepared anew.
        cache: where stores are kept, named by what they were made from: a changed source file makes another store.
        data: spacing, size, colour, label_resampling; the others do not matter here. None: what the dataset declares.
        target: a folder of the user's to put the store into, in place of ``cache``; it must not exist.

    Raises:
        UserError: cases cannot be read, or image and mask do not fit; one message for all of them. What could be
            prepared is kept for the next attempt.
    """
    data = data or DataConfig()
    found = inventory(dataset)
    refuse(dataset.name, found.problems)
    cases = list(found.cases)
    folder = store_folder(dataset, code, cache, data, cases)
    key = folder.name.removeprefix(f"{dataset.name}-")
    if target is not None:
        _require_absent(target)
        folder, cache = target, target.parent
    cache.mkdir(parents=True, exist_ok=True)
    lock = cache / (f"{folder.name}.lock" if target is None else f".{target.name}.fedbench-lock")
    with locked(lock):
        if target is not None:
            _require_absent(target)  # another command may have made it since
        if not is_store(folder):
            work = folder.with_name(f".{folder.name}.partial" if target is None else f".{target.name}-{key}.partial")
            _make(dataset, cases, data, folder, work, workers or default_workers(), progress)
            if target is None:
                _drop_stale(dataset.name, folder)
        if target is not None:  # nothing is left beside a folder of the user's
            for partial in target.parent.glob(f".{glob.escape(target.name)}-{KEY}.partial"):
                shutil.rmtree(partial, ignore_errors=True)
            lock.unlink(missing_ok=True)
    return folder


def _require_absent(target: Path) -> None:
    if target.exists():
        raise UserError(f"{target} exists already; give another folder or delete it.")


class Checked(NamedTuple):
    """What :func:`check` found.

    Attributes:
        problems: every one.
        empty: ids of the cases whose masks are empty, which some data sets mean.
        lost: of what a file's mask holds and the common grid is too coarse for: the case and its classes, in words.
        twins: cases of several patients with one image, in words; some may train and others be tested.
    """

    problems: list[str]
    empty: list[str]
    lost: list[str]
    twins: list[str]


class _Look(NamedTuple):
    """What :func:`check` keeps of a case that it read."""

    case: Case
    axes: int
    empty: bool
    lost: list[str]
    image: str


def check(
    dataset: Dataset, code: str, cache: Path, data: DataConfig | None = None, *,
    workers: int | None = None, progress: Progress = lambda done, total: None,
) -> Checked:  # fmt: skip
    """Read everything and write nothing; return what is wrong with the raw files and with a store made from them."""
    data = data or DataConfig()
    found = inventory(dataset)

    def read(case: Case) -> _Look:
        raw = read_case(case)
        resampled = _on_grid(dataset, case, raw, data)
        lost = set(np.unique(raw.label)) - set(np.unique(resampled.label)) - {0}
        classes = [dataset.classes[value - 1] for value in sorted(lost)]
        image = hashlib.sha256(raw.image.tobytes()).hexdigest()
        return _Look(case, raw.label.ndim, not raw.label.any(), classes, image)

    sound, problems = _for_all(found.cases, read, workers or default_workers(), progress)
    mixed = mixture([(look.case, look.axes) for look in sound])
    folder = store_folder(dataset, code, cache, data, found.cases)
    stored = [*edited(folder), *damage(folder)] if is_store(folder) else []
    return Checked(
        [*found.problems, *problems, *mixed, *stored],
        [look.case.id for look in sound if look.empty],
        [f"{look.case.id} ({', '.join(look.lost)})" for look in sound if look.lost],
        _twins(sound),
    )


def _twins(looks: Iterable[_Look]) -> list[str]:
    alike: dict[str, list[Case]] = {}
    for look in looks:
        alike.setdefault(look.image, []).append(look.case)
    return [" = ".join(c.id for c in cases) for cases in alike.values() if len({case.patient for case in cases}) > 1]


# -- writing -------------------------------------------------------------------------------------------------------


def _make(
    dataset: Dataset, cases: Sequence[Case], data: DataConfig, folder: Path, work: Path, workers: int,
    progress: Progress,
) -> None:  # fmt: skip
    """Make the store in ``work``, whose name says what it is made from, and rename it to ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)  # incomplete, and we hold the lock
    work.mkdir(exist_ok=True)
    numbers = {case.id: number for number, case in enumerate(cases)}

    def write(case: Case) -> dict[str, Any]:
        return _write_case(dataset, case, data, work / f"{numbers[case.id]:05d}")

    try:
        records, problems = _for_all(cases, write, workers, progress)
        refuse(dataset.name, problems)
        refuse(dataset.name, mixture([(case, len(r["shape"])) for case, r in zip(cases, records, strict=True)]))
        facts = _facts(dataset, records, data)
        frame = pd.DataFrame([{k: v for k, v in record.items() if k != "channels"} for record in records])
        write_atomic(work / MANIFEST, lambda part: frame.to_parquet(part, index=False))
        for record in work.glob("*.case.json"):
            record.unlink()
        write_text(work / FACTS, json.dumps(sealed(facts, work / MANIFEST), indent=1))
        work.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise UserError(f"cannot write to {work}: {error.strerror}; make room or choose another folder.") from None


def _for_all(
    cases: Sequence[Case], task: Callable[[Case], Any], workers: int, progress: Progress
) -> tuple[list[Any], list[str]]:
    """Return ``task(case)`` of all cases in their order, and the distinct messages of those that raised a UserError."""
    results: dict[str, Any] = {}
    problems: dict[str, str] = {}
    progress(0, len(cases))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = {pool.submit(task, case): case for case in cases}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                try:
                    results[futures[future].id] = future.result()
                except UserError as error:
                    problems[futures[future].id] = str(error)
                progress(done, len(cases))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return (
        [results[case.id] for case in cases if case.id in results],
        list(dict.fromkeys(problems[case.id] for case in cases if case.id in problems)),
    )


def _write_case(dataset: Dataset, case: Case, data: DataConfig, stem: Path) -> dict[str, Any]:
    record_file = stem.with_name(f"{stem.name}.case.json")
    if record_file.exists():  # written by an earlier attempt, after its arrays
        return json.loads(record_file.read_text(encoding="utf-8"))
    volume = _on_grid(dataset, case, read_case(case), data)
    image, label = _slices_first(dataset.intensity[case.modality](volume.image), volume.label)
    checksums = {}
    for part, array in (("image", image), ("label", label)):
        file = stem.with_name(f"{stem.name}.{part}.npy")
        with open(file, "wb") as stream:
            # As np.save, whose own way to write to a file tells of a full disk without saying that it is one.
            np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
            stream.write(array.data)
            stream.flush()
            os.fsync(stream.fileno())
        checksums[f"{part}_sha256"] = sha256(file)
    record = {
        "id": case.id,
        "patient": case.patient,
        "modality": case.modality,
        "site": case.site,
        "spacing": list(volume.spacing),
        "shape": list(volume.label.shape),
        "voxels": np.bincount(label.ravel(), minlength=len(dataset.classes) + 1)[1:].tolist(),
        "content": hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest(),
        "stem": stem.name,
        **checksums,
        "sources": [str(path) for path in case.sources],
        "sources_sha256": [sha256(path) for path in case.sources],
        "channels": image.shape[1],
    }
    write_text(record_file, json.dumps(record))
    return record


def _on_grid(dataset: Dataset, case: Case, volume: Volume, data: DataConfig) -> Volume:
    """Return what was read of ``case`` on the common grid, in the colours asked for.

    Raises:
        UserError: it cannot be used.
    """
    grid = grid_of(dataset, data)
    check_volume(case, volume, dataset, len(grid))
    if data.colour == "grey":
        volume = Volume(_grey(volume.image), volume.label, volume.spacing)
    volume = resample(volume, grid[: volume.label.ndim], data.label_resampling)
    check_contrast(case, volume.image, dataset.intensity[case.modality])
    return volume


def _grey(image: np.ndarray) -> np.ndarray:
    return image if len(image) == 1 else np.tensordot(LUMINANCE, image, axes=1)[None].astype(np.float32)


def _slices_first(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if label.ndim == 2:
        image, label = image[..., None], label[..., None]
    return np.ascontiguousarray(np.moveaxis(image, -1, 0)), np.ascontiguousarray(np.moveaxis(label, -1, 0), np.uint8)


def _facts(dataset: Dataset, records: list[dict[str, Any]], data: DataConfig) -> dict[str, Any]:
    """Everything that holds for all cases; ``content`` is the digest of what is declared and of the cases."""
    declared = {
        "name": dataset.name,
        "modalities": list(dataset.modalities),
        "classes": list(dataset.classes),
        "size": list(data.size or dataset.size),
        "mirror_axes": list(dataset.mirror_axes),
        "regions": {name: list(labels) for name, labels in dataset.regions.items()}
        or {name: [i + 1] for i, name in enumerate(dataset.classes)},
        "unit": dataset.unit,
        "channels": 3 if data.colour == "rgb" else max(record["channels"] for record in records),
    }
    held = sorted([r["id"], r["patient"], r["site"], r["content"]] for r in records)
    unordered = declared | {"modalities": sorted(dataset.modalities)}  # no result depends on how they are listed
    made_with = {"params": dataset.params.model_dump(mode="json"), "label_resampling": data.label_resampling}
    return {"format": FORMAT, **declared, **made_with, "content": digest([unordered, held])}


def _stamp(cases: Iterable[Case]) -> dict[str, list[int]]:
    """Path -> [size, mtime_ns, ctime_ns] of every source file; the last shows a copy with the old one's times."""
    paths = sorted({path for case in cases for path in case.sources})
    found = ((path, path.stat()) for path in paths)
    return {str(path): [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in found}


def _drop_stale(name: str, folder: Path) -> None:
    """Delete what interrupted attempts at other versions of this dataset left behind."""
    for partial in folder.parent.glob(f".{name}-{KEY}.partial"):
        with try_lock(folder.parent / f"{partial.name[1:].removesuffix('.partial')}.lock") as free:
            if free:
                shutil.rmtree(partial, ignore_errors=True)
