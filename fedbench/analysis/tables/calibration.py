"""What :mod:`fedbench.analysis.statistics.calibration` finds, as a table and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fedbench.analysis.statistics.calibration import CONFIDENCE, SPREAD
from fedbench.analysis.statistics.simulation import Design
from fedbench.analysis.tables.cells import Column, Table, count, number, span, text
from fedbench.analysis.tables.formats import markdown

READING = """\
The first block is what a test over patients promises: the trained models are given, patients are drawn anew. There the
protocol keeps its rates, and the analysis that takes slices for samples does not: it counts the same evidence many
times. In the second block training runs differ by luck and no algorithm differs from another. Tests and intervals over
patients are *expected* to be broken there, because they are about the models at hand: with enough patients two runs of
one algorithm differ significantly. That is why every table of tests also has the test over patients and runs, and why
the mark of the best algorithm says whether that test agrees. The paper calls an algorithm better only if both tests
say so, each corrected: rarely wrong in either situation, and slow to see what is small. In the third block some
algorithms have more luck than others. The last block is the power to see a true difference.
"""


def calibration_table(found: pd.DataFrame, arguments: Mapping[str, float]) -> Table:
    """Return one row per check; ``found`` and ``arguments`` are result and arguments of ``calibrate``."""
    columns = [
        Column("situation", left=True, heads=True), Column("check", left=True), Column("kind", left=True),
        Column("promised"), Column("simulations"), Column("measured"),
        Column(f"{CONFIDENCE:.0%} interval", fields=("low", "high")), Column("verdict", left=True),
    ]  # fmt: skip
    rows = [
        [
            text(row["situation"]), text(row["check"]), text(row["kind"]), number(row["promised"], 2), count(row["n"]),
            number(row["rate"], 3), span(row["low"], row["high"], 3), text(row["verdict"]),
        ]
        for row in found.to_dict("records")
    ]  # fmt: skip
    design = Design()
    caption = (
        f"Simulated comparisons of {arguments['algorithms']:g} algorithms on {arguments['patients']:g} patients with "
        f"{design.cases} cases and {design.classes} classes each and {arguments['seeds']:g} seeds; clustered patients, "
        f"ties, empty masks, false alarms. Runs differ by luck: standard deviation {arguments['run_luck']:g} Dice; "
        f"where some differ more, its logarithm has a standard deviation of {SPREAD:g} between algorithms. One "
        f"algorithm better: by {arguments['difference']:g} Dice. A rate is called broken (or conservative) if its "
        f"{CONFIDENCE:.0%} Clopper-Pearson interval excludes what is promised."
    )
    situations = found["situation"].tolist()
    breaks = [i for i in range(1, len(situations)) if situations[i] != situations[i - 1]]
    return Table(
        "calibration", "What the statistics promise, and what they keep", caption, columns, rows, tuple(breaks)
    )


def calibration_page(table: Table, command: str) -> str:
    """Return a page of Markdown that names the command it was made by."""
    made = f"Made by the command below, which gives the same numbers again; do not edit.\n\n```\n{command}\n```\n"
    return f"# Calibration of the statistics\n\n{made}\n{READING}\n{markdown(table)}"
