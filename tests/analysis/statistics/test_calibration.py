"""The protocol keeps its error rates on simulated scores; the analysis that takes slices for samples does not."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.analysis.statistics.calibration import (
    BETTER,
    GIVEN,
    LUCK,
    UNEQUAL,
    Scores,
    _row,
    calibrate,
    declared,
    named,
    score,
)
from fedbench.analysis.statistics.intervals import stream
from fedbench.analysis.statistics.protocol import analyse
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.statistics.scores import over_cells, over_seeds, score_matrix
from fedbench.analysis.statistics.simulation import Design, simulate, slices, to_rows
from fedbench.analysis.verdicts import Verdict, judge
from tests.analysis.evidence_rows import of_cases

SIMULATIONS = 300


@pytest.fixture(scope="module")
def rates():
    """Rate by (situation, check)."""
    frame = calibrate(SIMULATIONS, patients=60, algorithms=5, seeds=3, difference=0.03, run_luck=0.015, resamples=999)
    return frame.set_index(["situation", "check"])


TESTS = (
    "Friedman (Iman-Davenport)",
    "Wilcoxon, one pair",
    "Wilcoxon with Holm, any of the family",
    "patients and runs (quasi-F), one pair",
    "both tests with Holm, any of the family",
)


@pytest.mark.parametrize("check", TESTS)
def test_false_positives_are_as_rare_as_promised(rates, check):
    row = rates.loc[(GIVEN, check)]
    assert row["promised"] == 0.05
    assert row["rate"] <= 0.09  # 0.05 and more than three standard errors
    assert row["verdict"].startswith("kept")


def test_slices_as_samples_find_differences_where_there_are_none(rates):
    row = rates.loc[(GIVEN, "Wilcoxon, slices as samples")]
    assert row["low"] > 0.2
    assert row["verdict"] == "broken"


@pytest.mark.parametrize("check", ["mean difference (BCa over patients)", "median difference (order statistics)"])
def test_intervals_cover_what_they_promise(rates, check):
    assert rates.loc[(GIVEN, check), "rate"] >= 0.9


def test_tests_over_patients_do_not_see_the_luck_of_runs_and_those_over_runs_do(rates):
    assert rates.loc[(LUCK, "Wilcoxon, one pair"), "low"] > 0.2
    assert rates.loc[(LUCK, "Friedman (Iman-Davenport)"), "verdict"] == "broken"
    assert rates.loc[(LUCK, "patients and runs (quasi-F), one pair"), "rate"] <= 0.1
    assert rates.loc[(LUCK, "mean difference (quasi-F)"), "rate"] >= 0.9
    assert rates.loc[(LUCK, "both tests with Holm, any of the family"), "rate"] <= 0.1
    assert rates.loc[(UNEQUAL, "patients and runs (quasi-F), one pair"), "rate"] <= 0.1
    assert rates.loc[(UNEQUAL, "both tests with Holm, any of the family"), "rate"] <= 0.1
    narrow, wide = (f"mean difference ({over})" for over in ("BCa over patients", "quasi-F"))
    assert rates.loc[(LUCK, narrow), "rate"] < rates.loc[(LUCK, wide), "rate"] - 0.1
    assert rates.loc[(LUCK, narrow), "verdict"] == "broken"


def test_a_promise_is_broken_only_where_chance_does_not_explain_it():
    """Of 100, where 5 are promised: 8 (exact 99% interval 0.027 to 0.175) may be chance, 20 (0.109 to 0.319) not."""
    found = {n: _row("", "", "false positives", np.arange(100) < n)["verdict"] for n in (0, 8, 20)}
    assert found == {0: "kept", 8: "kept", 20: "broken"}
    found = {n: _row("", "", "coverage", np.arange(1000) < n)["verdict"] for n in (900, 940, 960, 999)}
    assert found == {900: "broken", 940: "kept", 960: "kept", 999: "kept, conservative"}


def test_power(rates):
    row = rates.loc[(BETTER, "Wilcoxon with Holm, +0.03 Dice")]
    assert row["rate"] > 0.7
    assert (row["kind"], row["verdict"]) == ("power", "")
    both = rates.loc[(BETTER, "both tests with Holm, +0.03 Dice")]
    assert 0.05 < both["rate"] < row["rate"]


def test_both_tests_together_say_what_the_paper_says():
    """The calibrated rule is the one that the words stand for, on the same simulated studies."""
    design = Design(patients=30, algorithms=5, seeds=3, difference=0.05)
    said = {Verdict.BETTER: 1, Verdict.SAME: 0, Verdict.WORSE: -1}
    found = set()
    for number in range(12):
        scores, rows = score(design, 1, str(number)), to_rows(simulate(design, 1, stream("calibration", str(number))))
        names = {f"a{i:03}": f"{'other' if i < 3 else 'fedda'}-{i}" for i in range(5)}
        cases = rows.assign(setting=rows["setting"].map(names), algorithm=rows["setting"].map(names))
        analysis = analyse(of_cases(cases), "simulated", reference="other-0")
        labels = list(names.values())
        words = [judge(analysis, labels[a], labels[b]).verdict for a, b in declared(scores)]
        assert [said[word] for word in words] == named(scores)[0].tolist()
        found |= set(words)
    assert found == {Verdict.BETTER, Verdict.SAME}


def test_nothing_is_named_that_patients_tested_with_every_seed_contradict():
    """Algorithm 1 is 0.1 better in 10 patients with three seeds, 0.1 worse in 30 with one; then worse in all."""
    gains, noise = np.repeat([0.1, -0.1], [10, 30]), np.linspace(-0.005, 0.005, 40)
    for first, expected in ((1, 0), (-1, -1)):
        by_seed = np.full((1, 2, 3, 40), 0.5)
        by_seed[0, 1] += np.where(np.arange(40) < 10, first, 1) * gains + noise
        by_seed[:, :, 1:, 10:] = np.nan
        assert named(Scores(by_seed, np.empty(0)))[0].tolist() == [expected]


def test_the_table_is_tidy(rates):
    assert (rates["n"] == SIMULATIONS).all()
    assert ((rates["low"] <= rates["rate"]) & (rates["rate"] <= rates["high"])).all()
    assert set(rates["verdict"]) <= {"", "kept", "kept, conservative", "broken"}
    assert rates.index.is_unique


def test_the_same_arguments_give_the_same_numbers():
    one, other = (calibrate(5, patients=10, algorithms=4, seeds=2, resamples=50) for _ in range(2))
    assert one.equals(other)


# -- simulated scores ----------------------------------------------------------------------------------------------

DESIGN = Design(patients=40, algorithms=3, seeds=2)


def test_simulated_scores_have_what_real_ones_have():
    scores = simulate(DESIGN, 20, stream("test")).scores
    known = scores[~np.isnan(scores)]
    assert 0 <= known.min() < known.max() == 1
    assert 0.05 < np.isnan(scores).mean() < 0.15  # absent and silent
    assert not np.isnan(scores[..., 0]).any()  # class 0 is always there
    by_patient = over_seeds(over_cells(simulate(DESIGN, 20, stream("test")).cells, DESIGN.starts))
    ties = by_patient[:, 0] == by_patient[:, 1]
    assert 0.01 < ties.mean() < 0.1  # the hopeless
    assert np.corrcoef(by_patient[:, 0].ravel(), by_patient[:, 1].ravel())[0, 1] > 0.8


def test_a_difference_and_luck_are_where_they_should_be():
    plain, better = (simulate(Design(difference=d), 4, stream("test")).scores for d in (0, 0.1))
    assert np.nanmean(better[:, 1]) - np.nanmean(plain[:, 1]) == pytest.approx(0.08, abs=0.02)  # less what is 0 or 1
    assert np.nanmean(better[:, 0]) == np.nanmean(plain[:, 0])
    lucky = np.nanmean(simulate(Design(run_luck=0.1), 4, stream("test")).scores, axis=(3, 4, 5))
    usual = np.nanmean(plain, axis=(3, 4, 5))
    unequal = simulate(Design(algorithms=40, seeds=20, patients=4, run_luck=0.03, luck_spread=0.7), 4, stream("test"))
    by_algorithm = np.nanmean(unequal.scores, axis=(3, 4, 5)).std(axis=2)
    assert by_algorithm.max() > 3 * np.median(by_algorithm)
    assert lucky.std(axis=2).mean() > 5 * usual.std(axis=2).mean()


def test_simulated_rows_give_the_same_patient_scores_as_the_arrays():
    drawn = simulate(DESIGN, 1, stream("test"))
    found = score_matrix(to_rows(drawn), "simulated", Endpoint())
    by_seed = over_cells(drawn.cells, DESIGN.starts)[0]
    assert found.values.to_numpy() == pytest.approx(over_seeds(by_seed).T)
    assert found.cube == pytest.approx(by_seed.T)
    assert found.counts["false-alarm"].sum() == (drawn.absent & (drawn.scores == 0)).sum()


def test_slices_scatter_about_their_case():
    cases = np.array([0.5, np.nan])
    found = slices(cases, 2000, stream("test"))
    assert found.shape == (2, 2000)
    assert found[0].mean() == pytest.approx(0.5, abs=0.01)
    assert np.isnan(found[1]).all()
