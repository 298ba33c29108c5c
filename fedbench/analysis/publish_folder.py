"""A folder that is replaced as a whole: whoever is killed while doing it leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

BEFORE = ".before"  # what the name of a folder ends with while it is replaced


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder; at the end of the block, unless an error ends it, it takes the place of ``target``.

    Folders above that were made for it go again if nothing comes of it.
    """
    recover(target)
    with _made(target.parent), tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary) / target.name
        made.mkdir()
        yield made
        _swap(made, target)


def recover(target: Path) -> None:
    """Put ``target`` back if a process was killed in the moment between taking the old one away and giving the new."""
    before = _before(target)
    if before.is_dir() and not target.exists():
        before.rename(target)
    elif before.is_dir():
        shutil.rmtree(before)


def _swap(made: Path, target: Path) -> None:
    before = _before(target)
    if target.exists():
        target.rename(before)
    try:
        made.rename(target)
    except BaseException:
        if before.exists():
            before.rename(target)
        raise
    if before.exists():
        shutil.rmtree(before)


def _before(target: Path) -> Path:
    return target.with_name(f".{target.name}{BEFORE}")


def interrupted(folder: Path) -> str | None:
    """Return the name of the folder whose old state ``folder`` holds, left by a process that was killed; else None."""
    name = folder.name
    return name[1 : -len(BEFORE)] if name.startswith(".") and name.endswith(BEFORE) else None


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
