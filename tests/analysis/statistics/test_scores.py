"""Scores are worked by hand; every way in which rows may not be comparable gives a message."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.analysis.statistics.rows import Endpoint, labels
from fedbench.analysis.statistics.scores import over_cells, over_seeds, score_matrix
from fedbench.errors import UserError
from tests.analysis.score_rows import both_empty, false_alarm, random_table, row, table

PRIMARY = Endpoint()


def two(rows):
    """Add a second algorithm, ``other``, that scores 0.5 wherever there is truth and is silent elsewhere."""
    others = []
    for r in rows:
        empty = r["flag"] in ("both-empty", "false-alarm")
        make = both_empty if empty else lambda p, s, **o: row(p, 0.5, s, **o)
        others.append(make(r["patient"], "other", seed=r["seed"], case=r["case"], **{"class": r["class"]}))
    return pd.DataFrame([*rows, *others])


def matrix(cases, endpoint=PRIMARY, missing="refuse", selection="last"):
    return score_matrix(cases, "toy", endpoint, selection, missing)


# -- what is averaged ----------------------------------------------------------------------------------------------


def test_seeds_and_cells_are_averaged_within_the_patient():
    """A: cells (0.2, 0.6) with seed 0 and (0.4, 0.8) with seed 1: 0.4 and 0.6, so 0.5. B: 0.1."""
    rows = [
        row("A", 0.2), row("A", 0.6, case="A/PET"), row("A", 0.4, seed=1), row("A", 0.8, case="A/PET", seed=1),
        row("B", 0.1), row("B", 0.1, seed=1),
    ]  # fmt: skip
    found = matrix(two(rows))
    assert found.values["fedavg"].to_dict() == pytest.approx({"A": 0.5, "B": 0.1})
    assert found.by_seed["fedavg"].to_dict() == pytest.approx(
        {("A", 0): 0.4, ("A", 1): 0.6, ("B", 0): 0.1, ("B", 1): 0.1}
    )
    assert found.cube.shape == (2, 2, 2)
    assert found.cube[0, :, 0] == pytest.approx([0.4, 0.6])
    assert (found.algorithms, found.seeds, found.notes) == (["fedavg", "other"], [0, 1], ())


def test_cells_weigh_the_same_whichever_client_and_class_they_are_of():
    """Two clients and two classes: mean of 0.2, 0.4, 0.6, 0.9 is 0.525."""
    dice = {("CT", "organ"): 0.2, ("CT", "cyst"): 0.4, ("PET", "organ"): 0.6, ("PET", "cyst"): 0.9}
    rows = [
        row(p, d, s, client=client, **{"class": name})
        for p, s, ((client, name), d) in product("AB", ("fedavg", "other"), dice.items())
    ]
    assert matrix(pd.DataFrame(rows)).values.to_numpy() == pytest.approx(np.full((2, 2), 0.525))


def test_silence_costs_nothing_and_a_false_alarm_is_a_zero():
    """A has a cell with truth and one without. fedavg raises a false alarm there: (0.8 + 0) / 2; other is silent."""
    rows = [row("A", 0.8), false_alarm("A", **{"class": "cyst"}), row("B", 0.6), both_empty("B", **{"class": "cyst"})]
    found = matrix(two(rows))
    assert found.values["fedavg"].to_dict() == pytest.approx({"A": 0.4, "B": 0.6})
    assert found.values["other"].to_dict() == {"A": 0.5, "B": 0.5}
    assert found.counts.loc["fedavg"].to_dict() == {
        "scores": 4, "missed": 0, "false-alarm": 1, "both-empty": 1, "missing": 0,
    }  # fmt: skip


def test_a_false_alarm_in_hd95_is_the_diagonal():
    rows = [row("A", 0.8), false_alarm("A", **{"class": "cyst"}), row("B", 0.6)]
    found = matrix(two(rows), Endpoint("cross", "hd95"))
    assert found.values["fedavg"].to_dict() == pytest.approx({"A": (8 + 90) / 2, "B": 6})
    assert (found.unit, found.endpoint.higher_is_better) == ("mm", False)
    assert matrix(two(rows)).unit == ""


def test_a_false_alarm_in_one_seed_of_two_weighs_half():
    """0.8 and (0.8 + 0) / 2: 0.6. Had seeds been averaged first, the cell would be 0 and the patient 0.4."""
    rows = [
        row("A", 0.8), row("A", 0.8, seed=1), row("B", 0.8), row("B", 0.8, seed=1),
        false_alarm("A", **{"class": "cyst"}), both_empty("A", seed=1, **{"class": "cyst"}),
    ]  # fmt: skip
    assert matrix(two(rows)).values.loc["A", "fedavg"] == pytest.approx(0.6)


def test_patients_without_any_truth_are_left_out_for_all_and_noted():
    rows = [row("A", 0.8), row("B", 0.6), false_alarm("C")]
    found = matrix(two(rows))
    assert list(found.values.index) == ["A", "B"]
    assert found.notes == ("Left out, no structure in the truth: 1 patient (C).",)
    assert found.counts.loc["fedavg", "false-alarm"] == 1


def test_a_false_alarm_in_a_small_image_can_shorten_the_mean_distance():
    """The exception that is stated: CT missed, 500 mm; a false alarm in the smaller MR, 90 mm: 295 against 500."""
    ct = {"case": "A/CT", "modality": "CT", "flag": "missed", "hd95": 500.0}
    rows = [row("A", 0.0, s, **ct) for s in ("fedavg", "other")] + [row("B", 0.5, s) for s in ("fedavg", "other")]
    cases = pd.DataFrame([*rows, false_alarm("A", "fedavg"), both_empty("A", "other")])
    assert matrix(cases, Endpoint("cross", "hd95")).values.loc["A"].to_dict() == {"fedavg": 295, "other": 500}
    assert matrix(cases).values.loc["A"].to_dict() == {"fedavg": 0, "other": 0}


def test_scores_do_not_depend_on_who_else_is_compared():
    cases = two([row("A", 0.8), false_alarm("A", **{"class": "cyst"}), row("B", 0.6)])
    third = cases[cases["setting"] == "other"].assign(setting="third")
    both = matrix(pd.concat([cases, third], ignore_index=True)).values[["fedavg", "other"]]
    pd.testing.assert_frame_equal(both, matrix(cases).values)


def test_averaging_arrays():
    """Two patients with cells (1, NaN) and (3, 5, NaN): 1 and 4; over seeds (1, 4) and (NaN, 6): 1 and 5."""
    assert over_cells(np.array([1, np.nan, 3, 5, np.nan]), np.array([0, 2])).tolist() == [1, 4]
    assert over_seeds(np.array([[1, 4], [np.nan, 6]])).tolist() == [1, 5]
    assert np.isnan(over_seeds(np.full((2, 1), np.nan))).all()


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 6), st.integers(1, 3))
def test_the_order_of_rows_changes_nothing(random, patients, seeds):
    cases = random_table(["fedavg", "fedda", "local"], patients, seeds)
    order = list(range(len(cases)))
    random.shuffle(order)
    one, other = matrix(cases), matrix(cases.iloc[order])
    pd.testing.assert_frame_equal(one.values, other.values)
    pd.testing.assert_frame_equal(one.by_seed, other.by_seed)


# -- which rows ----------------------------------------------------------------------------------------------------


def test_relations_selections_and_datasets_are_kept_apart():
    wanted = table({"fedavg": [0.1, 0.2], "other": [0.3, 0.4]})
    rest = [wanted.assign(**{c: v}, dice=0.9) for c, v in (("relation", "in"), ("dataset", "x"))]
    rest.append(wanted.assign(selection="best-validation", dice=0.9))
    cases = pd.concat([wanted, *rest], ignore_index=True)
    pd.testing.assert_frame_equal(matrix(cases).values, matrix(wanted).values)
    assert (matrix(cases, selection="best-validation").values == 0.9).all(axis=None)


def test_a_setting_with_several_deployments_is_several_algorithms():
    cases = table({"fedbn": [0.1, 0.2], "fedavg": [0.3, 0.4]})
    averaged = cases[cases["setting"] == "fedbn"].assign(deployment="averaged", dice=0.7)
    cases = pd.concat([cases, averaged], ignore_index=True)
    assert matrix(cases).algorithms == ["fedavg", "fedbn", "fedbn (averaged)"]
    assert set(labels(cases)) == {"fedavg", "fedbn", "fedbn (averaged)"}


def test_categories_are_taken_by_name():
    """Published tables may hold categories, in an order of their own."""
    cases = random_table(["fedavg", "other"], 3, seeds=2)
    cases = pd.concat([cases, cases[cases["setting"] == "other"].assign(deployment="tuned")], ignore_index=True)
    columns = [
        "patient",
        "case",
        "class",
        "client",
        "setting",
        "deployment",
        "relation",
        "selection",
        "flag",
        "dataset",
    ]
    categories = cases.copy()
    for column in columns:
        names = sorted(cases[column].unique(), reverse=True)
        categories[column] = pd.Categorical(cases[column], categories=names)
    pd.testing.assert_frame_equal(matrix(categories).values, matrix(cases).values)


def test_labels_are_the_same_in_all_datasets():
    cases = table({"fedbn": [0.1, 0.2], "fedavg": [0.3, 0.4]})
    elsewhere = cases[cases["setting"] == "fedbn"].assign(deployment="averaged", dataset="x")
    cases = cases.assign(deployment=cases["deployment"].where(cases["setting"] != "fedbn", "personal"))
    assert matrix(pd.concat([cases, elsewhere])).algorithms == ["fedavg", "fedbn (personal)"]


def test_conditions_of_training_are_never_mixed():
    cases = table({"fedavg": [0.1, 0.2], "other": [0.3, 0.4]})
    without_mr = cases.assign(unseen="MR", dice=0.5, partition="q")
    unseen = cases.assign(unseen="MR", dice=0.7, partition="q", relation="unseen")
    every = pd.concat([cases.assign(unseen=""), without_mr, unseen], ignore_index=True)
    assert matrix(every).values.to_numpy().tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert (matrix(every, Endpoint("cross", unseen="MR")).values == 0.5).all(axis=None)
    found = matrix(every, Endpoint("unseen"))
    assert (found.values == 0.7).all(axis=None)
    assert found.endpoint.name == "unseen-modality Dice, MR left out"
    more = pd.concat([every, unseen.assign(unseen="CT")], ignore_index=True)
    with pytest.raises(UserError, match=r"with nothing left out, but with CT, MR\. Name one: Endpoint"):
        matrix(more, Endpoint("unseen"))


def test_folds_are_pooled():
    first = table({"fedavg": [0.1, 0.2], "other": [0.3, 0.4]}, fold=0)
    second = first.assign(
        fold=1, partition="q", patient="Q" + first["patient"], case="Q" + first["case"], run_id=first["run_id"] + ".f1"
    )
    found = matrix(pd.concat([first, second], ignore_index=True))
    assert found.folds.to_dict() == {"P000": 0, "P001": 0, "QP000": 1, "QP001": 1}
    assert set(matrix(first.drop(columns="fold")).folds) == {-1}


# -- what is missing -----------------------------------------------------------------------------------------------


def lacking(**where):
    """Three algorithms, three patients, two seeds; ``other`` lacks the rows that agree with ``where``."""
    cases = random_table(["fedavg", "fedda", "other"], 3, seeds=2)
    gone = cases["setting"] == "other"
    for column, value in where.items():
        gone &= cases[column] == value
    return cases[~gone]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"seed": 1}, r"missing: other: seed 1\)"),
        ({"patient": "P001"}, r"missing: other: 2 scores of 1 patient \(P001\)\)"),
        ({"patient": "P001", "seed": 1}, r"missing: other: 1 score of 1 patient \(P001\)\)"),
    ],
)
def test_missing_scores_are_refused_by_name(where, message):
    with pytest.raises(UserError, match=message + ".*--missing worst or --missing complete-cases"):
        matrix(lacking(**where))


def test_a_missing_fold_is_named():
    cases = random_table(["fedavg", "other"], 4).assign(fold=lambda c: (c["patient"] > "P001").astype(int))
    with pytest.raises(UserError, match=r"missing: other: fold 1\)"):
        matrix(cases[~((cases["setting"] == "other") & (cases["fold"] == 1))])


def test_missing_as_worst():
    """Patient P001 of ``other``: seed 0 as measured, seed 1 set to 0, so half of it."""
    whole, cases = random_table(["fedavg", "fedda", "other"], 3, seeds=2), lacking(patient="P001", seed=1)
    found = matrix(cases, missing="worst")
    measured = whole[(whole["setting"] == "other") & (whole["patient"] == "P001") & (whole["seed"] == 0)]["dice"].item()
    assert found.values.loc["P001", "other"] == pytest.approx(measured / 2)
    assert found.counts["missing"].to_dict() == {"fedavg": 0, "fedda": 0, "other": 1}
    assert found.notes == (
        "Missing scores were set to the worst value, 0 (missing: other: 1 score of 1 patient (P001)).",
    )


def test_the_worst_distance_is_the_largest_of_the_dataset():
    cases = lacking(patient="P001")
    cases.loc[cases["patient"] == "P002", "hd95"] = 77.0
    found = matrix(cases, Endpoint("cross", "hd95"), missing="worst")
    assert found.values.loc["P001", "other"] == 77.0


def test_missing_as_complete_cases():
    found = matrix(lacking(patient="P001"), missing="complete-cases")
    assert list(found.values.index) == ["P000", "P002"]
    assert "Compared: 2 of 3 patients, 2 of 2 seeds." in found.notes
    found = matrix(lacking(seed=1), missing="complete-cases")
    assert (found.seeds, len(found.values)) == ([0], 3)
    assert found.notes[0] == "Only what all algorithms have was compared (missing: other: seed 1)."


def test_an_algorithm_without_any_score_of_the_endpoint_is_missing():
    cases = random_table(["fedavg", "fedda", "other"], 3)
    cases = pd.concat([cases, cases.assign(relation="in")])
    cases = cases[~((cases["setting"] == "other") & (cases["relation"] == "cross"))]
    with pytest.raises(UserError, match="missing: other: everything"):
        matrix(cases)
    assert "Left out for want of any score: other." in matrix(cases, missing="complete-cases").notes
    assert (matrix(cases, missing="worst").values["other"] == 0).all()


# -- what cannot be analysed ---------------------------------------------------------------------------------------


def good(**other):
    return table({"fedavg": [0.1, 0.2, 0.3], "other": [0.3, 0.4, 0.5]}, **other)


def changed(column, value, where=1):
    cases = good()
    cases[column] = cases[column].astype(object)
    cases.loc[where, column] = value
    return cases.infer_objects()


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (pd.DataFrame(), "these results hold no finished run"),
        (good(dataset="x"), "no scores of dataset 'toy'; there are: x"),
        (good().drop(columns="flag"), "the table of cases has no column flag"),
        (good().drop(columns="dice"), "the table of cases has no column dice"),
        (good(selection="best-validation"), "no scores of selection 'last'; there are: best-validation"),
        (good(relation="in"), "no scores of relation 'cross'; there are: in"),
        (table({"fedavg": [0.1, 0.2]}), r"only one algorithm \(fedavg\)"),
        (table({"fedavg": [0.1], "other": [0.2]}), "1 patient with scores"),
        (changed("dice", 1.2), r"run toy.fedavg.s0, column 'dice': an impossible value \(1.2"),
        (changed("dice", -0.1), "column 'dice': an impossible value"),
        (changed("dice", float("nan")), "column 'dice': no number, without the flag 'both-empty'"),
        (changed("dice", float("inf")), "column 'dice': an impossible value"),
        (changed("dice", "high"), "column 'dice': does not hold numbers"),
        (changed("flag", "both-empty"), "column 'dice': a number, with the flag 'both-empty'"),
        (changed("flag", "missed"), "column 'dice': a value that its flag excludes"),
        (changed("flag", "odd"), "column 'flag': an unknown flag"),
        (changed("patient", None), "column 'patient': has gaps"),
        (changed("partition", "z"), r"seed 0: the partitions differ \(p0: fedavg, other; z: fedavg\)"),
        (changed("run_id", "again"), r"'fedavg' ran more than once.*\(toy.fedavg.s0, again\)"),
        (pd.concat([good(), good()]), "scores class organ of case P000/MR for client CT more than once"),
        (pd.concat([good(fold=-1), good(fold=1)]), "runs with and without folds are mixed"),
        (pd.concat([good(fold=1), good(fold=2)]), "patient P000 is in the test sets of several folds"),
        (pd.concat([good(unit="mm"), good(seeds=[1], unit="px")]), "distances in mm, px are mixed"),
    ],
)
def test_what_cannot_be_analysed_is_a_message(cases, message):
    with pytest.raises(UserError, match=message):
        matrix(cases)


@pytest.mark.parametrize("column", ["flag", "unseen", "unit", "fold"])
def test_a_gap_where_there_is_nothing_to_say_says_nothing(column):
    """Older results lack what runs without folds, or with nothing left out, had no need of; and no flag is no flag."""
    full = good(flag="", unseen="", unit="mm", fold=-1)
    gaps = full.assign(**{column: pd.Series([None, *full[column][1:]], full.index)})
    assert gaps[column].isna().any()
    pd.testing.assert_frame_equal(matrix(gaps).by_seed, matrix(full).by_seed)


def test_infinite_distances_are_refused():
    with pytest.raises(UserError, match=r"run toy.fedavg.s0, column 'hd95': an impossible value \(inf"):
        matrix(changed("hd95", float("inf")), Endpoint("cross", "hd95"))


def test_a_truth_that_is_not_the_same_for_all_is_refused():
    cases = pd.DataFrame([row("A", 0.1), row("B", 0.1), both_empty("A", "other"), row("B", 0.1, "other")])
    with pytest.raises(UserError, match="the truth of class organ in case A/MR is empty in some runs and not in"):
        matrix(cases)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown metric 'iou'; known: dice, nsd, hd95"):
        Endpoint("cross", "iou")
    with pytest.raises(UserError, match="unknown way 'ignore'"):
        matrix(good(), missing="ignore")
    assert Endpoint("in", "hd95").name == "in-modality HD95"
