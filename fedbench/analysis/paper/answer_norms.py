"""What a kind of norm moved, what an algorithm moved with the norm held, and what became of the verdicts on FedDA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedbench.analysis.analyses import POOLED, is_reconstruction
from fedbench.analysis.norms import Column, step
from fedbench.analysis.paper.effects import ends
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.norm_compared import Compared, of_one_model
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, signed, words
from fedbench.analysis.paper.phantoms import of_patients
from fedbench.analysis.paper.verdicts import focus, tally
from fedbench.analysis.rows import counted

NOWHERE = (
    "No published condition was trained with several kinds of normalisation on the same partitions, so how far the "
    "differences between algorithms depend on it stays open."
)
IMAGES = "unlabelled training images of the scored modality"


def answer_norms(numbers: Numbers, made: Sequence[Compared]) -> str:
    """Say over all datasets how far norm and algorithm moved the score, and what became of the verdicts on FedDA."""
    if not made:
        return NOWHERE
    made = of_patients(made, lambda each: each.found.condition.dataset)
    reference = _name(made[0].found.reference)
    common = [of_one_model(against) for each in made for _, against in each.algorithms]
    algorithms = [float(compared.row["mean"]) for against in common for compared in against.values()]
    of = numbers.put("norms", "federations", text=counted(len(made), "federation"))
    moves = words(_moves(numbers, made))
    if pooled := [gain for each in made if (gain := _anew(each, POOLED)) is not None]:
        moves += f" (which moved that of {_name(POOLED)} by {_span(numbers, 'pooled statistics step', pooled)})"
    closed = _closed(numbers, made)
    text = f"On the same partitions of {of}, the cross-modality Dice of {reference} moved by {moves}"
    if algorithms:
        span = _span(numbers, "algorithm step", algorithms)
        text += f"; with the norm held, another algorithm with one common model in its place moved it by {span}"
    return " ".join(filter(None, [f"{text}.", closed, _studied(numbers, made, reference)]))


def answer_norms_short(numbers: Numbers, made: Sequence[Compared]) -> str:
    """The sizes of the steps alone; empty where nothing can be put side by side."""
    made = of_patients(made, lambda each: each.found.condition.dataset)
    told = _moves(numbers, made)
    return f"The cross-modality Dice of {_name(made[0].found.reference)} moved by {words(told)}." if told else ""


def _moves(numbers: Numbers, made: Sequence[Compared]) -> list[str]:
    """How far the reference's score moved with another norm, and with statistics taken anew."""
    norms = [gain.mean for each in made for column, gain in each.steps if not column.reestimated]
    anew = [gain for each in made if (gain := _anew(each, each.found.reference)) is not None]
    told = []
    if norms:
        told.append(f"{_span(numbers, 'norm step', norms)} with another kind of normalisation layer")
    if anew:
        told.append(f"{_span(numbers, 'statistics step', anew)} with BatchNorm statistics taken anew from {IMAGES}")
    return told


def _closed(numbers: Numbers, made: Sequence[Compared]) -> str:
    """How near the reference comes to pooled training with statistics taken anew."""
    told = []
    for each in made:
        reference, found = each.found.reference, _trained_and_anew(each, each.found.reference)
        if found is None or POOLED not in found[0].labels or reference == POOLED:
            continue
        before, after = (column.analysis.means["mean"][column.labels[reference]] for column in found)
        pooled = found[0].analysis.means["mean"][found[0].labels[POOLED]]
        keys = ("closed", each.key)
        sizes = numbers.put(*keys, text=f"{number(before)} to {number(after)}")
        to = numbers.put(*keys, "pooled", text=number(pooled))
        told.append(f"from {sizes}, where {_name(POOLED)} as trained reached {to} ({escape(each.title)})")
    if not told:
        return ""
    reference = _name(made[0].found.reference)
    return f"How far such images, without a label, close the gap to pooled training: {reference} went {words(told)}."


def _anew(each: Compared, name: str) -> float | None:
    """What an algorithm's scores gained by statistics taken anew; None where there are none."""
    found = _trained_and_anew(each, name)
    return None if found is None else step(*found, name).mean


def _trained_and_anew(each: Compared, name: str) -> tuple[Column, Column] | None:
    """The column of an algorithm's models as trained, and the one with their statistics taken anew."""
    columns = [column for column in each.found.columns if name in column.labels]
    anew = [column for column in columns if column.reestimated]
    trained = [column for column in columns if anew and not column.reestimated and column.group == anew[0].group]
    return (trained[0], anew[0]) if trained else None


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
    better, worse = (
        numbers.put("norms", name, text=str(count or "none"))
        for name, count in (("better", every.better), ("worse", every.worse))
    )
    total = numbers.put("norms", "total", text=counted(every.total, "comparison"))
    text = (
        f"Of {total} of a variant of FedDA with {reference} of the same norm, {better} came out better, {worse} worse"
    )
    if not several:
        return f"{text}."
    share = numbers.put("norms", "changed", text=out_of(changed, len(several), "variant"))
    return f"{text}; the verdict depended on the norm for {share}."


def _span(numbers: Numbers, name: str, values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return ends(numbers, (name,), [signed(min(known)), signed(max(known))])


def _name(name: str) -> str:
    return named(name, is_reconstruction(name))
