"""What a kind of norm moved, what an algorithm moved with the norm held, and what became of the verdicts on FedDA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fedbench.analysis.analyses import POOLED, is_reconstruction
from fedbench.analysis.norms import Column, Step, step
from fedbench.analysis.paper.effects import ends
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.norms.compared import Compared, of_one_model
from fedbench.analysis.paper.numbers import Numbers, interval, named, number, out_of, signed, words
from fedbench.analysis.paper.phantoms import of_patients
from fedbench.analysis.verdicts import focus, tally
from fedbench.wording import counted

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
    of = numbers.put("norms", "federations", text=counted(len(made), "federation"))
    told = [f"On the same partitions of {of}, {moved}."] if (moved := _by_norm(numbers, made)) else []
    pooled = [gain.mean for each in made if (gain := _anew(each, POOLED)) is not None]
    more = f", that of {_name(POOLED)} by {_span(numbers, 'pooled statistics step', pooled)}" if pooled else ""
    told += [f"{moved}{more}."] if (moved := _by_statistics(numbers, made)) else []
    if held := _gains(made, reestimated=False):
        text = f"another algorithm with one common model in its place moved it by {_span(numbers, 'algorithm', held)}"
        anew = _gains(made, reestimated=True)
        more = f", with statistics taken anew for both by {_span(numbers, 'algorithm anew', anew)}" if anew else ""
        told.append(f"With the norm held, {text}{more}.")
    return " ".join(filter(None, [*told, _closed(numbers, made), _studied(numbers, made, reference)]))


def _gains(made: Sequence[Compared], *, reestimated: bool) -> list[float]:
    """Mean differences to the reference of the same column, of algorithms with one common model."""
    columns = [against for each in made for column, against in each.algorithms if column.reestimated is reestimated]
    return [float(compared.row["mean"]) for against in columns for compared in of_one_model(against).values()]


def answer_norms_short(numbers: Numbers, made: Sequence[Compared]) -> str:
    """The sizes of the steps alone; empty where nothing can be put side by side."""
    made = of_patients(made, lambda each: each.found.condition.dataset)
    told = [_by_norm(numbers, made), _by_statistics(numbers, made)] if made else []
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in told if text)


def answer_norms_brief(numbers: Numbers, made: Sequence[Compared]) -> str:
    """The same without intervals, for an abstract: the steps that show, and those of new statistics."""
    made = of_patients(made, lambda each: each.found.condition.dataset)
    steps = [(e, c, gain.mean) for e in made for c, gain in e.steps if not c.reestimated and _shows(gain)]
    none = sum(not _shows(gain) for e in made for c, gain in e.steps if not c.reestimated)
    anew = [gain.mean for each in made if (gain := _anew(each, each.found.reference)) is not None]
    told = []
    if steps:
        sizes = _span(numbers, "step that shows", [size for *_, size in steps])
        where = words(list(dict.fromkeys(f"{escape(each.title)} ({escape(column.norm)})" for each, column, _ in steps)))
        shown = numbers.put("steps that show", text=where)
        rest = f", and in {counted(none, 'other step')} by nothing that shows" if none else ""
        told.append(f"another kind of normalisation layer by {sizes} on {shown}{rest}")
    elif none:
        told.append(f"another kind of normalisation layer by nothing that shows (in {counted(none, 'step')})")
    if anew:
        told.append(f"BatchNorm statistics taken anew from {IMAGES} by {_span(numbers, 'statistics steps', anew)}")
    if not told:
        return ""
    return (
        f"The cross-modality Dice of {_name(made[0].found.reference)} was moved by {', and by '.join(told)} (no "
        "corrected test: a step shows if its interval leaves zero out)."
    )


def _by_norm(numbers: Numbers, made: Sequence[Compared]) -> str:
    """How far the reference's score moved with another norm, where a step shows, and where none does."""
    steps = [(each, column, gain) for each in made for column, gain in each.steps if not column.reestimated]
    if not steps:
        return ""
    shown = [_norm_step(numbers, *step) for step in steps if _shows(step[2])]
    rest = [_no_step(numbers, *step) for step in steps if not _shows(step[2])]
    told = [f"moved by {words(shown)}"] if shown else []
    told += [f"{'' if shown else 'did not move clearly: '}no step shows {words(rest)}"] if rest else []
    return (
        f"with another kind of normalisation layer the cross-modality Dice of {_name(made[0].found.reference)} "
        f"{'; '.join(told)} ({_intervals(gain for _, _, gain in steps)})"
    )


def _intervals(gains: Iterable[Step]) -> str:
    """What the intervals of :func:`_bounds` are over."""
    if all(np.isfinite(gain.runs_low) for gain in gains):
        return "intervals over patients and seeds, by a step's own scatter, not corrected"
    return "intervals over patients, not corrected"


