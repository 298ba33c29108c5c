"""How hyper-parameters were chosen, published beside the runs: the paper tells it from the trials themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.loading import read_evidence, read_manifest
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.study import Study, read_study, study_of
from fedbench.analysis.paper.tuning import describe_tuning, tuning_table
from fedbench.analysis.publishing import publish
from fedbench.analysis.tables.formats import latex
from fedbench.errors import UserError
from fedbench.suite import make_suite
from fedbench.tuning.table import write_trials
from fedbench.tuning.trials import Trial, Tuned
from tests.analysis.evidence_rows import evidence, write_store

TOY = Condition("toy")
ALGORITHMS = ("fedavg", "fedprox")


def trial(algorithm, number, point, dice, possible, stage="own", chosen=False) -> Trial:
    return Trial(stage, algorithm, number, point, algorithm, possible, (f"run{number}",), {"toy": dice}, chosen)


@pytest.fixture
def trials(tmp_path) -> Path:
    """The folder of a tuning: FedProx gained 0.125, one of its three trials diverged, FedAvg had nothing to tune."""
    tuned = Tuned(
        make_suite({"algorithms": list(ALGORITHMS), "datasets": ["phantom-heart"], "tuning": {"trials": 3}}),
        "fedavg",
        (
            trial("fedavg", 0, {"training.lr": 0.001}, 0.5, 2, "shared"),
            trial("fedavg", 1, {"training.lr": 0.003}, 0.625, 2, "shared", chosen=True),
            trial("fedavg", 0, {}, 0.625, 1, chosen=True),
            trial("fedprox", 0, {"mu": 0.01}, 0.25, 4),
            trial("fedprox", 1, {"mu": 1.0}, None, 4),
            trial("fedprox", 2, {"mu": 0.1}, 0.375, 4, chosen=True),
        ),
        {"training.lr": 0.003},
        {"fedavg": "fedavg", "fedprox": "fedprox[mu=0.1]"},
    )
    folder = tmp_path / "tuning"
    folder.mkdir()
    write_trials(tuned, folder)
    return folder


@pytest.fixture
def runs(tmp_path) -> Path:
    return made(tmp_path / "runs")


def made(folder: Path, condition: Condition = TOY, algorithms: Sequence[str] = ALGORITHMS, lr: float = 0.003) -> Path:
    found = evidence((condition,), algorithms, patients=4)
    identities = [json.dumps(json.loads(text) | {"training": {"lr": lr}}) for text in found.runs["identity"]]
    return write_store(folder, replace(found, runs=found.runs.assign(identity=identities)))


@pytest.fixture
def study(runs, trials, tmp_path) -> Study:
    publish.publish(Analyses(read_evidence(runs)), tmp_path / "published" / "ours", trials=trials)
    publish.publish(Analyses(read_evidence(runs)), tmp_path / "published" / "without")
    return read_study(tmp_path / "published")


def told(study: Study) -> str:
    numbers = Numbers()
    describe_tuning(numbers, study)
    return plain(numbers, numbers.text("tuning"))


def test_trials_are_published_byte_for_byte_with_a_checksum(study, trials, tmp_path):
    ours = tmp_path / "published" / "ours"
    names = {"trials.parquet", "trials.csv", "trials.md"}
    assert names <= set(read_manifest(ours)["sha256"])
    assert all((ours / name).read_bytes() == (trials / name).read_bytes() for name in names)
    pd.testing.assert_frame_equal(study.trials["ours"], pd.read_parquet(trials / "trials.parquet"))


def test_the_paper_counts_trials_and_names_what_was_not_tuned(study):
    text = told(study)
    assert "training.lr was chosen from 2 trials with fedavg" in text
    assert "own hyper-parameters from 3 trials, the default first" in text
    assert "the mean validation Dice of the last round" in text
    assert "No trials are published with without: hyper-parameters are those that its suite names, " in text


def test_fewer_values_than_trials_are_said_to_be_all_there_are(study):
    frame = study.trials["ours"]
    fewer = frame[(frame["algorithm"] != "fedprox") | (frame["trial"] != 1)]
    assert "from 2 trials (all there are, where these are fewer)" in told(replace(study, trials={"ours": fewer}))


def test_nothing_published_is_said(study):
    assert told(replace(study, trials={})).startswith("No trials are published")


def test_the_table_shows_the_defaults_score_and_the_best_one(study):
    table = tuning_table(study.trials)
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows == [
        ["ours", "shared, with fedavg", "2", "0.500", "0.625", "training.lr = 0.003"],
        ["ours", "fedprox", "3", "0.250", "0.375", "mu = 0.1"],
    ]
    assert table.notes == ("Nothing to tune: fedavg.",)
    assert "0.375" in latex(table, "table")


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"condition": Condition("other")}, r"holds trials on toy, these are runs on other"),
        ({"algorithms": ("fedavg", "moon")}, r"did not choose moon"),
        ({"lr": 0.01}, r"chose training\.lr = 0\.003, the runs have 0\.01"),
    ],
)
def test_trials_that_did_not_choose_what_was_run_are_refused(tmp_path, trials, of, reason):
    runs = made(tmp_path / "others", **of)
    with pytest.raises(UserError, match=reason):
        publish.publish(Analyses(read_evidence(runs)), tmp_path / "published" / "ours", trials=trials)
    assert not (tmp_path / "published" / "ours").exists()


def test_a_folder_without_trials_is_refused_and_nothing_is_published(runs, tmp_path):
    with pytest.raises(UserError, match=r"no table of trials \(trials\.parquet, .*OUT/tuning/SUITE"):
        publish.publish(Analyses(read_evidence(runs)), tmp_path / "published" / "ours", trials=tmp_path)
    assert not (tmp_path / "published" / "ours").exists()


def frame(**trials: list[tuple[float, float]]) -> pd.DataFrame:
    """Trials of each algorithm: value of its parameter, and score; the best is chosen."""
    rows = [
        {"stage": "own", "algorithm": name, "possible": len(own), "asked": 4, "trial": i,
         "rule": "last-validation-dice",
         "parameters": json.dumps({"lam": value}), "score": score, "chosen": score == max(s for _, s in own)}
        for name, own in trials.items() for i, (value, score) in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def limit_of(found: Evidence, **trials: list[tuple[float, float]]) -> str:
    study = replace(study_of([("", found)], None, {"ours": ""}, {TOY: "ours"}), trials={"ours": frame(**trials)})
    numbers = Numbers()
    describe_tuning(numbers, study)
    return plain(numbers, numbers.text("limit", "tuning"))


def test_choices_at_an_end_of_what_was_tried_are_counted():
    tried = {"fedprox": [(0.1, 0.5), (0.01, 0.6)], "moon": [(1, 0.5), (2, 0.6), (3, 0.5)], "fedavg": [(0, 0.5)]}
    assert limit_of(evidence((TOY,)), **tried) == (
        "In 1 of 2 choices the chosen value is the smallest or the largest that was tried."
    )
    assert limit_of(evidence((TOY,)), moon=tried["moon"], fedavg=tried["fedavg"]) == ""


def test_a_lead_in_trials_that_runs_do_not_show_is_told():
    """FedDA leads by 0.2 in validation; the runs give it about 0.03, or what the trials promised."""
    tried = {"fedavg": [(0, 0.5)], "fedda-joint": [(1, 0.6), (2, 0.7), (3, 0.5)]}
    text = limit_of(evidence((TOY,)), **tried)
    assert "FedDA's choices led fedavg by up to +0.200 in validation Dice, and by no more than +0.0" in text
    assert "led" not in limit_of(evidence((TOY,)), fedavg=[(0, 0.7)], **{"fedda-joint": tried["fedda-joint"]})
    assert limit_of(evidence((TOY,), ("fedavg", "moon")), **tried) == ""
