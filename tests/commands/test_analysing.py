"""``tables``, ``publish`` and ``calibrate`` as a user meets them: what they write, and what they refuse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench import load_results, store
from fedbench.analysis.evidence import Condition
from fedbench.analysis.loading import read_evidence, read_manifest
from fedbench.errors import UserError
from tests.analysis.evidence_rows import evidence, of_cases, write_store
from tests.analysis.score_rows import random_table
from tests.commands.test_preparing import TINY
from tests.toys import TOY, full, refused, write_toy

RUNS = Path("results/runs")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "calibration.md"


@pytest.fixture
def runs(fedbench, tmp_path) -> Path:
    """FedAvg and Moon on six patients; ``fedbench`` has moved to ``tmp_path``."""
    return write_store(RUNS, evidence((Condition("toy"),), ("fedavg", "moon"), seeds=(0, 1), patients=6))


def edited(folder: Path, change) -> None:
    """Change the scores of one run and seal it again, as a forger would."""
    change(cases := pd.read_parquet(folder / store.CASES))
    cases.to_parquet(folder / store.CASES, index=False)
    store.seal(folder)


def declare(folders: Iterable[Path], **declared: str) -> None:
    """Say what the suite of these runs declared."""
    for folder in folders:
        run = json.loads((folder / store.RUN).read_text())
        (folder / store.RUN).write_text(json.dumps(run | {"declared": {"suite": "toy", **declared}}))
        store.seal(folder)


# -- tables ----------------------------------------------------------------------------------------------------------


def test_tables_are_written_beside_the_results_or_where_one_says(fedbench, runs):
    status, out, err = fedbench("tables")
    assert (status, err) == (0, "") and re.match(r"\d+ tables, \d+ files in results/runs/tables\n", out)
    assert (RUNS / "tables" / "main.toy.tex").is_file()
    assert fedbench("tables", "--to", "elsewhere", "--reference", "moon")[0] == 0
    assert "fedavg,moon," in Path("elsewhere/pairs.toy.cross-dice.csv").read_text()
    assert fedbench("tables")[0] == 0  # its own folder is no run


def test_tables_of_published_results_are_the_same(fedbench, runs):
    assert fedbench("tables", "--to", "ours")[0] == 0
    status, out, _ = fedbench("publish", "study", "--title", "A study")
    assert status == 0 and "4 runs in" in out and "results/published/study" in out.replace("\n", "")
    assert "holds patient names as the data set gives them, and pictures" in out
    assert fedbench("tables", "--from", "results/published/study", "--to", "theirs")[0] == 0
    for file in Path("ours").iterdir():
        assert file.read_bytes() == (Path("theirs") / file.name).read_bytes()


def test_published_results_are_read_as_runs_are(fedbench, runs):
    assert fedbench("publish", "study")[0] == 0
    published = Path("results/published")
    ours, theirs = load_results(RUNS), load_results(published / "study")
    columns = ["run_id", "setting", "fold"]
    for mine, kept in zip(ours, theirs, strict=True):
        assert mine[columns].to_dict("list") == kept[columns].to_dict("list")
    some = list(ours.runs["run_id"])[:1]
    assert set(load_results(published / "study", some).cases["run_id"]) == set(some)
    assert fedbench("summary", "--from", str(published / "study"))[1] == fedbench("summary")[1]
    with pytest.raises(UserError, match=r"manifest\.json: it is a file; name the folder"):
        load_results(published / "study" / "manifest.json")
    with pytest.raises(UserError, match=r"it is a folder of publications; name one: .*study"):
        load_results(published)


def two_rates(runs: Path) -> list[str]:
    """Let every run have a learning rate of 0.01, and the first of moon another one beside it; return the two ids."""
    for folder in runs.glob("toy.*"):
        with_rate(folder, 0.01)
    folder = next(runs.glob("toy.moon.s0*"))
    shutil.copytree(folder, again := folder.with_name("toy.moon.s0.ba9876543210"))
    with_rate(again, 0.02)
    return [folder.name, again.name]


def with_rate(folder: Path, lr: float) -> None:
    run = json.loads((folder / store.RUN).read_text())
    run["identity"]["training"] = {"lr": lr}
    (folder / store.RUN).write_text(json.dumps(run))
    store.seal(folder)


def test_runs_that_no_table_puts_together_are_loaded_with_a_warning_that_names_what_differs(fedbench, runs):
    ids = two_rates(runs)
    with pytest.warns(UserWarning, match=r"'moon' ran more than once.*training\.lr 0\.01 and 0\.02.*run_ids") as told:
        found = load_results(runs)
    assert len(told) == 1 and told[0].filename == __file__ and all(run_id in str(told[0].message) for run_id in ids)
    assert set(ids) < set(found.runs["run_id"])  # every row all the same
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = load_results(runs, [run_id for run_id in found.runs["run_id"] if run_id != ids[1]])
    rates = {json.loads(text)["training"]["lr"] for text in chosen.runs["identity"]}
    assert len(chosen.runs) == 4 and rates == {0.01}


def test_no_results(fedbench, runs, tmp_path):
    refused(fedbench("tables", "--from", "nowhere"), "no such folder", "fedbench run")
    (tmp_path / "empty").mkdir()
    assert fedbench("publish", "study")[0] == 0
    Path("tuned/tuning/mine/toy.fedavg.s1000.tuning.0123456789ab").mkdir(parents=True)
    for command in ("tables", "summary"):
        refused(fedbench(command, "--from", "empty"), "no finished run in empty; start with `fedbench run --all --out")
        refused(fedbench(command, "--from", "results/published"), "name one: results/published/study")
        refused(fedbench(command, "--from", "tuned"), "keeps its trials", "in tuned/tuning/mine")
    refused(fedbench("summary", "--all", "--from", "empty"), "no finished run in empty")
    assert not list(Path("empty").iterdir())  # no data was prepared
    (tmp_path / "data" / "P01").mkdir(parents=True)
    for command in ("tables", "summary"):
        status, _, err = fedbench(command, "--from", "data")
        assert status == 2 and "it holds other things: name the folder" in err and "fedbench run --all" not in err
    assert "data; it holds other things: name the folder" in fedbench("status", "--out", "data")[1]
    for folder, said in (("empty", "start with"), ("tuned", "tuned/tuning/mine"), ("results/published", "name one")):
        assert f"no runs yet in {folder}" in (out := fedbench("status", "--out", folder)[1]) and said in out
        assert not (Path(folder) / ".locks").exists()


def test_commands_that_need_runs_say_what_a_published_folder_is_for(fedbench, runs):
    assert fedbench("publish", "study")[0] == 0
    one, two = (f"toy.{algorithm}.s0" for algorithm in ("fedavg", "moon"))
    for command in (("show", one), ("diff", one, two)):
        refused(
            fedbench(*command, "--from", "results/published/study"), "no runs in results/published/study: it holds "
            "published results; summary, tables, figures, report and verify read them",
        )  # fmt: skip
    for command in (("show", one), ("diff", one, two), ("verify", one)):
        refused(fedbench(*command, "--from", "results/published"), "name one: results/published/study")
    assert "summary, tables, figures" in fedbench("status", "--from", "results/published/study")[1]
    words = "no single finished run 'nix' in results/published/study; it holds toy.fedavg.s0."
    refused(fedbench("verify", "nix", "--from", "results/published/study"), words)
    refused(fedbench("show", "nix"), "see `fedbench status --out results/runs`")


def test_a_place_that_takes_no_files_is_named_before_the_work(fedbench, runs):
    Path("file.toml").write_text("mine")
    for command in (("tables",), ("figures", "--only", "forest"), ("report",), ("publish", "study")):
        refused(fedbench(*command, "--to", "file.toml/x"), "--to file.toml/x", "Not a directory", "another folder")
        refused(fedbench(*command, "--to", "/proc/nix"), "--to /proc/nix: cannot write to /proc/nix")
    assert not (RUNS / "tables").exists() and Path("file.toml").read_text() == "mine"
    refused(fedbench("calibrate", "--to", "file.toml"), "--to file.toml: the file's name must end in .md")
    refused(fedbench("paper", "--from", "results/published", "--to", "/proc/nix"), "cannot write to /proc/nix")
    assert fedbench("tables", "--to", "new/place")[0] == 0


def test_runs_that_cannot_stand_in_one_table_are_refused_with_the_way_out(fedbench, runs):
    folder = next(runs.glob("toy.moon.s1*"))
    shutil.copytree(folder, again := folder.with_name("toy.moon.s1.ba9876543210"))
    store.seal(again)
    refused(fedbench("tables"), "'moon' ran more than once", "--suite FILE takes the runs of one suite")
    refused(fedbench("summary"), "'moon' ran more than once", "--suite FILE takes the runs of one suite")


def test_a_refusal_names_what_differs_and_no_other_command(fedbench, runs):
    first, second = sorted(two_rates(runs))
    values = "0.01 and 0.02" if second.endswith("ba9876543210") else "0.02 and 0.01"
    for command in ("tables", "report", "figures"):
        said = f"in this order, training.lr {values}; `fedbench diff {first} {second}` shows all"
        status = fedbench(command)
        refused(status, said, "--suite FILE takes the runs of one suite")
        assert "fedbench tables --from" not in status[2]
    refused(fedbench("summary"), f"training.lr {values}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--selection", "lats"), "choose last, best-validation"),
        (("--missing", "ignore"), "choose refuse, worst, complete-cases"),
        (("--reference", "fedavgg"), "did you mean 'fedavg'?"),
        (("--selection", "best-validation"), "no scores of selection 'best-validation'"),
    ],
)
def test_options_that_do_not_fit(fedbench, runs, arguments, said):
    refused(fedbench("tables", *arguments), said)


def test_a_partial_store_is_refused_unless_one_says_how(fedbench, runs):
    (next(runs.glob("toy.moon.s1*")) / store.DONE).unlink()
    refused(fedbench("tables"), "moon: seed 1", "--missing worst or --missing complete-cases")
    for way, said in (("worst", "set to the worst value, 0"), ("complete-cases", "1 of 2 seeds")):
        assert fedbench("tables", "--missing", way, "--to", way)[0] == 0
        page = Path(way, "main.toy.md").read_text()
        assert said in page and "moon: seed 1" in page
    assert "moon seed 1" in Path("worst/runs.md").read_text()
    assert "Not finished: toy.moon.s1" in Path("worst/runs.md").read_text()


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (random_table(["fedavg"], 8), "only one algorithm (fedavg); a comparison needs two"),
        (random_table(["fedavg", "moon"], 1), "1 patient with scores"),
    ],
)
def test_too_little_to_compare(fedbench, cases, said):
    write_store(RUNS, of_cases(cases))
    refused(fedbench("tables"), said)


def test_all_ties_are_no_problem(fedbench):
    cases = random_table(["fedavg", "moon"], 8)
    cases[["dice", "nsd", "hd95"]] = [0.5, 0.5, 5.0]
    write_store(RUNS, of_cases(cases))
    assert fedbench("tables")[0] == 0
    assert "1.000" in (RUNS / "tables" / "pairs.toy.cross-dice.md").read_text()


def test_columns_without_numbers_are_refused(fedbench, runs):
    edited(next(runs.glob("toy.moon.s1*")), lambda cases: cases.__setitem__("nsd", np.nan))
    refused(fedbench("tables"), "toy.moon.s1", "column 'nsd'", "no number")


def test_mixed_partitions_are_refused(fedbench, runs):
    folder = next(runs.glob("toy.moon.s1*"))
    run = json.loads((folder / store.RUN).read_text())
    run["identity"]["partition"] = "another"
    (folder / store.RUN).write_text(json.dumps(run))
    store.seal(folder)
    refused(fedbench("tables"), "the partitions differ", "another: moon")


def test_runs_that_were_declared_differently_are_told_with_what_is_taken(fedbench, runs):
    declare(runs.glob("toy.*.s0*"), selection="last", relation="cross", metric="dice", reference="fedavg")
    assert fedbench("tables")[2] == ""
    declare(runs.glob("toy.*.s1*"), selection="best-validation", relation="in", metric="dice", reference="moon")
    status, _, err = fedbench("tables")
    assert status == 0 and err.splitlines() == [
        "runs were declared with reference = fedavg (2 runs) or moon (2 runs): fedavg is taken by default.",
        "runs were declared with selection = best-validation (2 runs) or last (2 runs): last is taken by default.",
        "toy: runs were declared with relation = cross (2 runs) or in (2 runs): cross is taken.",
    ]
    assert len(fedbench("tables", "--reference", "moon", "--selection", "last")[2].splitlines()) == 1
    assert "or moon (2 runs): fedavg is taken" in fedbench("publish", "study")[2]


def test_a_declared_reference_without_scores_is_refused_with_the_way_out(fedbench, runs):
    declare(runs.glob("toy.*"), selection="last", reference="fedprox")
    for command in (("tables",), ("publish", "study")):
        refused(
            fedbench(*command), "declared by the suite these runs were made with", "choose another with --reference"
        )
        assert fedbench(*command, "--reference", "moon")[0] == 0
    refused(fedbench("tables", "--reference", "fedprox"), "no scores of the reference algorithm 'fedprox'")
    assert "declared" not in fedbench("tables", "--reference", "fedprox")[2]


def test_a_damaged_run_is_refused(fedbench, runs):
    folder = next(runs.glob("toy.moon.s1*"))
    pd.read_parquet(folder / store.CASES).assign(dice=0.9).to_parquet(folder / store.CASES)
    refused(fedbench("tables"), "toy.moon.s1", "does not match its checksum")
    refused(fedbench("publish", "study"), "does not match its checksum")


def test_a_hand_edited_published_table_is_refused(fedbench, runs):
    assert fedbench("publish", "study")[0] == 0
    file = Path("results/published/study/cases.parquet")
    pd.read_parquet(file).assign(dice=0.9).to_parquet(file)
    refused(fedbench("tables", "--from", str(file.parent)), "cases.parquet does not match its checksum", "edited")


# -- publish ---------------------------------------------------------------------------------------------------------


def test_publishing_again_needs_a_word(fedbench, runs):
    assert fedbench("publish", "study")[0] == 0
    refused(fedbench("publish", "study"), "--replace")
    assert fedbench("publish", "study", "--replace")[0] == 0
    refused(fedbench("publish", "my study"), "letters, digits and dashes")
    refused(fedbench("publish", "study", "--from", "results/published/study"), "holds published results already")
    refused(fedbench("publish", "other", "--seeds", "0"), "name it too: --all, --suite NAME")
    refused(fedbench("publish", "study", "--replace", "--add"), "--add and --replace exclude each other")
    refused(fedbench("publish", "study", "--add"), "nothing to add to results/published/study")
    refused(fedbench("publish", "study", "--add", "--reference", "moon"), "--add and --reference exclude each other")
    refused(fedbench("publish", "other", "--add"), "nothing is published in results/published/other")


def test_unfinished_runs_are_told_by_whoever_leaves_them_out(fedbench, runs):
    assert fedbench("tables")[2] == ""
    for name, file in (("toy.moon.s7.aa", "failure.json"), ("toy.moon.s8.bb", "progress.json")):
        (RUNS / name).mkdir()
        (RUNS / name / file).write_text("{}")
    named = "2 runs are not finished: toy.moon.s7.aa (failed), toy.moon.s8.bb (not finished); "
    for command in (("tables",), ("figures", "--only", "forest"), ("report",)):
        status, _, err = fedbench(*command)
        assert (status, err) == (0, f"{named}see `fedbench status --out results/runs`.\n")
    assert fedbench("publish", "study", "--incomplete")[0] == 0
    assert fedbench("tables", "--from", "results/published/study")[2] == f"{named}so it was published.\n"


def test_unfinished_runs_are_published_only_on_request(fedbench, runs):
    (next(runs.glob("toy.moon.s1*")) / store.DONE).unlink()
    refused(fedbench("publish", "study"), "1 run is not finished: toy.moon.s1", "--incomplete")
    assert fedbench("publish", "study", "--incomplete")[0] == 0
    assert list(read_manifest(Path("results/published/study"))["unfinished"].values()) == ["not finished"]
    assert fedbench("tables", "--from", "results/published/study", "--missing", "worst")[0] == 0
    assert "Not finished: toy.moon.s1" in Path("results/published/study/tables/runs.md").read_text()


def test_a_suite_is_published_whole(fedbench, tmp_path):
    """Real runs: pictures, features and all; the other run of the folder is left out."""
    data = f"{TOY}={write_toy(tmp_path / 'secret place', full(24))}"
    at = TINY.index("--workers")  # an option of `run` alone
    chosen = ("-a", "fedavg", "-a", "fedbn", "-d", data, *TINY[:at], *TINY[at + 2 :])
    refused(fedbench("publish", "study", *chosen), "no such folder")
    assert fedbench("run", "-a", "fedavg", "-a", "moon", "-d", data, *TINY)[0] == 0
    refused(fedbench("publish", "study", *chosen), "1 run is not finished: toy.fedbn.s0", "(not started)")
    assert fedbench("run", "-a", "fedbn", "-d", data, *TINY)[0] == 0
    assert fedbench("publish", "study", *chosen)[0] == 0
    found = read_evidence(Path("results/published/study"))
    assert found.settings == ["fedavg", "fedbn"]
    (condition,) = found.conditions
    views = found.views(condition)
    assert 3 <= len(views) <= 6
    run_id = found.shown_run(condition, "fedbn")
    assert run_id is not None and found.features(run_id)
    kind, labels = found.prediction(run_id, "CT", sorted(views)[0]) or ("", None)
    assert kind == "personal" and labels is not None and labels.shape == views[sorted(views)[0]].truth.shape
    everything = b"".join(file.read_bytes() for file in found.source.iterdir())
    assert b"secret place" not in everything and str(tmp_path).encode() not in everything
    more = ("publish", "study", *chosen, "--add")
    refused(fedbench(*more), "nothing to add")
    refused(fedbench(*more, "-a", "fedprox"), "1 run is not finished: toy.fedprox.s0")
    status, out, _ = fedbench(*more, "-a", "moon")
    joined, files, _ = out.splitlines()[-3:]
    assert status == 0 and joined == "1 run joined 2" and files.startswith("3 runs in ")
    assert read_evidence(Path("results/published/study")).settings == ["fedavg", "fedbn", "moon"]


# -- calibrate -------------------------------------------------------------------------------------------------------


def test_calibrate_prints_and_writes(fedbench):
    small = ("--simulations", "20", "--patients", "20", "--algorithms", "4", "--seeds", "2", "--resamples", "200")
    status, out, err = fedbench("calibrate", *small, "--to", "docs/here.md")
    assert (status, err) == (0, "") and "slices" in out
    page = Path("docs/here.md").read_text()
    assert "python -m fedbench calibrate --simulations 20 --patients 20 --algorithms 4 --seeds 2" in page
    assert page.count("\n| A/A") == 19 and "power" in page


def test_the_documented_calibration_is_what_its_command_gives(fedbench):
    """If this fails, the statistics changed: repeat the command that the page names, and read what it says."""
    (command,) = re.findall(r"^python -m fedbench (calibrate .*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert fedbench(*shlex.split(command))[0] == 0
    assert Path("docs/calibration.md").read_text() == DOCUMENT.read_text()