def _shows(gain: Step) -> bool:
    """Whether the interval of a step leaves zero out."""
    low, high = _bounds(gain)
    return not low <= 0 <= high


def _bounds(gain: Step) -> tuple[float, float]:
    """The interval over patients and seeds; over patients where there is one seed."""
    return (gain.runs_low, gain.runs_high) if np.isfinite(gain.runs_low) else (gain.low, gain.high)


def _norm_step(numbers: Numbers, each: Compared, column: Column, gain: Step) -> str:
    """``+0.102 [+0.043, +0.168] on nuclei (instance)``."""
    return f"{_size(numbers, each, column, gain)} on {escape(each.title)} ({escape(column.norm)}{_alone(each, column)})"


def _no_step(numbers: Numbers, each: Compared, column: Column, gain: Step) -> str:
    """``on sts (instance: +0.026 [-0.022, +0.072])``."""
    return (
        f"on {escape(each.title)} ({escape(column.norm)}: {_size(numbers, each, column, gain)}{_alone(each, column)})"
    )


def _alone(each: Compared, column: Column) -> str:
    """A mark for a step that something else than the norm may have made; what that is stands where norms are shown."""
    return "; not the norm alone" if each.found.confounds.get(column.group) else ""


def _size(numbers: Numbers, each: Compared, column: Column, gain: Step) -> str:
    text = f"{signed(gain.mean)} {interval(*_bounds(gain), sign=True)}"
    return numbers.put("norm step", each.key, column.heading, text=text)


def _by_statistics(numbers: Numbers, made: Sequence[Compared]) -> str:
    """How far the reference's score moved with statistics taken anew."""
    anew = [(each, gain) for each in made if (gain := _anew(each, each.found.reference)) is not None]
    if not anew:
        return ""
    told = []
    for each, gain in anew:
        text = f"{signed(gain.mean)} {interval(*_bounds(gain), sign=True)}"
        told.append(f"{numbers.put('statistics step', each.key, text=text)} on {escape(each.title)}")
    return (
        f"BatchNorm statistics taken anew from {IMAGES} moved the cross-modality Dice of "
        f"{_name(made[0].found.reference)} by {words(told)} ({_intervals(gain for _, gain in anew)})"
    )


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
        end = f"where {_name(POOLED)} as trained reached {to}"
        if POOLED in found[1].labels:
            alike = found[1].analysis.means["mean"][found[1].labels[POOLED]]
            end += f", and with statistics taken anew too {numbers.put(*keys, 'alike', text=number(alike))}"
        told.append(f"from {sizes}, {end} ({escape(each.title)})")
    if not told:
        return ""
    reference = _name(made[0].found.reference)
    return (
        f"How far such images, without a label, close the gap to pooled training: {reference} went {'; '.join(told)}."
    )


def _anew(each: Compared, name: str) -> Step | None:
    """What an algorithm's scores gained by statistics taken anew; None where there are none."""
    found = _trained_and_anew(each, name)
    return None if found is None else step(*found, name)


def _trained_and_anew(each: Compared, name: str) -> tuple[Column, Column] | None:
    """The column of an algorithm's models as trained, and the one with their statistics taken anew."""
    columns = [column for column in each.found.columns if name in column.labels]
    anew = [column for column in columns if column.reestimated]
    trained = [column for column in columns if anew and not column.reestimated and column.group == anew[0].group]
    return (trained[0], anew[0]) if trained else None


def _studied(numbers: Numbers, made: Sequence[Compared], reference: str) -> str:
    """What became of the verdicts on FedDA with another norm; scores of the same models taken anew are no norm."""
    trained = {each.key: [against for column, against in each.algorithms if not column.reestimated] for each in made}
    verdicts = {
        (key, name): [against[name] for against in columns if name in against]
        for key, columns in trained.items()
        for name in focus({name for against in columns for name in against})
    }
    every = tally([compared for own in verdicts.values() for compared in own])
    if not every.total:
        return ""
    several = [own for own in verdicts.values() if len(own) > 1]
    changed = sum(len({compared.verdict for compared in own}) > 1 for own in several)
    better, worse = (
        numbers.put("norms", name, text=str(count))
        for name, count in (("better", every.better), ("worse", every.worse))
    )
    total = numbers.put("norms", "total", text=counted(every.total, "comparison"))
    text = (
        f"In {total} of a variant of FedDA with {reference} of the same norm it came out better in {better} and worse "
        f"in {worse}"
    )
    if not several:
        return f"{text}."
    share = numbers.put("norms", "changed", text=out_of(changed, len(several), "variant"))
    return f"{text}; {'the norm changed no verdict' if not changed else f'the norm changed the verdict of {share}'}."


def _span(numbers: Numbers, name: str, values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return ends(numbers, (name,), [signed(min(known)), signed(max(known))])


def _name(name: str) -> str:
    return named(name, is_reconstruction(name))
