"""What fedbench installs: declared where it is used, used where it is declared, in the ranges it states, and free.

All of it is read from the sources and from what is installed; nothing here needs a network.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.toys import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = ("fedbench", "algorithms", "datasets")
DEVELOPMENT = ("tests", "benchmarks")
OURS = {"fedbench", "tests", "benchmarks"}
PART_OF = {"markupsafe": "jinja2"}  # documented as a part of the other's interface
ELSEWHERE = {"flwr", "pfl"}  # peers, in an environment of their own: benchmarks/peers.txt
MADE_BY_TESTS = {"toyplugin"}
TOOLS = {"ruff", "mypy", "build", "pytest-xdist", "pandas-stubs", "scipy-stubs", "coverage"}  # run, never imported

# Licences that allow what Apache-2.0 allows, as packages spell them.
FREE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL-2\.0|Mozilla Public License 2\.0|Zlib|CC0|HPND|BSL-1\.0|"
    r"Matplotlib|0BSD|LLVM-exception|Unlicense"
)
COPYLEFT = re.compile(r"(?<!L)GPL|GNU General Public|Affero|SSPL|Proprietary|Commercial", re.IGNORECASE)


def imported(*folders: str) -> dict[str, set[str]]:
    """Return module -> files that import it, standard library and ourselves left out."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                for name in (full.partition(".")[0] for full in names):
                    if name not in sys.stdlib_module_names | OURS:
                        found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found


@cache
def _distributions() -> dict[str, set[str]]:
    return {
        module: {canonicalize_name(n) for n in names} for module, names in metadata.packages_distributions().items()
    }


def packages_of(module: str) -> set[str]:
    """Return the packages that bring a module."""
    return {PART_OF[module]} if module in PART_OF else _distributions().get(module, {module})


def declared(*extras: str) -> dict[str, SpecifierSet]:
    """Return package -> range, of the dependencies and of ``extras``."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_what_is_imported_is_declared():
    optional = declared("tensorboard")
    for module, files in imported(*RUNTIME).items():
        assert packages_of(module) & set(optional), f"{module} is imported by {sorted(files)} but not a dependency"
    everything = declared("tensorboard", "dev")
    for module, files in imported(*DEVELOPMENT).items():
        if module not in ELSEWHERE | MADE_BY_TESTS:
            assert packages_of(module) & set(everything), f"{module} is imported by {sorted(files)} but not declared"


def test_what_is_declared_is_used():
    """By fedbench itself, if it is installed with it; else by tests, benchmarks or as a tool."""
    used = {package for module in imported(*RUNTIME) for package in packages_of(module)}
    assert set(declared()) - used == set()
    used |= {package for module in imported(*DEVELOPMENT) for package in packages_of(module)} | TOOLS
    assert set(declared("dev", "tensorboard")) - used == set()


def test_the_tested_versions_are_within_the_ranges():
    pins = pinned()
    for package, specifier in declared("dev", "tensorboard").items():
        assert package in pins, f"{package} has no tested version in constraints.txt"
        assert specifier.contains(pins[package]), f"{package}=={pins[package]} is outside {specifier}"


def test_every_range_has_a_lower_bound():
    """Without one an old version would be accepted that nobody ever tried. Stubs follow their packages."""
    for package, specifier in declared("dev", "tensorboard").items():
        assert package.endswith("-stubs") or any(s.operator in (">=", "==", "~=") for s in specifier), package


def test_what_is_installed_fits_together():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def closure() -> dict[str, metadata.Distribution]:
    """Return every package that installing fedbench brings here."""
    found: dict[str, metadata.Distribution] = {}
    todo = [*declared("tensorboard")]
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or []:
            requirement = Requirement(line)
            here = dict(default_environment()) | {"extra": ""}
            if requirement.marker is None or requirement.marker.evaluate(here):
                todo.append(requirement.name)
    return found


def licence_of(distribution: metadata.Distribution) -> str:
    """Return what a package says of its licence, the clearest first."""
    facts = distribution.metadata
    if expression := facts.get("License-Expression"):
        return expression
    classifiers = [c.rpartition(" :: ")[2] for c in facts.get_all("Classifier", []) if c.startswith("License ::")]
    return " ".join(classifiers) or (facts.get("License") or "").strip().partition("\n")[0]


def test_every_package_that_is_installed_is_free():
    packages = closure()
    assert len(packages) > 30
    for name, distribution in packages.items():
        licence = licence_of(distribution)
        assert FREE.search(licence), f"{name}: licence '{licence}' is not known to fit Apache-2.0"
        assert not COPYLEFT.search(licence), f"{name}: licence '{licence}'"


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "GNU General Public License v3 (GPLv3)", "AGPL-3.0", "Proprietary"]
)
def test_the_licences_that_do_not_fit_would_be_noticed(licence):
    assert COPYLEFT.search(licence) or not FREE.search(licence)


def test_the_two_lists_of_this_project_agree_on_python():
    classifiers = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language")]
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0") for version in classifiers)
