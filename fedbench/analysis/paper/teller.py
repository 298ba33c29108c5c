"""Puts the numbers of one condition into macros: scores, differences, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fedbench.analysis.analyses import is_reconstruction
from fedbench.analysis.paper.numbers import Numbers, interval, named, number, p_value, signed, words
from fedbench.analysis.paper.study import Part
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.verdicts import Comparison, Verdict

NAMED = 2  # of those not distinguishable, that are named one by one


class Teller:
    """Puts the numbers of one condition into macros and hands out their uses."""

    def __init__(self, numbers: Numbers, part: Part) -> None:
        self.numbers, self.part = numbers, part

    def put(self, *parts: str, text: str) -> str:
        """Define a macro of this condition."""
        return self.numbers.put(*parts, self.part.key, text=text)

    def name(self, label: str) -> str:
        """An algorithm's name."""
        return named(label, is_reconstruction(label))

    def names(self, labels: Iterable[str]) -> str:
        """Several algorithms' names."""
        return words([self.name(label) for label in labels])

    def score(self, analysis: Analysis, label: str) -> str:
        """Mean and 95% interval over patients of an algorithm."""
        endpoint = analysis.matrix.endpoint
        row: Any = analysis.means.loc[label]
        digits = 3 if endpoint.higher_is_better else 1
        keys = (endpoint.relation, endpoint.metric, label)
        mean = self.put(*keys, text=number(row["mean"], digits))
        bounds = self.put(*keys, "interval", text=interval(row["low"], row["high"], digits))
        return f"{mean} {bounds}"

    def verdict(self, analysis: Analysis, comparison: Comparison) -> str:
        """``better than``, ``not distinguishable from`` or ``worse than``."""
        return self.put(*self._pair(analysis, comparison), text=comparison.verdict.value)

    def difference(self, analysis: Analysis, comparison: Comparison) -> list[str]:
        """Mean difference, its interval (over patients and seeds where there are several), both corrected p-values."""
        row, keys = comparison.row, self._pair(analysis, comparison)
        runs = np.isfinite(row["runs_low"])
        low, high = (row["runs_low"], row["runs_high"]) if runs else (row["mean_low"], row["mean_high"])
        over = "over runs" if runs else "over patients"
        return [
            self.put(*keys, "mean", text=signed(row["mean"])),
            self.put(*keys, over, text=interval(low, high, sign=True)),
            self.put(*keys, "p", text=p_value(comparison.p)),
            self.put(*keys, "runs p", text=p_value(comparison.runs_p) if runs else "--"),
        ]

    def standing(
        self,
        analysis: Analysis,
        whose: str,
        found: Mapping[str, Verdict],
        form: str,
        rest: str = "federated algorithms",
    ) -> str:
        """Say for which of ``found`` which verdict was given: one macro. Many that are not distinguishable are counted.

        Args:
            whose: names the macro.
            form: of the text of one verdict, with places for the verdict and the names.
            rest: what those that are counted are.
        """
        endpoint = analysis.matrix.endpoint
        groups = {verdict: [label for label, given in found.items() if given is verdict] for verdict in Verdict}
        told = []
        for verdict, labels in groups.items():
            if len(labels) > NAMED and verdict is Verdict.SAME:
                told.append(form.format(verdict.value, f"{len(labels)} other {rest}"))
            elif labels:
                told.append(form.format(verdict.value, self.names(labels)))
        return self.put(endpoint.relation, endpoint.metric, whose, "stands", text=words(told))

    def _pair(self, analysis: Analysis, comparison: Comparison) -> tuple[str, ...]:
        endpoint = analysis.matrix.endpoint
        return (endpoint.relation, endpoint.metric, comparison.algorithm, "against", comparison.other)
