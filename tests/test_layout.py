"""Arrows run one way: which part of fedbench may import which, read from the sources.

A part is a module or a folder. What a string names (a process started with ``-m``) is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedbench.sources import PREPARING_MODULES, RESULT_MODULES
from tests.toys import ROOT

CODE = ROOT / "fedbench"
LAYERS = (  # a part imports only from layers above its own line
    {"differing", "errors", "files", "metrics", "names", "streams", "wording", "suites", "templates"},
    {"parameters", "reading", "sources"},
    {"config", "dataset", "registry", "store"},
    {"data", "models", "suite"},
    {"federation"},
    {"algorithm", "views"},
    {"analysis", "engine"},  # what is made of results trains nothing
    {"execution", "testing"},
    {"tuning"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
FOLDERS = sorted(file.parent.relative_to(CODE).as_posix() for file in CODE.rglob("__init__.py"))
CONTRACTS = {"algorithm", "dataset", "errors", "federation", "names", "parameters"}
READERS = {f"data.{name}" for name in ("dicom", "folders", "imaging", "mapping", "pictures")}


def imported(node: ast.AST) -> list[str]:
    """Return what a statement imports of fedbench, as ``engine.local``, or ``analysis.figures.Drawn``: no module."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return []
    names = ["fedbench.itself" if name == "fedbench" else name for name in names]
    return [n.removeprefix("fedbench.") for n in names if n.startswith("fedbench.") and n != "fedbench.__version__"]


def imports_of(file: Path) -> list[str]:
    return [name for node in ast.walk(ast.parse(file.read_text("utf-8"))) for name in imported(node)]


def arrows(folder: Path) -> dict[str, set[str]]:
    """Return what each part of a folder imports of the others; ``__init__`` is a part, and what others take from it."""
    prefix = "".join(f"{name}." for name in folder.relative_to(CODE).parts)
    found: dict[str, set[str]] = {}
    for file in sorted(folder.rglob("*.py")):
        own = file.relative_to(folder).parts[0].removesuffix(".py")
        names = [name.removeprefix(prefix).split(".")[0] for name in imports_of(file) if name.startswith(prefix)]
        parts = {name if there(folder / name) or folder == CODE else "__init__" for name in names}
        found.setdefault(own, set()).update(parts - {own})
    return found


def there(stem: Path) -> bool:
    return stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return parts that import each other in a circle, empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                yield from walk(other, [*path, name])
            done.add(name)

    return next((found for name in graph for found in walk(name, [])), [])


def test_what_is_imported_is_read(tmp_path):
    def read(line: str) -> list[str]:
        return imported(ast.parse(line).body[0])

    assert read("from fedbench import algorithms, __version__") == ["algorithms"]
    assert read("from fedbench.engine.local import side_by_side") == ["engine.local.side_by_side"]
    assert read("import fedbench.store, json") == ["store"] and read("import fedbench") == ["itself"]
    with pytest.raises(AssertionError, match="absolute"):
        read("from . import store")


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_parts_import_each_other(folder):
    graph = arrows(CODE / folder)
    if folder == ".":
        del graph["__init__"]  # gives load_results and load_model to users; the layers have no place for it
    assert circle(graph) == []


def test_every_part_has_a_layer_and_imports_from_those_before_it():
    graph = arrows(CODE)
    assert graph.pop("__init__") == {"analysis", "execution"}
    assert sorted(graph) == sorted(part for layer in LAYERS for part in layer)
    for number, layer in enumerate(LAYERS):
        below = set().union(*LAYERS[:number])
        assert {part: graph[part] - below for part in layer if graph[part] - below} == {}


def test_what_executes_knows_no_analysis():
    graph = arrows(CODE)
    assert "analysis" not in graph["execution"] | graph["testing"]


def test_the_harness_imports_no_algorithm_and_no_dataset():
    """``fedbench.algorithms`` and ``fedbench.datasets`` are reached through the registry alone."""
    for file in CODE.rglob("*.py"):
        assert not [name for name in imports_of(file) if name.split(".")[0] in ("algorithms", "datasets")], file


def test_plugins_know_contracts_readers_and_each_other_alone():
    for folder in ("algorithms", "datasets"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in imports_of(file):
                first, *rest = name.split(".")
                assert first in {*CONTRACTS, folder} or ".".join([first, *rest[:1]]) in READERS, (file, name)


def test_what_computes_is_in_the_digest_of_the_harness():
    engine = {f"engine/{file.stem}" for file in (CODE / "engine").glob("*.py")}
    stored = {"engine/checkpoint", "engine/states"}
    assert engine - set(RESULT_MODULES) == {"engine/__init__", "engine/interruption", *stored}
    data = {f"data/{file.stem}" for file in (CODE / "data").glob("*.py")}
    assert data - {*RESULT_MODULES, *PREPARING_MODULES} == {"data/__init__", "data/inspection", "data/sealing"}
