"""What the paper says about its own words: what other rules would have called otherwise, and who can decide nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.evidence import Condition
from fedbench.analysis.paper import earlier_tests, reliability
from fedbench.analysis.paper.earlier_tests import (
    EARLIER,
    Flips,
    declared_of,
    larger_luck,
    named_differences,
    otherwise,
    own_luck,
    tell_earlier,
)
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.reliability import (
    decidable,
    describe_reliability,
    in_one_family,
    run_lucks,
    simulated_size,
)
from fedbench.analysis.paper.study import study_of
from fedbench.analysis.statistics.calibration import Scores, declared
from fedbench.analysis.statistics.protocol import analyse_matrix
from fedbench.analysis.verdicts import Verdict, judge
from tests.analysis.evidence_rows import ALGORITHMS, evidence
from tests.analysis.test_norms import FEW, TOY, trained


def primary(found):
    return study_of([("", found)]).parts[0].primary


@pytest.fixture(scope="module")
def analysis():
    return primary(trained("batch", {"fedda-joint": 0.06}))


def named(analysis) -> list[tuple[str, str]]:
    rows = declared_of(analysis)
    rows = rows[(rows["p_holm"] < 0.05) & (rows["runs_p_holm"] < 0.05)]
    return list(zip(rows["algorithm"], rows["reference"], strict=True))


def test_a_family_alone_is_called_as_it_is_and_one_far_too_large_names_nothing(analysis):
    assert named(analysis)
    assert in_one_family([analysis]) == []
    assert in_one_family([analysis] * 2000) == named(analysis) * 2000


def test_a_difference_that_points_both_ways_is_named_nowhere(analysis):
    """The mean that is tested over runs, of the patients tested with every seed, has the other sign."""
    (first, *others) = named(analysis)
    rows = analysis.pairwise.copy()
    rows.loc[(rows["algorithm"] == first[0]) & (rows["reference"] == first[1]), "runs_p_mean"] *= -1
    odd = replace(analysis, pairwise=rows)
    assert judge(analysis, *first).verdict is Verdict.BETTER and judge(odd, *first).verdict is Verdict.SAME
    assert in_one_family([odd] * 2000) == others * 2000
    assert (named_differences(analysis), named_differences(odd)) == (len(others) + 1, len(others))
    assert otherwise(analysis, lambda of: np.ones(len(declared_of(of)))).only_now == [first, *others]
    assert otherwise(odd, lambda of: np.ones(len(declared_of(of)))).only_now == others


def test_two_algorithms_have_no_luck_but_their_own():
    result = primary(evidence((TOY,), ("fedavg", "fedprox"), patients=8))
    assert otherwise(result) == ([], [])
    assert own_luck(result) == pytest.approx(result.pairwise["runs_p"].to_numpy())


def test_luck_that_others_have_takes_a_difference_back():
    """fedprox is better by as much in every run; the runs of three others scatter widely."""
    found = evidence((TOY,), ("fedavg", "fedprox", "moon", "ditto", "scaffold"), patients=12)
    cases = found.cases
    base = cases["patient"].str[1:].astype(int) / 100
    random = np.random.default_rng(0)
    scatter = {(s, seed): random.normal(0, 0.1) for s in ("moon", "ditto", "scaffold") for seed in (0, 1, 2, 3, 4)}
    luck = [scatter.get(key, 0.0) for key in zip(cases["setting"], cases["seed"], strict=True)]
    noise = random.normal(0, 0.001, len(cases))
    found.cases["dice"] = 0.5 + base + 0.02 * (cases["setting"] == "fedprox") + luck + noise
    result = primary(found)
    assert otherwise(result) == ([("fedprox", "fedavg")], [])
    assert ("fedprox", "fedavg") not in named(result)
    numbers = Numbers()
    tell_earlier(numbers, [result])
    assert "of 4 declared comparisons 1 would be named besides" in numbers.spelled(numbers.text("earlier", "first"))
    low, high = run_lucks([result, primary(trained("batch", algorithms=FEW))])
    assert 0.001 <= low < 0.03 < high < 0.12


def test_whom_another_test_concerns_and_whom_not_is_told_by_name(analysis, monkeypatch):
    """It would take one difference of FedDA back, with fedbn, of those that are named."""
    monkeypatch.setattr(earlier_tests, "otherwise", lambda *_: Flips([], [("fedda-joint", "fedbn")]))
    numbers = Numbers()
    tell_earlier(numbers, [analysis])
    text = plain(numbers, numbers.text("earlier", "first"))
    assert text == (
        "of 7 declared comparisons 0 would be named besides (of FedDA with another aggregation algorithm: none), and "
        f"of the {len(named(analysis))} differences named here 1 would not be (of FedDA with another aggregation "
        "algorithm: 1, with fedbn); of FedDA with fedavg or fedprox it is none"
    )
    assert numbers.text("earlier", "degrees") == "2"
    tell_earlier(numbers := Numbers(), [analysis, primary(evidence((TOY,), FEW, (0, 1, 2, 3, 4)))])
    assert numbers.text("earlier", "degrees") == "2 to 4"


def test_more_scatter_made_the_second_form_more_significant_and_does_not_now():
    """The runs of fedprox scatter a little more than the others'; with less scatter its p was larger by that form."""
    random = np.random.default_rng(2)
    luck = random.normal(0, 0.02, (3, 6))
    p = {"second": [], "now": []}
    for more in np.linspace(2.5, 3, 6):
        found = evidence((TOY,), ("fedavg", "fedprox", "moon", "ditto", "scaffold", "silobn"), (0, 1, 2), patients=20)
        cases, noise = found.cases, np.random.default_rng(3)
        names = sorted(cases["setting"].unique())
        each = {
            (s, seed): luck[seed, i] * (more if s == "fedprox" else 1) for i, s in enumerate(names) for seed in range(3)
        }
        hard = cases["patient"].str[1:].astype(int) / 100
        found.cases["dice"] = (
            0.4 + hard + 0.06 * (cases["setting"] == "fedprox") + noise.normal(0, 0.001, len(cases))
            + [each[key] for key in zip(cases["setting"], cases["seed"], strict=True)]
        )  # fmt: skip
        result = primary(found)
        pair = list(zip(*result.pairwise[["algorithm", "reference"]].to_numpy().T, strict=True)).index(
            ("fedprox", "fedavg")
        )
        p["second"].append(larger_luck(result)[pair])
        p["now"].append(result.pairwise["runs_p"].iloc[pair])
    steps = {name: np.abs(np.diff(np.log(values))).max() for name, values in p.items()}
    assert steps["now"] < 0.5 < steps["second"]
    assert set(EARLIER) == {"first", "second"}


