"""What is wrong with a dataset's files: every problem at once, each a line that names the file and what to do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedbench.data.folders import NIFTI, wrapped
from fedbench.dataset import Case, Dataset, Intensity, Volume
from fedbench.errors import UserError
from fedbench.reading import steadily

SHOWN = 20  # problems in one message


@dataclass(frozen=True)
class Inventory:
    """The cases that look sound from outside, and the problems of the others."""

    cases: tuple[Case, ...]
    problems: tuple[str, ...]


def inventory(dataset: Dataset) -> Inventory:
    """List the cases of ``dataset`` and look at their files from outside; no image is read.

    Raises:
        UserError: nothing can be listed.
    """
    cases: list[Case] = []
    problems: list[str] = []
    seen: dict[str, Case] = {}
    for found in dataset.cases():
        if isinstance(found, UserError):
            problems.append(str(found))
            continue
        wrong = list(_problems(found, dataset))
        if found.id in seen:
            wrong.append(_twice(found, seen[found.id]))
        seen.setdefault(found.id, found)
        problems += wrong
        if not wrong:
            cases.append(found)
    if not cases and not problems:
        place = f" in {dataset.path}" if dataset.path else ""
        raise UserError(f"dataset '{dataset.name}': no cases found{place}. {dataset.where}".strip())
    return Inventory(tuple(cases), tuple(dict.fromkeys(problems)))


def refuse(name: str, problems: Sequence[str]) -> None:
    """Raise one :class:`UserError` for all ``problems``; nothing if there are none."""
    if len(problems) == 1:
        raise UserError(f"dataset '{name}': {problems[0]}")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more; `fedbench prepare --check` lists all."
        raise UserError(f"dataset '{name}': {len(problems)} problems:{lines}{more if len(problems) > SHOWN else ''}")


def _problems(case: Case, dataset: Dataset) -> Iterator[str]:
    if case.modality not in dataset.modalities:
        yield f"case {case.id}: modality '{case.modality}' is not declared ({', '.join(dataset.modalities)})."
    for path in case.sources:
        if problem := _problem_of_file(path, dataset.path):
            yield problem


def _problem_of_file(path: Path, root: Path | None) -> str | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return f"{shown}: its name is not UTF-8, so that no file of results can hold it; rename it."
    if not path.exists():
        return (
            f"{path} is missing; add it." if not path.is_symlink() else f"{path} is a broken link; restore its target."
        )
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        return (
            f"{path} is a link out of {root}, to {path.resolve()}; copy the file there, or give the folder it lies in."
        )
    if path.is_dir() and path.name.endswith(NIFTI):
        return (
            f"{path} is a folder with {len(wrapped(path))} NIfTI files in it, in place of a file; put the image there, "
            "or leave exactly one in the folder."
        )
    if not path.is_file():
        return f"{path} is not a file; put the file there."
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"{path} cannot be read: no permission; change its mode or owner (chmod u+r)."
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes); copy or download it again."
    return None


def _twice(case: Case, first: Case) -> str:
    files = " and ".join(str(c.sources[0]) for c in (first, case) if c.sources)
    return f"case {case.id} is there twice" + (f": {files}; remove one." if files else "; remove one.")


def read_case(case: Case) -> Volume:
    """Return ``case.read()``; what the system refuses becomes a :class:`UserError` that names the file."""
    try:
        return steadily(case.read)
    except OSError as error:
        file = error.filename or (case.sources[0] if case.sources else "its file")
        raise UserError(f"case {case.id}: {file} cannot be read: {error.strerror or error}.") from None


def check_volume(case: Case, volume: Volume, dataset: Dataset, axes_of_grid: int) -> None:
    """Raise :class:`UserError` if what ``case`` read cannot be used."""
    where = _where(case)
    axes = volume.label.ndim
    if volume.image.shape[1:] != volume.label.shape:
        raise UserError(f"{where}: image {volume.image.shape[1:]} and mask {volume.label.shape} differ in shape.")
    if axes not in (2, 3) or len(volume.spacing) != axes:
        raise UserError(
            f"{where}: {axes} axes and {len(volume.spacing)} voxel sizes; an image has 2 or 3 axes, and a voxel size "
            "for each."
        )
    if axes_of_grid < axes:  # of all such cases the same words, which are said once
        raise UserError(
            f"images have {axes} axes, the common grid has {axes_of_grid}; give {axes} voxel sizes, such as --spacing "
            f"{','.join('223'[:axes])} (data.spacing in a suite)."
        )
    if len(volume.image) not in (1, 3):
        raise UserError(f"{where}: {len(volume.image)} channels; an image has 1 (grey) or 3 (RGB).")
    bad = int(np.count_nonzero(~np.isfinite(volume.image)))
    if bad:
        raise UserError(f"{where}: {bad} voxels are NaN or infinite; repair or remove the image.")
    if volume.image.min() == volume.image.max():
        raise UserError(
            f"{where}: every voxel is {volume.image.flat[0]:g}, so there is no image; remove or replace it."
        )
    unexpected = sorted(set(np.unique(volume.label).tolist()) - set(range(len(dataset.classes) + 1)))
    if unexpected:
        raise UserError(f"{where}: unexpected labels {unexpected}; allowed are 0..{len(dataset.classes)}.")


def check_contrast(case: Case, image: np.ndarray, intensity: Intensity) -> None:
    """Raise :class:`UserError` if clipping leaves nothing of an image: all of it outside the window, say."""
    low, high = intensity.limits(image)
    least, most = float(image.min()), float(image.max())
    if min(max(least, low), high) < min(max(most, low), high):
        return
    if intensity.kind == "window":
        raise UserError(
            f"{_where(case)}: all voxels ({least:g} to {most:g}) lie outside the window of {case.modality}, {low:g} to "
            f"{high:g}, so clipping leaves nothing of the image; convert it to the window's units (CT: is it in HU?)."
        )
    raise UserError(
        f"{_where(case)}: nearly every voxel is {low:g} (of {least:g} to {most:g}; percentiles {intensity.low:g} and "
        f"{intensity.high:g} are the same), so clipping leaves nothing of the image; crop, replace or remove it."
    )


def mixture(axes: Sequence[tuple[Case, int]]) -> list[str]:
    """Return a problem for every single slice among volumes, or the reverse: for those of which there are fewer.

    Args:
        axes: each case with its number of axes, 2 or 3. Lengths, areas and volumes of the two would share columns.
    """
    counts = Counter(number for _, number in axes)
    few = 2 if counts[2] <= counts[3] else 3
    kinds = {2: ("a single slice", "single slices"), 3: ("a volume", "volumes")}
    return [
        f"{_where(case)}: {kinds[few][0]}, but {counts[5 - few]} of {len(axes)} cases are {kinds[5 - few][1]}, and "
        "distances and volumes of the two cannot be compared; remove it, or make a set of one kind."
        for case, number in (axes if len(counts) > 1 else ())
        if number == few
    ]


def _where(case: Case) -> str:
    return f"case {case.id}" + (f" ({case.sources[0]})" if case.sources else "")
