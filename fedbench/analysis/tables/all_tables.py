"""All tables of the evidence, and their files.

    write_tables(all_tables(analyses), folder)

Main results first, then means by modality and class, statistics, cost, empty masks and runs: what is in each says
:mod:`~fedbench.analysis.tables.scores`, :mod:`~fedbench.analysis.tables.significance` and
:mod:`~fedbench.analysis.tables.runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.tables import runs as tables_runs
from fedbench.analysis.tables import scores as tables_scores
from fedbench.analysis.tables import significance
from fedbench.analysis.tables.cells import Table
from fedbench.analysis.tables.formats import FORMATS, latex_document
from fedbench.files import write_text

PREVIEW = "preview.tex"  # shows all tables


def all_tables(analyses: Analyses) -> list[Table]:
    """Return every table; the same evidence gives the same tables.

    Raises:
        UserError: a condition cannot be analysed: one algorithm, one patient, missing scores, damaged values.
    """
    found: list[Table] = []
    for condition in analyses.conditions:
        found.append(tables_scores.main_result(analyses, condition))
    if (pooled := tables_scores.pooled_result(analyses)) is not None:
        found.append(pooled)
    for condition in analyses.conditions:
        found.append(tables_scores.by_modality(analyses, condition))
        found.append(tables_scores.by_class(analyses, condition))
        found.append(significance.overview(analyses, condition))
        for endpoint in analyses.endpoints(condition):
            found.append(significance.comparisons(analyses, condition, endpoint))
            found.append(significance.ranks(analyses, condition, endpoint))
            found.append(significance.variance(analyses, condition, endpoint))
        if not condition.reestimated:  # scored again, trained once
            found.append(tables_runs.cost(analyses, condition))
        found.append(tables_runs.empties(analyses, condition))
    return [*found, tables_runs.runs(analyses)]


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write ``<name>.tex``, ``.md``, ``.csv`` and ``.html`` of each, and a LaTeX document that shows all of them.

    Returns:
        the files.
    """
    files = []
    for table in tables:
        for ending, write in FORMATS.items():
            files.append(folder / f"{table.name}.{ending}")
            write_text(files[-1], write(table))
    write_text(folder / PREVIEW, latex_document([table.name for table in tables]))
    return [*files, folder / PREVIEW]
