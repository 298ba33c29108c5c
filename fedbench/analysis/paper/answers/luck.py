"""How much is luck of the training run: how far the mean score of one algorithm moves from seed to seed."""

from __future__ import annotations

from collections.abc import Iterable

from fedbench.analysis.analyses import is_personal, is_reconstruction, is_reference_point
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, signed, words
from fedbench.analysis.paper.scatter import Scatter, scatters
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.verdicts import Comparison

ONE_SEED = "With one seed the luck of a training run cannot be told."


def luck(numbers: Numbers, parts: Iterable[Part], to_reference: Iterable[Comparison]) -> str:
    """Say how far single trainings scatter, who has least and most of it, and how that compares with differences."""
    parts = list(parts)
    found = scattered(parts)
    if not found:
        return ONE_SEED if parts else ""
    ordered = sorted(found.values(), key=lambda pair: pair[1].sd)
    least, most = (
        tell_scatter(numbers, ("luck", end), *pair) for end, pair in (("least", ordered[0]), ("most", ordered[-1]))
    )
    own = [(part, each) for part, each in ordered if each.algorithm == part.primary.reference]
    told = [tell_scatter(numbers, ("luck", "reference", part.key), part, each) for part, each in own]
    text = (
        "Trained again with another seed (other weights, batches and dealing of patients to clients), the mean Dice of "
        f"an algorithm with a common model moves with a standard deviation from {least} to {most}"
    )
    text += f"; that of the reference is {', '.join(told)}." if told else "."
    folded = [part for part, _ in found.values() if (part.dice.matrix.folds >= 0).any()]
    where = words(list(dict.fromkeys(escape(part.condition.dataset) for part in folded)))
    folds = f"On {where} a seed is one run for each fold, whose mean moves less than that of one run." if folded else ""
    return " ".join(filter(None, (text, folds, luck_short(numbers, parts, to_reference))))


def scattered(parts: Iterable[Part]) -> dict[Models, tuple[Part, Scatter]]:
    """Return the scatter of every federated algorithm with a common model; the same models in two studies once."""
    found: dict[Models, tuple[Part, Scatter]] = {}
    for part in parts:
        for each in scatters(part.dice):
            if not is_reference_point(each.algorithm) and not is_personal(each.algorithm):
                found.setdefault(part.models(each.algorithm), (part, each))
    return found


def luck_short(numbers: Numbers, parts: Iterable[Part], to_reference: Iterable[Comparison]) -> str:
    """Compare the widest gap between two seeds, of the reference and of any, with the largest difference to it."""
    sizes = [float(c.row["mean"]) for c in to_reference]
    every = list(scattered(parts).values())
    if not sizes or not every:
        return ""
    most = max(sizes, key=abs)
    largest = numbers.put("luck", "largest difference", text=signed(most))
    own = [(part, each) for part, each in every if each.algorithm == part.primary.reference]
    part, each = max(every, key=_gap)
    widest = numbers.put("luck", "widest", text=number(_gap((part, each))))
    where = f"{named(each.algorithm, is_reconstruction(each.algorithm))} on {escape(part.title)}"
    told = f"up to {widest} for {numbers.put('luck', 'widest', 'of', text=where)}"
    if own:
        gap = numbers.put("luck", "reference", "widest", text=number(_gap(max(own, key=_gap))))
        told = f"up to {gap} for {named(own[0][1].algorithm, False)} and {told}"
    alone = _gap(max(own or every, key=_gap)) > abs(most)
    return (
        f"Between two seeds the mean of one algorithm moved by {told}; the largest mean difference between FedDA and "
        f"the reference, whatever its sign, is {largest}"
        + (": with one seed each, such a difference could be had by luck alone." if alone else ".")
    )


def _gap(found: tuple[Part, Scatter]) -> float:
    return found[1].high - found[1].low


def tell_scatter(numbers: Numbers, keys: tuple[str, ...], part: Part, scatter: Scatter) -> str:
    """``0.128 (fedda-cyclic on nuclei, seeds 0.444 to 0.780)``."""
    sd = numbers.put(*keys, "sd", text=number(scatter.sd))
    who = f"{named(scatter.algorithm, is_reconstruction(scatter.algorithm))} on {escape(part.title)}"
    seeds = f"{number(scatter.low)} to {number(scatter.high)}"
    return f"{sd} ({numbers.put(*keys, 'of', text=f'{who}, seeds {seeds}')})"
