"""Means and counts are worked by hand: numbers are chosen so that any other order of averaging gives another result."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from fedbench.analysis.tables.cells import human_bytes, minutes
from fedbench.analysis.tables.summary import interval, summarise
from fedbench.analysis.tables.summary_view import render
from fedbench.errors import UserError
from fedbench.store import Results

NAN = float("nan")


def run(setting="fedavg", seed=0, partition="p0", seconds=60.0, steps=10):
    return {
        "run_id": f"toy.{setting}.s{seed}", "dataset": "toy", "setting": setting, "seed": seed, "partition": partition,
        "seconds": seconds, "steps": steps, "fold": -1, "unseen": "",
    }  # fmt: skip


def score(patient, dice, *, setting="fedavg", seed=0, client="CT", modality="CT", deployment="global", **other):
    return {
        "dataset": "toy", "setting": setting, "seed": seed, "client": client, "deployment": deployment,
        "selection": "last", "relation": "in" if client == modality else "cross", "patient": patient,
        "case": f"{patient}/{modality}", "class": "organ", "dice": dice, "hd95": 10 * dice, "flag": "",
        "unseen": "", "unit": "mm",
    } | other  # fmt: skip


def traffic(setting="fedavg", seed=0, up=(100, 200), down=(10, 20), rounds=2):
    return [
        {
            "run_id": f"toy.{setting}.s{seed}", "dataset": "toy", "setting": setting, "seed": seed, "round": r,
            "client": f"c{i}", "metric": metric, "value": float(sizes[i]), "unseen": "",
        }
        for r, i, (metric, sizes) in product(range(rounds), range(2), [("bytes up", up), ("bytes down", down)])
    ]  # fmt: skip


def results(runs, cases, rounds=None):
    return Results(pd.DataFrame(runs), pd.DataFrame(cases), pd.DataFrame(traffic() if rounds is None else rounds))


def both_modalities(patient, **other):
    """One global model of two clients: every case is listed once per client."""
    return [
        score(patient, 0.5, client=client, modality=modality, **other)
        for client, modality in product(("CT", "MR"), repeat=2)
    ]


def test_seeds_are_averaged_before_the_patient_and_patients_before_the_mean():
    # Patient A, two cases: 0.2 and 0.8 with seed 0 -> 0.5, 0.4 and 1.0 with seed 1 -> 0.7; the patient is 0.6.
    # Patient B, one case: 0.1 and 0.1 -> 0.1. Mean over patients 0.35; over all rows it would be 0.433.
    cases = [
        score("A", 0.2, seed=0), score("A", 0.4, seed=1),
        score("A", 0.8, seed=0, case="A/CT-2"), score("A", 1.0, seed=1, case="A/CT-2"),
        score("B", 0.1, seed=0), score("B", 0.1, seed=1),
    ]  # fmt: skip
    row = summarise(results([run(seed=0), run(seed=1)], cases), "toy").loc[0]
    assert row["in-modality Dice"] == pytest.approx(0.35)
    assert row["in-modality HD95 (mm)"] == pytest.approx(3.5)
    assert (row["patients"], row["seeds"]) == (2, 2)


def test_relations_selections_and_datasets_are_kept_apart():
    cases = [score("A", 0.8), score("A", 0.2, modality="MR"), score("A", 0.0, selection="best-validation")]
    cases.append(score("A", 0.0, dataset="other"))
    frame = summarise(results([run()], cases), "toy")
    assert frame.loc[0, "in-modality Dice"] == 0.8
    assert frame.loc[0, "cross-modality Dice"] == 0.2
    assert not any("unseen" in column for column in frame.columns)
    best = summarise(results([run()], cases), "toy", "best-validation")
    assert best.loc[0, "in-modality Dice"] == 0.0
    assert "cross-modality Dice" not in best


def test_unseen_modality_gets_columns_where_there_is_one():
    cases = [score("A", 0.8), score("A", 0.3, modality="PET", relation="unseen")]
    assert summarise(results([run()], cases), "toy").loc[0, "unseen-modality Dice"] == 0.3


def test_empty_against_empty_is_counted_and_left_out():
    cases = [
        score("A", 0.6), score("A", NAN, flag="both-empty", **{"class": "cyst"}),
        score("B", 0.0, flag="missed"), score("B", 0.0, flag="false-alarm", **{"class": "cyst"}),
        score("C", NAN, flag="both-empty"),
    ]  # fmt: skip
    row = summarise(results([run()], cases), "toy").loc[0]
    assert row["in-modality Dice"] == pytest.approx(0.3)  # A 0.6, B 0, C has no score
    assert list(row[["missed", "false-alarm", "not applicable", "scores", "patients"]]) == [1, 1, 2, 5, 2]


def test_patients_without_the_structure_are_left_out_for_silent_and_for_alarmed_algorithms_alike():
    """A, B and C have it, D, E and F do not: moon raises a false alarm in each and keeps its 0.8, as in the report."""
    have = [score(p, d, setting=s) for s, d in (("fedavg", 0.7), ("moon", 0.8)) for p in "ABC"]
    silent = [score(p, NAN, flag="both-empty") for p in "DEF"]
    alarmed = [score(p, 0.0, setting="moon", flag="false-alarm") for p in "DEF"]
    cross = [score(p, 0.5, setting=s, modality="MR") for s in ("fedavg", "moon") for p in "ABCD"]
    found = results([run(), run("moon")], have + silent + alarmed + cross)
    frame = summarise(found, "toy").set_index("setting")
    assert frame["in-modality Dice"].to_dict() == pytest.approx({"fedavg": 0.7, "moon": 0.8})
    assert frame["patients"].to_dict() == {"fedavg": 4, "moon": 4} and frame.loc["moon", "false-alarm"] == 3
    note = "in-modality: 3 patients not in the means, no structure in the truth (D, E, F)."
    assert note in summarise(found, "toy").attrs["notes"]


def test_the_note_on_false_alarms_holds_for_a_patient_without_any_structure():
    """All false alarms are A6's: the count says 1, and no Dice 0 is in the mean."""
    cases = [score(p, 0.5) for p in ("A1", "A2", "A3")] + [score("A6", 0.0, flag="false-alarm")]
    frame = summarise(results([run()], cases), "toy")
    assert frame.loc[0, "in-modality Dice"] == 0.5 and frame.loc[0, "false-alarm"] == 1
    console = Console(file=io.StringIO(), width=200)
    render(frame, "toy", console)
    told = " ".join(console.file.getvalue().split())
    assert "enter the means as Dice 0 and HD95 = image diagonal, unless the patient has no structure at all." in told
    assert "1 patient not in the means, no structure in the truth (A6)" in told


