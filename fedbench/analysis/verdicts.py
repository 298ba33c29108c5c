"""Better, worse or not distinguishable: the only words there are for a comparison, and when they may be used.

A difference is named if Holm-corrected Wilcoxon over patients *and* the Holm-corrected test over patients and training
runs are significant, and point the same way. With one seed there is no test over runs, so no difference is named. Where
some patients were not tested with every seed, the mean of those who were, which is tested over runs, must do so too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from fedbench.analysis.analyses import is_reconstruction, is_reference_point
from fedbench.analysis.statistics.protocol import ALPHA, Analysis


class Verdict(StrEnum):
    """What a comparison came to."""

    BETTER = "better than"
    SAME = "not distinguishable from"
    WORSE = "worse than"


@dataclass(frozen=True)
class Comparison:
    """One algorithm against another.

    Attributes:
        reference: of the analysis.
        row: of :attr:`Analysis.pairwise`, ``algorithm`` minus ``other``.
        p: over patients, corrected by Holm over the declared family (over all pairs for a pair outside of it).
        runs_p: over patients and runs, corrected alike; NaN where there is no such test.
    """

    algorithm: str
    other: str
    reference: str
    row: pd.Series
    p: float
    runs_p: float
    verdict: Verdict

    @property
    def patients_only(self) -> bool:
        """Whether the trained models differ, but nothing shows that training anew would give the difference again."""
        return self.p < ALPHA and self.verdict is Verdict.SAME


def judge(analysis: Analysis, algorithm: str, other: str) -> Comparison:
    """Compare two algorithms of an analysis.

    Raises:
        KeyError: there is no such pair.
    """
    row = analysis.comparison(algorithm, other)
    family = "_holm" if row["declared"] else "_holm_all"
    p, runs_p = float(row[f"p{family}"]), float(row[f"runs_p{family}"])
    verdict = Verdict.SAME
    if p < ALPHA and runs_p < ALPHA and (way := int(direction(analysis, row))):
        verdict = Verdict.BETTER if way > 0 else Verdict.WORSE
    return Comparison(algorithm, other, analysis.reference, row, p, runs_p, verdict)


def direction(analysis: Analysis, rows: pd.DataFrame | pd.Series) -> np.ndarray:
    """Return of rows of :attr:`Analysis.pairwise` (or of one) whom all favour: 1 ``algorithm``, -1 ``reference``.

    0 where the signed ranks, the mean and the mean that is tested over runs do not agree.
    """
    better = 1 if analysis.matrix.endpoint.higher_is_better else -1
    by_mean, over_runs = better * np.sign(rows["mean"]), better * np.sign(rows["runs_p_mean"])
    favours = rows["favours"]
    by_ranks = np.where(favours == rows["algorithm"], 1, np.where(favours == rows["reference"], -1, 0))
    return np.where((by_mean == by_ranks) & (over_runs == by_ranks), by_ranks, 0)


def focus(labels: Iterable[str]) -> list[str]:
    """Return the algorithms under study."""
    return [label for label in labels if is_reconstruction(label)]


def rivals(labels: Iterable[str]) -> list[str]:
    """Return the other aggregation algorithms: neither under study nor a reference point."""
    return [label for label in labels if not is_reconstruction(label) and not is_reference_point(label)]


@dataclass(frozen=True)
class Tally:
    """How often each verdict was given."""

    better: int
    same: int
    worse: int

    @property
    def total(self) -> int:
        """All comparisons."""
        return sum(self.values)

    @property
    def values(self) -> tuple[int, int, int]:
        """The three counts."""
        return self.better, self.same, self.worse


def tally(comparisons: Sequence[Comparison]) -> Tally:
    """Count the verdicts."""
    counts = Counter(c.verdict for c in comparisons)
    return Tally(counts[Verdict.BETTER], counts[Verdict.SAME], counts[Verdict.WORSE])
