"""Sizes of differences in words: mean, interval and corrected p of one comparison, and the span of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fedbench.analysis.paper.numbers import Numbers, interval, p_value, signed
from fedbench.analysis.verdicts import Comparison, Verdict

OVER_BOTH = "over patients and seeds"


def effect(numbers: Numbers, keys: Sequence[str], comparison: Comparison) -> str:
    """Mean difference, its interval over patients and seeds (over patients with one seed), both corrected p-values.

    Args:
        keys: what the macros are called after.
    """
    row, runs = comparison.row, np.isfinite(comparison.row["runs_low"])
    low, high = (row["runs_low"], row["runs_high"]) if runs else (row["mean_low"], row["mean_high"])
    mean = numbers.put(*keys, "mean", text=signed(row["mean"]))
    bounds = numbers.put(*keys, "interval", text=interval(low, high, sign=True))
    p = numbers.put(*keys, "p", text=p_value(comparison.p))
    if not runs:
        return f"{mean} ({bounds} over patients), corrected {p} over patients"
    runs_p = numbers.put(*keys, "runs p", text=p_value(comparison.runs_p))
    return (
        f"{mean} ({bounds} over patients and seeds), corrected {p} over patients and {runs_p} over patients and seeds"
    )


def spread(numbers: Numbers, keys: Sequence[str], comparisons: Iterable[Comparison]) -> str:
    """``-0.075 to +0.026``: the least and the largest mean difference; one number if they are alike."""
    means = [float(c.row["mean"]) for c in comparisons]
    return ends(numbers, keys, [signed(value) for value in (min(means), max(means))])


def by_verdict(numbers: Numbers, keys: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """Say the sizes apart where it was better and where not.

    ``mean differences of +0.151 to +0.220 Dice there, of +0.111 to +0.112 elsewhere``
    """
    better = [c for c in comparisons if c.verdict is Verdict.BETTER]
    rest = [c for c in comparisons if c.verdict is not Verdict.BETTER]
    if not better or not rest:
        return f"{_differences(comparisons)} of {spread(numbers, keys, comparisons)} Dice"
    sizes = spread(numbers, (*keys, "better"), better), spread(numbers, (*keys, "rest"), rest)
    return f"{_differences(better)} of {sizes[0]} Dice there, of {sizes[1]} elsewhere"


def _differences(comparisons: Sequence[Comparison]) -> str:
    return "mean difference" if len(comparisons) == 1 else "mean differences"


def left_open(comparisons: Iterable[Comparison]) -> tuple[float, bool] | None:
    """Return the largest gain that an interval of an undecided comparison leaves open; whether it is one over seeds."""
    undecided = [c.row for c in comparisons if c.verdict is Verdict.SAME]
    of_seeds = [(float(row["runs_high"]), True) for row in undecided if np.isfinite(row["runs_high"])]
    of_patients = [(float(row["mean_high"]), False) for row in undecided if np.isfinite(row["mean_high"])]
    return max(of_seeds or of_patients, default=None)


def ends(numbers: Numbers, keys: Sequence[str], ordered: Sequence[str]) -> str:
    """``first to last`` of texts in ascending order; one of them if they are alike."""
    low, high = numbers.put(*keys, "least", text=ordered[0]), numbers.put(*keys, "most", text=ordered[-1])
    return low if ordered[0] == ordered[-1] else f"{low} to {high}"
