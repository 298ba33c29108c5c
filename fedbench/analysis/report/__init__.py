"""The report: one HTML file that needs nothing else, with every table, every figure and a browser of cases.

write_report(evidence, analyses, Path("report.html"))
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION, Analyses, in_order, is_reconstruction
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import Drawn, draw_all, style
from fedbench.analysis.figures.style import colour_of
from fedbench.analysis.report import page, provenance, sheets, status
from fedbench.analysis.report.browser import Cases, browse
from fedbench.analysis.report.pictures import Picture, pictures
from fedbench.analysis.report.sheets import Sheet
from fedbench.analysis.report.verdict import Verdict, across, verdict
from fedbench.analysis.statistics.protocol import TEXT
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.tables import runs as tables_runs
from fedbench.analysis.tables import scores as tables_scores
from fedbench.analysis.tables import significance
from fedbench.analysis.tables.captions import selected
from fedbench.files import write_text

LARGEST = 14_500_000  # bytes of the page
FIGURES = 5_500_000  # bytes of all PNG files; a third more as text
CASES = 7_500_000  # bytes of all cases at most
MARKED = f"Algorithms marked {RECONSTRUCTED} are {RECONSTRUCTION}"
EMPTY_MASKS = (
    "Both masks empty: not applicable, counted apart, in no mean. Exactly one empty: Dice 0, NSD 0 and HD95 = the "
    "image diagonal, flagged and counted as missed or false alarm; these enter the means, unless the patient has no "
    "structure at all: then no score of that patient does, for any algorithm."
)
CALIBRATION = (
    "How often these tests find a difference that is not there, how often their intervals cover the truth and how "
    "large a difference they can find was measured on simulated scores; the command “fedbench calibrate” repeats it."
)


@dataclass(frozen=True)
class Tests:
    """The tables of one endpoint."""

    name: str
    primary: bool
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class Part:
    """What the page has of one condition."""

    condition: Condition
    verdict: Verdict
    sheets: tuple[Sheet, ...]
    endpoints: tuple[Tests, ...]
    pictures: tuple[Picture, ...]
    skipped: tuple[Drawn, ...]
    cases: Cases | None = None


def write_report(evidence: Evidence, analyses: Analyses, target: Path, figures: Sequence[Drawn] | None = None) -> Path:
    """Write the page to ``target``; the same evidence gives the same bytes, at most 15 MB for a usual study.

    Args:
        figures: as :func:`fedbench.analysis.figures.draw_all` returns them; None draws them here.

    Returns:
        ``target``.

    Raises:
        UserError: a condition cannot be analysed: one algorithm, one patient, missing scores, damaged values.
    """
    if figures is None:
        with tempfile.TemporaryDirectory() as folder:
            drawn = draw_all(evidence, analyses, Path(folder), save=partial(style.save, kinds=("png",)))
            return write_report(evidence, analyses, target, drawn)
    labels = {c: analyses.algorithms(c) for c in analyses.conditions}
    known = in_order(label for own in labels.values() for label in own)
    colours = {label: colour_of(label, known) for label in (*evidence.settings, *known)}
    shown = pictures(figures, FIGURES)
    parts = [
        Part(
            condition,
            verdict(condition, analyses.get(condition), labels[condition]),
            _sheets(analyses, condition),
            _endpoints(analyses, condition),
            tuple(shown[one] for one in figures if one.condition == condition and one in shown),
            tuple(one for one in figures if one.condition == condition and one not in shown),
        )
        for condition in analyses.conditions
    ]
    consensus = across(analyses)
    pooled = tables_scores.pooled_result(analyses)
    content = {
        "colours": colours,
        "facts": _facts(evidence, analyses),
        "reconstruction": f"Algorithms marked {RECONSTRUCTED} are {RECONSTRUCTION}"
        if any(map(is_reconstruction, known))
        else "",
        "across": consensus.text if consensus else "",
        "pooled": [Sheet(pooled)] if pooled else [],
        "protocol": _protocol(analyses),
        "provenance": [Sheet(table) for table in provenance.tables(evidence)],
        "status": [Sheet(table) for table in (tables_runs.runs(analyses), *status.tables(evidence))],
    }
    without = len(page.render(conditions=parts, **content).encode())
    browsed = sum(not part.condition.reestimated for part in parts)
    budget = max(0, min(CASES, LARGEST - without)) // max(1, browsed)
    parts = [
        part if part.condition.reestimated else replace(part, cases=browse(analyses, part.condition, colours, budget))
        for part in parts
    ]
    write_text(target, page.render(conditions=parts, **content))
    return target


def _sheets(analyses: Analyses, condition: Condition) -> tuple[Sheet, ...]:
    made = (
        tables_scores.main_result, tables_scores.by_modality, tables_scores.by_class, significance.overview,
        *(() if condition.reestimated else (tables_runs.cost,)), tables_runs.empties,
    )  # fmt: skip
    return (*(Sheet(make(analyses, condition)) for make in made), sheets.patients(analyses, condition))


def _endpoints(analyses: Analyses, condition: Condition) -> tuple[Tests, ...]:
    return tuple(_tests(analyses, condition, endpoint) for endpoint in analyses.endpoints(condition))


def _tests(analyses: Analyses, condition: Condition, endpoint: Endpoint) -> Tests:
    made = (significance.comparisons, significance.ranks, significance.variance)
    return Tests(
        endpoint.name.partition(",")[0],
        endpoint == analyses.primary(condition),
        tuple(Sheet(make(analyses, condition, endpoint)) for make in made),
    )


def _facts(evidence: Evidence, analyses: Analyses) -> list[tuple[str, str]]:
    patients = {
        (c.dataset, patient) for c in analyses.conditions for patient in analyses.results(c).cases["patient"].unique()
    }
    numbers = {
        "datasets": evidence.runs["dataset"].nunique(),
        "algorithms": evidence.runs["setting"].nunique(),
        "seeds": evidence.runs["seed"].nunique(),
        "test patients": len(patients),
        "finished runs": len(evidence.runs),
        "not finished": len(tables_runs.unfinished(evidence)),
    }
    return [(name, f"{number:,}".replace(",", " ")) for name, number in numbers.items()]


def _protocol(analyses: Analyses) -> list[str]:
    c = analyses.choices
    return [
        f"Declared in the suite and fixed in the program, not chosen by the results. {TEXT}",
        f"Reference: {c.reference}. {selected(analyses)} Chosen: selection “{c.selection}”, missing “{c.missing}”.",
        EMPTY_MASKS,
        CALIBRATION,
    ]
