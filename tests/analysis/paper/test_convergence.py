"""What the paper says about the end of training: numbers by hand, words by the interval over runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.paper.convergence import endings, rising_short, tell_ending, tell_endings
from fedbench.analysis.paper.longer import longer
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.study import study_of
from fedbench.analysis.paper.teller import Teller
from tests.analysis.evidence_rows import evidence
from tests.analysis.test_norms import moved, trained


def curves(**runs: list[list[float]]) -> pd.DataFrame:
    """Validation Dice of two clients, the second 0.1 above the first, after rounds 2, 4, 6 and 8."""
    rows = [
        {"run_id": f"{setting}{n}", "setting": setting, "seed": n, "fold": -1, "metric": "validation dice",
         "round": r, "client": client, "value": value + more}
        for setting, every in runs.items()
        for n, values in enumerate(every)
        for r, value in zip((1, 3, 5, 7), values, strict=True)
        for client, more in (("CT", 0.0), ("MR", 0.1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_change_in_the_last_quarter_and_its_interval_by_hand():
    """Changes 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), t(0.975, 2) = 4.3027."""
    found = endings(curves(fedavg=[[0, 0, 0.2, 0.3], [0, 0, 0.3, 0.5], [0, 0, 0.4, 0.7]]))["fedavg"]
    assert (found.since, found.runs) == (6, 3)
    assert (found.before, found.end) == (pytest.approx(0.35), pytest.approx(0.55))
    assert found.low == pytest.approx(0.2 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert found.high == pytest.approx(0.2 + 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert found.improving is False


def test_one_run_has_no_interval_and_one_validation_no_ending():
    found = endings(curves(fedavg=[[0, 0, 0.2, 0.3]]))
    assert found["fedavg"].improving is None and np.isnan(found["fedavg"].low)
    once = curves(fedavg=[[0, 0, 0.2, 0.3]] * 2)
    assert endings(once[once["round"] == 7]) == {}
    assert endings(once[once["round"] < 0]) == {}


@pytest.mark.parametrize(
    ("ends", "said", "named"),
    [
        ([0.31, 0.32, 0.33, 0.32], "it was still improving", "The reference was still improving on toy ($+0.120$ ["),
        ([0.19, 0.21, 0.2, 0.2], "it had come to rest", "In the one condition"),
        ([0.1, 0.11, 0.1, 0.12], "no improvement shows, and no rest", "On toy ($-0.092$ ["),
    ],
)
def test_the_paper_says_whether_the_reference_was_still_improving(ends, said, named):
    found = endings(curves(fedavg=[[0, 0, 0.2, end] for end in ends]))
    numbers = Numbers()
    part = study_of([("", evidence())]).parts[0]
    text = numbers.spelled(tell_ending(Teller(numbers, part), found))
    assert said in text and "over 4 runs" in text
    again = study_of([("", evidence()), ("again", evidence())]).parts
    assert numbers.spelled(tell_endings(numbers, [(part, found) for part in again])).startswith(named)
    assert len(again) == 2 and numbers.spelled(tell_endings(numbers, [(p, found) for p in again])).count("toy") <= 1


def test_the_abstract_counts_the_conditions_in_which_it_was():
    """Two that share their runs are one."""
    rising, resting = (
        endings(curves(fedavg=[[0, 0, 0.2, e] for e in ends])) for ends in ((0.31, 0.32, 0.33), (0.19, 0.21, 0.2))
    )
    numbers = Numbers()
    parts = study_of([("", evidence()), ("again", evidence(patients=5))]).parts
    said = numbers.spelled(rising_short(numbers, [(parts[0], rising), (parts[0], rising)]))
    assert said.startswith("In the one condition the reference was still improving")
    assert said.endswith("at this budget.")
    assert rising_short(numbers, [(parts[0], resting)]) == ""
    assert "budget" not in rising_short(numbers, [])


def test_that_others_had_converged_is_not_implied():
    """Rising, unclear, resting: of the two others one shows no end."""
    rising, unclear, resting = (
        endings(curves(fedavg=[[0, 0, 0.2, e] for e in ends]))
        for ends in ((0.31, 0.32, 0.33), (0.1, 0.3, 0.2), (0.201, 0.2, 0.199))
    )
    parts = study_of([(str(n), evidence(seeds=(n, n + 1))) for n in (0, 2, 4)]).parts
    for found, end in (
        ((rising, unclear, resting), "; in 1 of the others nothing shows that training had come to rest."),
        ((rising, unclear, unclear), "; in the other 2 nothing shows that training had come to rest."),
        ((rising, unclear), "; in the other nothing shows that training had come to rest."),
        ((rising, resting), "there the comparison is one at this budget."),
    ):
        numbers = Numbers()
        text = numbers.spelled(rising_short(numbers, list(zip(parts, found, strict=False))))
        assert text.endswith(end)


def test_nothing_is_said_where_nothing_is_known():
    numbers, part = Numbers(), study_of([("", evidence())]).parts[0]
    assert tell_ending(Teller(numbers, part), {}) == ""
    assert tell_endings(numbers, [(part, {}), (part, endings(curves(fedavg=[[0, 0, 0.2, 0.3]])))]) == ""


def test_what_more_rounds_did_is_told_where_nothing_else_changed():
    def told(**others):
        studies = [("", trained("batch", training={"rounds": 40, "lr": 0.1, "validate_every": 4}))]
        studies += [(name, trained("batch", gains, training=training)) for name, (gains, training) in others.items()]
        parts = study_of(studies).parts
        return parts, (numbers := Numbers()), numbers.spelled(longer(numbers, parts))

    more = {"rounds": 80, "lr": 0.1, "validate_every": 8}
    (first, second), _, text = told(long=({"": 0.1}, more))
    means = [part.get("cross").means.loc["fedavg", "mean"] for part in (first, second)]
    assert f"80 rounds in place of 40 on toy moved that of \\textsf{{fedavg}} by ${means[1] - means[0]:+.3f}$ [" in text
    assert "(interval over patients and seeds, by its own scatter, not corrected)" in text
    assert (
        told()[2] == "" == told(other=({"": 0.1}, more | {"lr": 0.2}))[2] == told(same=({}, more | {"rounds": 40}))[2]
    )


def test_ever_more_rounds_are_told_each_against_the_next_fewer():
    """In whatever order the studies come: 80 against 40 and 160 against 80, not 160 against 40."""

    def study(rounds, gain):
        return trained("batch", {"": gain}, training={"rounds": rounds, "lr": 0.1, "validate_every": rounds // 10})

    studies = [("longer", study(160, 0.15)), ("", study(40, 0.0)), ("long", study(80, 0.1))]
    parts, numbers = study_of(studies).parts, Numbers()
    text = plain(numbers, longer(numbers, parts))
    assert re.findall(r"(\d+) rounds in place of (\d+)", text) == [("80", "40"), ("160", "80")]


def test_more_rounds_are_not_told_where_network_images_or_partitions_changed_too():
    few, many = ({"rounds": rounds, "lr": 0.1, "validate_every": rounds // 10} for rounds in (40, 80))
    first = ("", trained("batch", training=few))
    other = trained("batch", {"": 0.1}, training=many)
    for changed in ({"model": {"name": "wide"}}, {"dataset_content": "other images"}):
        identities = [json.dumps(json.loads(text) | changed) for text in other.runs["identity"]]
        found = replace(other, runs=other.runs.assign(identity=identities))
        assert longer(Numbers(), study_of([first, ("long", found)]).parts) == ""
    assert longer(Numbers(), study_of([first, ("long", moved(other, 1))]).parts) == ""
    assert longer(Numbers(), study_of([first, ("long", other)]).parts) != ""


def test_more_rounds_are_not_told_where_the_suite_declared_another_reference():
    """And did not even run the first one's."""
    few, many = ({"rounds": rounds, "lr": 0.1, "validate_every": rounds // 10} for rounds in (40, 80))
    other = trained("batch", algorithms=("fedprox", "fedda-joint"), training=many)
    other = replace(other, runs=other.runs.assign(declared=json.dumps({"reference": "fedprox"})))
    parts = study_of([("", trained("batch", training=few)), ("long", other)]).parts
    assert [part.primary.reference for part in parts] == ["fedavg", "fedprox"]
    assert longer(Numbers(), parts) == ""


def test_the_interval_of_what_more_rounds_did_is_over_patients_and_seeds():
    """With more rounds one seed of three fell behind in every patient: over patients alone nothing shows of that."""
    few, many = ({"rounds": rounds, "lr": 0.1, "validate_every": rounds // 10} for rounds in (40, 80))
    other = trained("batch", training=many)
    lucky = other.cases.assign(dice=other.cases["dice"] - 0.2 * (other.cases["seed"] == 2))
    studies = [("", trained("batch", training=few)), ("long", replace(other, cases=lucky))]
    numbers = Numbers()
    text = plain(numbers, longer(numbers, study_of(studies).parts))
    low, high = map(float, text.partition("[")[2].partition("]")[0].replace("\u2212", "-").split(", "))
    assert low < -0.12 and high > -0.01
