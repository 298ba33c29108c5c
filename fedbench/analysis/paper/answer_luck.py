"""How much is luck of the training run: how far the mean score of one algorithm moves from seed to seed."""

from __future__ import annotations

from collections.abc import Iterable

from fedbench.analysis.analyses import is_personal, is_reconstruction, is_reference_point
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, signed
from fedbench.analysis.paper.scatter import Scatter, scatters
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.verdicts import Comparison

ONE_SEED = "With one seed the luck of a training run cannot be told."


def luck(numbers: Numbers, parts: Iterable[Part], to_reference: Iterable[Comparison]) -> str:
    """Say how far single trainings scatter, who has least and most of it, and how that compares with differences."""
    parts = list(parts)
    found = scattered(parts)
    if not found:
        return ONE_SEED
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
    compared = luck_short(numbers, parts, to_reference)
    return f"{text} {compared}".strip()


def scattered(parts: Iterable[Part]) -> dict[Models, tuple[Part, Scatter]]:
    """Return the scatter of every federated algorithm with a common model; the same models in two studies once."""
    found: dict[Models, tuple[Part, Scatter]] = {}
    for part in parts:
        for each in scatters(part.dice):
            if not is_reference_point(each.algorithm) and not is_personal(each.algorithm):
                found.setdefault(part.models(each.algorithm), (part, each))
    return found


def luck_short(numbers: Numbers, parts: Iterable[Part], to_reference: Iterable[Comparison]) -> str:
    """Compare the widest gap between two seeds of one algorithm with the largest difference to the reference."""
    sizes = [float(c.row["mean"]) for c in to_reference]
    ordered = list(scattered(parts).values())
    if not sizes or not ordered:
        return ""
    most = max(sizes, key=abs)
    largest = numbers.put("luck", "largest difference", text=signed(most))
    gap = max(each.high - each.low for _, each in ordered)
    word = numbers.put("luck", "compared", text="larger" if gap > abs(most) else "no larger")
    widest = numbers.put("luck", "widest", text=number(gap))
    return (
        f"The widest gap between two seeds of one algorithm, {widest}, is {word} than the largest mean difference "
        f"between FedDA and the reference, whatever its sign ({largest})"
        + (": with one seed each, such a difference could be had by luck alone." if gap > abs(most) else ".")
    )


def tell_scatter(numbers: Numbers, keys: tuple[str, ...], part: Part, scatter: Scatter) -> str:
    """``0.128 (fedda-cyclic on nuclei, seeds 0.444 to 0.780)``."""
    sd = numbers.put(*keys, "sd", text=number(scatter.sd))
    who = f"{named(scatter.algorithm, is_reconstruction(scatter.algorithm))} on {escape(part.title)}"
    seeds = f"{number(scatter.low)} to {number(scatter.high)}"
    return f"{sd} ({numbers.put(*keys, 'of', text=f'{who}, seeds {seeds}')})"
