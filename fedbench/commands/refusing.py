"""What commands refuse before they do anything: folders and files that they could not read or write as asked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.store import Store


def must_exist(out: Path) -> None:
    """Raise :class:`UserError` if there is no results folder ``out``."""
    if out.is_file():
        raise UserError(f"no results in {out}: it is a file; name the folder that holds the runs.")
    if not out.is_dir():
        raise UserError(f"no results in {out}: no such folder; start with `fedbench run --all`.")


def must_hold_runs(results: Store) -> None:
    """Raise :class:`UserError` if a results folder has no run at all: it is published, or something else."""
    if results.run_ids():
        return
    from fedbench.analysis.loading import way_out

    raise UserError(f"no runs in {results.root}{way_out(results.root)}")


def must_lie_apart(option: str, given: Path, datasets: Iterable[str]) -> None:
    """Raise :class:`UserError` if what is written would lie among raw data, or raw data among what is written.

    A prepared store is no raw data: it may lie where it was made, in a results folder.

    Args:
        option: what the user called the folder ``given``.
        datasets: as the user wrote them, such as ``sts=PATH``.
    """
    from fedbench.data.prepared import is_store
    from fedbench.registry import parse_spec

    target = given.expanduser().resolve()
    for spec in map(parse_spec, datasets):
        if spec.path is None:
            continue
        data = Path(spec.path).expanduser()
        if target.is_relative_to(data.resolve()):
            raise UserError(
                f"{option} {given} lies in {spec.path}, the folder of dataset '{spec.name}', which is only read; give "
                f"{option} a folder elsewhere."
            )
        if data.resolve().is_relative_to(target) and not is_store(data):
            raise UserError(
                f"{spec.path}, the folder of dataset '{spec.name}', lies in {option} {given}, where results are "
                f"written; give {option} a folder of its own."
            )


def must_take_files(option: str, given: Path, folder: Path) -> None:
    """Raise :class:`UserError` if files cannot be written into ``folder``, made where it is not there; it is not kept.

    Args:
        option: what the user called it, with the value ``given``.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{option} {given}: cannot write to {folder}: {error.strerror}; name another folder.") from None
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def must_end_with(option: str, file: Path, suffix: str) -> None:
    """Raise :class:`UserError` if a file that would be overwritten is not called as what is written."""
    if file.suffix.lower() != suffix:
        raise UserError(f"{option} {file}: the file's name must end in {suffix}.")
