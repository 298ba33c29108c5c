"""Files that are whole or absent, folders that are old or new, and locks that die with their process."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

BEFORE = ".before"  # what the name of a folder ends with while it is replaced


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` on a temporary file in the same folder, flush it to disk and rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
        with open(name, "rb") as stream:
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``, waiting for it; released when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the lock; nothing is written, so that a folder that is only read will do."""
    try:
        with open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Like :func:`locked` but never waits: yields whether the lock was free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


# -- folders that are replaced as a whole -----------------------------------------------------------------------------


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
