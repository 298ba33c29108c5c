"""Finds plugins by name without running them: installed entry points, plugin folders, and files the user names.

An entry point of the groups ``fedbench.algorithms`` and ``fedbench.datasets`` names a class (``pkg.module:Class``) or a
package; of a package, every class in its files that has a literal ``name = "..."`` is a plugin. Files are read as text
(``ast``) until a plugin is asked for, so listing is quick and nothing runs that was not named.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

from fedbench.errors import UserError, nearest
from fedbench.parameters import parse_value
from fedbench.sources import files_of, refuse_other_neighbours

Kind = Literal["algorithm", "dataset"]
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, not yet imported. ``module`` is an import name, or empty for a file of the user's."""

    name: str
    class_name: str
    module: str
    file: Path
    summary: str


@dataclass(frozen=True)
class Spec:
    """What the user wrote for one algorithm or dataset: ``name[param=value,...]=path``.

    ``name`` may be ``file.py:Class``. ``text`` writes it back in a canonical form.
    """

    name: str
    params: tuple[tuple[str, Any], ...] = ()
    path: str | None = None

    @property
    def text(self) -> str:
        inside = ",".join(f"{k}={_write_value(v)}" for k, v in sorted(self.params))
        return self.name + (f"[{inside}]" if inside else "") + (f"={self.path}" if self.path else "")


def _write_value(value: Any) -> str:
    """What :func:`parse_value` reads back as the same value of the same type."""
    return value if isinstance(value, str) and parse_value(value) == value else json.dumps(value)


UNWRITABLE = "NAME[param=value] takes no list, and no text with a comma, a bracket or a space around it"


def can_be_written(name: str, value: Any) -> bool:
    """Say whether ``NAME[name=value]`` reads back as this value: no list does, nor text with a comma or a bracket."""
    try:
        return parse_spec(Spec("any", ((name, value),)).text).params == ((name, value),)
    except (UserError, TypeError):  # no such form, or nothing that JSON holds
        return False


_REST = r"(\[(?P<params>[^\]]*)\])?(=(?P<path>.+))?"
_SPEC = re.compile(r"(?P<name>[^\[\]=]+)" + _REST)
_IN_FOLDER = re.compile(r"(?P<name>[^\[\]=]*[/\\].*?\.py(:\w+)?)" + _REST)  # the folder may hold brackets or =


def parse_spec(text: str) -> Spec:
    """Read ``fedprox[mu=0.1]``, ``my_algo.py:MyAlgo`` or ``sts=PATH``.

    Raises:
        UserError: the text does not have that form.
    """
    match = _IN_FOLDER.fullmatch(text.strip()) or _SPEC.fullmatch(text.strip())
    if not match:
        raise UserError(f"cannot read '{text}'; write NAME, NAME[param=value,...] or NAME=PATH.")
    params: list[tuple[str, Any]] = []
    for item in filter(None, (match["params"] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"cannot read '{item}' in '{text}'; write NAME[param=value,...].")
        if key.strip() in dict(params):
            raise UserError(f"parameter '{key.strip()}' is given twice in '{text}'.")
        params.append((key.strip(), parse_value(value.strip())))
    return Spec(match["name"].strip(), tuple(params), match["path"])


def _plugins_in(file: Path, module: str) -> list[Plugin]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"plugin file {file} is not valid Python: {error}") from None
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (name := _literal_name(node)):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            found.append(Plugin(name, node.name, module, file, summary))
    return found


