"""What happens on a modality that nobody trained on: an answer only where a difference could be named at all."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.paper.answers.cross import dependent, in_words, studied, studied_in, the_reference
from fedbench.analysis.paper.effects import left_open, spread
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, signed, words
from fedbench.analysis.paper.reliability import decidable, repeated
from fedbench.analysis.paper.study import Part
from fedbench.analysis.verdicts import Verdict
from fedbench.wording import counted

UNSEEN = "on a modality that nobody trained on"
NEAR_ZERO = 0.05  # Dice; where no aggregation algorithm reaches more there is nothing to compare
LITTLE = 2.0  # times this: so near it that the reader must know of it
NOTHING = "No published condition leaves a modality out of training, so nothing can be said of unseen modalities."


def unseen_modalities(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say how the algorithms under study did on unseen modalities, or why that cannot be answered here.

    Args:
        parts: conditions with scores on a modality that was left out.
    """
    if not parts:
        return NOTHING
    few = [part for part in parts if not decidable(part.get("unseen"))]
    once = [part for part in parts if part not in few and not repeated(part.get("unseen"))]
    zero = [part for part in parts if part not in few and part not in once and _nothing_there(part)]
    left = [part for part in parts if part not in few and part not in once and part not in zero]
    reasons = _reasons(numbers, few, once, zero, len(parts))
    if left:
        told = _answered(numbers, left)
        return f"{told} The rest cannot be answered here: {reasons}." if reasons else told
    return f"What FedDA does {UNSEEN} cannot be answered here: {reasons}."


def unseen_short(numbers: Numbers, parts: Sequence[Part]) -> str:
    """The verdicts and the highest score, where there can be some; empty where no modality was left out."""
    left = [p for p in parts if decidable(p.get("unseen")) and repeated(p.get("unseen")) and not _nothing_there(p)]
    if left:
        return _verdicts(numbers, left)
    return f"What FedDA does {UNSEEN} cannot be answered from these results." if parts else ""


def best_mean(part: Part) -> float:
    """Return the highest mean Dice of an aggregation algorithm on the unseen modality."""
    means = part.get("unseen").means["mean"]
    return float(means[[label for label in means.index if not is_reference_point(label)]].max())


def _nothing_there(part: Part) -> bool:
    """Whether no aggregation algorithm does anything there, and none was told from another by it."""
    return best_mean(part) < NEAR_ZERO and all(c.verdict is Verdict.SAME for c in studied([part], "unseen"))


def _answered(numbers: Numbers, parts: Sequence[Part]) -> str:
    """The verdicts where there can be some, and sizes against the reference with what their intervals leave open."""
    told = [_verdicts(numbers, parts)]
    found = studied_in(parts, "unseen", the_reference)
    if found:
        comparisons = [c for _, c in found]
        sizes = spread(numbers, ("unseen", "answered"), comparisons)
        size = f"The mean differences to {named(comparisons[0].other, False)} were {sizes} Dice"
        gain = left_open(comparisons)
        if gain is not None:
            largest = numbers.put("unseen", "open", text=signed(gain[0]))
            size += f"; the largest gain that the test's intervals leave open is {largest}"
        told += [f"{size}.", dependent(numbers, found, "unseen")]
    return " ".join(filter(None, told))


def _verdicts(numbers: Numbers, parts: Sequence[Part]) -> str:
    where = numbers.put("unseen", "where", text=_places(parts))
    best = numbers.put("unseen", "best", text=number(max(map(best_mean, parts))))
    told = in_words(numbers, "unseen", studied(parts, "unseen"), f"{UNSEEN} ({where})")
    least = min(map(best_mean, parts))
    floor = f" (we ask where one reaches {NEAR_ZERO:g}, a bound of the program)" if least < LITTLE * NEAR_ZERO else ""
    return f"{told} The highest mean Dice that an aggregation algorithm reached there was {best}{floor}."


def _places(parts: Sequence[Part]) -> str:
    """``CT and MR of sts, 24 patients``: the modalities by data set."""
    by_dataset: dict[str, list[Part]] = {}
    for part in parts:
        by_dataset.setdefault(part.condition.dataset, []).append(part)
    told = []
    for name, own in sorted(by_dataset.items()):
        patients = sorted({len(part.get("unseen").matrix.values) for part in own})
        size = counted(patients[0], "patient") if len(patients) == 1 else f"{patients[0]} to {patients[-1]} patients"
        told.append(f"{words([escape(part.condition.unseen) for part in own])} of \\textsf{{{escape(name)}}}, {size}")
    return "; ".join(told)


def _reasons(
    numbers: Numbers, few: Sequence[Part], once: Sequence[Part], zero: Sequence[Part], total: int
) -> str:  # fmt: skip
    told = []
    if few:
        share = numbers.put("unseen", "too few", text=out_of(len(few), total, "condition"))
        each = [f"{_place(part)} {len(part.get('unseen').matrix.values)}" for part in few]
        sizes = numbers.put("unseen", "too few", "patients", text=words(each))
        told.append(f"in {share} patients are too few for any difference to be named, however large ({sizes})")
    if once:
        share = numbers.put("unseen", "once", text=out_of(len(once), total, "condition"))
        told.append(
            f"in {share} with one seed no difference can be told from luck ({words([_place(part) for part in once])})"
        )
    if zero:
        each = [f"{_place(part)} ({counted(len(part.get('unseen').matrix.values), 'patient')})" for part in zero]
        where = numbers.put("unseen", "zero", "where", text=words(each))
        best = numbers.put("unseen", "zero", "best", text=number(max(map(best_mean, zero))))
        told.append(
            f"on {where} the highest mean Dice of an aggregation algorithm was {best} and none was told from another, "
            f"so that there is nothing to compare (we ask for {NEAR_ZERO:g})"
        )
    return ", and ".join(told)


def _place(part: Part) -> str:
    return f"{escape(part.condition.unseen)} of \\textsf{{{escape(part.condition.dataset)}}}"


def seen_only(numbers: Numbers, parts: Sequence[Part]) -> str:
    """What was seen where patients are too few: the span of the differences to the reference, which claims nothing."""
    few = [part for part in parts if not decidable(part.get("unseen"))]
    found = [c for _, c in studied_in(few, "unseen", the_reference)] if few else []
    if not found:
        return ""
    sizes = spread(numbers, ("unseen", "difference"), found)
    return (
        f"Seen, not shown: mean differences of FedDA to {named(found[0].other, False)} of {sizes} Dice where patients "
        "are too few."
    )
