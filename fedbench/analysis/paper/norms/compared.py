"""Which federations were trained with several kinds of norm on the same partitions, put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedbench.analysis.analyses import is_personal, is_reference_point
from fedbench.analysis.evidence import Condition
from fedbench.analysis.norms import Column, Group, SideBySide, Step, side_by_side, step
from fedbench.analysis.paper.phantoms import is_generated
from fedbench.analysis.paper.study import Study
from fedbench.analysis.tables.captions import about
from fedbench.analysis.verdicts import Comparison, judge

HOMELESS = "the main study"  # a group whose folder nobody knows


@dataclass(frozen=True)
class Compared:
    """One federation with several norms.

    Attributes:
        key: unique, as in the name of a file or a macro.
        title: as in a heading; not escaped.
        about: patients, seeds, selection rule and missing policy of its tables.
        steps: of the reference, from the first column to each other one.
        algorithms: of each column, every federated algorithm against the reference of the same norm, by name.
    """

    key: str
    title: str
    about: str
    found: SideBySide
    steps: Sequence[tuple[Column, Step]]
    algorithms: Sequence[tuple[Column, dict[str, Comparison]]]


def compare_norms(study: Study) -> tuple[list[Compared], list[str]]:
    """Return what of a study can be put side by side, and why the rest cannot; sentences, not escaped."""
    made: list[Compared] = []
    reasons: list[str] = []
    whole = {c for _, a in study.groups for c in a.conditions if c.whole}
    for condition in sorted(whole, key=lambda c: (is_generated(c.dataset), c.name)):
        groups = [
            Group(name or study.folders.get(condition, HOMELESS), analyses)
            for name, analyses in study.groups
            if condition in analyses.conditions
        ]
        found, why = side_by_side(groups, condition)
        reasons += [f"{condition.title}: {reason}" for reason in why]
        made += [_compared(each, groups, condition, i) for i, each in enumerate(found)]
    return made, reasons


def _compared(found: SideBySide, groups: Sequence[Group], condition: Condition, place: int) -> Compared:
    own = {column.group for column in found.columns}
    first = next(group for group in groups if group.name in own)
    again = place > 0  # this dataset's groups fall into several that are comparable
    first_column, columns = found.columns[0], found.columns
    return Compared(
        f"{condition.name}.{first.name}" if again else condition.name,
        f"{condition.title} ({first.name})" if again else condition.title,
        about(first.analyses, [column.analysis for column in columns]),
        found,
        [(column, step(first_column, column, found.reference)) for column in columns[1:]],
        [(column, _against_reference(column)) for column in columns],
    )


def _against_reference(column: Column) -> dict[str, Comparison]:
    analysis = column.analysis
    return {
        name: judge(analysis, label, analysis.reference)
        for name, label in column.labels.items()
        if label != analysis.reference and not is_reference_point(label)
    }


def of_one_model(against: dict[str, Comparison]) -> dict[str, Comparison]:
    """Leave out what clients keep to themselves: on others' modalities that is another question than aggregation."""
    return {name: compared for name, compared in against.items() if not is_personal(name)}
