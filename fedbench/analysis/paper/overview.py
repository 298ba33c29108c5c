"""``overview.tex``: the conditions with every modality in training side by side, in one table and one figure.

It stands first among the results; what it shows of a condition is in that condition's own section again, with all else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION, in_order
from fedbench.analysis.figures import Drawn, style
from fedbench.analysis.figures import overview as drawing
from fedbench.analysis.kinds import by_kind
from fedbench.analysis.paper.answers.cross import CROSS
from fedbench.analysis.paper.answers.ground import dataset_of
from fedbench.analysis.paper.floats import figure_float
from fedbench.analysis.paper.numbers import HEAD
from fedbench.analysis.paper.numbers import words as words_of
from fedbench.analysis.paper.phantoms import beside, of_patients
from fedbench.analysis.paper.setup import Settings
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.captions import NAME, name_of, rule_of, selected
from fedbench.analysis.tables.cells import Cell, Column, Table
from fedbench.analysis.tables.formats import latex
from fedbench.analysis.verdicts import Verdict, judge
from fedbench.wording import counted

NAMED = "overview"  # table and figure
NAMED_PHANTOMS = "overview-phantoms"
SIGNS = {Verdict.BETTER: "▲", Verdict.WORSE: "▼", Verdict.SAME: ""}
RULE = (
    "by both corrected tests, over patients and over patients and seeds; all else is not distinguishable, which is no "
    "claim of equality."
)
KINDS = (
    "A name stands for an algorithm with the numbers among its parameters that its suite names, which are not the same "
    "everywhere; the table of configurations has them."
)
DIGITS = 3


def overview_section(study: Study, drawn: Sequence[Drawn]) -> tuple[str, dict[str, str]]:
    """Return the file, and the table in it by file name without ending; a file without text if there is one condition.

    Args:
        drawn: the figure, or nothing where it was not drawn.
    """
    parts = side_by_side(study)
    if len(parts) < 2:
        return HEAD, {}
    table = scores_table(parts)
    shown = f"; Figure~\\ref{{fig:{NAMED}}} the differences to the reference in those that answers rest on"
    whole, phantoms = whole_parts(study), phantoms_beside(study)
    other = [f"{len(some)} {name}" for some, name in (
        (phantoms, f"of phantoms (Table~\\ref{{tab:{NAMED_PHANTOMS}}})"),
        ([p for p in whole if p.ablation], "of ablations"),
        ([p for p in study.parts if p.condition.unseen], "with a modality left out of training"),
    ) if some]  # fmt: skip
    patients = " of images of patients" if phantoms else ""
    made = f"{counted(len(parts), 'condition')}{patients} with every modality in training"
    also = f"; also published: {words_of(other)}" if other else ""
    text = f"Table~\\ref{{tab:{NAMED}}} has the scores of {made}{shown if drawn else ''}{also}.\n"
    floats = [f"\\input{{tables/{table.name}.tex}}\n"]
    floats += [figure_float(each, "figures", each.title, NAMED, body=True) for each in drawn]
    return HEAD + text + "".join(floats), {table.name: latex(table, "table*")}


def side_by_side(study: Study) -> list[Part]:
    """Return the conditions with scores on modalities a client does not hold, by name; no phantoms beside patients.

    Those with a modality left out and ablations, which hold runs of another condition again, are not among them.
    """
    return of_patients(_with_cross(study), dataset_of)


def phantoms_beside(study: Study) -> list[Part]:
    """Return the conditions that :func:`side_by_side` leaves out because they are of phantoms."""
    return beside(_with_cross(study), dataset_of)


def _with_cross(study: Study) -> list[Part]:
    return [part for part in whole_parts(study) if "cross" in part.relations and not part.ablation]


def whole_parts(study: Study) -> list[Part]:
    """Return the conditions in which no modality was left out: by name, phantoms last."""
    whole = [part for part in study.parts if not part.condition.unseen]
    return sorted(whole, key=lambda part: (part.of_phantom, part.condition.name, part.study))


def headings(parts: Sequence[Part]) -> list[tuple[str, str]]:
    """Return what tells each condition from the others: its dataset, and its norm, or the study's name."""
    found = [(part.condition.title, words_of(norms_of(part), "")) for part in parts]
    told = Counter(found)
    return [
        (title, (part.about if part.ablation or told[title, norm] > 1 else "") or norm)
        for part, (title, norm) in zip(parts, found, strict=True)
    ]


