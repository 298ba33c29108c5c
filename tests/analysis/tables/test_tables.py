"""What stands in the tables: the analyses' numbers, the marks that the tests allow, or a refusal."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.analyses import RECONSTRUCTED, Analyses, Choices, in_order
from fedbench.analysis.evidence import Condition, merge
from fedbench.analysis.report.verdict import across
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.tables import best, captions, formats, scores
from fedbench.analysis.tables import runs as about_runs
from fedbench.analysis.tables import significance as statistics
from fedbench.analysis.tables.all_tables import all_tables, write_tables
from fedbench.analysis.tables.cells import AGREES, BEST, TIED, Table
from fedbench.errors import UserError
from fedbench.store import FAILURE, PROGRESS
from tests.analysis.evidence_rows import ALGORITHMS, evidence, of_cases
from tests.analysis.score_rows import both_empty, false_alarm, random_table, table, unfinished_grid
from tests.analysis.tables.test_formats import NASTY, compile_latex

TOY = Condition("toy")
FEW = ("local", "fedavg", "fedda-joint")
STEADY = np.linspace(0.5, 0.7, 30)


def column(found: Table, *path: str) -> dict[str, object]:
    """Return a column's first values by row name; ``path`` is its groups and name."""
    (at,) = (i for i, c in enumerate(found.columns) if (*c.groups, c.name) == path)
    return {str(row[0].values[0]): row[at].values[0] for row in found.rows}


def marks(found: Table, *path: str) -> dict[str, str]:
    (at,) = (i for i, c in enumerate(found.columns) if (*c.groups, c.name) == path)
    return {str(row[0].values[0]): row[at].mark + row[at].sign for row in found.rows}


def analyses(values: dict[str, np.ndarray], seeds: tuple[int, ...] = (0,), **choices) -> Analyses:
    return Analyses(of_cases(table(values, seeds)), Choices(**choices))


@pytest.fixture(scope="module")
def whole() -> Analyses:
    """Eight algorithms, two seeds, eight patients."""
    return Analyses(evidence())


# -- the best --------------------------------------------------------------------------------------------------------


def test_the_best_is_bold_if_it_is_better_than_its_runner_up_and_nobody_else_is_marked():
    made = analyses({"fedavg": STEADY, "fedprox": STEADY + 0.1, "moon": STEADY - 0.1})
    assert marks(scores.main_result(made, TOY), "cross-modality", "Dice") == {"fedavg": "", "fedprox": BEST, "moon": ""}


def test_the_star_needs_the_test_over_runs():
    """Two seeds with the same scores leave no luck of runs; two that trade places leave nothing else."""
    values = {"fedavg": STEADY, "fedprox": STEADY + 0.1}
    alike = analyses(values, (0, 1))
    assert marks(scores.main_result(alike, TOY), "cross-modality", "Dice")["fedprox"] == BEST + AGREES
    lucky = pd.concat([table({"fedavg": STEADY, "fedprox": STEADY + 0.25}, [0]),
                       table({"fedavg": STEADY, "fedprox": STEADY - 0.05}, [1])])  # fmt: skip
    assert best.marks(Analyses(of_cases(lucky)).get(TOY)) == {"fedprox": (BEST, "")}


def test_the_star_is_not_given_where_patients_tested_with_every_seed_contradict():
    made = Analyses(of_cases(unfinished_grid())).get(TOY)
    pair = made.comparison("fedavg", "moon")
    assert pair["runs_p_holm_all"] < 0.001 and pair["runs_p_mean"] < 0 < pair["mean"]
    assert best.marks(made) == {"fedavg": (BEST, "")}


def test_all_that_cannot_be_told_from_the_best_are_marked():
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 30))
    made = analyses({"fedavg": STEADY + noise[0], "fedprox": STEADY + noise[1], "moon": STEADY - 0.3})
    assert set(best.marks(made.get(TOY))) == {"fedavg", "fedprox"}
    assert marks(scores.main_result(made, TOY), "cross-modality", "Dice") == {
        "fedavg": TIED, "fedprox": TIED, "moon": "",
    }  # fmt: skip


def test_reference_points_take_no_part():
    made = analyses({"local": STEADY - 0.2, "centralised": STEADY + 0.2, "fedavg": STEADY, "fedprox": STEADY + 0.1})
    found = scores.main_result(made, TOY)
    assert [row[0].text for row in found.rows] == ["local", "centralised", "fedavg", "fedprox"] and found.rules == (2,)
    assert best.standing(made.get(TOY)).best == "fedprox"
    assert marks(found, "cross-modality", "Dice")["centralised"] == ""


