"""The tables of a federation trained with several kinds of norm: scores, and what algorithm and norm changed."""

from __future__ import annotations

from collections.abc import Callable

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION
from fedbench.analysis.norms import Column, SideBySide, step
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.captions import NAME, name_of, rule_of
from fedbench.analysis.tables.cells import INTERVAL, Cell, Table
from fedbench.analysis.verdicts import Verdict, judge
from fedbench.wording import listed

DIGITS = 3
WORDS = {Verdict.BETTER: "better", Verdict.WORSE: "worse", Verdict.SAME: ""}
MARKS = {RECONSTRUCTED: RECONSTRUCTION}
NORM = (
    "Every column is trained with one kind of normalisation layer, on the same partitions; re-estimated: the same "
    "trained models, with BatchNorm statistics taken anew from the training images of the scored modality (no label "
    "is used; models that clients keep to themselves are not re-estimated)."
)


def scores_table(found: SideBySide, key: str, title: str, about: str) -> Table:
    """Return cross-modality Dice, algorithms x norms, with intervals over patients.

    Args:
        key: of the table's name.
        about: patients, seeds, selection rule and missing policy: sentences.
    """

    def cell(column: Column, name: str) -> Cell:
        if name not in column.labels:
            return Cell(cells.NONE, (None, None, None))
        mean = column.analysis.means.loc[[column.labels[name]]].iloc[0]
        shown = cells.estimate(mean["mean"], mean["low"], mean["high"], DIGITS)
        return Cell(shown.text, shown.values[:3], shown.below)

    caption = f"Mean over patients with 95% interval (bootstrap over patients). {NORM} {about}"
    return _table(found, f"norms.{key}", f"Cross-modality Dice by kind of norm, {title}", caption, found.names, cell)


def effects_table(found: SideBySide, key: str, title: str, about: str) -> Table:
    """Return the difference of each algorithm to the reference of the same norm; first, the reference's between norms.

    Args:
        key: as for :func:`scores_table`; so ``about``.
    """
    first, reference = found.columns[0], found.reference

    def cell(column: Column, name: str) -> Cell:
        if name == reference:
            if column is first:
                return Cell(cells.NONE, (None, None, None, ""))
            gain = step(first, column, name)
            shown = cells.difference(gain.mean, gain.low, gain.high, DIGITS)
            return Cell(shown.text, (*shown.values, ""), shown.below)
        if name not in column.labels:
            return Cell(cells.NONE, (None, None, None, ""))
        compared = judge(column.analysis, column.labels[name], column.analysis.reference)
        row, word = compared.row, WORDS[compared.verdict]
        shown = cells.difference(row["mean"], row["mean_low"], row["mean_high"], DIGITS)
        return Cell(f"{shown.text} {word}".strip(), (*shown.values, compared.verdict.value), shown.below)

    others = [name for name in found.names if name != reference]
    caption = (
        f"First row: {reference} of this column minus {reference} with {first.heading}, of the same patients; no test "
        f"is made of it. Below: each algorithm minus the {reference} of the same column, and whether it is better or "
        "worse by the tests of that column's own analysis, over patients and over patients and seeds; without a word "
        f"it is not distinguishable. 95% intervals (bootstrap over patients). {about}"
    )
    title = f"What the norm changes and what the algorithm changes, {title}"
    made = _table(found, f"norm-effects.{key}", title, caption, [reference, *others], cell, ("verdict",))
    itself = "the norm or its statistics" if any(column.reestimated for column in found.columns) else "the norm itself"
    heads = [Cell(f"{reference}: {itself}", (reference,)), *(row[0] for row in made.rows[1:])]
    rows = [[head, *row[1:]] for head, row in zip(heads, made.rows, strict=True)]
    points = rule_of(others)[0]
    return Table(**{**vars(made), "rows": rows, "rules": tuple(sorted({1, 1 + points}))})


def _table(
    found: SideBySide, name: str, title: str, caption: str, names: list[str], cell: Callable[[Column, str], Cell],
    more: tuple[str, ...] = (),
) -> Table:  # fmt: skip
    columns = [NAME, *(cells.Column(c.heading, fields=(*INTERVAL, *more)) for c in found.columns)]
    rows = [[name_of(name), *(cell(column, name) for column in found.columns)] for name in names]
    return Table(name, title, caption, columns, rows, rule_of(names), MARKS, (*found.notes, *notes_of(found)))


def notes_of(found: SideBySide) -> list[str]:
    """Return the notes of the columns' analyses, each once, with the columns it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    for column in found.columns:
        for note in column.analysis.notes:
            about.setdefault(note, []).append(column.heading)
    everywhere = len(found.columns)
    return [note if len(of) == everywhere else f"{listed(of)}: {note}" for note, of in about.items()]