def test_luck_is_simulated_as_large_as_that_of_dice_whatever_the_primary_endpoint_is(monkeypatch):
    found = evidence((TOY,), FEW, patients=14)
    by_distance = replace(found, runs=found.runs.assign(declared=json.dumps({"relation": "cross", "metric": "hd95"})))
    asked = []
    monkeypatch.setattr(reliability, "_calibration", lambda *arguments: asked.append(arguments[2]) or ("", ""))
    for each in (found, by_distance):
        describe_reliability(Numbers(), study_of([("", each)]))
    assert asked[0] == asked[1] and max(asked[1]) < 0.1


def test_few_patients_can_decide_nothing_and_the_paper_says_so():
    few, many = (evidence((TOY,), FEW, patients=n) for n in (5, 14))
    assert not decidable(primary(few)) and decidable(primary(many))
    numbers = Numbers()
    describe_reliability(numbers, study_of([("", many)]))
    assert numbers.text("answer", "power") == ""
    assert numbers.text("one", "family") == "no declared comparison would be called otherwise"


def calibrated(monkeypatch, *sources) -> str:
    """What the paper says of calibration, after few simulations."""
    monkeypatch.setattr(reliability, "SIMULATIONS", 4)
    monkeypatch.setattr(reliability, "RESAMPLES", 20)
    numbers = Numbers()
    describe_reliability(numbers, study_of([(str(i or ""), found) for i, found in enumerate(sources)]))
    return numbers.spelled(numbers.text("calibration"))


def test_the_words_are_calibrated_for_the_largest_family_of_the_fewest_patients(monkeypatch):
    """Both have twelve patients; the larger family is what the words of the paper are corrected for."""
    small = evidence((TOY,), ("fedavg", "fedprox", "moon", "fedda-joint"), (0, 1, 2), 12)
    large, many = evidence((TOY,), ALGORITHMS, (0, 1, 2), 12), evidence((TOY,), ALGORITHMS, (0, 1), 13)
    said = "(12 patients, 8 algorithms and 3 seeds, 18 declared comparisons; clustered"
    assert said in calibrated(monkeypatch, small, large, many)
    assert said in calibrated(monkeypatch, many, large, small)


def test_the_simulated_family_is_the_declared_one():
    """Eight algorithms, three of which are FedDA: 7 + 6 + 5 + 4 comparisons, whichever of them is the reference."""
    own = primary(evidence((TOY,), (*ALGORITHMS[1:], "fedda-joint[lam=0.1]"), (0, 1), 8))
    size = simulated_size(own)
    assert size == {"patients": 8, "algorithms": 8, "seeds": 2, "focus": 3}
    scores = Scores(np.zeros((1, 8, 2, 8)), np.empty(0), size["focus"])
    assert len(declared(scores)) == len(declared_of(own)) == 22
    turned = analyse_matrix(own.matrix, pd.DataFrame(), "fedda-joint")
    assert len(declared(replace(scores, focus=simulated_size(turned)["focus"]))) == len(declared_of(turned)) == 18


def test_words_on_modalities_left_out_are_calibrated_for_the_fewest_runs(monkeypatch):
    """Not those of so few patients that nothing can be named, whatever the number of their runs."""
    every = evidence((TOY,), ALGORITHMS, (0, 1, 2), 12)
    few, without = ("fedavg", "fedprox", "moon", "fedda-joint"), (Condition("toy", "MR"),)
    left_out = [evidence(without, few, seeds, n) for seeds, n in (((0, 1, 2), 14), ((0, 1), 20), ((0, 1), 4))]
    assert "left out of training the two tests" not in calibrated(monkeypatch, every)
    assert "left out of training the two tests" not in calibrated(monkeypatch, every, left_out[-1])
    said = "could be named (20 patients, 4 algorithms and 2 seeds, 5 declared comparisons; luck of 0."
    assert said in calibrated(monkeypatch, every, *left_out)