def test_a_best_mean_that_most_patients_contradict_is_not_bold():
    """FedProx gains 0.01 in 28 of 30 patients, and loses 0.4 in two: its mean is worse, the signed ranks favour it."""
    gains = np.full(30, 0.01) + np.linspace(0, 1e-4, 30)
    gains[:2] = -0.4
    made = analyses({"fedavg": STEADY, "fedprox": STEADY + gains})
    pair = made.get(TOY).comparison("fedavg", "fedprox")
    assert pair["p_holm_all"] < 0.05 and pair["favours"] == "fedprox" and pair["mean"] > 0
    assert best.marks(made.get(TOY)) == {"fedavg": (TIED, ""), "fedprox": (TIED, "")}


def test_hd95_is_better_when_lower():
    made = analyses({"fedavg": STEADY, "fedprox": STEADY + 0.1})
    found = scores.main_result(made, TOY)
    assert marks(found, "cross-modality", "HD95 (mm)") == {"fedavg": BEST, "fedprox": ""}


def test_all_ties_are_all_marked():
    made = analyses({"fedavg": STEADY, "fedprox": STEADY, "moon": STEADY})
    assert best.marks(made.get(TOY)) == dict.fromkeys(("fedavg", "fedprox", "moon"), (TIED, ""))
    assert all_tables(made)


def test_a_lone_federated_algorithm_has_nobody_to_beat():
    made = analyses({"fedavg": STEADY, "local": STEADY - 0.1})
    assert best.marks(made.get(TOY)) == {}
    assert statistics.overview(made, TOY).rows[0][7].text == "–"


# -- scores ----------------------------------------------------------------------------------------------------------


def test_cells_are_the_analysis(whole):
    found = scores.main_result(whole, TOY)
    means = whole.get(TOY, Endpoint("in", "nsd")).means.loc["fedbn"]
    (at,) = (i for i, c in enumerate(found.columns) if (*c.groups, c.name) == ("in-modality", "NSD"))
    (cell,) = (row[at] for row in found.rows if row[0].text == "fedbn")
    assert cell.values[:3] == (means["mean"], means["low"], means["high"])
    assert [row[0].text for row in found.rows] == in_order(ALGORITHMS)


def test_each_condition_has_the_endpoint_that_its_own_suite_declared():
    """Two suites in one study: one crosses modalities, the other leaves one out and asks for that."""
    parts = []
    for condition, relation in ((TOY, "cross"), (Condition("toy", "MR"), "unseen")):
        found = evidence([condition], modalities=("CT", "MR", "PET"))
        declared = json.dumps({"relation": relation, "metric": "nsd"})
        parts.append(replace(found, runs=found.runs.assign(declared=declared)))
    made = Analyses(merge(parts))
    assert made.primary(TOY) == Endpoint("cross", "nsd")
    assert made.primary(Condition("toy", "MR")) == Endpoint("unseen", "nsd", "MR")


def test_only_endpoints_that_there_are_have_columns():
    without = Condition("toy", "MR")
    made = Analyses(evidence([without], modalities=("CT", "MR", "PET")))
    groups = {c.groups for c in scores.main_result(made, without).columns}
    assert groups == {(), ("in-modality",), ("cross-modality",), ("unseen modality",)}
    alone = Analyses(evidence([without], modalities=("CT", "MR")))  # one client: nothing is crossed
    assert made.primary(without).relation == "cross" and alone.primary(without).relation == "unseen"
    assert "toy without MR" in scores.main_result(alone, without).title


def test_pooled_scores_are_means_of_dataset_means():
    """Datasets of 4 and 8 patients weigh the same. Means 0.5 and 0.7, and 0.6 and 0.6: ranks 2, 1 and 1.5, 1.5."""
    rows = [
        table({"fedavg": [0.5] * 4, "fedprox": [0.7] * 4}, dataset="one", partition="a"),
        table({"fedavg": [0.6] * 8, "fedprox": [0.6] * 8}, dataset="two", partition="b"),
    ]
    found = scores.pooled_result(Analyses(of_cases(pd.concat(rows, ignore_index=True))))
    assert found is not None
    assert column(found, "cross-modality", "Dice") == pytest.approx({"fedavg": 0.55, "fedprox": 0.65})
    assert column(found, "cross-modality", "HD95 (mm)") == pytest.approx({"fedavg": 5.5, "fedprox": 6.5})
    assert column(found, "cross-modality", "mean rank, Dice") == {"fedavg": 1.75, "fedprox": 1.25}
    assert any("No p-value across datasets" in note for note in found.notes)
    assert not any(cell.mark for row in found.rows for cell in row)


