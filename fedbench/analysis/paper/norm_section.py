"""``norms.tex``: what is left of the differences between algorithms with another kind of norm, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedbench.analysis.analyses import is_personal, is_reconstruction, is_reference_point
from fedbench.analysis.captions import about
from fedbench.analysis.evidence import Condition
from fedbench.analysis.formats import latex
from fedbench.analysis.norms import Column, Group, SideBySide, Step, side_by_side, step
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.norm_tables import effects_table, scores_table
from fedbench.analysis.paper.numbers import HEAD, Numbers, interval, named, number, out_of, signed, words
from fedbench.analysis.paper.phantoms import is_generated, of_patients
from fedbench.analysis.paper.setup import NORMS
from fedbench.analysis.paper.study import Study
from fedbench.analysis.paper.verdicts import Comparison, Verdict, focus, judge, tally
from fedbench.analysis.rows import counted

TITLE = "\n\\subsection{Normalisation as a factor}\\label{sec:norms}\n"
NOWHERE = (
    "No published condition was trained with several kinds of normalisation on the same partitions, so how far the "
    "differences between algorithms depend on it stays open."
)
POOLED = "centralised"
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


def norms_section(numbers: Numbers, study: Study) -> tuple[str, dict[str, str]]:
    """Define the answer's macro; return the file and its tables, by name without ending."""
    made, reasons = compare_norms(study)
    numbers.put("answer", "norms", text=answer_norms(numbers, made))
    text, tables = HEAD + TITLE, {}
    for each in made:
        text += f"\\paragraph{{{escape(each.title)}.}}\n" + "\n".join(_sentences(numbers, each)) + "\n"
        for make in (scores_table, effects_table):
            table = make(each.found, each.key, each.title, each.about)
            tables[table.name] = latex(table, "table*")
            text += f"\\input{{tables/{table.name}.tex}}\n"
    text += "" if made else f"{NOWHERE}\n"
    if reasons:
        text += f"\\paragraph{{What is not put side by side.}} {escape(' '.join(reasons))}\n"
    return text, tables


# -- sentences -------------------------------------------------------------------------------------------------------


def _sentences(numbers: Numbers, each: Compared) -> list[str]:
    return [_norm_step(numbers, each), _sizes(numbers, each), _verdicts(numbers, each)]


def _norm_step(numbers: Numbers, each: Compared) -> str:
    """What the norm alone did to the reference."""
    first, reference = each.found.columns[0], each.found.reference
    told = []
    for column, gain in each.steps:
        keys = ("norm", each.key, column.heading)
        mean = numbers.put(*keys, "step", text=signed(gain.mean))
        patients = numbers.put(*keys, "step over patients", text=interval(gain.low, gain.high, sign=True))
        runs = numbers.put(*keys, "step over runs", text=interval(gain.runs_low, gain.runs_high, sign=True))
        score = numbers.put(*keys, "reference", text=number(_mean(column)))
        bounds = f"{patients} over patients, {runs} over patients and seeds"
        told.append(f"{score} with {_called(column)} (a step of {mean}; {bounds})")
    start = numbers.put("norm", each.key, first.heading, "reference", text=number(_mean(first)))
    return (
        f"{_name(reference)} reached a cross-modality Dice of {start} with {_called(first)}, and on the same "
        f"partitions and patients {words(told)}."
    )


def _sizes(numbers: Numbers, each: Compared) -> str:
    """The largest step between algorithms of one norm, and how it compares with the largest between norms."""
    told, largest = [], 0.0
    for column, every in each.algorithms:
        if against := _of_one_model(every):
            name = max(against, key=lambda n: abs(float(against[n].row["mean"])))
            gain = float(against[name].row["mean"])
            largest = max(largest, abs(gain))
            keys = ("norm", each.key, column.heading, "largest")
            who = numbers.put(*keys, "algorithm", text=_name(name))
            told.append(f"{numbers.put(*keys, text=signed(gain))} with {_called(column)} ({who})")
    if not told:
        return ""
    between = max(abs(gain.mean) for _, gain in each.steps)
    reference = _name(each.found.reference)
    word = numbers.put("norm", each.key, "compared", text="larger" if between > largest else "no larger")
    return (
        f"With the norm held, the largest mean difference to {reference} of another algorithm with one common model "
        f"was {words(told)}: the largest step between norms was {word} than the largest between algorithms."
    )


def _of_one_model(against: dict[str, Comparison]) -> dict[str, Comparison]:
    """Leave out what clients keep to themselves: on others' modalities that is another question than aggregation."""
    return {name: compared for name, compared in against.items() if not is_personal(name)}


