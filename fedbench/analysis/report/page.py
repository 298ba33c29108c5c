"""The page's templates: everything they print is escaped, unless this package wrote it."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedbench.analysis.evidence import Condition
from fedbench.analysis.tables.cells import Cell, Table
from fedbench.analysis.tables.formats import plain

PACKAGE = "fedbench.analysis.report"
SCRIPTS = ("report.js", "cases.js")
INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def render(**content: Any) -> str:
    """Return the page; ``content`` is what ``page.html.j2`` names."""
    scripts = [_own(name) for name in SCRIPTS]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(css=_own("report.css"), scripts=scripts, policy=Markup(" ".join(map(_digest, scripts))), **content)
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(PACKAGE, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "sort_value": sort_value, "legend": _legend, "short_title": _short_title, "percent": _percent,
    }  # fmt: skip
    return environment


def sort_value(cell: Cell) -> str:
    """Return the number behind a cell; empty where its text says it, or there is none."""
    value = cell.values[0]
    if not isinstance(value, int | float):
        return ""
    try:
        readable = not (cell.below or cell.sign) and float(cell.text.replace("−", "-")) is not None
    except ValueError:
        readable = False
    return "" if readable else plain(value)


def _own(name: str) -> Markup:
    return Markup(resources.files(PACKAGE).joinpath(name).read_text(encoding="utf-8"))


def _digest(script: str) -> str:
    """Return the script as a content security policy names it, which lets no other one run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def _visible(value: Any) -> Any:
    """Control characters, and bytes that were no text, become spaces."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return INVISIBLE.sub(" ", value)


def _legend(table: Table) -> list[tuple[str, str]]:
    return [(mark, meaning) for mark, meaning in table.marks.items() if mark in table.signs]


def _short_title(table: Table, condition: Condition) -> str:
    return table.title.removesuffix(f" on {condition.title}")


def _percent(value: float, start: float, end: float) -> str:
    return f"{100 * (value - start) / (end - start):.2f}%"