def test_distances_in_different_units_are_not_pooled():
    rows = [random_table(["fedavg", "moon"], 6, dataset=d, unit=u) for d, u in (("one", "mm"), ("two", "px"))]
    found = scores.pooled_result(Analyses(of_cases(pd.concat(rows, ignore_index=True))))
    assert found is not None and not any("HD95" in c.name for c in found.columns)
    assert any("not pooled" in note and "mm and in px" in note for note in found.notes)


def test_modalities_left_out_weigh_as_one_dataset():
    """Dataset one leaves out two modalities, with means 0.2 and 0.4; dataset two one, with 0.9: (0.3 + 0.9) / 2."""
    rows = [
        table({"fedavg": [dice] * 3, "moon": [dice + 0.05] * 3}, dataset=d, unseen=m, relation="unseen", modality=m,
              run_id=f"{d}{m}")
        for d, m, dice in (("one", "CT", 0.2), ("one", "MR", 0.4), ("two", "CT", 0.9))
    ]  # fmt: skip
    frame = pd.concat(rows, ignore_index=True)
    frame["run_id"] += frame["setting"]
    found = scores.pooled_result(Analyses(of_cases(frame)))
    assert found is not None
    assert column(found, "unseen modality", "Dice") == pytest.approx({"fedavg": 0.6, "moon": 0.65})


def test_datasets_without_common_algorithms_are_not_pooled_and_stop_no_table():
    rows = [random_table(["fedavg", other], 6, dataset=d, partition=d, run_id=f"{d}{other}")
            for d, other in (("one", "moon"), ("two", "fedprox"))]  # fmt: skip
    frame = pd.concat(rows, ignore_index=True)
    frame["run_id"] += frame["setting"]
    alone = Analyses(of_cases(frame))
    assert scores.pooled_result(alone) is None and across(alone) is None
    assert "main.one" in {made.name for made in all_tables(alone)}
    own = random_table(["fedavg", "moon"], 6, random=1, relation="unseen", unseen="PET")
    both = [own.assign(dataset=d, partition=d, run_id=f"{d} without PET " + own["setting"]) for d in ("one", "two")]
    some = scores.pooled_result(Analyses(of_cases(pd.concat([frame.assign(unseen=""), *both]))))
    assert some is not None and {c.groups for c in some.columns} == {(), ("unseen modality",)}
    assert some.notes[0] == "cross-modality: not pooled, fewer than two algorithms have scores in all of one, two."


def test_nothing_is_pooled_over_one_dataset(whole):
    assert scores.pooled_result(whole) is None


def test_a_run_with_a_shared_model_says_why_its_columns_agree(whole):
    (note,) = (n for n in scores.main_result(whole, TOY).notes if "are the same for" in n)
    assert "fedavg" in note and "fedbn" not in note and "local" not in note


def test_scores_by_modality_and_class(whole):
    cases = whole.evidence.cases
    rows = cases[(cases["setting"] == "fedbn") & (cases["client"] == "CT")]
    expected = rows[rows["modality"] == "MR"].groupby(["patient", "seed"])["dice"].mean().mean()
    by_modality = scores.by_modality(whole, TOY)
    assert [[c.text for c in row[:3]] for row in by_modality.rows[:2]] == [
        ["CT", "CT", "in-modality"], ["CT", "MR", "cross-modality"],
    ]  # fmt: skip
    assert by_modality.rows[1][3 + in_order(ALGORITHMS).index("fedbn")].values[0] == pytest.approx(expected)
    assert by_modality.rules == (2,) and by_modality.columns[-1].name == "moon"
    rows = cases[(cases["setting"] == "moon") & (cases["relation"] == "in")]
    expected = rows[rows["class"] == "spleen"].groupby(["patient", "seed"])["dice"].mean().mean()
    by_class = scores.by_class(whole, TOY)
    assert [c.text for c in by_class.rows[1][:2]] == ["spleen", "in-modality"]
    assert by_class.rows[1][-1].values[0] == pytest.approx(expected)


