"""The table of what was trained: every algorithm as configured, with all its hyper-parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fedbench.analysis.analyses import in_order
from fedbench.analysis.paper.study import Part
from fedbench.analysis.tables.captions import MARKS, name_of, rule_of
from fedbench.analysis.tables.cells import Cell, Column, Table, count, text

CAPTION = (
    "Every algorithm as it was run, with its hyper-parameters (those that were not set have their default) and the "
    "number of the segmentation network's parameters."
)


def settings_table(parts: Iterable[Part]) -> Table:
    """Return one row per algorithm; its name is ``settings``."""
    found: dict[str, dict[str, set[str]]] = {}
    sizes: dict[str, set[int]] = {}
    for part in parts:
        runs = part.analyses.results(part.condition).runs
        for setting, identity, size in runs[["setting", "identity", "parameters"]].itertuples(index=False):
            parameters = _written(json.loads(identity).get("algorithm_params", {}))
            found.setdefault(str(setting), {}).setdefault(parameters, set()).add(part.title)
            sizes.setdefault(str(setting), set()).add(int(size))
    rows = [_row(setting, found[setting], sizes[setting]) for setting in in_order(found)]
    columns = [
        Column("algorithm", left=True, heads=True), Column("hyper-parameters", left=True),
        Column("network parameters", fields=("", "most")),
    ]  # fmt: skip
    return Table("settings", "Configurations", CAPTION, columns, rows, rule_of(in_order(found)), MARKS)


def _written(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(parameters.items())) or "none"


def _row(setting: str, parameters: dict[str, set[str]], sizes: set[int]) -> list[Cell]:
    """Return the row of an algorithm; where it was run in several ways, with the conditions of each."""
    ways = [f"{words} ({', '.join(sorted(of))})" if len(parameters) > 1 else words for words, of in parameters.items()]
    least, most = count(min(sizes)), count(max(sizes))
    size = least.text if least == most else f"{least.text} to {most.text}"
    return [name_of(setting), text("; ".join(ways)), Cell(size, (*least.values, *most.values))]
