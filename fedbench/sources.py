"""What source code makes a run: a plugin with what lies beside it, and the harness; as digests."""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

from fedbench.errors import UserError

RESULT_MODULES = (
    "algorithm", "data/dealing", "data/prepared", "data/splitting", "engine/arrays", "engine/augmentation",
    "engine/batches", "engine/compute", "engine/evaluation", "engine/held", "engine/inference", "engine/local",
    "engine/reestimation", "engine/settings", "engine/task", "engine/training", "federation", "metrics", "models",
    "streams",
)  # fmt: skip
PREPARING_MODULES = (
    "data/dicom", "data/folders", "data/imaging", "data/mapping", "data/pictures", "data/preparation",
    "data/resampling", "dataset", "names",
)  # fmt: skip


def files_of(stem: Path) -> tuple[Path, Path]:
    """Return where a module of this name may lie: a file, or a package."""
    return stem.with_name(f"{stem.name}.py"), stem / "__init__.py"


def code_digest(cls: type) -> str:
    """Return the sha256 of a plugin's source: its file, its bases' files, and what these import from their folders.

    Read from the import statements, wherever they stand; the harness, the standard library and installed packages do
    not count (the harness has a digest of its own).
    """
    todo = [Path(source) for base in cls.__mro__ if (source := _plugin_file(base)) is not None]
    files: set[Path] = set()
    while todo:
        file = todo.pop()
        if file not in files:
            files.add(file)
            todo += imported_from_folder(file)
    contents = sorted((file.name, file.read_bytes()) for file in files)
    return hashlib.sha256(b"".join(name.encode() + content for name, content in contents)).hexdigest()


def _plugin_file(base: type) -> str | None:
    """The file of a class that is plugin code: below the contract's base class in the hierarchy."""
    contracts = ("fedbench.algorithm", "fedbench.dataset")
    is_plugin = any(parent.__module__ in contracts for parent in base.__mro__[1:])
    return getattr(sys.modules[base.__module__], "__file__", None) if is_plugin else None


def imported_from_folder(file: Path) -> list[Path]:
    """Files under ``file``'s folder that its import statements run: modules, and the packages around them.

    A module may be named relatively, or by a path of which the folder is any part.
    """
    names: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split(".")) if node.module else ()
            names |= {module, *((*module, alias.name) for alias in node.names)}
    parts = {name[start:end] for name in names for end in range(1, len(name) + 1) for start in range(end)}
    found = []
    for part in sorted(parts):  # in one order, whatever the hashes of strings
        if part[0] != "fedbench":
            found += [path for path in files_of(file.parent.joinpath(*part)) if path.is_file() and path != file]
    return found


@cache
def harness_digest() -> str:
    """Return the sha256 of the harness modules that determine a run's result from its prepared data.

    The modules that prepare data are left out: a run's identity holds the digest of what they made. The scheduler and
    the console determine nothing.

    It is read once, as :mod:`fedbench.execution` is imported, and so is that of what this process computes with.
    """
    return _digest_of(RESULT_MODULES)


def harness_changed() -> bool:
    """Say whether these modules lie otherwise on the disk now than when this process read them."""
    try:
        return _digest_of(RESULT_MODULES) != harness_digest()
    except OSError:  # a module is gone
        return True


@cache
def preparing_digest() -> str:
    """Return the sha256 of the harness modules that turn raw files into a prepared store."""
    return _digest_of(PREPARING_MODULES)


def _digest_of(modules: tuple[str, ...]) -> str:
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in modules)).hexdigest()


def refuse_other_neighbours(file: Path) -> None:
    """Refuse a plugin whose ``import helper`` would not give the ``helper.py`` beside it.

    Python keeps one module of a name: a plugin that came before, from another folder, may have brought its own.
    """
    todo, seen = [file], set[Path]()
    while todo:
        seen.add(importing := todo.pop())
        for name in _imported_names(importing):
            beside = next((path for path in files_of(file.parent / name) if path.is_file()), None)
            if beside is None or beside in seen:
                continue
            there = getattr(sys.modules.get(name), "__file__", None)
            if there is not None and Path(there).resolve() != beside.resolve():
                raise UserError(
                    f"{importing} imports '{name}' and means {beside}, but {there} was imported by that name before; "
                    f"rename {beside.name}."
                )
            todo.append(beside)


def _imported_names(file: Path) -> list[str]:
    """Top-level names of what a file imports absolutely, wherever the statement stands; not the harness."""
    nodes = list(ast.walk(ast.parse(file.read_bytes())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return sorted({name.partition(".")[0] for name in names} - {"fedbench"})  # that is there already
