"""Arrows run one way: which folder and which top-level module of fedbench may import which, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toys import ROOT

CODE = ROOT / "fedbench"
TRAINS = ("engine", "execution", "tuning", "testing", "commands", "cli")  # with what stands above them


def imported(node: ast.AST) -> list[str]:
    """Return the modules of fedbench that a statement imports, whole."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("fedbench.")]
    if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "fedbench":
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if is_module(name) else node.module for name in inner]
    return []


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports_of(file: Path) -> list[str]:
    return [name for node in ast.walk(ast.parse(file.read_text("utf-8"))) for name in imported(node)]


def part(module: str) -> str:
    """``engine`` of ``fedbench.engine.local``, ``suite`` of ``fedbench.suite``; empty for fedbench itself."""
    return module.removeprefix("fedbench").removeprefix(".").split(".")[0]


def arrows(folder: Path) -> dict[str, set[str]]:
    """Return what each part of a folder imports of the others."""
    found: dict[str, set[str]] = {}
    prefix = ".".join(folder.relative_to(ROOT).parts) + "."
    for file in sorted(folder.rglob("*.py")):
        own = file.relative_to(folder).parts[0].removesuffix(".py")
        names = [name.removeprefix(prefix).split(".")[0] for name in imports_of(file) if name.startswith(prefix)]
        found.setdefault(own, set()).update(set(names) - {own})
    found.pop("__init__", None)
    return found


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


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


FOLDERS = sorted(file.parent.relative_to(CODE).as_posix() for file in CODE.rglob("__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_two_parts_import_each_other(folder):
    assert circle(arrows(CODE / folder)) == []


def test_what_analyses_trains_nothing():
    assert arrows(CODE)["analysis"].isdisjoint(TRAINS)


def test_who_knows_whom():
    graph = arrows(CODE)
    assert graph["data"].isdisjoint({"federation", "algorithm", "engine", "execution", "analysis"})
    assert graph["engine"].isdisjoint({"execution", "analysis", "commands", "registry", "store"})
    assert graph["execution"].isdisjoint({"analysis", "commands", "tuning", "testing"})
    assert graph["cli"] <= {"commands", "errors"}


def test_the_harness_knows_no_algorithm_and_no_dataset_by_name():
    for file in CODE.rglob("*.py"):
        assert not [name for name in imports_of(file) if part(name) in ("algorithms", "datasets")], file


def test_plugins_know_contracts_and_readers_alone():
    for folder in ("algorithms", "datasets"):
        known = {part(name) for file in (ROOT / folder).glob("*.py") for name in imports_of(file)}
        assert known <= {
            "algorithm", "algorithms", "data", "dataset", "errors", "federation", "names", "parameters",
        }  # fmt: skip
