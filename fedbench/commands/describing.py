"""``show dataset`` and ``show algorithm``: what a plugin declares, in words."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from fedbench import registry
from fedbench.commands.options import console
from fedbench.dataset import Intensity

FROM_FOLDER = "as its folder says"


def describe_dataset(name: str) -> None:
    """Print what the dataset ``name`` holds, its licence, citation, and where to get it."""
    name = name.partition("[")[0]  # what it is does not depend on its parameters
    cls = registry.load("dataset", registry.find("dataset", name))
    unit = cls.unit
    modalities = getattr(cls, "modalities", ())
    intensity: dict[str, Intensity] = getattr(cls, "intensity", {})
    rows = {
        "modalities": ", ".join(modalities) or FROM_FOLDER,
        "classes": ", ".join(getattr(cls, "classes", ())) or FROM_FOLDER,
        "scored": "; ".join(f"{region} = {_labels(cls, labels)}" for region, labels in cls.regions.items()),
        "intensity": "; ".join(f"{m}: {_normalisation(intensity[m])}" for m in modalities if m in intensity),
        "common grid": _by(getattr(cls, "spacing", ()), f" {unit}") or FROM_FOLDER,
        "sample": _by(getattr(cls, "size", ()), " voxels") or FROM_FOLDER,
        "a patient is": f"a {cls.patient}",
        "mind": cls.caveats,
        "complete": cls.expected,
        "get it": cls.where,
        "licence": cls.licence,
        "cite": cls.citation,
        "use": f"-d {name}=PATH" if cls.needs_path else f"-d {name}",
    }
    _print(name, cls, rows)


def describe_algorithm(name: str) -> None:
    """Print what the algorithm ``name`` does, its hyper-parameters and its source."""
    name = name.partition("[")[0]
    cls = registry.load("algorithm", registry.find("algorithm", name))
    module = inspect.getmodule(cls)
    _print(name, cls, {}, (module.__doc__ or "") if module else "")


def _print(name: str, cls: type[Any], rows: dict[str, str], source: str = "") -> None:
    console.print(Text(name, style="bold"))
    for doc in (cls.__doc__ or "", source):
        if doc:
            console.print(Text(_paragraphs(doc) + "\n"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, text in rows.items():
        if text:
            table.add_row(key, Text(text))
    for parameter, field in cls.Params.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        search = f"; search {extra['search']}" if extra.get("search") else ""
        told = f"default {field.default!r}{_allowed(field)}{search}. {field.description or ''}"
        table.add_row(Text(f"[{parameter}]"), Text(told.strip()))
    console.print(table)


LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _allowed(field: FieldInfo) -> str:
    """``"; 'weights' or 'features'"``, ``"; at least 0, below 1"``: what a parameter may be, where it is limited."""
    if get_origin(field.annotation) is Literal:
        return f"; {' or '.join(map(repr, get_args(field.annotation)))}"
    found = [
        f"{words} {getattr(limit, key)}"
        for limit in field.metadata
        for key, words in LIMITS.items()
        if hasattr(limit, key)
    ]
    return f"; {', '.join(found)}" if found else ""


def _paragraphs(doc: str) -> str:
    """Join the lines of each paragraph, which the console breaks as wide as it is; lists and formulas keep theirs."""
    return "\n\n".join(map(_joined, inspect.cleandoc(doc).replace("``", "").split("\n\n")))


def _joined(paragraph: str) -> str:
    lines: list[str] = []
    for line in paragraph.splitlines():
        of_item = bool(lines) and lines[-1].startswith("- ")
        formula = line.startswith(" ") and not of_item
        if not lines or line.startswith("- ") or formula or lines[-1].startswith(" "):
            lines.append(line)
        else:
            lines[-1] += f" {line.strip()}"
    return "\n".join(lines)


def _labels(cls: type[Any], labels: tuple[int, ...]) -> str:
    return " + ".join(cls.classes[label - 1] for label in labels)


def _normalisation(intensity: Intensity) -> str:
    if intensity.kind == "window":
        return f"{intensity.low:g} to {intensity.high:g}"
    return f"percentiles {intensity.low:g} to {intensity.high:g}"


def _by(numbers: tuple[float, ...], unit: str) -> str:
    return " x ".join(f"{n:g}" for n in numbers) + unit if numbers else ""