def test_a_shared_models_flags_count_once_and_personal_models_each():
    shared = both_modalities("A", flag="missed")
    personal = both_modalities("A", flag="missed", deployment="personal")
    frame = summarise(results([run()], personal + shared), "toy")
    assert list(frame["deployment"]) == ["global", "personal"]
    assert list(frame["missed"]) == [2, 4]  # two cases by one model, two cases by two models
    assert list(frame["scores"]) == [2, 4]


def test_each_seed_of_a_shared_model_counts():
    cases = both_modalities("A", flag="missed") + both_modalities("A", flag="missed", seed=1)
    assert summarise(results([run(), run(seed=1)], cases), "toy").loc[0, "missed"] == 4


def test_a_variant_with_one_model_per_client_is_not_taken_for_a_shared_one():
    cases = both_modalities("A", deployment="fine-tuned")
    cases[0]["dice"] = 0.7
    assert summarise(results([run()], cases), "toy").loc[0, "scores"] == 4


def test_costs_are_summed_over_clients_and_averaged_over_rounds_and_runs():
    rounds = traffic() + traffic(seed=1, up=(0, 0), down=(5, 5))
    runs = [run(seconds=60.0), run(seed=1, seconds=90.0)]
    row = summarise(results(runs, [score("A", 0.5)], rounds), "toy").loc[0]
    assert row["bytes per round"] == (330 + 10) / 2
    assert row["seconds per run"] == 75.0


def test_interval_agrees_with_scipy():
    values = np.array([0.1, 0.5, 0.7, 0.72, 0.9])
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=2000, random_state=np.random.default_rng(0)
    ).confidence_interval
    assert interval(values) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert interval(values) == interval(values)
    cases = [score(f"P{i}", value) for i, value in enumerate(values)]
    row = summarise(results([run()], cases), "toy").loc[0]
    assert (row["in-modality Dice low"], row["in-modality Dice high"]) == interval(values)


@pytest.mark.filterwarnings("error")
def test_equal_values_have_a_zero_width_interval():
    assert interval(np.full(5, 0.3)) == (0.3, 0.3)


def test_fewer_than_three_patients_have_no_interval():
    frame = summarise(results([run()], [score("A", 0.1), score("B", 0.2)]), "toy")
    assert np.isnan(frame.loc[0, ["in-modality Dice low", "in-modality Dice high"]].astype(float)).all()
    assert "No interval with fewer than 3 patients." in frame.attrs["notes"]


def test_different_partitions_are_refused():
    runs = [run(), run("fedbn", partition="p1")]
    cases = [score("A", 0.5), score("A", 0.5, setting="fedbn")]
    with pytest.raises(UserError, match=r"seed 0: the partitions differ \(p0: fedavg; p1: fedbn\)"):
        summarise(results(runs, cases), "toy")
    assert len(summarise(results([run(), run("fedbn", seed=1, partition="p1")], cases), "toy")) == 2


def test_a_setting_that_ran_twice_on_one_seed_is_refused():
    runs = [run(), run() | {"run_id": "toy.fedavg.s0.again"}]
    with pytest.raises(UserError, match=r"'fedavg' ran more than once.*toy\.fedavg\.s0, toy\.fedavg\.s0\.again"):
        summarise(results(runs, [score("A", 0.5)]), "toy")


