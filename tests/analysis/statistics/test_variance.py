"""The two-way table worked by hand, and against statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from fedbench.analysis.statistics.paired import holm
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.statistics.scores import score_matrix
from fedbench.analysis.statistics.variance import (
    Luck,
    common_luck,
    components,
    mean_squares,
    over_runs,
    own_deviation,
    variance_split,
)
from tests.analysis.score_rows import random_table, table


def crossed(patients=40, seeds=5, patient=0.0, seed=0.0, noise=0.1, columns=1, random=0):
    stream = np.random.default_rng(random)
    cube = noise * stream.normal(size=(patients, seeds, columns))
    cube += patient * stream.normal(size=(patients, 1, columns)) + seed * stream.normal(size=(1, seeds, columns))
    return cube


def test_components_by_hand():
    """Patients (rows) and seeds: (1, 3), (5, 7), (6, 14). Mean 6; patients 2, 6, 10; seeds 4, 8.

    MS patient = 2 (16 + 0 + 16) / 2 = 32; MS seed = 3 (4 + 4) / 1 = 24; what is left is 1, 1, -2 and its negative:
    MS residual = 12 / 2 = 6. So patient (32 - 6) / 2 = 13, seed (24 - 6) / 3 = 6, residual 6.
    """
    cube = np.array([[1.0, 3], [5, 7], [6, 14]])[..., None]
    squares = mean_squares(cube)
    assert [float(s[0]) for s in squares] == [6, 32, 24, 6]
    assert components(cube)[:, 0].tolist() == [13, 6, 6]


def test_mean_squares_agree_with_statsmodels():
    cube = crossed(patient=0.2, seed=0.1)[..., 0]
    long = pd.DataFrame(cube).melt(ignore_index=False).reset_index()
    anova = anova_lm(ols("value ~ C(index) + C(variable)", long).fit(), typ=2)
    expected = (anova["sum_sq"] / anova["df"])[["C(index)", "C(variable)", "Residual"]]
    assert np.concatenate(mean_squares(cube[..., None])[1:]) == pytest.approx(expected.to_numpy())


def test_components_are_recovered():
    found = components(crossed(300, 200, patient=0.2, seed=0.1, noise=0.05))[:, 0]
    assert np.sqrt(found) == pytest.approx([0.2, 0.1, 0.05], rel=0.15)


def test_split_of_scores_and_differences():
    """``other`` is fedavg plus 0.1 with seed 0 and plus 0.3 with seed 1: all the variance of its difference is seed.

    The seeds' effects are 0.1 and -0.1, of which the unbiased variance is 0.02.
    """
    base = {0: [0.1, 0.5, 0.3], 1: [0.2, 0.4, 0.3]}
    cases = pd.concat(
        [
            table({"fedavg": base[seed], "other": np.add(base[seed], plus)}, [seed])
            for seed, plus in ((0, 0.1), (1, 0.3))
        ]
    )
    found = variance_split(score_matrix(cases, "toy", Endpoint()), "fedavg")
    assert found[["algorithm", "of"]].to_numpy().tolist() == [
        ["fedavg", "score"], ["other", "score"], ["other", "difference"],
    ]  # fmt: skip
    last = found.iloc[2]
    assert last[["patient_share", "seed_share", "residual_share"]].tolist() == pytest.approx([0, 100, 0])
    assert last["seed"] == pytest.approx(np.sqrt(0.02))
    shares = found[["patient_share", "seed_share", "residual_share"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(np.full(3, 100))


def test_negative_estimates_are_set_to_0_and_noted():
    """Patients (0, 1), (1, 0): no effect of either; MS patient = MS seed = 0, MS residual = 1, so both are -1/2."""
    cases = pd.concat(
        [
            table({"fedavg": [0.0, 1.0], "other": [0.5, 0.6]}, [0]),
            table({"fedavg": [1.0, 0.0], "other": [0.5, 0.6]}, [1]),
        ]
    )
    found = variance_split(score_matrix(cases, "toy", Endpoint()), "fedavg").iloc[0]
    assert (found["patient"], found["seed"], found["residual"]) == (0, 0, pytest.approx(1))
    assert found["note"] == "negative estimate set to 0: patient, seed"


def test_one_seed_cannot_be_split():
    found = variance_split(score_matrix(random_table(["fedavg", "other"], 5), "toy", Endpoint()), "fedavg")
    assert found["seed_share"].isna().all()
    assert set(found["note"]) == {"one seed: seed and residual cannot be told apart"}


def test_no_variance_at_all():
    cases = table({"fedavg": [0.5, 0.5], "other": [0.5, 0.5]}, seeds=[0, 1])
    found = variance_split(score_matrix(cases, "toy", Endpoint()), "fedavg")
    assert (found[["patient", "seed", "residual", "seed_share"]] == 0).all(axis=None)


# -- over runs -----------------------------------------------------------------------------------------------------


def test_over_runs_by_hand():
    """As above: t = 6 / sqrt((32 + 24 - 6) / 6), with 50^2 / (32^2 / 2 + 24^2 / 1 + 6^2 / 2) degrees of freedom."""
    found = over_runs(np.array([[1.0, 3], [5, 7], [6, 14]])[..., None])
    error, df = np.sqrt(50 / 6), 2500 / (512 + 576 + 18)
    assert found.p[0] == pytest.approx(2 * stats.t.sf(6 / error, df))
    half = stats.t.ppf(0.975, df) * error
    assert (found.low[0], found.high[0]) == pytest.approx((6 - half, 6 + half))


def test_over_runs_is_a_t_test_over_patients_where_only_they_differ():
    """No effect of seeds and no noise: MS seed = MS residual = 0."""
    patients = np.random.default_rng(0).normal(0.5, 1, 12)
    found = over_runs(np.tile(patients[:, None, None], (1, 4, 1)))
    assert found.p[0] == pytest.approx(stats.ttest_1samp(patients, 0).pvalue)


def test_over_runs_is_a_t_test_over_seeds_where_only_they_differ():
    seeds = np.random.default_rng(0).normal(0.5, 1, 5)
    found = over_runs(np.tile(seeds[None, :, None], (30, 1, 1)))
    assert found.p[0] == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue)


@pytest.mark.parametrize("seed", [0.0, 0.05, 0.2])
def test_over_runs_keeps_its_error_rate_whatever_the_luck_of_runs(seed):
    found = over_runs(crossed(columns=2000, patient=0.1, seed=seed))
    assert np.mean(found.p < 0.05) < 0.075
    assert np.mean((found.low <= 0) & (found.high >= 0)) > 0.925


def test_luck_by_hand():
    """Means of two seeds are 1 2 3 and 3 2 7; less those of seeds (2 4) and algorithms (2 2 5): 0 1 -1 and 0 -1 1."""
    means = np.array([[1.0, 2, 3], [3, 2, 7]])
    found = common_luck(np.stack([means - 1, means + 1, means]))
    assert found.mean_square == pytest.approx(2 * 3 * 4 / 2)
    assert 0 < found.df < 1  # the first has no luck at all, the others have: little is common
    gaps = np.stack([means, means, means, np.full((2, 3), np.nan)])
    assert common_luck(gaps).mean_square == pytest.approx(found.mean_square)
    assert common_luck(np.stack([gaps, gaps], axis=-1)).mean_square == pytest.approx([found.mean_square] * 2)


def test_luck_is_worth_more_where_algorithms_are_alike():
    """Three seeds, eight algorithms: at most 2 x 6 degrees of freedom beside a pair's own."""
    random = np.random.default_rng(5)
    alike, wild = [], []
    for _ in range(200):
        luck = random.normal(0, 1, (1, 3, 8))
        alike.append(common_luck(luck).df)
        wild.append(common_luck(luck * np.geomspace(0.1, 10, 8)).df)
    assert np.median(alike) == 12 and max(*alike, *wild) == 12
    assert np.median(wild) < 6