def test_classes_stand_in_the_order_of_their_numbers():
    numbers = {"left-ventricle": 1, "right-ventricle": 2, "left-atrium": 3, "myocardium": 4}
    found = evidence(classes=tuple(sorted(numbers)))
    cases = found.cases.assign(label=found.cases["class"].map(numbers))
    shown = scores.by_class(Analyses(replace(found, cases=cases)), TOY)
    assert [row[0].text for row in shown.rows] == list(numbers) * 2


def test_a_class_that_hardly_any_patient_has_is_noted():
    rare = [*(both_empty(f"P{i:03}", a, **{"class": "rare"}) for i in range(7) for a in ("fedavg", "moon")),
            *(false_alarm("P007", a, **{"class": "rare"}) for a in ("fedavg", "moon"))]  # fmt: skip
    cases = pd.concat([random_table(["fedavg", "moon"], 8), pd.DataFrame(rare)], ignore_index=True)
    found = scores.by_class(Analyses(of_cases(cases)), TOY)
    assert [cell.values[0] for cell in found.rows[1]] == ["rare", "cross-modality", None, None]
    assert any(note.startswith("rare, cross-modality: ") and "0 patients" in note for note in found.notes)


# -- statistics ------------------------------------------------------------------------------------------------------


def test_the_declared_family_is_shown_whole(whole):
    found = statistics.comparisons(whole, TOY, Endpoint("cross", "dice"))
    declared = whole.get(TOY).pairwise.query("declared")
    assert [(r[0].text, r[1].text) for r in found.rows] == list(
        zip(declared.algorithm, declared.reference, strict=True)
    )
    shown = {c.keys[0]: [row[i].values for row in found.rows] for i, c in enumerate(found.columns)}
    expected = {
        "median difference": ["median", "median_low", "median_high"], "over patients p, Holm": ["p_holm"],
        "mean difference": ["mean", "mean_low", "mean_high"], "over patients rank-biserial": ["rank_biserial"],
        "over patients and runs interval of the mean low": ["runs_low", "runs_high"], "over patients p": ["p"],
        "over patients and runs p": ["runs_p"], "over patients and runs p, Holm": ["runs_p_holm"],
    }  # fmt: skip
    for key, names in expected.items():
        assert shown[key] == list(declared[names].itertuples(index=False, name=None)), key
    assert found.rules == (7, 13)  # all against fedavg; then against fedda-cyclic; then against fedda-joint
    assert "F(7, 49)" in found.caption


def test_folds_bring_a_column():
    cases = random_table(["fedavg", "moon"], 12)
    assert not any("folds" in " ".join(c.groups) for c in _pairs(cases).columns)
    folded = cases.assign(fold=cases["patient"].str[1:].astype(int) % 3)
    folded["run_id"] += folded["fold"].astype(str)
    found = _pairs(folded)
    assert isinstance(column(found, "over folds", "p")["moon"], float)
    assert "Nadeau" in found.caption and "3 folds" in found.caption


def test_a_brief_table_of_comparisons_keeps_the_corrected_numbers():
    made = Analyses(evidence((TOY,), patients=12))
    full, brief = (statistics.comparisons(made, TOY, Endpoint("cross", "dice"), brief=b) for b in (False, True))
    assert len(brief.rows) == len(full.rows) and len(brief.columns) == 7
    for path in (("over patients", "p, Holm"), ("over patients and runs", "p, Holm")):
        assert [row[_place(brief, *path)] for row in brief.rows] == [row[_place(full, *path)] for row in full.rows]
    mean, ends = (_place(brief, *path) for path in (("mean difference",), ("over patients", "interval of the mean")))
    for short, long in zip(brief.rows, full.rows, strict=True):
        low, high = short[ends].values
        assert (short[mean].values[0], low, high) == long[_place(full, "mean difference")].values[:3]
        assert not short[mean].below


def _place(found: Table, *path: str) -> int:
    return [(*c.groups, c.name) for c in found.columns].index(path)


def _pairs(cases: pd.DataFrame) -> Table:
    return statistics.comparisons(Analyses(of_cases(cases)), TOY, Endpoint("cross", "dice"))


