"""Tables as the page shows them, and the one that only the page has: every patient under every algorithm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION, RELATIONS, Analyses, is_reconstruction
from fedbench.analysis.evidence import Condition
from fedbench.analysis.statistics.rows import METRICS, Endpoint
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.captions import selected
from fedbench.analysis.tables.cells import BEST, Cell, Column, Table
from fedbench.wording import counted

DIGITS = {"dice": 3, "nsd": 3, "hd95": 1}
PER_PATIENT = ("dice", "hd95")


class Sheet(NamedTuple):
    """A table on the page.

    Attributes:
        groups: name of the group of each row, if there are groups; a reader sees one at a time.
        long: too long to print on paper.
    """

    table: Table
    groups: tuple[str, ...] = ()
    long: bool = False


def patients(analyses: Analyses, condition: Condition) -> Sheet:
    """Return the mean score of every patient (over cases, classes and seeds) under every algorithm.

    One group of rows per relation and metric; the rows of all cases would be too many for a page.
    """
    names = analyses.algorithms(condition)
    rows: list[list[Cell]] = []
    groups: list[str] = []
    seeds: set[int] = set()
    notes: dict[str, None] = {}
    first = analyses.primary(condition).relation
    for relation in sorted(analyses.relations(condition), key=lambda r: r != first):
        for metric in PER_PATIENT:
            analysis = analyses.get(condition, Endpoint(relation, metric))
            matrix = analysis.matrix
            unit = f" ({matrix.unit})" if matrix.unit else ""
            values = matrix.values.reindex(columns=names)
            better = np.fmax if matrix.endpoint.higher_is_better else np.fmin
            for patient, scores in zip(values.index, values.to_numpy(), strict=True):
                best = better.reduce(scores)
                numbers = [cells.number(s, DIGITS[metric]) for s in scores]
                rows.append([
                    cells.text(str(patient)),
                    *(
                        Cell(c.text, c.values, mark=BEST if s == best else "")
                        for c, s in zip(numbers, scores, strict=True)
                    ),
                ])  # fmt: skip
                groups.append(f"{RELATIONS[relation]} {METRICS[metric]}{unit}")
            seeds |= set(matrix.seeds)
            notes |= dict.fromkeys(matrix.notes)
    caption = (
        f"The mean over the patient's cases, classes and clients, and over {counted(len(seeds), 'seed')}. "
        f"{selected(analyses)}"
    )
    if any(map(is_reconstruction, names)):
        caption += f" {RECONSTRUCTED} {RECONSTRUCTION}"
    table = Table(
        f"patients.{condition.name}", "Every patient", caption,
        [Column("patient", left=True, heads=True), *map(_column, names)], rows,
        marks={BEST: "the best of the patient, which is no statement about algorithms."}, notes=tuple(notes),
    )  # fmt: skip
    return Sheet(table, tuple(groups), long=True)


def _column(name: str) -> Column:
    return Column(f"{name}{RECONSTRUCTED if is_reconstruction(name) else ''}")
