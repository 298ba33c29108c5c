"""Bootstrap intervals of means over patients. Nothing here bootstraps a median, or seeds, which are too few for it.

Efron, "Better bootstrap confidence intervals", JASA 82:171-185 (1987). The same patients are drawn for every algorithm,
and the same in every process: the stream is named, and of a generator that numpy does not change. Intervals over
patients and seeds are those of :func:`fedbench.analysis.statistics.variance.over_runs`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from fedbench.streams import derive_seed

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST_PATIENTS = 3  # for an interval
DIGITS = 10  # scores that agree to so many are equal: arithmetic must not break ties
BLOCK = 256  # columns worked on at once, which bounds the memory


class Intervals(NamedTuple):
    """One interval per column.

    Attributes:
        low: ``(columns,)``, in the unit of the scores; NaN where there is none.
        high: as ``low``.
        method: ``BCa``, ``percentile`` (BCa does not exist), ``constant`` (all values are equal) or ``none``.
    """

    low: np.ndarray
    high: np.ndarray
    method: np.ndarray


def stream(*names: object) -> np.random.RandomState:
    """Return the random stream of that name; the same numbers on every machine and with every numpy."""
    return np.random.RandomState(np.random.MT19937(derive_seed("analysis", *names)))


def draws(size: int, resamples: int, *names: object) -> np.ndarray:
    """Return how often each of ``size`` things is drawn in each resample, ``(resamples, size)``."""
    drawn = stream(*names).randint(0, size, (resamples, size))
    places = drawn + size * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * size).reshape(resamples, size)


def bootstrap_means(values: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES) -> Intervals:
    """Return the bootstrap interval of each column's mean over patients: BCa where it exists, else percentile.

    Args:
        values: ``(patients, columns)`` without NaN.
    """
    size, columns = values.shape
    low, high = np.full((2, columns), np.nan)
    method = np.full(columns, "none", dtype=object)
    if size < FEWEST_PATIENTS:
        return Intervals(low, high, method)
    weights = draws(size, resamples, "patients").T / size
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    for start in range(0, columns, BLOCK):
        block = slice(start, start + BLOCK)
        own = values[:, block]
        means = np.sort(own.T @ weights, axis=1)
        wanted = _bca(own, means, tails)
        exists = np.isfinite(wanted).all(axis=1)
        low[block], high[block] = _quantiles(means, np.where(exists[:, None], wanted, tails)).T
        method[block] = np.where(exists, "BCa", "percentile")
    constant = np.ptp(values.round(DIGITS), axis=0) == 0
    method[constant] = "constant"
    low[constant] = high[constant] = values[0, constant]
    return Intervals(low, high, method)


def _bca(values: np.ndarray, means: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Return the quantiles of ``means`` that bound the interval, ``(columns, 2)``; Efron 1987, equation 3.9.

    The jackknife of a mean needs no resampling: leaving out x shifts the mean by a multiple of (mean - x).
    """
    mean = values.mean(axis=0)
    tolerance = 0.5 * 10.0**-DIGITS
    below = np.mean(means < mean[:, None] - tolerance, axis=1)
    equal = np.mean(np.abs(means - mean[:, None]) <= tolerance, axis=1)
    centred = values - mean
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = stats.norm.ppf(below + equal / 2)[:, None]
        acceleration = (np.sum(centred**3, axis=0) / (6 * np.sum(centred**2, axis=0) ** 1.5))[:, None]
        shifted = bias + stats.norm.ppf(tails)
        return stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))


def _quantiles(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the quantiles ``wanted`` (rows, k) of each row of ``ordered``, interpolated as numpy does by default."""
    rank = wanted * (ordered.shape[1] - 1)
    floor = np.floor(rank).astype(int)
    under = np.take_along_axis(ordered, floor, axis=1)
    over = np.take_along_axis(ordered, np.minimum(floor + 1, ordered.shape[1] - 1), axis=1)
    return under + (rank - floor) * (over - under)
