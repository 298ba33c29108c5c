"""``check`` and ``new``: try a plugin against the contract; begin one that keeps it."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from fedbench.commands.options import console, errors
from fedbench.errors import UserError, nearest

if TYPE_CHECKING:
    from fedbench.testing import Finding

KINDS = ("algorithm", "dataset")
MARKS = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: (" -  ", "dim")}


def check(
    plugin: Annotated[
        str, typer.Argument(metavar="NAME[=PATH]", help="A name, or file.py:Class; of a dataset with its folder.")
    ],
    all_cases: Annotated[
        bool, typer.Option("--all-cases", help="Read all of a dataset, not two per modality.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="RULE", help="This rule alone. Repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="RULE", help="A rule broken on purpose. Repeatable.")
    ] = None,
) -> None:
    """Try an algorithm or a dataset against the contract: a line per rule, the likely mistake, what to do.

    Examples: `fedbench check my_algo.py:MyAlgo` · `fedbench check 'fedprox[mu=1]'` · `fedbench check sts=PATH`
    """
    from fedbench import registry
    from fedbench.testing import algorithm_findings, dataset_findings
    from fedbench.testing.loading import kind_of

    started, spec = time.perf_counter(), registry.parse_spec(plugin)
    try:
        if kind_of(spec.name) == "algorithm":
            if spec.path or all_cases:
                extra = "=PATH" if spec.path else "--all-cases"
                raise UserError(f"'{spec.name}' is an algorithm: it takes no {extra}.")
            findings = algorithm_findings(plugin, only=only or (), skip=skip or (), tell=_tell)
        else:
            most = None if all_cases else 2
            findings = dataset_findings(plugin, cases=most, only=only or (), skip=skip or (), tell=_tell)
    except KeyboardInterrupt:
        errors.print("interrupted.", highlight=False)
        raise typer.Exit(130) from None
    failed = [finding for finding in findings if finding.passed is False]
    passed = sum(finding.passed is True for finding in findings)
    untried = sum(finding.untried for finding in findings)
    counts = f"{passed} rules pass, {len(failed)} fail, {len(findings) - passed - len(failed) - untried} do not apply"
    counts += f", {untried} were not tried" if untried else ""
    console.print(Text(f"{spec.name}: {counts} ({time.perf_counter() - started:.0f} s)"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    mark, style = MARKS[finding.passed]
    line = Text.assemble((mark, style), f" {finding.rule:<16} {finding.message}")
    console.print(line, soft_wrap=True)
    if finding.hint:
        console.print(Text(f"     -> {finding.hint}"), soft_wrap=True)


def new(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to begin.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, dashes.")],
) -> None:
    """Begin a plugin in this folder: a commented file that already passes `check`, and its test.

    Examples: `fedbench new algorithm my-algo` · `fedbench new dataset my-set`
    """
    from jinja2 import Template

    if kind not in KINDS:
        raise UserError(f"cannot begin a '{kind}'{nearest(kind, KINDS)}")
    module = _module_name(kind, name)
    words = {
        "name": name,
        "module": module,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "file": f"{module}.py",
        "test_file": f"test_{module}.py",
    }
    folder = resources.files("fedbench.templates")
    templates = {
        Path(words["file"]): (folder / f"{kind}.py.jinja").read_text(encoding="utf-8"),
        Path(words["test_file"]): (folder / f"test_{kind}.py.jinja").read_text(encoding="utf-8"),
    }
    for target, text in templates.items():
        if target.exists():
            raise UserError(f"{target} exists already; choose another name, or move it away.")
        if re.search(rf"import .*\b{words['class_name']}\b", text):
            raise UserError(f"a class {words['class_name']} would hide what it needs itself; choose another name.")
    for target, text in templates.items():
        target.write_text(Template(text, keep_trailing_newline=True).render(words), encoding="utf-8")
    _say_next(kind, words)


def _module_name(kind: str, name: str) -> str:
    """Return the name of the plugin's module.

    Raises:
        UserError: the name cannot be a plugin's or a class's, is taken, or would hide another module.
    """
    from fedbench import registry

    if not registry.NAME.fullmatch(name) or not name[0].isalpha() or "--" in name or name.endswith("-"):
        raise UserError(f"'{name}' cannot be a name: use lower-case letters, digits and single dashes, a letter first.")
    known = registry.discover("algorithm" if kind == "algorithm" else "dataset")
    if name in known:
        raise UserError(f"there is {'an' if kind == 'algorithm' else 'a'} {kind} '{name}' already: {known[name].file}.")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or _elsewhere(module):
        raise UserError(f"'{module}.py' would hide Python's own or an installed '{module}'; choose another name.")
    return module


def _elsewhere(module: str) -> bool:
    """Whether ``module`` can be imported from somewhere else than this folder."""
    spec = importlib.util.find_spec(module)
    return spec is not None and (spec.origin is None or Path(spec.origin).parent.resolve() != Path.cwd().resolve())


def _say_next(kind: str, words: dict[str, str]) -> None:
    plugin = f"{words['file']}:{words['class_name']}"
    if kind == "algorithm":
        steps = [
            f"python -m fedbench check {plugin}",
            f"python -m pytest {words['test_file']}",
            f"python -m fedbench run -a fedavg -a {plugin} -d phantom-heart",
        ]
    else:
        steps = [
            f"python {words['test_file']} example",
            f"python -m fedbench check {plugin}=example",
            f"python -m pytest {words['test_file']}",
            f"python -m fedbench run -a local -a fedavg -d {plugin}=example",
        ]
    console.print(f"wrote {words['file']} and {words['test_file']}; both work as they are. Next:", soft_wrap=True)
    for step in steps:
        console.print(Text(f"  {step}"), soft_wrap=True)