def test_ranks_and_variance(whole):
    found = statistics.ranks(whole, TOY, Endpoint("cross", "dice"))
    assert column(found, "aggregate-then-rank", "rank")["centralised"] == 1
    assert sum(column(found, "aggregate-then-rank", "probability of rank 1").values()) == pytest.approx(1)
    split = statistics.variance(whole, TOY, Endpoint("cross", "dice"))
    shares = [column(split, "score", f"share, {of}")["fedavg"] for of in ("patients", "seeds", "rest")]
    assert sum(shares) == pytest.approx(100)
    assert column(split, "difference to fedavg", "SD, rest")["fedavg"] is None
    one = statistics.variance(Analyses(evidence(seeds=(0,))), TOY, Endpoint("cross", "dice"))
    assert any(note.startswith("One seed") for note in one.notes)


def test_the_overview_compares_the_best_with_its_runner_up():
    made = analyses({"fedavg": STEADY, "fedprox": STEADY + 0.1, "centralised": STEADY + 0.2}, (0, 1))
    dice = next(row for row in statistics.overview(made, TOY).rows if "Dice" in row[0].text)
    pair = made.get(TOY).comparison("fedprox", "fedavg")
    assert [c.text for c in dice[6:8]] == ["fedprox", "fedavg"]
    assert [c.values[0] for c in dice[8:]] == [pair["p_holm_all"], pair["runs_p_holm_all"]]


# -- runs ------------------------------------------------------------------------------------------------------------


def test_cost_by_hand(whole):
    """Per round two clients send 1,000,001 bytes each, then 1,000,002; up and down alike; 61 seconds."""
    found = about_runs.cost(whole, TOY)
    assert column(found, "bytes per round", "up")["moon"] == 2_000_003
    assert column(found, "bytes in all")["moon"] == 4 * (1_000_001 + 1_000_002)
    assert column(found, "time per run")["moon"] == 61 and column(found, "runs")["moon"] == 2
    assert "Hardware: x86_64, 2 cores." in found.notes


def test_runs_that_trained_clients_side_by_side_are_noted():
    """Their seconds cannot be compared; publications from before the number was kept have none of them."""
    found = evidence()
    runs = found.runs.assign(clients_at_once=np.where(found.runs["seed"] == 1, 4.0, np.nan))
    moon = runs[runs["setting"].isin(["moon", "fedavg"])]
    cases, rounds = (f[f["setting"].isin(["moon", "fedavg"])] for f in (found.cases, found.rounds))
    beside = replace(found, runs=moon, cases=cases, rounds=rounds)
    assert any("2 runs trained clients side by side" in note for note in about_runs.cost(Analyses(beside), TOY).notes)
    assert not any("side by side" in note for note in about_runs.cost(Analyses(found), TOY).notes)


def test_steps_that_differ_between_seeds_alone_are_no_unequal_budgets():
    found = evidence((TOY,), ("fedavg", "moon"), patients=4)
    runs = found.runs.assign(steps=100 + 10 * found.runs["seed"])
    notes = about_runs.cost(Analyses(replace(found, runs=runs)), TOY).notes
    assert any("same for all algorithms of a seed; between seeds they differ (100 to 110)" in n for n in notes)
    assert not any("not equal" in n for n in notes)


def test_unequal_budgets_are_noted():
    found = evidence()
    runs = found.runs.assign(steps=np.where(found.runs["setting"] == "moon", 440, 220))
    assert any("budgets are not equal" in n for n in about_runs.cost(Analyses(replace(found, runs=runs)), TOY).notes)


def test_empty_masks_and_missing_scores_are_counted():
    cases = random_table(["fedavg", "moon"], 8)
    odd = [false_alarm("P000", "fedavg", **{"class": "b"}), both_empty("P000", "moon", **{"class": "b"})]
    cases = pd.concat([cases, pd.DataFrame(odd)], ignore_index=True)
    cases = cases.drop(index=cases.index[(cases["setting"] == "moon") & (cases["patient"] == "P003")])
    found = about_runs.empties(Analyses(of_cases(cases), Choices(missing="worst")), TOY)
    counts = {kind: column(found, "cross-modality", kind) for kind in ("scores", *about_runs.KINDS)}
    assert counts["scores"] == {"fedavg": 9, "moon": 8} and counts["missing"] == {"fedavg": 0, "moon": 1}
    assert counts["false-alarm"] == {"fedavg": 1, "moon": 0} and counts["both-empty"] == {"fedavg": 0, "moon": 1}
    assert "set to the worst value" in found.caption


