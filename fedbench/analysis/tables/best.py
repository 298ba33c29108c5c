"""Which algorithm may be called the best, and which cannot be told from it. One rule for tables, report and paper.

The best and its runner-up are chosen by the data, so their p-value is corrected over all pairs, not over the declared
family. Only federated algorithms take part; local and centralised training are reference points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.tables.cells import AGREES, BEST, TIED

RULE = {
    BEST: "the best federated algorithm by its mean, and better than the runner-up (Wilcoxon's test over patients, "
    f"Holm's correction over all pairs, p < {ALPHA:g}).",
    AGREES: "the test over patients and runs finds the same (Holm's correction over all pairs).",
    TIED: "not significantly worse than the best federated algorithm, which is then not better than its runner-up.",
}


@dataclass(frozen=True)
class Standing:
    """How the federated algorithms stand to each other.

    Attributes:
        best: the label with the best mean; None without federated algorithms.
        significant: whether it is better than its runner-up, by the test over patients.
        agrees: whether the test over patients and runs says so too, of a mean of the same sign; False with one seed.
        tied: those that are not significantly worse than the best, itself included; empty if ``significant``.
    """

    best: str | None
    significant: bool
    agrees: bool
    tied: tuple[str, ...]


def standing(analysis: Analysis) -> Standing:
    """Return who is best. With fewer than two federated algorithms nobody is better or tied."""
    order = [label for label in analysis.order if not is_reference_point(label)]
    if len(order) < 2:
        return Standing(order[0] if order else None, False, False, ())
    best, runner_up = order[:2]
    if _beats(analysis, best, runner_up):
        pair = analysis.comparison(best, runner_up)
        agrees = pair["runs_p_holm_all"] < ALPHA and np.sign(pair["runs_p_mean"]) == np.sign(pair["mean"])
        return Standing(best, True, bool(agrees), ())
    tied = [label for label in order[1:] if not _beats(analysis, best, label)]
    return Standing(best, False, False, (best, *tied))


def marks(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """Return (mark, sign) by label, as :class:`fedbench.analysis.tables.cells.Cell` has them; see ``RULE``."""
    found = standing(analysis)
    if found.significant and found.best is not None:
        return {found.best: (BEST, AGREES if found.agrees else "")}
    return dict.fromkeys(found.tied, (TIED, ""))


def _beats(analysis: Analysis, best: str, other: str) -> bool:
    """The means alone decide who is ``best``; signed ranks may favour the other, which is then not beaten."""
    pair = analysis.comparison(best, other)
    return bool(pair["p_holm_all"] < ALPHA) and pair["favours"] == best