def test_unequal_seeds_missing_runs_and_unequal_budgets_are_noted():
    runs = [run(), run(seed=1), run("fedbn", steps=20)]
    cases = [score("A", 0.5), score("A", 0.5, seed=1), score("A", 0.5, setting="fedbn")]
    frame = summarise(results(runs, cases), "toy", order=["moon", "fedbn"])
    assert list(frame["setting"]) == ["moon", "fedbn", "fedavg"]
    assert list(frame["deployment"]) == ["none", "global", "global"]
    assert list(frame["seeds"]) == [0, 1, 2]
    notes = "\n".join(frame.attrs["notes"])
    assert "moon: no finished run." in notes
    assert "fedbn: seed 1 missing or not finished; its means are over 1 of 2 seeds" in notes
    assert "(10: fedavg; 20: fedbn)" in notes


def test_steps_that_differ_between_folds_alone_are_no_unequal_budgets():
    """Folds train on different images; all algorithms of a fold take as many steps."""
    of_fold = {0: 10, 1: 12}
    runs = [
        run(s, steps=n) | {"fold": f, "run_id": f"{s}.{f}"} for s in ("fedavg", "fedbn") for f, n in of_fold.items()
    ]
    cases = [
        score(f"{f}", 0.5, setting=s) | {"fold": f, "run_id": f"{s}.{f}"} for s in ("fedavg", "fedbn") for f in of_fold
    ]
    notes = "\n".join(summarise(results(runs, cases), "toy").attrs["notes"])
    assert "the same for all algorithms of a seed and fold; between folds they differ (10 to 12)" in notes
    assert "budgets are not equal" not in notes


def test_nothing_to_summarise_is_a_message():
    with pytest.raises(UserError, match="no finished run of dataset 'other'"):
        summarise(results([run()], [score("A", 0.5)]), "other")
    with pytest.raises(UserError, match="no finished run"):
        summarise(Results(pd.DataFrame(), pd.DataFrame(), pd.DataFrame()), "toy")
    with pytest.raises(UserError, match="no scores of selection 'best'"):
        summarise(results([run()], [score("A", 0.5)]), "toy", "best")


def four_patients(setting):
    return [score(p, d, setting=setting, modality=m) for p, d in zip("ABCD", (0.6, 0.7, 0.8, 0.9), strict=True)
            for m in ("CT", "MR")]  # fmt: skip


@pytest.mark.parametrize("width", [200, 100, 80])
def test_render_fits_the_console_and_keeps_every_number(width):
    setting = "fedprox[mu=0.1]"
    frame = summarise(results([run(setting)], four_patients(setting), traffic(setting)), "toy", order=[setting, "moon"])
    stream = io.StringIO()
    render(frame, "toy", Console(file=stream, width=width))
    text = stream.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    for part in (
        "toy (last round)",
        "4 patients; 1 seed",
        setting,
        "0.750",
        "7.5",
        "330 B",
        "1:00",
        "moon: no finished",
    ):
        assert part in text
    assert ("0.750 [" in text) == (width == 200)


@pytest.mark.parametrize("width", [80, 60])
def test_names_are_folded_where_they_have_a_joint_and_numbers_stay_whole(width):
    setting = "fedda-cyclic[exchange=features,lam=0.05]"
    frame = summarise(results([run(setting)], four_patients(setting), traffic(setting)), "toy")
    stream = io.StringIO()
    render(frame, "toy", Console(file=stream, width=width))
    text = stream.getvalue()
    for whole in ("fedda-cyclic ", "[exchange=", "features,", "lam=0.05]", "0.750", "[0.62, 0.83]"):
        assert whole in text, text


def test_render_does_not_name_the_selection_twice():
    stream = io.StringIO()
    frame = summarise(results([run()], four_patients("fedavg")), "toy")
    render(frame, "toy (last round)", Console(file=stream, width=200))
    assert stream.getvalue().startswith("toy (last round)\n")


def test_every_column_is_printed_and_every_note():
    setting = "fedavg[a|b]"
    frame = summarise(results([run(setting)], [score("A", 0.5, setting=setting)], traffic(setting)), "toy")
    stream = io.StringIO()
    render(frame, "toy", Console(file=stream, width=300))
    lines = stream.getvalue().splitlines()
    (row,) = (line for line in lines if line.startswith(setting))
    assert row.split() == f"{setting} global 0.500 5.0 0 0 0 1 330 B 1:00".split()
    assert "1 patient; 1 seed" in lines[1] and lines[-1] == "! No interval with fewer than 3 patients."


def test_units():
    assert [human_bytes(n) for n in (0, 330, 1_990_180, 7.9e9, NAN)] == ["0 B", "330 B", "1.99 MB", "7.9 GB", "–"]
    assert [minutes(s) for s in (0, 59.6, 75, 7200, NAN)] == ["0:00", "1:00", "1:15", "120:00", "–"]