def norms_of(part: Part) -> list[str]:
    """Return the kinds of normalisation layers of a condition's runs: one, but for runs of somebody's own."""
    return Settings.of(part.analyses.results(part.condition).runs).values("model", "norm")


def scores_table(parts: Sequence[Part], name: str = NAMED, of: str = "Conditions") -> Table:
    """Return cross-modality Dice: a row for each kind of algorithm, a column for each condition.

    Args:
        name: of the table's file.
        of: what the columns are, for the title.
    """
    columns = [Column(norm, (title,), ("", "verdict")) for title, norm in headings(parts)]
    caption = f"Mean Dice over patients {CROSS}, by dataset and kind of normalisation. {KINDS}"
    title = f"{of} with every modality in training"
    return _table(name, title, caption, columns, [part.get("cross") for part in parts])


def unseen_table(parts: Sequence[Part], name: str = "unseen", of: str = "Modalities") -> Table:
    """Return the Dice on a modality left out of training: a row for each kind of algorithm, a column for each.

    Args:
        name: of the table's file.
        of: what the columns are, for the title.
    """
    columns = []
    for part in parts:
        patients = len(part.get("unseen").matrix.values)
        where = part.condition.dataset + (f" ({part.about})" if part.about else "")
        columns.append(Column(f"{part.condition.unseen} ({patients})", (where,), ("", "verdict")))
    caption = (
        "Mean Dice over patients on a modality that no client trained on, by dataset and that modality (in brackets "
        f"the number of test patients). {KINDS}"
    )
    title = f"{of} left out of training"
    return _table(name, title, caption, columns, [part.get("unseen") for part in parts])


def _table(name: str, title: str, caption: str, columns: Sequence[Column], analyses: Sequence[Analysis]) -> Table:
    found = [(analysis, by_kind(analysis.matrix.algorithms)) for analysis in analyses]
    kinds = in_order(kind for _, own in found for kind in own)
    rows = [[name_of(kind), *(_cell(analysis, own.get(kind)) for analysis, own in found)] for kind in kinds]
    reference = found[0][0].reference
    marks = {
        SIGNS[Verdict.BETTER]: f"better than {reference} {RULE}",
        SIGNS[Verdict.WORSE]: f"worse than {reference}, by the same rule.",
        RECONSTRUCTED: RECONSTRUCTION,
    }
    gaps = (f"{cells.NONE}: not run there.",) if any(c.text == cells.NONE for row in rows for c in row) else ()
    return Table(name, title, caption, [NAME, *columns], rows, rule_of(kinds), marks, gaps)


def _cell(analysis: Analysis, label: str | None) -> Cell:
    if label is None or label not in analysis.means.index:
        return Cell(cells.NONE, (None, ""))
    mean = float(analysis.means["mean"][label])
    verdict = None if label == analysis.reference else judge(analysis, label, analysis.reference).verdict
    sign = SIGNS[verdict] if verdict else ""
    return Cell(cells.decimal(mean, DIGITS), (mean, verdict.value if verdict else ""), sign=sign)


def draw_overview(study: Study, folder: Path, save: style.Save) -> list[Drawn]:
    """Draw the figure and ``save`` it; none where there are fewer than two conditions to show."""
    parts = shown_in_figure(study)
    if len(parts) < 2:
        return []
    columns = panels(parts)
    with style.apply_style():
        sketch = drawing.draw(columns, f"{KINDS} {selected(parts[0].analyses)}")
        files = save(sketch.figure, folder / NAMED)
    width, height = map(float, sketch.figure.get_size_inches())
    return [Drawn(NAMED, drawing.TITLE, parts[0].condition, sketch.caption, tuple(files), size=(width, height))]


def shown_in_figure(study: Study) -> list[Part]:
    """Return the conditions that answers on other modalities rest on, ablations too; no phantoms beside patients."""
    whole = [part for part in whole_parts(study) if "cross" in part.relations]
    return of_patients(whole, dataset_of)


def panels(parts: Sequence[Part]) -> list[list[drawing.Panel]]:
    """Return the panels of the figure, a list for each dataset."""
    columns: dict[str, list[drawing.Panel]] = {}
    for part, (title, norm) in zip(parts, headings(parts), strict=True):
        name = f"{title}, {norm} norm" if norm in norms_of(part) else f"{title}, {norm}" if norm else title
        columns.setdefault(part.condition.dataset, []).append(drawing.Panel(name, part.get("cross")))
    return list(columns.values())
