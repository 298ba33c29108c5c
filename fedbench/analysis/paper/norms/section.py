"""``norms.tex``: what is left of the differences between algorithms with another kind of norm, and the answer."""

from __future__ import annotations

from typing import NamedTuple

from fedbench.analysis.analyses import is_reconstruction
from fedbench.analysis.norms import Column
from fedbench.analysis.paper.floats import in_supplement
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.norms.answer import NOWHERE, answer_norms, answer_norms_brief
from fedbench.analysis.paper.norms.compared import Compared, compare_norms, of_one_model
from fedbench.analysis.paper.norms.tables import effects_table, scores_table
from fedbench.analysis.paper.numbers import HEAD, Numbers, interval, named, number, signed, words
from fedbench.analysis.paper.phantoms import of_patients
from fedbench.analysis.paper.setup import NORMS
from fedbench.analysis.paper.study import Study
from fedbench.analysis.tables.formats import latex
from fedbench.analysis.verdicts import Comparison, Verdict

TITLE = "\n\\subsection{Normalisation as a factor}\\label{sec:norms}\n"
MORE = "\n\\subsection{Normalisation as a factor}\\label{sup:norms}\n"


class Section(NamedTuple):
    """The file, what the supplement has besides (its section), and the tables of both by name without ending."""

    text: str
    more: str
    tables: dict[str, str]


def norms_section(numbers: Numbers, study: Study) -> Section:
    """Define the answer's macro; write the section: what norms and algorithms changed on images of patients.

    The scores that the changes are between, and phantoms beside images of patients, are for the supplement.
    """
    made, reasons = compare_norms(study)
    shown = of_patients(made, lambda each: each.found.condition.dataset)
    numbers.put("answer", "norms", text=answer_norms(numbers, made))
    numbers.put("answer", "norms", "brief", text=answer_norms_brief(numbers, made))
    text, more, tables = HEAD + TITLE, "", {}
    for each in made:
        told = f"\\paragraph{{{escape(each.title)}.}}\n" + "\n".join(_sentences(numbers, each)) + "\n"
        scores, effects = (make(each.found, each.key, each.title, each.about) for make in (scores_table, effects_table))
        body = each in shown
        tables[scores.name] = in_supplement(latex(scores))
        tables[effects.name] = latex(effects, "table*") if body else in_supplement(latex(effects))
        inputs = [f"\\input{{tables/{table.name}.tex}}\n" for table in (scores, effects)]
        text += told + inputs[1] if body else ""
        more += inputs[0] if body else told + "".join(inputs)
    text += "" if made else f"{NOWHERE}\n"
    if reasons:
        text += f"\\paragraph{{What is not put side by side.}} {escape(' '.join(reasons))}\n"
    if more:
        text += "The scores under each norm are in Supplement~\\ref{sup:norms}.\n"
        more = f"{MORE}{more}\\FloatBarrier\n"
    return Section(text, more, tables)


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
    text = (
        f"{_name(reference)} reached a cross-modality Dice of {start} with {_called(first)}, and on the same "
        f"partitions and patients {words(told)}."
    )
    return text


def _sizes(numbers: Numbers, each: Compared) -> str:
    """The largest step between algorithms of one norm; how those between norms, and of new statistics, compare."""
    told, largest = [], 0.0
    for column, every in each.algorithms:
        if against := of_one_model(every):
            name = max(against, key=lambda n: abs(float(against[n].row["mean"])))
            gain = float(against[name].row["mean"])
            largest = max(largest, abs(gain))
            keys = ("norm", each.key, column.heading, "largest")
            who = numbers.put(*keys, "algorithm", text=_name(name))
            told.append(f"{numbers.put(*keys, text=signed(gain))} with {_called(column)} ({who})")
    if not told:
        return ""
    compared = []
    for what, anew in (("the largest step between norms", False), ("that of statistics taken anew", True)):
        if steps := [abs(gain.mean) for column, gain in each.steps if column.reestimated is anew]:
            word = "larger" if max(steps) > largest else "no larger"
            compared.append(f"{what} was {numbers.put('norm', each.key, what, text=word)}")
    return (
        f"With the norm held, the largest mean difference to {_name(each.found.reference)} of another algorithm with "
        f"one common model was {words(told)}; compared with the largest of these, {words(compared)}."
    )


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


def _mean(column: Column) -> float:
    return float(column.analysis.means["mean"][column.analysis.reference])


def _called(column: Column) -> str:
    """``batch normalisation``, ``batch normalisation with re-estimated statistics``."""
    called = NORMS.get(column.norm, escape(column.norm))
    return f"{called} with re-estimated statistics" if column.reestimated else called


def _name(name: str) -> str:
    return named(name, is_reconstruction(name))
