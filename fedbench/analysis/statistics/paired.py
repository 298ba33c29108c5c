"""Tests and effect sizes for paired scores. All take many comparisons at once.

Omnibus: Friedman's test in the form of Iman & Davenport (1980), as Demsar (2006) advises. Pairs: Wilcoxon's signed-rank
test with Pratt's (1959) treatment of zeros, p-values corrected by Holm (1979). Effects: the median difference with
its exact order-statistic interval, and the matched-pairs rank-biserial correlation of Kerby (2014). Cross-validation:
the corrected t-test of Nadeau & Bengio (2003).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from fedbench.analysis.statistics.intervals import DIGITS, LEVEL

EXACT_BELOW = 51  # patients; the exact distribution of Wilcoxon's statistic, if there are no ties
FLIPPED_BELOW = 14  # patients; all patterns of signs, if there are
BLOCK = 64  # columns whose sign patterns are enumerated at once


class Friedman(NamedTuple):
    """Results of :func:`friedman`; arrays of the leading shape of the scores, or numbers if there is none.

    Attributes:
        chi2: Friedman's statistic, corrected for ties.
        f: Iman and Davenport's F; infinite if all patients rank alike.
        df: degrees of freedom of ``f``.
        p: two-sided by nature; 1 where all scores are tied.
    """

    chi2: np.ndarray
    f: np.ndarray
    df: tuple[int, int]
    p: np.ndarray


class Wilcoxon(NamedTuple):
    """Results of :func:`wilcoxon`, one per column; ``rank_biserial`` in [-1, 1], positive if differences are."""

    p: np.ndarray
    rank_biserial: np.ndarray


class Median(NamedTuple):
    """Results of :func:`median_interval`, one per column, in the unit of the scores."""

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def friedman(values: np.ndarray) -> Friedman:
    """Test whether algorithms differ at all.

    Iman & Davenport, "Approximations of the critical region of the Friedman statistic", Communications in Statistics
    9:571-595 (1980); Demsar, JMLR 7:1-30 (2006), section 3.2.2. With ties, chi2 is Friedman's divided by the usual
    correction and F the analysis of variance of the ranks, which is the same formula. If all patients rank the
    algorithms alike, F is infinite and p is the permutation probability (1 / m)^(n - 1), where m is the number of
    distinct arrangements of their ranks: k! divided by the factorial of the size of each group of ties.

    Args:
        values: ``(..., patients, algorithms)`` without NaN, at least two of both.
    """
    n, k = values.shape[-2:]
    ranks = stats.rankdata(values.round(DIGITS), axis=-1) - (k + 1) / 2
    spread = np.sum(ranks**2, axis=(-2, -1))
    between = np.sum(np.sum(ranks, axis=-2) ** 2, axis=-1)
    tied = spread == 0
    chi2 = np.where(tied, 0.0, (k - 1) * between / np.where(tied, 1.0, spread))
    unanimous = n * (k - 1) - chi2 < 1e-9
    f = np.where(unanimous, np.inf, (n - 1) * chi2 / np.where(unanimous, 1.0, n * (k - 1) - chi2))
    df = (k - 1, (k - 1) * (n - 1))
    p = np.where(unanimous, np.exp(-(n - 1) * _log_arrangements(ranks[..., 0, :])), stats.f.sf(f, *df))
    return Friedman(chi2[()], f[()], df, p[()])


def _log_arrangements(ranks: np.ndarray) -> np.ndarray:
    """Return the logarithm of the number of distinct orders of ``ranks`` (..., algorithms): of k! less the ties."""
    tied = (ranks[..., :, None] == ranks[..., None, :]).sum(axis=-1)  # each group is met once for each of its members
    return special.gammaln(ranks.shape[-1] + 1) - np.sum(special.gammaln(tied + 1) / tied, axis=-1)


def wilcoxon(differences: np.ndarray) -> Wilcoxon:
    """Test whether paired differences are symmetric about zero, two-sided.

    Zeros are ranked with the others and then dropped (Pratt, JASA 54:655-667, 1959), so that many of them weaken the
    evidence. The p-value is exact for up to 50 patients without ties, from all patterns of signs for up to 13 with
    ties, else from the normal approximation corrected for ties: what ``scipy.stats.wilcoxon`` does. All zero: p = 1.

    The effect size is (R+ - R-) / (n (n + 1) / 2), the share of favourable minus that of unfavourable rank sum (Kerby,
    Comprehensive Psychology 3:1, 2014), where the ranks of zeros count in the total and for neither side.

    Args:
        differences: ``(patients, columns)`` without NaN.
    """
    differences = differences.round(DIGITS)
    n, columns = differences.shape
    sizes = np.abs(differences)
    ranks = np.sign(differences) * stats.rankdata(sizes, axis=0)
    ordered = np.sort(sizes, axis=0)
    some = ordered[-1] > 0
    ties = (ordered[0] == 0) | (np.diff(ordered, axis=0) == 0).any(axis=0)
    p = np.ones(columns)
    if (exact := some & ~ties & (n < EXACT_BELOW)).any():
        p[exact] = stats.wilcoxon(differences[:, exact], zero_method="pratt", method="exact", axis=0).pvalue
    if (flipped := some & ties & (n < FLIPPED_BELOW)).any():
        p[flipped] = _flip_signs(ranks[:, flipped])
    if (normal := some & ~exact & ~flipped).any():  # scipy takes the approximation for so many patients or ties
        p[normal] = stats.wilcoxon(differences[:, normal], zero_method="pratt", axis=0).pvalue
    return Wilcoxon(p, ranks.sum(axis=0) / (n * (n + 1) / 2))


def _flip_signs(ranks: np.ndarray) -> np.ndarray:
    """Return twice the smaller tail of the signed-rank sum over all 2^n sign patterns; ``ranks`` (patients, columns).

    What ``scipy.stats.wilcoxon`` does by a permutation test, in a hundredth of the time.
    """
    signs = 1 - 2 * ((np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1)
    p = np.empty(ranks.shape[1])
    for start in range(0, len(p), BLOCK):
        block = slice(start, start + BLOCK)
        sums = (signs @ np.abs(ranks[:, block])).round(1)  # multiples of 1/2; zeros have rank 0, as their sign
        observed = ranks[:, block].sum(axis=0).round(1)
        tails = np.stack([(sums <= observed).mean(axis=0), (sums >= observed).mean(axis=0)])
        p[block] = np.minimum(1.0, 2 * tails.min(axis=0))
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected by Holm (Scand. J. Statistics 6:65-70, 1979) within each family, ``(..., tests)``."""
    order = np.argsort(p, axis=-1, kind="stable")
    factors = p.shape[-1] - np.arange(p.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    corrected = np.empty(p.shape)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1.0), axis=-1)
    return corrected


