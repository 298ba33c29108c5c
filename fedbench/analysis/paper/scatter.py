"""How far the mean score of one algorithm moves from seed to seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedbench.analysis.statistics.protocol import Analysis


@dataclass(frozen=True)
class Scatter:
    """The mean scores of an algorithm's single seeds, over patients.

    Attributes:
        sd: standard deviation over seeds.
        low: the lowest seed's mean.
        high: the highest seed's.
    """

    algorithm: str
    sd: float
    low: float
    high: float


def scatters(analysis: Analysis) -> list[Scatter]:
    """Return the scatter of every algorithm of an analysis; none with one seed."""
    means = np.nanmean(analysis.matrix.cube, axis=0)  # (seeds, algorithms)
    if len(means) < 2:
        return []
    return [
        Scatter(name, float(own.std(ddof=1)), float(own.min()), float(own.max()))
        for name, own in zip(analysis.matrix.algorithms, means.T, strict=True)
    ]
