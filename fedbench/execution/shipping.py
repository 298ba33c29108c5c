"""What a run needs, brought to a node that does not see the driver's files: its prepared data, its plugin's source.

Data travels file by file through Ray's object store, once per node: the first worker there unpacks it into the node's
own cache, the others find it; each checks every array before it uses them, and what was damaged or deleted meanwhile is
fetched again. Source travels as text with the run.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedbench import registry
from fedbench.config import digest
from fedbench.data.prepared import FACTS, FORMAT, damage, is_store
from fedbench.errors import UserError
from fedbench.files import locked, write_text
from fedbench.sources import imported_from_folder

CACHE = "FEDBENCH_CACHE"
Bytes = np.ndarray  # uint8 (n,): Ray passes arrays on without copying them


def node_cache() -> Path:
    """Return this machine's own folder for what arrives from elsewhere; what no run uses can be deleted at any time.

    ``$FEDBENCH_CACHE``, else ``$XDG_CACHE_HOME/fedbench``, else ``~/.cache/fedbench``; a temporary folder where none of
    them can be written.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    temporary = Path(tempfile.gettempdir()) / f"fedbench-{os.getuid()}"
    for folder in (Path(os.environ.get(CACHE) or Path(home) / "fedbench"), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise UserError(f"no folder to work in: set ${CACHE} to one that can be written.")


def read_bytes(path: Path) -> Bytes:
    """Return a file's bytes as an array."""
    return np.fromfile(path, np.uint8)


# -- prepared data -------------------------------------------------------------------------------------------------


def has_content(folder: Path, content: str) -> bool:
    """Say whether ``folder`` is, here, the whole prepared store whose content has that digest."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return is_store(folder) and (facts["format"], facts["content"]) == (FORMAT, content)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True)
class Shipment:
    """A prepared store on its way: a handle for the content of each of its files, by name."""

    name: str
    content: str
    files: Mapping[str, Any]


def pack_store(folder: Path, content: str, put: Callable[[Bytes], Any]) -> Shipment:
    """Hand every file of the prepared store ``folder`` to ``put`` and keep what it returns."""
    files = {path.name: put(read_bytes(path)) for path in sorted(folder.iterdir()) if path.is_file()}
    return Shipment(folder.name, content, files)


def unpack_store(shipment: Shipment, cache: Path, get: Callable[[Any], Bytes], checked: set[Path]) -> Path:
    """Return the folder under ``cache`` that holds the shipped store, fetching what it consists of unless all is whole.

    Whoever comes while another process fetches it waits. Each file appears by a rename: whoever reads an older one, of
    the same name, reads on.

    Args:
        checked: the folders whose every array this process has checked; of these only missing files are noticed.

    Raises:
        UserError: what arrived does not match its checksums, or there is no room for it.
    """
    folder = cache / "prepared" / f"{shipment.name}-{shipment.content[:12]}"
    if folder in checked and not _missing(folder, shipment):
        return folder
    if _problems(folder, shipment):
        with locked(folder.with_name(f".{folder.name}.lock")):
            if _problems(folder, shipment):  # nobody else has fetched it meanwhile
                _fetch(folder, shipment, get)
                if problems := _problems(folder, shipment):
                    raise UserError(f"the data did not arrive whole: {problems[0]}")
    checked.add(folder)
    return folder


def _fetch(folder: Path, shipment: Shipment, get: Callable[[Any], Bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, handle in shipment.files.items():
            part = folder / f".{name}.part"
            get(handle).tofile(part)
            part.replace(folder / name)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; make room or set ${CACHE}.") from None


def _missing(folder: Path, shipment: Shipment) -> list[str]:
    return [f"{folder / name} is missing" for name in shipment.files if not (folder / name).is_file()]


def _problems(folder: Path, shipment: Shipment) -> list[str]:
    """Return what is wrong with the store in ``folder``; what cannot be read there is wrong."""
    if problems := _missing(folder, shipment):
        return problems
    if not has_content(folder, shipment.content):
        return [f"{folder} is not the store that was sent"]
    try:
        return damage(folder)
    except (OSError, UserError) as error:
        return [str(error)]


# -- plugin files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """The text of a plugin file and of what it imports from its folder.

    Attributes:
        algorithm: as of :attr:`fedbench.suite.Cell.algorithm`.
        folder: where the driver has them.
        texts: by path below the folder; the plugin's own comes first. Empty: an installed plugin, nothing to bring.
    """

    algorithm: str
    folder: str
    texts: tuple[tuple[str, str], ...] = ()


def pack_sources(algorithm: str) -> Sources:
    """Read the files that an algorithm consists of, if it is a file that the user named."""
    spec = registry.parse_spec(algorithm)
    if ".py" not in spec.name:
        return Sources(algorithm, "")
    plugin = registry.find("algorithm", spec.name).file
    files = [plugin]
    for file in files:  # grows while it is gone through
        files += [found for found in imported_from_folder(file) if found not in files]
    texts = tuple((str(file.relative_to(plugin.parent)), file.read_text(encoding="utf-8")) for file in files)
    return Sources(algorithm, str(plugin.parent), texts)


def unpack_sources(sources: Sources, cache: Path) -> str:
    """Return the algorithm as it is to be named here: with the driver's path where the same text lies there."""
    if not sources.texts or _lie_in(Path(sources.folder), sources):
        return sources.algorithm
    folder = cache / "plugins" / digest(sources.texts)[:12]
    if not _lie_in(folder, sources):
        for name, text in sources.texts:
            write_text(folder / name, text)
    spec = registry.parse_spec(sources.algorithm)
    file, own = sources.texts[0][0], Path(sources.folder)
    name = str(folder / file) + spec.name.removeprefix(str(own / file))
    return registry.Spec(name, spec.params, spec.path).text


def _lie_in(folder: Path, sources: Sources) -> bool:
    try:
        return all((folder / name).read_text(encoding="utf-8") == text for name, text in sources.texts)
    except (OSError, UnicodeDecodeError):
        return False
