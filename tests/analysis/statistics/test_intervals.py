"""Bootstrap intervals against scipy's, drawn from the same stream."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fedbench.analysis.statistics.intervals import bootstrap_means, draws, stream

VALUES = np.random.default_rng(0).beta(8, 2, (25, 3))


def test_draws_are_counts_of_a_named_stream():
    found = draws(5, 4, "patients")
    assert found.shape == (4, 5)
    assert (found.sum(axis=1) == 5).all()
    assert (found == draws(5, 4, "patients")).all()
    assert (found != draws(5, 4, "seeds")).any()
    # Fixed numbers: published intervals must not move with numpy.
    assert stream("patients").randint(0, 100, 6).tolist() == EXPECTED


EXPECTED = [5, 70, 81, 12, 80, 67]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_bca_agrees_with_scipy(column):
    found = bootstrap_means(VALUES, resamples=999)
    expected = stats.bootstrap(
        (VALUES[:, column],), np.mean, method="BCa", n_resamples=999, random_state=stream("patients"), vectorized=True
    ).confidence_interval
    assert (found.low[column], found.high[column]) == pytest.approx((expected.low, expected.high), abs=1e-10)
    assert found.method[column] == "BCa"


def test_bca_counts_half_of_the_resamples_that_equal_the_mean():
    """Scores of 0 and 1: of few patients many resamples have the mean of the sample, which scipy counts half."""
    values = np.array([[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]]).T
    found = bootstrap_means(values, resamples=999)
    expected = stats.bootstrap(
        (values[:, 0],), np.mean, method="BCa", n_resamples=999, random_state=stream("patients"), vectorized=True
    ).confidence_interval
    assert (found.low[0], found.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-10)
    means = draws(7, 999, "patients") @ values[:, 0] / 7
    assert np.isclose(means, values.mean()).sum() > 200


def test_other_algorithms_do_not_move_an_interval():
    """Not even where there are more than are worked on at once."""
    many = np.tile(VALUES, (1, 100))
    one, all_of_them = bootstrap_means(VALUES[:, :1], resamples=199), bootstrap_means(many, resamples=199)
    assert all_of_them.low[::3] == pytest.approx(np.full(100, one.low[0]), abs=1e-12)
    assert all_of_them.high[297] == pytest.approx(one.high[0], abs=1e-12)


def test_shifting_the_scores_shifts_the_interval():
    one, shifted = bootstrap_means(VALUES, resamples=499), bootstrap_means(VALUES + 0.25, resamples=499)
    assert shifted.low == pytest.approx(one.low + 0.25)
    assert shifted.high == pytest.approx(one.high + 0.25)


@pytest.mark.filterwarnings("error")
def test_equal_values_and_few_patients():
    found = bootstrap_means(np.full((5, 1), 0.3))
    assert (found.low[0], found.high[0], found.method[0]) == (0.3, 0.3, "constant")
    found = bootstrap_means(VALUES[:2])
    assert np.isnan(found.low).all()
    assert set(found.method) == {"none"}


@pytest.mark.filterwarnings("error")
def test_percentile_where_bca_does_not_exist():
    """One resample is never on both sides of the mean, so the bias has no estimate."""
    found = bootstrap_means(VALUES, resamples=1)
    assert set(found.method) == {"percentile"}
    assert found.low == pytest.approx(found.high)
