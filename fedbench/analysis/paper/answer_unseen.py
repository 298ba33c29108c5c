"""What happens on a modality that nobody trained on: an answer only where a difference could be named at all."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.paper.answer_cross import in_words, studied
from fedbench.analysis.paper.effects import spread
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, words
from fedbench.analysis.paper.reliability import decidable
from fedbench.analysis.paper.study import Part
from fedbench.analysis.rows import counted

UNSEEN = "on a modality that nobody trained on"
NEAR_ZERO = 0.05  # Dice; where no aggregation algorithm reaches more there is nothing to compare
NOTHING = "No published condition leaves a modality out of training, so nothing can be said of unseen modalities."


def unseen_modalities(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say how the algorithms under study did on unseen modalities, or why that cannot be answered here.

    Args:
        parts: conditions with scores on a modality that was left out.
    """
    if not parts:
        return NOTHING
    few = [part for part in parts if not decidable(part.get("unseen"))]
    zero = [part for part in parts if part not in few and best_mean(part) < NEAR_ZERO]
    left = [part for part in parts if part not in few and part not in zero]
    reasons = _reasons(numbers, few, zero, len(parts))
    if left:
        told = in_words(numbers, "unseen", studied(left, "unseen"), UNSEEN)
        return f"{told} The rest cannot be answered here: {reasons}." if reasons else told
    return f"What FedDA does {UNSEEN} cannot be answered here: {reasons}."


def best_mean(part: Part) -> float:
    """Return the highest mean Dice of an aggregation algorithm on the unseen modality."""
    means = part.get("unseen").means["mean"]
    return float(means[[label for label in means.index if not is_reference_point(label)]].max())


def _reasons(numbers: Numbers, few: Sequence[Part], zero: Sequence[Part], total: int) -> str:
    told = []
    if few:
        share = numbers.put("unseen", "too few", text=out_of(len(few), total, "condition"))
        each = [f"{escape(p.condition.unseen)} {len(p.get('unseen').matrix.values)}" for p in few]
        sizes = numbers.put("unseen", "too few", "patients", text=words(each))
        told.append(f"in {share} patients are too few for any difference to be named, however large ({sizes})")
    for part in zero:
        keys = ("unseen", part.key)
        patients = numbers.put(*keys, "patients", text=counted(len(part.get("unseen").matrix.values), "patient"))
        best = numbers.put(*keys, "best", text=number(best_mean(part)))
        told.append(
            f"on {escape(part.condition.unseen)} ({patients}) no aggregation algorithm reached a mean Dice above "
            f"{best}, so that there is nothing to compare"
        )
    return ", and ".join(told)


def seen_only(numbers: Numbers, parts: Sequence[Part]) -> str:
    """What was seen where patients are too few: the span of the differences to the reference, which claims nothing."""
    few = [part for part in parts if not decidable(part.get("unseen"))]
    found = [c for c in studied(few, "unseen") if c.other == c.reference] if few else []
    if not found:
        return ""
    sizes = spread(numbers, ("unseen", "difference"), found)
    return (
        f"Seen, not shown: mean differences of FedDA to {named(found[0].other, False)} of {sizes} Dice where patients "
        "are too few."
    )