def _literal_name(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        named = any(isinstance(target, ast.Name) and target.id == "name" for target in targets)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None


@cache
def discover(kind: Kind) -> dict[str, Plugin]:
    """Return every installed plugin by name.

    Raises:
        UserError: two different plugins have the same name, or a name is not lower-case letters, digits and dashes.
    """
    found: dict[str, Plugin] = {}
    for point in entry_points(group=f"fedbench.{kind}s"):
        for plugin in _plugins_of(point.value):
            other = found.get(plugin.name)
            if other and (other.file, other.class_name) != (plugin.file, plugin.class_name):
                raise UserError(f"two {kind}s are named '{plugin.name}': {other.file} and {plugin.file}; rename one.")
            found[plugin.name] = _well_named(kind, plugin)
    return dict(sorted(found.items()))


def _well_named(kind: Kind, plugin: Plugin) -> Plugin:
    """Return ``plugin`` if its name may stand in run ids, and so in paths."""
    if not NAME.fullmatch(plugin.name):
        raise UserError(f"{kind} name '{plugin.name}' in {plugin.file}: use lower-case letters, digits, dashes.")
    return plugin


def _plugins_of(target: str) -> list[Plugin]:
    module, _, class_name = target.partition(":")
    origin = _locate(module)
    if origin is None:
        return []  # left over from a package that is gone
    if class_name:
        return [p for p in _plugins_in(origin, module) if p.class_name == class_name]
    files = sorted(origin.parent.glob("*.py")) if origin.name == "__init__.py" else [origin]
    return [p for file in files for p in _plugins_in(file, f"{module}.{file.stem}" if file != origin else module)]


def _locate(module: str) -> Path | None:
    """Find a module's file without importing anything (``find_spec`` would import its parent packages)."""
    top, *rest = module.split(".")
    if top == "fedbench":  # already imported; an editable install maps its plugin folders elsewhere
        spec = importlib.util.find_spec(module)
        return Path(spec.origin) if spec and spec.origin else None
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or []:
        stem = Path(folder, *rest)
        for path in files_of(stem):
            if path.is_file():
                return path
    return None


def find(kind: Kind, name: str) -> Plugin:
    """Return the plugin called ``name``, an installed name or ``path/file.py:Class``.

    Raises:
        UserError: there is none (the nearest known name is suggested), or a file gives it a name that cannot be one.
    """
    if ".py" not in name:
        known = discover(kind)
        if not known:
            raise UserError(
                f"no {kind}s are installed, not even those of fedbench: it runs from a folder that pip does not know. "
                f"Install it: pip install -e {Path(__file__).parents[1]}"
            )
        if name not in known:
            folder = f" It is a folder: say as which {kind} to read it, NAME={name}." if Path(name).is_dir() else ""
            raise UserError(f"no {kind} named '{name}'{nearest(name, known)}{folder if kind == 'dataset' else ''}")
        return known[name]
    path, colon, class_name = name.rpartition(":")
    if not colon:
        path, class_name = name, ""
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        hint = "" if colon or name.endswith(".py") else "; a class in a file is written FILE.py:CLASS"
        raise UserError(f"no such plugin file: {file}{hint}")
    found = [p for p in _plugins_in(file, "") if class_name in ("", p.class_name)]
    if len(found) != 1:
        classes = ", ".join(p.class_name for p in _plugins_in(file, ""))
        if not classes:
            raise UserError(f"{file} holds no {kind}: no class in it has a `name`; `fedbench new {kind}` writes one.")
        what = f"no class {class_name}" if class_name else f"{len(found)} classes"
        raise UserError(f"{file} holds {what}; write FILE.py:CLASS, which may be: {classes}.")
    return _well_named(kind, found[0])


def named(kind: Kind, text: str) -> tuple[Spec, type[Any]]:
    """Return what ``text`` (``fedprox[mu=0.1]``, ``sts=PATH``) says, and the class it names.

    Raises:
        UserError: there is no such plugin, it cannot be imported, or an algorithm is given a path.
    """
    spec = parse_spec(text)
    if kind == "algorithm" and spec.path is not None:
        raise UserError(f"'{text}': an algorithm takes no =PATH; write parameters as {spec.name}[param=value,...].")
    return spec, load(kind, find(kind, spec.name))


def load(kind: Kind, plugin: Plugin) -> type[Any]:
    """Import a plugin's class; its code runs here for the first time.

    Raises:
        UserError: its file cannot be imported, a file beside it is not what it would import, or it is not a subclass
            of the contract.
    """
    try:
        module = importlib.import_module(plugin.module) if plugin.module else _module_from(plugin.file)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{plugin.file} cannot be imported: it raises {in_a_line(error, plugin.file)}.") from error
    cls = getattr(module, plugin.class_name)
    base = getattr(importlib.import_module(f"fedbench.{kind}"), kind.capitalize())
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{plugin.file}: class {plugin.class_name} is not a fedbench.{kind}.{kind.capitalize()}.")
    return cls


def in_a_line(error: BaseException, file: Path | None) -> str:
    """Return an exception with the last line of a plugin's ``file`` that led to it; where none did, the last line."""
    frames = traceback.extract_tb(error.__traceback__)
    last = ([frame for frame in frames if file is not None and frame.filename == str(file)] or frames)[-1:]
    place = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{place}" + (f": {text[:300]}" if text else "")


class _FromSource(SourceFileLoader):
    """Runs what the file says now, which is what a run keeps the digest of.

    Python takes its compiled copy for current if size and second of the last change are those it remembers: ``mu=0.1``
    would run where ``mu=0.2`` has been written since.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _module_from(file: Path) -> ModuleType:
    content = hashlib.sha256(str(file).encode() + file.read_bytes())  # an edited file is another module
    name = f"fedbench_plugin_{content.hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_FromSource(name, str(file)))
    if spec is None or spec.loader is None:
        raise UserError(f"cannot import plugin file {file}")
    refuse_other_neighbours(file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))  # so that it can import its neighbours, as a script could
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(file.parent))
    return module