def _verdicts(numbers: Numbers, each: Compared) -> str:
    """Who was better or worse than the reference of the same norm."""
    told = []
    for column, against in each.algorithms:
        if against:
            text = numbers.put("norm", each.key, column.heading, "stands", text=_standing(against))
            told.append(f"with {_called(column)}, {text}")
    reference = _name(each.found.reference)
    return f"By the tests, compared with {reference} of the same norm: {'; '.join(told)}." if told else ""


def _standing(against: dict[str, Comparison]) -> str:
    parts = []
    for verdict, word in ((Verdict.BETTER, "better"), (Verdict.WORSE, "worse")):
        if found := [_name(name) for name, compared in against.items() if compared.verdict is verdict]:
            parts.append(f"{words(found)} {'is' if len(found) == 1 else 'are'} {word}")
    return words(parts, f"none of {len(against)} is distinguishable from it")


def answer_norms(numbers: Numbers, made: Sequence[Compared]) -> str:
    """Say over all datasets how far norm and algorithm moved the score, and what became of the verdicts on FedDA."""
    if not made:
        return NOWHERE
    made = of_patients(made, lambda each: each.found.condition.dataset)
    reference = _name(made[0].found.reference)
    norms = [gain.mean for each in made for column, gain in each.steps if not column.reestimated]
    common = [_of_one_model(against) for each in made for _, against in each.algorithms]
    algorithms = [float(compared.row["mean"]) for against in common for compared in against.values()]
    of = numbers.put("norms", "federations", text=counted(len(made), "federation"))
    moves = []
    if norms:
        span = _span(numbers, *_ends(numbers, "norm step", norms))
        moves.append(f"by {span} with another kind of normalisation layer")
    if anew := [gain for each in made if (gain := _anew(each, each.found.reference)) is not None]:
        span = _span(numbers, *_ends(numbers, "statistics step", anew))
        moves.append(f"by {span} with BatchNorm statistics taken anew from each modality's training images")
        if pooled := [gain for each in made if (gain := _anew(each, POOLED)) is not None]:
            span = _span(numbers, *_ends(numbers, "pooled statistics step", pooled))
            moves[-1] += f" (which moved that of {_name(POOLED)} by {span})"
    text = f"On the same partitions of {of}, the cross-modality Dice of {reference} moved {words(moves)}"
    if algorithms:
        span = _span(numbers, *_ends(numbers, "algorithm step", algorithms))
        text += f"; with the norm held, another algorithm with one common model in its place moved it by {span}"
    return f"{text}. {_studied(numbers, made, reference)}".strip()


def _anew(each: Compared, name: str) -> float | None:
    """What an algorithm's scores gained by statistics taken anew; None where there are none."""
    columns = [column for column in each.found.columns if name in column.labels]
    anew = [column for column in columns if column.reestimated]
    trained = [column for column in columns if anew and not column.reestimated and column.group == anew[0].group]
    return step(trained[0], anew[0], name).mean if trained else None


def _span(numbers: Numbers, low: str, high: str) -> str:
    return low if numbers.spelled(low) == numbers.spelled(high) else f"{low} to {high}"


def _studied(numbers: Numbers, made: Sequence[Compared], reference: str) -> str:
    verdicts = {
        (each.key, name): [against[name] for _, against in each.algorithms if name in against]
        for each in made
        for name in focus({name for _, against in each.algorithms for name in against})
    }
    every = tally([compared for own in verdicts.values() for compared in own])
    if not every.total:
        return ""
    several = [own for own in verdicts.values() if len(own) > 1]
    changed = sum(len({compared.verdict for compared in own}) > 1 for own in several)
    better, worse, total = (
        numbers.put("norms", name, text=text)
        for name, text in (
            ("better", str(every.better)), ("worse", str(every.worse)), ("total", counted(every.total, "comparison")),
        )
    )  # fmt: skip
    text = (
        f"FedDA was better than {reference} of the same norm in {better} and worse in {worse} of {total} (of a variant "
        "with a norm)"
    )
    if not several:
        return f"{text}."
    share = numbers.put("norms", "changed", text=out_of(changed, len(several), "variant"))
    return f"{text}; the verdict on a variant depended on the norm for {share}."


def _ends(numbers: Numbers, name: str, values: Sequence[float]) -> tuple[str, str]:
    known = [value for value in values if np.isfinite(value)]
    return numbers.put(name, "least", text=signed(min(known))), numbers.put(name, "most", text=signed(max(known)))


def _mean(column: Column) -> float:
    return float(column.analysis.means["mean"][column.analysis.reference])


def _called(column: Column) -> str:
    """``batch normalisation``, ``batch normalisation with re-estimated statistics``."""
    called = NORMS.get(column.norm, escape(column.norm))
    return f"{called} with re-estimated statistics" if column.reestimated else called


def _name(name: str) -> str:
    return named(name, is_reconstruction(name))
