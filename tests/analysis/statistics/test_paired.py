"""Values against scipy, statsmodels and scikit-posthocs, and worked by hand."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.descriptivestats import sign_test
from statsmodels.stats.multitest import multipletests

from fedbench.analysis.statistics.paired import corrected_t, fold_test, friedman, holm, median_interval, wilcoxon

SCORES = st.integers(0, 8).map(lambda tenth: tenth / 10)  # many ties
# Area under the curve of four variants of C4.5 on 14 datasets: Demsar, JMLR 7 (2006), table 6. One value is printed as
# 0.975 and ranked as larger than the other 0.975 of its row; here it is.
DEMSAR = """
0.763 0.768 0.771 0.798   0.599 0.591 0.590 0.569   0.954 0.971 0.968 0.967   0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898   0.936 0.931 0.916 0.931   0.661 0.668 0.609 0.685   0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875   1.000 1.000 1.000 1.000   0.940 0.962 0.965 0.962   0.619 0.666 0.614 0.669
0.972 0.981 0.97501 0.975   0.957 0.978 0.946 0.970
"""


def scores(patients=12, algorithms=4, decimals=3, random=0):
    return np.random.default_rng(random).beta(8, 2, (patients, algorithms)).round(decimals)


# -- Friedman ------------------------------------------------------------------------------------------------------


def test_friedman_by_hand():
    """Three patients rank three algorithms (1, 2, 3), (1, 2, 3), (1, 3, 2).

    Rank sums 3, 7, 8 (centred: -3, 1, 2); chi2 = 12 * 14 / (3 * 3 * 4) = 14 / 3; F = 2 * 14/3 / (6 - 14/3) = 7 with 2
    and 4 degrees of freedom, of which the tail is (1 + 2 * 7 / 4)^-2 = 4 / 81.
    """
    found = friedman(np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2]]))
    assert (found.chi2, found.f, found.p, found.df) == (
        pytest.approx(14 / 3),
        pytest.approx(7),
        pytest.approx(4 / 81),
        (2, 4),
    )


def test_friedman_on_the_example_of_demsar():
    """Demsar: mean ranks 3.143, 2.000, 2.893, 1.964; chi2 9.28 and F 3.69, without the correction for ties.

    Corrected, chi2 is that of scipy; without, as printed, it comes from the mean ranks: 12 * 14 / 20 * (sum R^2 - 25).
    """
    table = np.array(DEMSAR.split(), dtype=float).reshape(14, 4)
    ranks = stats.rankdata(-table, axis=1)
    assert ranks.mean(axis=0).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    printed = 12 * 14 / 20 * (np.sum(ranks.mean(axis=0) ** 2) - 25)
    assert (round(printed, 2), round(13 * printed / (42 - printed), 2)) == (9.28, 3.69)
    assert friedman(table).chi2 == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    assert friedman(table).chi2 > printed


@pytest.mark.parametrize("decimals", [1, 3])
def test_friedman_agrees_with_scipy_and_with_an_analysis_of_variance_of_the_ranks(decimals):
    values = scores(decimals=decimals)
    found = friedman(values)
    assert found.chi2 == pytest.approx(stats.friedmanchisquare(*values.T).statistic)
    long = pd.DataFrame(stats.rankdata(values, axis=1)).melt(ignore_index=False).reset_index()
    anova = anova_lm(ols("value ~ C(variable) + C(index)", long).fit(), typ=2)
    assert (found.f, found.p) == pytest.approx(tuple(anova.loc["C(variable)", ["F", "PR(>F)"]]))


def test_friedman_of_many_comparisons_is_that_of_each():
    values = np.stack([scores(decimals=1, random=i) for i in range(5)])
    assert friedman(values).p == pytest.approx([friedman(v).p for v in values])


def test_unanimous_patients_have_the_permutation_probability():
    """Five patients rank three algorithms alike: (1 / 3!)^4."""
    found = friedman(np.tile([1.0, 2.0, 3.0], (5, 1)))
    assert (found.f, found.p) == (np.inf, pytest.approx(6**-4))


def test_unanimous_patients_with_ties_have_the_permutation_probability():
    """Two of three tied: 3!/2! = 3 arrangements, as counted over all of them; two pairs of four: 4!/(2! 2!) = 6."""
    arrangements = list(product(sorted(set(permutations((1.5, 1.5, 3.0)))), repeat=3))
    exact = np.mean([friedman(np.array(a)).f == np.inf for a in arrangements])
    assert friedman(np.tile([1.0, 1.0, 2.0], (3, 1))).p == pytest.approx(exact) == pytest.approx(1 / 9)
    assert friedman(np.tile([1.0, 1.0, 2.0], (4, 1))).p == pytest.approx(1 / 27)
    assert friedman(np.tile([1.0, 2.0, 1.0, 2.0], (3, 1))).p == pytest.approx(1 / 36)


@pytest.mark.filterwarnings("error")
def test_ties_only_have_p_1():
    assert friedman(np.ones((5, 3))).p == 1
    found = wilcoxon(np.zeros((5, 2)))
    assert (found.p.tolist(), found.rank_biserial.tolist()) == ([1, 1], [0, 0])


@settings(max_examples=50, deadline=None)
@given(arrays(float, (6, 4), elements=SCORES), st.permutations(range(6)), st.permutations(range(4)))
def test_friedman_does_not_depend_on_the_order_of_patients_or_algorithms(values, patients, algorithms):
    assert friedman(values[patients][:, algorithms]).p == pytest.approx(friedman(values).p)


# -- pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patients", [3, 8, 13, 14, 30, 50, 51, 80])
def test_wilcoxon_agrees_with_scipy(patients):
    """Every branch: with and without ties and zeros, few and many patients, all in one call."""
    stream = np.random.default_rng(patients)
    differences = stream.normal(0.3, 1, (patients, 9))
    differences[:, 3:] = differences[:, 3:].round(1)
    differences[0, 6:] = 0
    if patients == 13:  # scipy goes through all 8192 signs, some seconds for each: one of each kind
        differences = differences[:, ::3]
    expected = [stats.wilcoxon(d, zero_method="pratt").pvalue for d in differences.T]
    assert wilcoxon(differences).p == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_with_holm_agrees_with_scikit_posthocs():
    values = scores(patients=40, decimals=2)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    found = holm(wilcoxon(np.stack([values[:, a] - values[:, b] for a, b in pairs], axis=1)).p)
    expected = scikit_posthocs.posthoc_wilcoxon(list(values.T), zero_method="pratt", p_adjust="holm").to_numpy()
    assert found == pytest.approx([expected[a, b] for a, b in pairs])


def test_small_differences_of_arithmetic_are_zeros_and_ties():
    """0.3 - 0.2 and 0.2 - 0.1 differ in the last bit, 0.1 + 0.2 - 0.3 is not 0."""
    exact, noisy = [0.1, 0.1, 0.0, -0.2], [0.3 - 0.2, 0.2 - 0.1, 0.1 + 0.2 - 0.3, 0.1 - 0.3]
    assert wilcoxon(np.array([noisy]).T).p == wilcoxon(np.array([exact]).T).p


def test_rank_biserial_by_hand():
    """0.3, 0.1, -0.2, 0 have ranks 4, 2, 3, 1: (6 - 3) / 10; without the zero 3, 1, 2: (4 - 2) / 6."""
    assert wilcoxon(np.array([[0.3, 0.1, -0.2, 0.0]]).T).rank_biserial == pytest.approx([0.3])
    assert wilcoxon(np.array([[0.3, 0.1, -0.2]]).T).rank_biserial == pytest.approx([1 / 3])
    assert wilcoxon(np.array([[0.3, 0.1, 0.2]]).T).rank_biserial == pytest.approx([1])


@settings(max_examples=50, deadline=None)
@given(arrays(float, (9, 3), elements=SCORES.map(lambda s: s - 0.4)), st.permutations(range(9)))
def test_turning_the_difference_round_turns_only_the_sign(differences, order):
    one, turned = wilcoxon(differences), wilcoxon(-differences[order])
    assert turned.p == pytest.approx(one.p)
    assert turned.rank_biserial == pytest.approx(-one.rank_biserial)
    assert (np.abs(one.rank_biserial) <= 1).all()
    assert ((one.p > 0) & (one.p <= 1)).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_statsmodels_and_is_monotone(p):
    raw = np.array(p)
    found = holm(raw)
    assert found == pytest.approx(multipletests(raw, method="holm")[1])
    assert (found >= raw).all()
    assert (np.diff(found[np.argsort(raw, kind="stable")]) >= 0).all()


def test_holm_by_hand_and_within_each_family():
    """0.01 * 3, 0.02 * 2, then not less than before: 0.04."""
    assert holm(np.array([0.03, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    families = np.array([[0.03, 0.01, 0.02], [0.5, 0.9, 0.001]])
    assert holm(families) == pytest.approx(np.stack([holm(f) for f in families]))
    assert holm(np.empty(0)).size == 0


# -- effects -------------------------------------------------------------------------------------------------------


def test_median_interval_by_hand():
    """Of 10 values 2 may be outside: P(B < 2) = 11 / 1024 = 1.1%, P(B < 3) = 56 / 1024 = 5.5%. The second is x(2)."""
    values = np.arange(1.0, 11)[::-1, None]
    assert [float(v[0]) for v in median_interval(values)] == [5.5, 2, 9]
    six = [float(v[0]) for v in median_interval(values[:6])]  # 2 / 64 = 3.1%: all six
    assert six == [7.5, 5, 10]
    few = median_interval(values[:5])
    assert (few.median[0], np.isnan(few.low[0]), np.isnan(few.high[0])) == (8, True, True)


@pytest.mark.parametrize("patients", [6, 15, 40, 101])
def test_median_interval_inverts_the_sign_test(patients):
    """Just inside the interval the sign test does not reject; just outside it does."""
    values = np.random.default_rng(patients).normal(size=patients)
    found = median_interval(values[:, None])
    for end, inwards in ((found.low[0], 1e-9), (found.high[0], -1e-9)):
        assert sign_test(values, end + inwards)[1] > 0.05
        assert sign_test(values, end - inwards)[1] <= 0.05


# -- folds ---------------------------------------------------------------------------------------------------------


def test_corrected_t_by_hand():
    """Folds 0.1, 0.2, 0.3: mean 0.2, s^2 0.01; with n_test / n_train = 1/2 the variance is 5/6 * 0.01, t^2 = 4.8.

    With two degrees of freedom p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(4.8 / 6.8). The plain t-test has t^2 = 12.
    """
    folds = np.array([[0.1], [0.2], [0.3]])
    assert corrected_t(folds, 0.5) == pytest.approx([1 - np.sqrt(4.8 / 6.8)])
    assert corrected_t(folds, 0) == pytest.approx([stats.ttest_1samp(folds[:, 0], 0).pvalue])
    assert corrected_t(folds, 0.5) > corrected_t(folds, 0)
    assert corrected_t(np.zeros((3, 1)), 0.5) == [1]


def test_fold_test_takes_the_means_of_folds():
    """Six patients in three folds of two, means 0.1, 0.2, 0.3; n_test / n_train = 2 / 4."""
    differences = np.array([0.0, 0.2, 0.1, 0.3, 0.2, 0.4])[:, None]
    folds = np.array([0, 0, 1, 1, 2, 2])
    assert fold_test(differences, folds) == pytest.approx([1 - np.sqrt(4.8 / 6.8)])
    assert np.isnan(fold_test(differences, np.full(6, -1))).all()
    assert fold_test(differences, folds, 3) == fold_test(differences, folds)
    assert fold_test(differences, folds, 5) == pytest.approx(corrected_t(np.array([[0.1], [0.2], [0.3]]), 2 / 8))


def test_plain_t_over_folds_is_too_liberal_and_the_corrected_one_is_not():
    """Folds with a correlation of n_test / (n_test + n_train) = 1/5, which the correction is derived from."""
    stream = np.random.default_rng(0)
    folds = np.sqrt(0.2) * stream.normal(size=(1, 4000)) + np.sqrt(0.8) * stream.normal(size=(5, 4000))
    assert np.mean(corrected_t(folds, 0) < 0.05) > 0.1
    assert np.mean(corrected_t(folds, 0.25) < 0.05) == pytest.approx(0.05, abs=0.015)