def median_interval(differences: np.ndarray, level: float = LEVEL) -> Median:
    """Return each column's median with the interval between two order statistics.

    The number of values below the true median is binomial(n, 1/2), so the interval from the r-th smallest to the r-th
    largest has coverage 1 - 2 P(B < r) at least, for any continuous distribution, symmetric or not; r is the largest
    with coverage >= ``level`` (Conover, Practical Nonparametric Statistics, 3rd ed. 1999, section 3.2). At 95% it needs
    six patients; NaN below. It is not an inversion of Wilcoxon's test, which is about another centre if the differences
    are skewed.

    Args:
        differences: ``(patients, columns)`` without NaN.
    """
    n, columns = differences.shape
    ordered = np.sort(differences, axis=0)
    outside = int(np.sum(stats.binom.cdf(np.arange(n // 2), n, 0.5) <= (1 - level) / 2))  # values outside on each side
    if outside == 0:
        return Median(np.median(ordered, axis=0), *np.full((2, columns), np.nan))
    return Median(np.median(ordered, axis=0), ordered[outside - 1], ordered[-outside])


def corrected_t(differences: np.ndarray, test_per_train: float) -> np.ndarray:
    """Return the two-sided p-values of the corrected resampled t-test, for results of one k-fold cross-validation.

    The k training sets overlap, so the k differences are dependent and the plain t-test over folds is too liberal; the
    variance of their mean is taken as (1 / k + n_test / n_train) s^2. Nadeau & Bengio, "Inference for the
    generalization error", Machine Learning 52:239-281 (2003).

    Args:
        differences: the mean difference in each fold, ``(folds, columns)``.
        test_per_train: n_test / n_train, the same for all folds.
    """
    folds = len(differences)
    mean, variance = differences.mean(axis=0), differences.round(DIGITS).var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = mean / np.sqrt((1 / folds + test_per_train) * variance)
    return np.where(mean.round(DIGITS) == 0, 1.0, 2 * stats.t.sf(np.abs(t), folds - 1))


def fold_test(differences: np.ndarray, folds: np.ndarray, planned: int | None = None) -> np.ndarray:
    """Return :func:`corrected_t` of per-patient differences; NaN unless there are two folds or more.

    n_train is the number of patients outside the fold. Where some of them only validate that is too many, and p a
    little too small: by 15% validation of all in five folds, a factor of 0.45 for 0.49 in the variance. Patients in
    folds that have not finished are trained on too; such a fold is taken to be as large as the others.

    Args:
        differences: ``(patients, columns)``.
        folds: the fold in whose test set each patient is, ``(patients,)``; -1 without folds.
        planned: number of folds; None takes those that there are.
    """
    names, sizes = np.unique(folds, return_counts=True)
    if len(names) < 2:
        return np.full(differences.shape[1], np.nan)
    means = np.stack([differences[folds == name].mean(axis=0) for name in names])
    patients = len(folds) * max(planned or 0, len(names)) / len(names)
    return corrected_t(means, float(np.mean(sizes / (patients - sizes))))