def test_false_alarms_of_a_patient_without_any_structure_are_said_to_enter_no_mean():
    alarmed = pd.DataFrame([false_alarm("P999", a) for a in ("fedavg", "moon")])
    analyses = Analyses(of_cases(pd.concat([random_table(["fedavg", "moon"], 8), alarmed], ignore_index=True)))
    found = about_runs.empties(analyses, TOY)
    assert column(found, "cross-modality", "false-alarm") == {"fedavg": 1, "moon": 1}
    assert "P999" not in analyses.get(TOY).matrix.values.index
    assert "both enter means as Dice 0, NSD 0, HD95 = image diagonal, unless the patient has no" in found.caption


def test_runs_are_expected_of_every_seed_with_every_fold():
    """Three seeds and two folds of two algorithms are 12 runs, of which fold 1 has only seed 0."""
    found = about_runs.runs(Analyses(of_cases(unfinished_grid())))
    assert column(found, "runs") == {"toy": 8} and column(found, "expected") == {"toy": 12}
    assert column(found, "missing") == {
        "toy": "fedavg seed 1 fold 1; fedavg seed 2 fold 1; moon seed 1 fold 1; moon seed 2 fold 1"
    }


def test_folds_that_no_algorithm_has_are_told_and_not_expected():
    """Of five folds two were begun: the table has 12 runs of them, and a note for the others."""
    found = of_cases(unfinished_grid())
    identities = [json.loads(text) for text in found.runs["identity"]]
    declared = [json.dumps(i | {"data": i["data"] | {"folds": 5}}) for i in identities]
    said = about_runs.runs(Analyses(replace(found, runs=found.runs.assign(identity=declared))))
    assert column(said, "folds") == {"toy": 2} and column(said, "expected") == {"toy": 12}
    assert said.notes == ("toy: 2 of 5 folds have finished runs; none is expected or missing of the others.",)
    assert about_runs.runs(Analyses(found)).notes == ()


