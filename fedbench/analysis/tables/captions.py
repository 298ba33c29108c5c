"""What every table says besides its numbers: who is a reconstruction, which models, how many patients, what to know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION, Analyses, is_reconstruction, is_reference_point
from fedbench.analysis.declared import PATIENT, unit_of
from fedbench.analysis.evidence import Condition
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.tables import best
from fedbench.analysis.tables.cells import Cell, Column, Value

NAME = Column("algorithm", left=True, heads=True)
MARKS = best.RULE | {RECONSTRUCTED: RECONSTRUCTION}


def name_of(label: str) -> Cell:
    """Return the cell that names an algorithm's row; a reconstruction carries its sign."""
    return Cell(label, (label,), sign=RECONSTRUCTED if is_reconstruction(label) else "")


def column_of(label: str) -> Column:
    """Return the column of an algorithm; a reconstruction carries its sign."""
    return Column(label, sign=RECONSTRUCTED if is_reconstruction(label) else "")


def rule_of(algorithms: Sequence[str]) -> tuple[int, ...]:
    """Return where the line stands between reference points and federated algorithms."""
    return (sum(map(is_reference_point, algorithms)),)


def selected(analyses: Analyses) -> str:
    """Return which models were scored and what was done about missing scores: a sentence."""
    c = analyses.choices
    models = "of the last round" if c.selection == "last" else "of each run's best round on validation cases"
    way = {
        "refuse": "no score is missing",
        "worst": "missing scores are set to the worst value",
        "complete-cases": "scores that some algorithms lack are left out for all",
    }
    return f"Models {models}; {way[c.missing]}."


def about(analyses: Analyses, made: Sequence[Analysis]) -> str:
    """Return numbers of patients and seeds, the selection rule and the missing policy: two sentences."""
    unit = unit_of(made[0].matrix.dataset)
    patients = f"{_range(len(a.matrix.values) for a in made)} patients{'' if unit == PATIENT else f' (each a {unit})'}"
    seeds = _range(len(a.matrix.seeds) for a in made)
    size = f"{patients}, {seeds} {'seed' if seeds == '1' else 'seeds'}"
    folds = made[0].matrix.folds.nunique()
    return f"{size}{f', {folds} folds' if folds > 1 else ''}. {selected(analyses)}"


def facts_of(analyses: Analyses, condition: Condition, made: Sequence[Analysis]) -> dict[str, Value]:
    """Return what the CSV says in columns of its own."""
    return {
        "dataset": condition.dataset,
        "left out": condition.unseen,
        "statistics": "re-estimated" if condition.reestimated else "as trained",
        "selection": analyses.choices.selection,
        "missing scores": analyses.choices.missing,
        "patients": _range(len(a.matrix.values) for a in made),
        "seeds": _range(len(a.matrix.seeds) for a in made),
    }


def notes_of(made: Sequence[Analysis]) -> tuple[str, ...]:
    """Return the notes of several analyses, each once, with the endpoints it is about unless it is about all."""
    found: dict[str, list[str]] = {}
    for analysis in made:
        for note in analysis.notes:
            found.setdefault(note, []).append(analysis.matrix.endpoint.name.partition(",")[0])
    return tuple(note if len(of) == len(made) else f"{', '.join(of)}: {note}" for note, of in found.items())


def _range(numbers: Iterable[int]) -> str:
    every = sorted(set(numbers))
    return str(every[0]) if len(every) == 1 else f"{every[0]} to {every[-1]}"
