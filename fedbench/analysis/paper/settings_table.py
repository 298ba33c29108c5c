"""The table of what was trained: every algorithm as configured, with all its hyper-parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fedbench.analysis.analyses import in_order
from fedbench.analysis.captions import MARKS, name_of, rule_of
from fedbench.analysis.cells import Cell, Column, Table, count, text
from fedbench.analysis.paper.study import Part

CAPTION = (
    "Every algorithm as it was run, with its hyper-parameters (those that were not set have their default) and the "
    "number of the segmentation network's parameters."
)


def settings_table(parts: Iterable[Part]) -> Table:
    """Return one row per configuration; its name is ``settings``."""
    found: dict[str, tuple[dict[str, Any], set[int]]] = {}
    for part in parts:
        runs = part.analyses.results(part.condition).runs
        for setting, identity, size in runs[["setting", "identity", "parameters"]].itertuples(index=False):
            parameters = json.loads(identity).get("algorithm_params", {})
            found.setdefault(str(setting), (parameters, set()))[1].add(int(size))
    rows = [_row(setting, *found[setting]) for setting in in_order(found)]
    columns = [
        Column("algorithm", left=True, heads=True), Column("hyper-parameters", left=True),
        Column("network parameters", fields=("", "most")),
    ]  # fmt: skip
    return Table("settings", "Configurations", CAPTION, columns, rows, rule_of(in_order(found)), MARKS)


def _row(setting: str, parameters: dict[str, Any], sizes: set[int]) -> list[Cell]:
    written = ", ".join(f"{name} = {value}" for name, value in sorted(parameters.items()))
    least, most = count(min(sizes)), count(max(sizes))
    size = least.text if least == most else f"{least.text} to {most.text}"
    return [name_of(setting), text(written or "none"), Cell(size, (*least.values, *most.values))]
