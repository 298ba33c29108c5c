"""The whole analysis: the declared family, the pieces put together, the notes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedbench.analysis.statistics.intervals import bootstrap_means
from fedbench.analysis.statistics.paired import holm
from fedbench.analysis.statistics.protocol import analyse, declared_pairs, find
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.errors import UserError
from tests.analysis.score_rows import random_table, results, table, unfinished_grid

NAMES = ["fedavg", "fedbn", "fedda-cyclic", "fedda-joint"]


def analysis(cases, endpoint=None, **options):
    return analyse(results(cases), "toy", endpoint or Endpoint(), **options)


def test_the_declared_family():
    """All against fedavg; then the rest against each FedDA, each pair once."""
    assert declared_pairs(NAMES, "fedavg") == [
        ("fedbn", "fedavg"), ("fedda-cyclic", "fedavg"), ("fedda-joint", "fedavg"),
        ("fedbn", "fedda-cyclic"), ("fedda-joint", "fedda-cyclic"), ("fedbn", "fedda-joint"),
    ]  # fmt: skip
    assert len(declared_pairs([*NAMES, "local", "moon", "fedprox", "centralised"], "fedavg")) == 7 + 6 + 5
    assert declared_pairs(["a", "b"], "b") == [("a", "b")]


def test_the_reference_is_found_by_name():
    assert find("fedavg", ["fedavg", "fedavg[steps=2]"]) == "fedavg"
    assert find("fedbn", ["fedavg", "fedbn[norms=all]"]) == "fedbn[norms=all]"
    with pytest.raises(UserError, match=r"may be any of fedbn \(averaged\), fedbn \(personal\)"):
        find("fedbn", ["fedbn (averaged)", "fedbn (personal)"])
    with pytest.raises(UserError, match="no scores of the reference algorithm 'fedavgg'; did you mean 'fedavg'"):
        find("fedavgg", ["fedavg", "local"])


def test_the_pieces_are_put_together():
    cases = random_table(NAMES, 30, seeds=3)
    found = analysis(cases)
    values = found.matrix.values
    assert found.means["mean"].to_dict() == pytest.approx(values.mean().to_dict())
    interval = bootstrap_means(values.to_numpy())
    assert found.means["low"].to_numpy() == pytest.approx(interval.low)
    assert (found.means[["scores", "seeds", "patients"]] == [90, 3, 30]).all(axis=None)
    assert found.order == list(values.mean().sort_values(ascending=False).index)
    assert found.friedman.chi2 == pytest.approx(stats.friedmanchisquare(*values.to_numpy().T).statistic)
    pair = found.comparison("fedbn", "fedavg")
    differences = values["fedbn"] - values["fedavg"]
    assert pair["p"] == pytest.approx(stats.wilcoxon(differences, zero_method="pratt").pvalue)
    assert (pair["mean"], pair["median"]) == pytest.approx((differences.mean(), differences.median()))
    assert pair["favours"] == ("fedbn" if pair["rank_biserial"] > 0 else "fedavg")
    assert pair["runs_low"] < pair["mean"] < pair["runs_high"]
    assert pair["median_low"] <= pair["median"] <= pair["median_high"]
    assert np.isnan(pair["folds_p"])
    assert found.reference == "fedavg"


def test_corrections_are_within_their_families():
    found = analysis(random_table([*NAMES, "local"], 20, seeds=2)).pairwise
    assert len(found) == 10
    declared = found[found["declared"]]
    assert len(declared) == 4 + 3 + 2
    assert declared["p_holm"].to_numpy() == pytest.approx(holm(declared["p"].to_numpy()))
    assert declared["runs_p_holm"].to_numpy() == pytest.approx(holm(declared["runs_p"].to_numpy()))
    assert found.loc[~found["declared"], ["p_holm", "runs_p_holm"]].isna().all(axis=None)
    assert found["p_holm_all"].to_numpy() == pytest.approx(holm(found["p"].to_numpy()))
    assert (found["p_holm_all"] >= found["p"]).all()


def test_the_interval_over_runs_is_that_of_its_test():
    """It leaves zero out where p is below 0.05, and nowhere else: a bootstrap over few seeds is too narrow."""
    found = analysis(random_table(NAMES, 24, seeds=3)).pairwise
    excluded = (found["runs_low"] > 0) | (found["runs_high"] < 0)
    assert (excluded == (found["runs_p"] < 0.05)).all()
    shifted = random_table(NAMES, 24, seeds=3)
    shifted["dice"] = shifted["dice"] / 10 + 0.5 * (shifted["setting"] == "fedbn")
    row = analysis(shifted).comparison("fedbn", "fedavg")
    assert row["runs_p"] < 0.05 and row["runs_low"] > 0


def test_a_comparison_can_be_turned_round():
    found = analysis(random_table(NAMES, 12, seeds=2))
    one, turned = found.comparison("fedbn", "fedavg"), found.comparison("fedavg", "fedbn")
    assert (turned["algorithm"], turned["reference"]) == ("fedavg", "fedbn")
    for name in ("mean", "median", "rank_biserial"):
        assert turned[name] == -one[name]
    for name in ("mean", "median", "runs"):
        assert (turned[f"{name}_low"], turned[f"{name}_high"]) == (-one[f"{name}_high"], -one[f"{name}_low"])
    for name in ("p", "p_holm", "runs_p", "favours"):
        assert turned[name] == one[name]
    with pytest.raises(KeyError, match="no pair of fedavg and x"):
        found.comparison("fedavg", "x")


def test_every_interval_holds_its_estimate_whichever_way_round_a_pair_is_asked_for():
    found = analysis(random_table(NAMES, 12, seeds=3))
    for pair in (("fedbn", "fedavg"), ("fedavg", "fedbn")):
        row = found.comparison(*pair)
        estimates = {"mean": "mean", "median": "median", "runs": "runs_p_mean"}
        for interval, estimate in estimates.items():
            assert row[f"{interval}_low"] < row[estimate] < row[f"{interval}_high"]


def test_a_test_over_runs_of_some_patients_says_of_which():
    found = analysis(unfinished_grid())
    row = found.comparison("moon", "fedavg")
    assert (row["mean"], row["runs_p_mean"], row["runs_p_patients"]) == (pytest.approx(-0.05), pytest.approx(0.1), 10)
    assert found.comparison("fedavg", "moon")["runs_p_mean"] == pytest.approx(-0.1)
    assert row["runs_low"] < row["runs_p_mean"] < row["runs_high"]
    assert "Test and interval over runs: 10 of 40 patients, those tested with every seed." in found.notes
    none = analysis(unfinished_grid(settled=False)).notes
    assert (
        "Test and interval over runs: 0 of 40 patients, those tested with every seed; none with fewer than two." in none
    )
    assert not any("One seed" in note for note in none)


def test_plugins_whose_names_only_begin_alike_are_not_under_study():
    labels = ["fedavg", "fedda", "feddane", "feddar[mu=0.1]"]
    assert declared_pairs(labels, "fedavg") == [
        ("fedda", "fedavg"), ("feddane", "fedavg"), ("feddar[mu=0.1]", "fedavg"),
        ("feddane", "fedda"), ("feddar[mu=0.1]", "fedda"),
    ]  # fmt: skip


def test_lower_distances_are_favoured():
    cases = table({"fedavg": np.arange(1, 9) / 10, "other": np.arange(8) / 10})
    assert analysis(cases).comparison("other", "fedavg")["favours"] == "fedavg"
    distance = analysis(cases, Endpoint("cross", "hd95"))
    assert distance.comparison("other", "fedavg")["favours"] == "other"
    assert distance.order == ["other", "fedavg"]
    assert distance.ranks.summary["rank"].tolist() == [2, 1, 2, 1]


@settings(max_examples=10)
@given(st.floats(-0.1, 0.1).map(lambda c: round(c, 3)), st.integers(0, 50))
def test_a_constant_shifts_the_difference_by_itself(constant, seed):
    cases = random_table(["fedavg", "other"], 8, seeds=2, random=seed)
    cases["dice"] = cases["dice"] / 2 + 0.2
    moved = cases.assign(dice=cases["dice"] + constant * (cases["setting"] == "other"))
    one, other = (analysis(c).comparison("other", "fedavg") for c in (cases, moved))
    for name in ("mean", "mean_low", "mean_high", "median", "median_low", "median_high", "runs_low", "runs_high"):
        assert other[name] == pytest.approx(one[name] + constant)


@settings(max_examples=10)
@given(st.permutations(range(8)))
def test_renaming_patients_changes_no_test(order):
    cases = random_table(NAMES, 8, seeds=2)
    renamed = cases.assign(patient=cases["patient"].map({f"P{i:03}": f"P{j:03}" for i, j in enumerate(order)}))
    one, other = analysis(cases), analysis(renamed)
    exact = ["mean", "median", "median_low", "median_high", "rank_biserial", "p", "p_holm", "runs_p"]
    pd.testing.assert_frame_equal(one.pairwise[exact], other.pairwise[exact])
    assert one.friedman.p == pytest.approx(other.friedman.p)
    pd.testing.assert_frame_equal(one.variance, other.variance)


def test_the_order_of_rows_changes_no_number():
    cases = random_table(NAMES, 10, seeds=2)
    one, other = analysis(cases), analysis(cases.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(one.pairwise, other.pairwise)
    pd.testing.assert_frame_equal(one.means, other.means)
    pd.testing.assert_frame_equal(one.ranks.summary, other.ranks.summary)


def test_folds_have_the_corrected_test():
    cases = random_table(["fedavg", "other"], 9)
    cases["fold"] = cases["patient"].str[1:].astype(int) % 3
    cases["partition"] = "fold" + cases["fold"].astype(str)
    cases["run_id"] += cases["fold"].astype(str)
    assert 0 < analysis(cases).comparison("other", "fedavg")["folds_p"] <= 1


def test_folds_that_have_not_finished_do_not_make_the_test_over_folds_weaker():
    """Means of the two finished folds 0.1 and 0.3, so t^2 = 0.04 / ((1 / 2 + r) 0.02): n_test / n_train is r = 1/4.

    With one degree of freedom p = 1 - 2 / pi arctan t. r = 1, of finished folds alone, would give a larger one.
    """
    cases = table({"fedavg": [0.5] * 4, "other": [0.6, 0.6, 0.8, 0.8]})
    cases["fold"] = (cases["patient"] > "P001").astype(int)
    cases["run_id"] += cases["fold"].astype(str)
    runs = pd.DataFrame({"dataset": ["toy", "else"], "identity": ['{"data": {"folds": 5}}', '{"data": {"folds": 9}}']})
    found = analyse(results(cases)._replace(runs=runs), "toy")
    t = np.sqrt(0.04 / (0.75 * 0.02))
    assert found.comparison("other", "fedavg")["folds_p"] == pytest.approx(1 - 2 / np.pi * np.arctan(t))
    assert "2 of 5 folds have scores; the test over folds takes account of the others." in found.notes
    every = analysis(cases)
    assert every.comparison("other", "fedavg")["folds_p"] > found.comparison("other", "fedavg")["folds_p"]
    assert not any("folds have scores" in note for note in every.notes)


@pytest.mark.filterwarnings("error")
def test_all_ties():
    found = analysis(table({"fedavg": [0.5, 0.6, 0.7], "other": [0.5, 0.6, 0.7]}, seeds=[0, 1]))
    pair = found.comparison("other", "fedavg")
    assert found.friedman.p == pair["p"] == pair["p_holm"] == pair["runs_p"] == 1
    assert (pair["mean"], pair["mean_low"], pair["mean_high"], pair["favours"]) == (0, 0, 0, "")
    assert found.ranks.summary["p_first"].tolist() == [0.5] * 4
    assert "1 pair with the same scores in every patient (other and fedavg): p = 1." in found.notes
    four = analysis(table({name: [0.5, 0.6, 0.7] for name in ("fedavg", "a", "b", "c")}, seeds=[0, 1]))
    named = "a and fedavg; b and fedavg; c and fedavg; and 3 more"
    assert f"6 pairs with the same scores in every patient ({named}): p = 1." in four.notes


def test_notes_say_what_few_patients_and_one_seed_cannot_show():
    notes = "\n".join(analysis(random_table(NAMES, 5)).notes)
    assert "With 5 patients Wilcoxon's p is at least 0.062; after Holm's correction over 6 comparisons none" in notes
    assert "With 5 patients bootstrap intervals of means are too narrow" in notes
    assert "No 95% interval of a median with 5 patients; it needs six." in notes
    assert "One seed: nothing here tells an algorithm from the luck" in notes
    assert analysis(random_table(NAMES, 50, seeds=2)).notes == ()
    assert "No interval of a mean with fewer than 3 patients." in analysis(random_table(NAMES, 2)).notes


def test_what_was_missing_is_noted():
    cases = random_table(NAMES, 60, seeds=2)
    cases = cases[~((cases["setting"] == "fedbn") & (cases["seed"] == 1))]
    with pytest.raises(UserError, match="missing: fedbn: seed 1"):
        analysis(cases)
    found = analysis(cases, missing="complete-cases")
    assert found.notes[:2] == (
        "Only what all algorithms have was compared (missing: fedbn: seed 1).",
        "Compared: 60 of 60 patients, 1 of 2 seeds.",
    )
