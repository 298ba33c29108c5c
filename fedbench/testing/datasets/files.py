"""A dataset and its files: all that a case reads is declared, and none is missed in silence."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedbench.data.inspection import inventory
from fedbench.dataset import Case, Dataset
from fedbench.errors import UserError
from fedbench.testing.datasets.opening import TABLES, noting
from fedbench.testing.datasets.subject import FEW, Subject, described
from fedbench.testing.findings import Broken, NotApplicable, rule

MANY = 50_000  # files of which to copy the names
SMALL, MUCH = 10 * 1024**2, 200 * 1024**2  # bytes of one file, and of all, that are copied as they are


@rule("sources", "Case(..., sources=(image, mask)): a file that is not named there may change, and no run notices.")
def sources(subject: Subject) -> str:
    """Every file of the dataset's folder that read() opens is among the case's sources, and none is there twice."""
    for case in subject.cases:
        if twice := [path for path in case.sources if case.sources.count(path) > 1][:1]:
            raise Broken(f"case {case.id} names {twice[0]} twice", "is one file both its image and its mask?")
    if subject.dataset.path is None:
        raise NotApplicable("it is generated and reads no file")
    root, few = subject.dataset.path.resolve(), subject.first(FEW)
    for case in few:
        opened: list[Path] = []
        with noting(opened):
            case.read()
        declared = {path.resolve() for path in case.sources}
        for path in (each.resolve() for each in opened):
            if path.is_relative_to(root) and path.is_file() and path not in declared:
                raise Broken(f"case {case.id}: read() opens {path}, which is not among its sources")
    return f"{len(few)} cases read no other files than their sources"


@rule(
    "missing",
    "look for every file by name, and yield a UserError in place of the case; never pass over what is absent.",
)
def missing(subject: Subject) -> str:
    """A file that is not there is a problem that the listing reports (tried on an empty copy of the folder)."""
    root = subject.dataset.path
    if root is None:
        raise NotApplicable("it is generated and reads no file")
    chosen = subject.first(1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / root.resolve().name
        _copy_names(root, copy, {path.resolve() for case in subject.cases for path in case.sources})
        dataset = subject.cls(copy, **subject.dataset.params.model_dump())
        try:
            before = list(dataset.cases())
        except UserError as error:
            raise NotApplicable(f"listing needs more than names of files: {error}") from None
        if [_relative(each, copy) for each in before] != [_relative(each, root) for each in subject.listed]:
            raise NotApplicable("listing needs more than names of files")
        for path in _to_remove(chosen, root):
            _require_notice(dataset, before, copy / path)
    return f"a file that is gone is reported, whichever of a case: {len(chosen)} cases tried"


def _copy_names(root: Path, copy: Path, images: set[Path]) -> None:
    """Copy a folder: tables and other small files as they are, of images the names and sizes alone."""
    number = held = 0
    for place, _, names in os.walk(root):
        target = copy / Path(place).relative_to(root)
        target.mkdir(parents=True)
        for file in (path for name in names if (path := Path(place, name)).is_file()):
            size = file.stat().st_size
            is_copied = size <= SMALL and (file.suffix in TABLES or file.resolve() not in images)
            number, held = number + 1, held + size * is_copied
            if number > MANY or held > MUCH:
                raise NotApplicable(f"the folder holds more than {MANY} files, or too many that are no images")
            if is_copied:
                shutil.copyfile(file, target / file.name)
            else:
                _make_hollow(target / file.name, size)


def _make_hollow(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)  # takes no place on the disk


def _relative(found: Case | UserError, root: Path) -> str:
    return described(found).replace(f"{root}{os.sep}", "")


def _to_remove(cases: Sequence[Case], root: Path) -> list[Path]:
    """Of every case the first and the last file, as in the folder: most often image and mask."""
    paths = {path: None for case in cases for path in (*case.sources[:1], *case.sources[-1:])}
    return [path.relative_to(root) for path in paths if path.is_relative_to(root) and path.suffix not in TABLES]


def _require_notice(dataset: Dataset, before: Sequence[Case | UserError], path: Path) -> None:
    size = path.stat().st_size
    path.unlink()
    try:
        found = inventory(dataset)
    except UserError:
        return  # a message, too
    finally:
        _make_hollow(path, size)
    if found.problems:
        return
    left = {case.id for case in found.cases}
    used = {source for case in found.cases for source in case.sources}
    for case in before:
        if isinstance(case, Case) and case.id not in left and (alone := set(case.sources) - used - {path}):
            raise Broken(f"without {path.name}, case {case.id} is passed over, though {min(alone).name} is there")


RULES = (sources, missing)