def test_two_algorithms_have_no_others_to_learn_from():
    cube = crossed(12, 4, columns=2, seed=0.1)
    difference = cube[..., [0]] - cube[..., [1]]
    assert common_luck(cube) == (pytest.approx(mean_squares(difference).seed[0]), 0)
    assert over_runs(difference, common_luck(cube)).p == pytest.approx(over_runs(difference).p)


def test_over_runs_moderates_a_pairs_luck_by_hand():
    """As by hand above, where MS seed is 24 with 1 degree of freedom: (9 x 34 + 24) / 10 = 33 with 10."""
    cube = np.array([[1.0, 3], [5, 7], [6, 14]])[..., None]
    found = over_runs(cube, Luck(np.array(34.0), np.array(9)))
    error, df = np.sqrt(59 / 6), 59**2 / (32**2 / 2 + 33**2 / 10 + 6**2 / 2)
    assert found.p[0] == pytest.approx(2 * stats.t.sf(6 / error, df))
    half = stats.t.ppf(0.975, df) * error
    assert (found.low[0], found.high[0]) == pytest.approx((6 - half, 6 + half))
    assert over_runs(cube, Luck(np.array(34.0), np.array(0))).p == pytest.approx(over_runs(cube).p)
    assert over_runs(cube, Luck(np.array(np.nan), np.array(np.nan))).p == pytest.approx(over_runs(cube).p)


