"""``tune``: equal trials, the default first, no test case, resumable; what it writes can be run."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from fedbench.config import DataConfig
from fedbench.data.prepared import load
from fedbench.federation import partition
from fedbench.files import sha256
from fedbench.store import load_results
from fedbench.suite import read_suite
from tests import plugins
from tests.faults.machine import finish, kill_at, start
from tests.toys import TOY, full, refused, write_toy

SUITE = """
algorithms = {algorithms}
datasets = ["{dataset}"]
seeds = [0, 1]
[model]
name = "unet"
channels = [4, 8]
[training]
rounds = {rounds}
precision = "fp32"
[tuning]
trials = 3
{tuning}
"""
LR = '[tuning.shared]\n"training.lr" = [1e-3, 1e-2]\n'

CHOOSY = '''
"""Learns nothing from ``idle``, diverges with ``broken``."""
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

class Choosy(FedAvg):
    """Diverges if told to."""
    name = "choosy"

    class Params(FedAvg.Params):
        broken: int = hyperparameter({default}, search=[0, 1])
        idle: int = hyperparameter(2, search=[1, 2])

    def loss(self, step):
        loss = super().loss(step)
        return step.log("odd", loss * float("nan")) if self.params.broken else loss
'''


def suite_file(
    folder: Path, dataset: str, *algorithms: str, tuning: str = "", rounds: int = 2, name: str = "mine"
) -> str:
    file = folder / f"{name}.toml"
    file.write_text(SUITE.format(algorithms=json.dumps(algorithms), dataset=dataset, tuning=tuning, rounds=rounds))
    return str(file)


def trials(folder: Path = Path("results/runs/tuning/mine")) -> pd.DataFrame:
    return pd.read_parquet(folder / "trials.parquet")


@pytest.fixture
def data(tmp_path):
    return f"{TOY}={write_toy(tmp_path / 'toy', full(24))}"


def test_tuned_from_end_to_end(fedbench, tmp_path, data):
    """Shared values on FedAvg, then as many trials for each; the tuned suite runs as it is."""
    file = suite_file(tmp_path, data, "local", "fedprox", "fedprox[mu=0.3]", "fedadam", tuning=LR)
    status, _, err = fedbench("tune", file, "--workers", "0", "--seed", "5")
    assert status == 0, err
    for command in (("tables", "--from"), ("report", "--from"), ("publish", "mine", "--from"), ("summary", "--out")):
        refused(fedbench(*command, "results/runs/tuning/mine"), "trials of `fedbench tune`", "read trials.md")
    table = trials()
    one, other = table["runs"].iloc[:2]
    status, out, err = fedbench("diff", one, other, "--out", "results/runs/tuning/mine")
    assert status == 0 and f"trials of `fedbench tune` have no test cases: {one}, {other}" in out, err
    assert {k: len(own) for k, own in table[table["stage"] == "own"].groupby("algorithm", sort=False)} == {
        "local": 1, "fedprox": 3, "fedprox[mu=0.3]": 1, "fedadam": 3
    }  # fmt: skip
    assert (table["asked"] == 3).all() and list(table.drop_duplicates("algorithm")["possible"]) == [2, 1, 4, 1, 15]
    first = table[table["trial"] == 0].set_index(["stage", "algorithm"])["parameters"]
    assert first["shared", "fedavg"] == '{"training.lr":0.001}' and first["own", "fedprox"] == '{"mu":0.01}'
    assert first["own", "fedadam"] == '{"eta":0.01,"tau":0.001}' and first["own", "local"] == "{}"
    for _, own in table.groupby(["stage", "algorithm"]):
        best = own.loc[own["chosen"]]
        assert len(best) == 1 and best.iloc[0]["score"] == own["score"].max()
        assert own["parameters"].is_unique

    folder = Path("results/runs/tuning/mine")
    written = (folder / "mine-tuned.toml").read_text()
    values = tomllib.loads(written)
    settings = table[(table["stage"] == "own") & table["chosen"]]["setting"]
    shared = json.loads(table[(table["stage"] == "shared") & table["chosen"]].iloc[0]["parameters"])
    assert values["algorithms"] == list(settings) and values["training"]["lr"] == shared["training.lr"]
    assert values["seeds"] == [0, 1] and values["training"]["rounds"] == 2 and values["tuning"]["draw_seed"] == 5
    assert f"sha256 {sha256(folder / 'trials.csv')}" in written
    assert list(pd.read_csv(folder / "trials.csv")["score"]) == list(table["score"])
    used = [json.loads((folder / run / "run.json").read_text()) for run in " ".join(table["runs"]).split()]
    assert {run["identity"]["seed"] for run in used} == {1000} and len({run["run_id"] for run in used}) == 2 + 8

    status, _, err = fedbench("run", "--suite", str(folder / "mine-tuned.toml"), "--workers", "0")
    assert status == 0, err
    results = load_results("results/runs")
    assert set(results.runs["setting"]) == set(settings) and len(results.runs) == 2 * len(settings)
    assert not results.runs["run_id"].str.contains("tuning").any()


def test_what_another_tuning_left_is_kept(fedbench, tmp_path, data):
    """Other trials of a suite of that name, and a tuned suite that was edited by hand."""
    folder = Path("results/runs/tuning/mine")
    tune = ("tune", suite_file(tmp_path, data, "local", "fedprox"), "--workers", "0", "--trials")
    assert fedbench(*tune, "1")[0] == 0
    edited, table = folder / "mine-tuned.toml", (folder / "trials.csv").read_text()
    edited.write_text(text := edited.read_text() + "# mine\n")
    status, out, err = fedbench(*tune, "2")
    assert status == 0 and "mine-tuned.toml was there; it is kept in results/runs/tuning/mine/earlier/" in out, err
    (copies,) = (folder / "earlier").iterdir()
    assert (copies / "mine-tuned.toml").read_text() == text and (copies / "trials.csv").read_text() == table
    assert edited.read_text() != text and (folder / "trials.csv").read_text() != table
    status, out, _ = fedbench(*tune, "2")
    assert status == 0 and "earlier" not in out and len(list((folder / "earlier").iterdir())) == 1


def test_where_the_data_lies_is_not_written(fedbench, tmp_path, data):
    file = suite_file(tmp_path, f"{TOY}=elsewhere", "fedprox")
    status, _, err = fedbench("tune", file, "-d", data, "--trials", "1", "--workers", "0", "--write", "out/tuned.toml")
    assert status == 0, err
    assert read_suite("out/tuned.toml").datasets == (f"{TOY}=elsewhere",)
    assert read_suite("out/tuned.toml").tuning.trials == 1


def test_a_suite_may_leave_its_dataset_to_the_command_line(fedbench, tmp_path, data):
    file = Path(suite_file(tmp_path, "", "fedprox[mu=1e-1]", "fedavg", "fedadam"))
    file.write_text(file.read_text().replace('datasets = [""]\n', ""))
    tune = ("tune", str(file), "-d", data, "--trials", "1", "--workers", "0")
    assert fedbench(*tune)[0] == 0
    assert read_suite("results/runs/tuning/mine/mine-tuned.toml").datasets == (data,)
    assert list(trials()["label"]) == ["fedprox[mu=0.1]", "fedavg", "fedadam"]
    assert fedbench("run", "--suite", "results/runs/tuning/mine/mine-tuned.toml", "--workers", "0")[0] == 0
    made = ("--suite", "results/runs/tuning/mine/mine-tuned.toml", "--trials", "results/runs/tuning/mine")
    status, _, err = fedbench("publish", "mine", *made, "--to", "published")
    assert status == 0, err


def test_damage_is_noticed(fedbench, tmp_path, data):
    """A trial whose result was changed is told and made again; one whose images were changed is not begun."""
    tune = ("tune", suite_file(tmp_path, data, "fedprox"), "--trials", "1", "--workers", "0")
    assert fedbench(*tune)[0] == 0
    (run,) = Path("results/runs/tuning/mine").glob("toy.*")
    (run / "rounds.parquet").write_bytes(b"")
    status, _, err = fedbench(*tune)
    assert status == 0 and f"damaged: {run.name}: rounds.parquet does not match" in err
    (prepared,) = Path("results/runs/.prepared").glob("toy-*/")
    case = next(case for case in partition(load(prepared), DataConfig(hide_test=True), 1000).clients[0].train)
    Path(f"{case.stem}.image.npy").chmod(0o644)
    Path(f"{case.stem}.image.npy").write_bytes(b"garbage")
    assert fedbench(*tune)[0] == 0
    refused(fedbench(*tune, "--set", "training.lr=0.5"), f"{Path(case.stem).name}.image.npy does not match")


def test_test_cases_are_out_of_reach(fedbench, tmp_path, data):
    """With garbage for the arrays of all test patients every number is the same; a run that is scored notices."""
    store = tmp_path / "store"
    assert fedbench("prepare", data, "--to", str(store))[0] == 0
    file = suite_file(tmp_path, f"{TOY}={store}", "fedprox", "fedbn", tuning=LR)
    assert fedbench("tune", file, "--workers", "0", "--out", "before")[0] == 0
    federation = partition(load(store), DataConfig(), 0)
    assert federation.test
    for case in federation.test:
        for part in ("image", "label"):
            Path(f"{case.stem}.{part}.npy").write_bytes(b"garbage")
    assert fedbench("tune", file, "--workers", "0", "--out", "after")[0] == 0
    for name in ("trials.csv", "trials.parquet", "trials.md", "mine-tuned.toml"):
        first, second = (Path(out, "tuning", "mine", name).read_bytes() for out in ("before", "after"))
        assert first == second, name
    runs = [run.parent for run in Path("after/tuning/mine").glob("*/run.json")]
    assert len(runs) == 2 + 3 + 1
    for run in runs:
        assert len(pd.read_parquet(run / "cases.parquet")) == 0
        assert json.loads((run / "run.json").read_text())["partition"]["test"] == []
    status, _, err = fedbench("run", "--suite", file, "--workers", "0", "--out", "scored")
    assert status == 2 and "does not match its checksum" in err


def test_killed_and_continued_with_ray_it_is_the_same_table(fedbench, tmp_path, data):
    """SIGKILL in the second stage; then to the end with Ray."""
    file = suite_file(tmp_path, data, "fedavg", "fedprox", tuning=LR, rounds=6)

    options = ("tune", file, "--checkpoint-seconds", "0")
    command = [sys.executable, "-m", "fedbench", *options, "--out", "killed"]
    assert fedbench(*options, "--out", "undisturbed", "--workers", "0")[0] == 0
    killed = tmp_path / "killed/tuning/mine"
    kill_at(killed, "*fedprox*/checkpoint.safetensors", start([*command, "--workers", "0"], tmp_path))
    done = {path: path.stat().st_mtime_ns for path in killed.glob("*/done")}
    assert done and not (killed / "trials.csv").exists()
    status, out, err = finish([*command, "--workers", "1"], tmp_path)
    assert status == 0, err
    assert "2 runs, 2 finished, 0 to do" in out
    assert done == {path: path.stat().st_mtime_ns for path in done}
    for name in ("trials.csv", "mine-tuned.toml"):
        assert (killed / name).read_bytes() == (tmp_path / "undisturbed/tuning/mine" / name).read_bytes()


def test_what_diverges_is_worst_and_equals_go_to_the_default(fedbench, tmp_path, data):
    """``idle`` changes nothing, so of the two finite trials, equal to the bit, the default is chosen."""
    choosy = plugins.write(tmp_path, "choosy", CHOOSY.format(default=0))
    file = suite_file(tmp_path, data, choosy)
    status, _, err = fedbench("tune", file, "--trials", "9", "--workers", "0")
    assert status == 0, err
    table = trials().set_index("parameters")
    assert len(table) == 4 and table["diverged"].sum() == 2
    assert table["diverged"].equals(table.index.to_series().str.contains('"broken":1'))
    assert len(set(table.loc[~table["diverged"], "score"])) == 1
    assert table[table["chosen"]]["trial"].tolist() == [0]
    assert "diverged" in Path("results/runs/tuning/mine/trials.md").read_text()
    assert tomllib.loads(Path("results/runs/tuning/mine/mine-tuned.toml").read_text())["algorithms"] == [choosy]
    status, out, _ = fedbench("tune", file, "--trials", "9", "--workers", "0")
    assert status == 0 and "4 runs, 4 finished, 0 to do" in out  # it would diverge again

    worse = plugins.write(tmp_path, "worse", CHOOSY.format(default=1))
    file = suite_file(tmp_path, data, f"{worse}[broken=1]", name="worse")
    refused(fedbench("tune", file, "--workers", "0"), "every trial of", "worse.py[broken=1] diverged")


def test_a_failure_that_is_no_divergence_chooses_nothing(fedbench, tmp_path, data):
    raising = plugins.write(tmp_path, "raising", plugins.RAISING)
    status, _, err = fedbench("tune", suite_file(tmp_path, data, "fedprox", raising), "--workers", "0")
    assert status == 1 and "the plugin broke" in err and "nothing was chosen" in err
    assert not list(Path("results/runs/tuning/mine").glob("*.toml"))


def test_a_name_or_file_that_is_refused_leaves_no_folder(fedbench, tmp_path, data):
    """A suite to write must be one that can be read, and lie apart from raw data."""
    tune = ("tune", suite_file(tmp_path, data, "fedprox"))
    refused(fedbench(*tune, "-d", "phantom-hart"), "did you mean 'phantom-heart'?")
    refused(fedbench(*tune, "--write", "tunedfile"), "--write tunedfile: the file's name must end in .toml")
    refused(fedbench(*tune, "--write", str(tmp_path / "toy/tuned.toml")), "--write", "which is only read")
    refused(fedbench("tune", "nosuch"), "no suite named 'nosuch'", "Or give a file, FILE.toml.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.toml", "toy"]


def test_an_impossible_algorithm_is_refused_before_the_shared_stage(fedbench, tmp_path, data):
    file = suite_file(tmp_path, data, "fedprox", "fedbn", tuning=LR)
    refused(fedbench("tune", file, "--workers", "0", "--set", "model.norm=instance"), "fedbn", "no BatchNorm layer")
    assert not list(Path("results").rglob("run.json"))


@pytest.mark.parametrize(
    ("algorithm", "tuning", "message"),
    [
        ("fedavg", "", "nothing to tune"),
        ("fedprox[mu=0.1]", '[tuning.shared]\n"training.lr" = [1e-3]', "nothing to tune"),
        ("fedprox", '[tuning.shared]\n"training.ler" = [1]', "did you mean 'training.lr'"),
        ("fedprox", 'rule = "best-test-dice"', "'tuning.rule' = 'best-test-dice' is refused"),
        ("fedproxx", "", "no algorithm named 'fedproxx'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(fedbench, tmp_path, algorithm, tuning, message):
    refused(fedbench("tune", suite_file(tmp_path, "phantom-heart", algorithm, tuning=tuning)), message)
    assert not list(Path("results").rglob("*.npy")) and not list(Path("results").rglob("run.json"))