def test_missing_and_unfinished_runs_are_named(tmp_path):
    full = evidence(source=tmp_path)
    partial = replace(full, runs=full.runs.iloc[1:])
    for name, file in (("toy.moon.s7.aa", FAILURE), ("toy.moon.s8.bb", PROGRESS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    (tmp_path / "figures").mkdir()
    found = about_runs.runs(Analyses(partial))
    assert column(found, "missing") == {"toy": "local seed 0"} and column(found, "expected") == {"toy": 16}
    assert found.notes == ("Not finished: toy.moon.s7.aa (failed).", "Not finished: toy.moon.s8.bb (not finished).")


# -- all of them -----------------------------------------------------------------------------------------------------


def test_every_table_of_scores_says_selection_policy_patients_and_seeds():
    made = Analyses(evidence([TOY, Condition("other")], FEW), Choices(missing="complete-cases"))
    for found in all_tables(made):
        if found.name.partition(".")[0] in ("cost",):
            continue  # holds no score
        assert "Models of the last round; scores that some algorithms lack are left out for all." in found.caption, (
            found.name
        )
        assert found.facts["selection"] == "last" and found.facts["missing scores"] == "complete-cases"
        if found.name not in ("runs", "main.pooled"):
            assert "8 patients, 2 seeds." in found.caption, found.name
            assert found.facts["patients"] == "8" and found.facts["seeds"] == "2"


def test_what_is_no_patient_is_called_what_it_is():
    """Of nuclei the unit is the field of view, as its plugin declares."""
    told = {table.name: table.caption for table in all_tables(Analyses(evidence([Condition("nuclei")], FEW)))}
    assert "8 patients (each a field of view), 2 seeds." in told["main.nuclei"]


def test_reconstructions_carry_their_sign_and_the_sign_is_explained():
    assert captions.name_of("fedda-joint[lam=1]").sign == RECONSTRUCTED and captions.name_of("fedavg").sign == ""
    for found in all_tables(Analyses(evidence(algorithms=FEW))):
        names = [cell.text for row in found.rows for cell in row] + [c.name for c in found.columns]
        if any(name.startswith("fedda") for name in names):
            assert "reconstruction" in formats.markdown(found), found.name
            assert "reconstruction" in formats.latex(found) and "reconstruction" in formats.html(found)


def test_names_from_data_are_escaped_everywhere(tmp_path):
    """Algorithms, modalities, classes, patients and the dataset all have the nastiest of names."""
    odd = evidence(
        [Condition(NASTY, f"MR {NASTY}")], ("local", "fedavg", f"fedda-{NASTY}"), seeds=(0,),
        modalities=(f"CT {NASTY}", f"MR {NASTY}", "PET"), classes=(NASTY, "b"),
    )  # fmt: skip
    found = all_tables(Analyses(odd))
    write_tables(found, tmp_path)
    for table_ in found:
        assert "<script>" not in formats.html(table_) and "<script>" not in formats.markdown(table_)
        pipes = {
            line.replace("\\|", "").count("|") for line in formats.markdown(table_).splitlines() if line[:1] == "|"
        }
        assert len(pipes) == 1
    compile_latex(tmp_path, [t.name for t in found])


def test_all_tables_compile_and_come_out_the_same(tmp_path):
    conditions = [TOY, Condition("toy", "MR"), Condition("other")]
    found = evidence(conditions, FEW, patients=6, modalities=("CT", "MR", "PET"))
    write_tables(all_tables(Analyses(found)), tmp_path / "a")
    files = write_tables(all_tables(Analyses(found)), tmp_path / "b")
    assert {f.name for f in files} == {f.name for f in (tmp_path / "a").iterdir()} and len(files) > 100
    assert all((tmp_path / "a" / f.name).read_bytes() == f.read_bytes() for f in files)
    compile_latex(tmp_path / "a", [f.stem for f in files if f.suffix == ".tex" and f.name != "preview.tex"])


def test_the_order_of_rows_changes_nothing():
    found = evidence([TOY, Condition("other")], FEW, patients=6)
    shuffled = replace(
        found, **{name: getattr(found, name).sample(frac=1, random_state=1) for name in ("runs", "cases", "rounds")}
    )
    ours, theirs = (list(map(formats.csv, all_tables(Analyses(e)))) for e in (found, shuffled))
    assert ours == theirs


def test_all_tables_of_a_large_dataset_within_their_time():
    """A third of 8 algorithms x 3 datasets x 5 seeds x 100 patients, 108,000 scores: 3.5 s alone on the machine."""
    large = evidence(seeds=range(5), patients=100, modalities=("CT", "MR", "PET"), classes=("x", "y", "z"))
    begun = time.process_time()
    all_tables(Analyses(large))
    assert time.process_time() - begun < 20


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (random_table(["fedavg"], 8), "only one algorithm"),
        (random_table(["fedavg", "moon"], 1), "1 patient with scores"),
        (random_table(["moon", "fedprox"], 8), "no scores of the reference algorithm 'fedavg'"),
        (random_table(["fedavg", "moon"], 8).assign(dice=np.nan), "no number"),
        (random_table(["fedavg", "moon"], 8).assign(hd95=np.nan), "no number"),
        (random_table(["fedavg", "moon"], 8).assign(dice=1.5), "an impossible value"),
        (random_table(["fedavg", "moon"], 8).iloc[:-1], "not every algorithm has every score"),
        (random_table(["fedavg", "moon"], 8).drop(columns="nsd"), "no column nsd"),
        (random_table(["fedavg", "moon"], 8).assign(selection="best-validation"), "no scores of selection 'last'"),
    ],
)
def test_what_cannot_be_compared_is_refused(cases, message):
    with pytest.raises(UserError, match=message):
        all_tables(Analyses(of_cases(cases)))


def test_mixed_partitions_are_refused():
    cases = random_table(["fedavg", "moon"], 8)
    cases.loc[cases["setting"] == "moon", "partition"] = "another"
    with pytest.raises(UserError, match="the partitions differ"):
        all_tables(Analyses(of_cases(cases)))


def test_patients_are_counted_by_endpoint_where_they_differ():
    extra = [both_empty("P100", a, relation="in") for a in ("fedavg", "moon")]
    own = random_table(["fedavg", "moon"], 8, random=1).assign(relation="in")
    cases = pd.concat([random_table(["fedavg", "moon"], 7), own, pd.DataFrame(extra)], ignore_index=True)
    found = scores.main_result(Analyses(of_cases(cases)), TOY)
    assert "7 to 8 patients" in found.caption
    assert any(note.startswith("in-modality Dice") and "P100" in note for note in found.notes)
