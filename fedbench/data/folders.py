"""A user's folder and files: no hidden files, a fixed order, images paired with their masks, bytes that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedbench.errors import UserError

CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}  # what macOS and Windows leave besides hidden files
NIFTI = (".nii.gz", ".nii")


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files and folders under ``folder`` that match ``pattern`` (as of :meth:`Path.glob`), sorted.

    Left out is whatever is hidden or operating systems leave behind, and whatever lies below such a folder: names that
    begin with a dot (``.DS_Store``, ``._image.nii.gz``), ``__MACOSX``, ``Thumbs.db``, ``desktop.ini``. A ``folder``
    that is not there holds nothing.
    """
    found = folder.glob(pattern) if folder.is_dir() else ()
    return sorted(path for path in found if not any(map(_clutter, path.relative_to(folder).parts)))


def by_stem(paths: Iterable[Path], endings: Iterable[str] = NIFTI) -> tuple[dict[str, Path], list[UserError]]:
    """Return the files that have one of ``endings``, by name without it; and a problem for every name found twice.

    ``endings`` are tried in order, so a longer one stands before the one it ends with. Of a name found twice the first
    file is returned, besides the problem. Other files and folders are passed over; a broken link counts as a file. A
    folder named like a NIfTI file, as some re-uploads wrap each image in one, stands for the one NIfTI file in it; if
    it holds another number of them it is returned itself, for the inventory to tell.
    """
    endings, groups = tuple(endings), dict[str, list[Path]]()
    for path in paths:
        ending = next((ending for ending in endings if path.name.endswith(ending)), None)
        if ending is None or (path.is_dir() and ending not in NIFTI):
            continue
        inside = wrapped(path)
        file = inside[0] if len(inside) == 1 else path
        group = groups.setdefault(path.name.removesuffix(ending), [])
        if file not in group:  # whoever lists folders and what is in them has both
            group.append(file)
    problems = [
        UserError(f"{first}: the same image lies in {other} too; keep one of the two.")
        for _, (first, other, *_) in sorted((stem, files) for stem, files in groups.items() if len(files) > 1)
    ]
    return {stem: files[0] for stem, files in groups.items()}, problems


def wrapped(folder: Path) -> list[Path]:
    """Return the NIfTI files in a folder; of a file, nothing."""
    return [path for path in visible(folder) if path.name.endswith(NIFTI) and not path.is_dir()]


def pair(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Iterator[tuple[str, Path, Path] | UserError]:
    """Yield ``(key, image, mask)`` for every key in sorted order, a :class:`UserError` where one of them is missing."""
    for key in sorted(images.keys() | masks.keys()):
        if key not in masks:
            yield UserError(f"{images[key]}: this image has no mask; add the mask, or remove the image.")
        elif key not in images:
            yield UserError(f"{masks[key]}: this mask has no image; add the image, or remove the mask.")
        else:
            yield key, images[key], masks[key]


def _clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER


def content_of(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        UserError: it is missing, cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not content:
        raise UserError(f"{path}: the file is empty; copy or download it again.")
    return content
