"""Ranks worked by hand, Kendall's tau against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedbench.analysis.statistics.ranking import METHODS, consensus, kendall_tau, rank_stability
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.statistics.scores import score_matrix
from fedbench.errors import UserError
from tests.analysis.score_rows import table

PRIMARY = Endpoint()


def frame(**scores):
    return pd.DataFrame(scores)


def of(stability, method, column):
    summary = stability.summary
    return summary[summary["method"] == method].set_index("algorithm")[column].to_dict()


def test_a_ranking_that_every_patient_shares_is_certain():
    found = rank_stability(frame(a=[0.1, 0.2, 0.3], b=[0.5, 0.6, 0.7], c=[0.3, 0.4, 0.5]), higher_is_better=True)
    for method in METHODS:
        assert of(found, method, "rank") == {"a": 3, "b": 1, "c": 2}
        assert of(found, method, "p_first") == {"a": 0, "b": 1, "c": 0}
        assert of(found, method, "low") == of(found, method, "high") == of(found, method, "mean_rank")
    assert (found.tau == 1).all(axis=None)
    assert len(found.tau) == 1000


def test_lower_may_be_better():
    found = rank_stability(frame(a=[1.0, 2], b=[5.0, 6]), higher_is_better=False)
    assert of(found, METHODS[0], "rank") == {"a": 1, "b": 2}


def test_the_two_methods_differ_where_one_patient_decides_the_mean():
    """Means: a 0.65, b 0.575. Ranks within patients: b is better in three of four."""
    found = rank_stability(frame(a=[0.5, 0.5, 0.6, 1.0], b=[0.6, 0.6, 0.7, 0.4]), higher_is_better=True)
    assert of(found, "aggregate-then-rank", "rank") == {"a": 1, "b": 2}
    assert of(found, "rank-then-aggregate", "rank") == {"a": 2, "b": 1}


def test_probabilities_by_hand():
    """Two patients, a is better in one by as much as b in the other.

    Draws (A, A), (A, B), (B, A), (B, B): a first, tie, tie, b first. So 1/2 each to be first, a tie shared.
    """
    found = rank_stability(frame(a=[0.9, 0.1], b=[0.1, 0.9]), higher_is_better=True)
    for method in METHODS:
        assert of(found, method, "rank") == {"a": 1.5, "b": 1.5}
        assert of(found, method, "p_first") == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.05)
    # A ranking with ties only has nothing to agree with: 1 where the draw ties too, else 0.
    assert found.tau.mean().to_numpy() == pytest.approx([0.5, 0.5], abs=0.05)


def test_ties_share_their_places():
    found = rank_stability(frame(a=[0.5, 0.6], b=[0.5, 0.6], c=[0.1, 0.2]), higher_is_better=True)
    chances = found.distribution[found.distribution["method"] == METHODS[0]]
    table = chances.pivot_table(index="algorithm", columns="rank", values="probability")
    assert table.to_numpy().tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.permutations([1.0, 2.0, 3.0, 4.0]), min_size=1, max_size=4),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_tau_agrees_with_scipy(rankings, reference):
    full = stats.rankdata(reference)
    ranks = np.array([*rankings, [1.5, 1.5, 3.5, 3.5]])
    expected = [stats.kendalltau(r, full).statistic for r in ranks]
    if np.ptp(full) > 0:
        assert kendall_tau(ranks, full) == pytest.approx(expected)
    else:
        assert (kendall_tau(ranks, full) == 0).all()
    assert kendall_tau(np.full((1, 4), 2.5), np.full(4, 2.5)) == [1]


@settings(max_examples=20, deadline=None)
@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 100))
def test_the_order_of_algorithms_changes_nothing(order, seed):
    scores = pd.DataFrame(np.random.default_rng(seed).uniform(size=(8, 4)).round(1), columns=list("abcd"))
    one, other = (rank_stability(s, higher_is_better=True, resamples=50) for s in (scores, scores[order]))
    for method in METHODS:
        for column in ("rank", "mean_rank", "p_first", "low", "high"):
            assert of(one, method, column) == pytest.approx(of(other, method, column))
    assert one.tau.to_numpy() == pytest.approx(other.tau.to_numpy())
    totals = one.distribution.groupby(["method", "algorithm"])["probability"].sum()
    assert totals.to_numpy() == pytest.approx(np.ones(8))


# -- across datasets -----------------------------------------------------------------------------------------------


def matrix(dataset, endpoint=PRIMARY, **scores):
    return score_matrix(table(scores, dataset=dataset), dataset, endpoint)


def test_consensus_by_hand():
    """Ranks (1, 2, 3), (2, 1, 3), (1, 2, 3): means 4/3, 5/3, 3."""
    found = consensus([
        matrix("x", a=[0.9, 0.9], b=[0.8, 0.8], c=[0.1, 0.1]),
        matrix("y", a=[0.5, 0.5], b=[0.8, 0.8], c=[0.1, 0.1]),
        matrix("z", a=[0.9, 0.9], b=[0.8, 0.8], c=[0.1, 0.1]),
    ])  # fmt: skip
    assert found.ranks.loc["y"].to_dict() == {"a": 2, "b": 1, "c": 3}
    assert found.order["mean_rank"].to_dict() == pytest.approx({"a": 4 / 3, "b": 5 / 3, "c": 3})
    assert found.order["rank"].to_dict() == {"a": 1, "b": 2, "c": 3}
    assert found.p is None
    assert found.text.startswith("Mean rank over 3 datasets is best for a (1.33 of 3). No p-value across datasets: ")
    assert "fewer than 10" in found.text


def test_with_ten_datasets_there_is_a_p_value():
    random = np.random.default_rng(0)
    matrices = [matrix(f"d{i}", a=random.uniform(size=3), b=random.uniform(size=3), c=[0, 0, 0]) for i in range(10)]
    found = consensus(matrices)
    assert found.p is not None
    assert 0 < found.p < 0.01
    assert "datasets as blocks: p = " in found.text


def test_modalities_left_out_of_one_dataset_count_as_one():
    """x without three modalities: a is better twice by 0.1, b once by 0.6, and so on average; y: a is better.

    Counted as four datasets a would be first, with mean ranks 5/4 and 7/4.
    """
    left_out = {"CT": (0.5, 0.4), "MR": (0.5, 0.4), "PET": (0.2, 0.8)}
    of_x = [
        score_matrix(table({"a": [a] * 2, "b": [b] * 2}, dataset="x", unseen=unseen, relation="unseen"), "x",
                     Endpoint("unseen", "dice", unseen))
        for unseen, (a, b) in left_out.items()
    ]  # fmt: skip
    of_y = table({"a": [0.5] * 2, "b": [0.4] * 2}, dataset="y", unseen="CT", relation="unseen")
    found = consensus([*of_x, score_matrix(of_y, "y", Endpoint("unseen", "dice", "CT"))])
    assert found.ranks.to_dict("index") == {"x": {"a": 2, "b": 1}, "y": {"a": 1, "b": 2}}
    assert found.order["mean_rank"].to_dict() == {"a": 1.5, "b": 1.5}
    assert found.text.startswith("Mean rank over 2 datasets is best for a, b (1.50 of 2). No p-value")


def test_ten_conditions_of_two_datasets_are_not_ten_datasets():
    endpoint, scores = Endpoint("unseen"), {"a": [0.5, 0.5], "b": [0.4, 0.4]}
    matrices = [
        score_matrix(table(scores, dataset=d, unseen=f"m{i}", relation="unseen"), d, replace(endpoint, unseen=f"m{i}"))
        for d in "xy" for i in range(5)
    ]  # fmt: skip
    assert consensus(matrices).p is None


def test_only_shared_algorithms_are_ranked_and_the_others_named():
    found = consensus([matrix("x", a=[0.9, 0.9], b=[0.8, 0.8]), matrix("y", a=[1, 1], b=[0, 0], c=[0, 1])])
    assert list(found.ranks.columns) == ["a", "b"]
    assert "for want of scores in every dataset: c." in found.text


def test_datasets_that_cannot_be_ranked_together():
    one, other = matrix("x", a=[0.9, 0.9], b=[0.8, 0.8]), matrix("y", c=[0.9, 0.9], d=[0.8, 0.8])
    with pytest.raises(UserError, match="no dataset"):
        consensus([])
    with pytest.raises(UserError, match="fewer than two algorithms"):
        consensus([one, other])
    with pytest.raises(UserError, match="a dataset is given twice"):
        consensus([one, one])
    with pytest.raises(UserError, match="not comparable across datasets"):
        consensus([one, matrix("y", Endpoint("cross", "hd95"), a=[0.9, 0.9], b=[0.8, 0.8])])