@given(st.integers(0, 1000), st.floats(0, 3), st.floats(1, 4), st.sampled_from([0.0, 2.0, 20.0]))
def test_more_scatter_between_the_seeds_of_a_pair_never_makes_it_more_significant(number, scatter, more, df):
    """Whether the pair scatters less or more than all together: no edge at which p falls."""
    random = np.random.default_rng(number)
    patients, seeds = random.normal(0.05, 0.1, (24, 1, 1)), random.normal(0, 1, (1, 3, 1))
    seeds -= seeds.mean()
    calm, wild = (patients + 0.03 * size * seeds for size in (scatter, scatter * more))
    luck = Luck(np.array(0.02), np.array(df))
    assert over_runs(wild, luck).p[0] >= over_runs(calm, luck).p[0] - 1e-6  # scores are rounded


def test_a_correction_over_many_comparisons_holds_with_few_seeds():
    """All differences of five algorithms to a sixth that differ by luck alone, which is as large as patients differ."""
    random = np.random.default_rng(3)
    plain = shared = 0
    for _ in range(400):
        cube = random.normal(0, 0.1, (20, 3, 6)) + random.normal(0, 0.1, (1, 3, 6))
        differences = cube[..., 1:] - cube[..., [0]]
        plain += (holm(over_runs(differences).p) < 0.05).any()
        shared += (holm(over_runs(differences, common_luck(cube)).p) < 0.05).any()
    assert plain > 0.1 * 400 > 0.08 * 400 > shared


@pytest.mark.filterwarnings("error")
def test_over_runs_without_differences_or_seeds():
    found = over_runs(np.zeros((5, 3, 1)))
    assert (found.p[0], found.low[0], found.high[0]) == (1, 0, 0)
    assert np.isnan(over_runs(crossed(seeds=1)).p).all()


def test_patients_with_gaps_are_left_out():
    cube = crossed(10, 3)
    gaps = np.concatenate([cube, np.full((1, 3, 1), np.nan)])
    assert over_runs(gaps).p == pytest.approx(over_runs(cube).p)


def test_the_tested_mean_is_that_of_patients_tested_with_every_seed():
    """Patients (1, 3), (5, 7), (6, 14) have mean 6; (-90, nothing) would make it negative, and is not tested."""
    cube = np.array([[1.0, 3], [5, 7], [6, 14], [-90, np.nan]])[..., None]
    found = over_runs(cube)
    assert (found.mean.tolist(), found.patients) == ([6], 3)
    assert found.low[0] < 6 < found.high[0]
    lone = over_runs(cube[2:])
    assert (np.isnan(lone.p[0]), lone.patients) == (True, 1)


def test_luck_that_all_algorithms_share_is_not_their_own():
    """What a seed does to all alike cancels in differences; what it does to one is found, without what patients add."""
    random = np.random.default_rng(0)
    own, found = 0.03, []
    for _ in range(200):
        cube = 0.1 * random.standard_normal((20, 5, 8)) + own * random.standard_normal((1, 5, 8))
        shared = [0.2 * random.standard_normal(shape) for shape in ((1, 5, 1), (20, 1, 1), (20, 5, 1))]
        found.append(own_deviation(cube + sum(shared)))
    assert np.sqrt(np.square(found).mean()) == pytest.approx(own, rel=0.05)
    assert own_deviation(np.zeros((4, 3, 2))) == 0
    assert np.isnan(own_deviation(cube[:, :1])) and np.isnan(own_deviation(cube[:1]))
