"""``prepare`` and ``partition show`` as a user meets them; the options of ``run`` that change grid and partition."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench import load_results
from fedbench.data.prepared import load
from tests.faults.machine import finish, start
from tests.toys import TOY, Toy, full, prepare_toy, reads, refused, write_toy, write_volume

PLANNED = ("--set", "model.name=unet", "--set", "model.channels=[4,8]", "--rounds", "1", "--seeds", "0")
TINY = (*PLANNED, "--workers", "0")


@pytest.fixture
def data(tmp_path):
    """24 patients in all three modalities, of two sites."""
    return write_toy(tmp_path / "toy data é", full(24))


def test_what_a_store_was_made_with_is_not_asked_for_otherwise(fedbench, tmp_path):
    target, named = tmp_path / "store", "phantom-heart[patients=10,size=32]"
    assert fedbench("prepare", named, "--to", str(target))[0] == 0
    run = ("plan", "-a", "fedavg", *PLANNED)
    for same in ("phantom-heart", "phantom-heart[patients=10]"):
        assert fedbench(*run, "-d", f"{same}={target}")[0] == 0
    words = f"{target} was prepared with patients = 10, not 7; drop [patients=...]"
    refused(fedbench(*run, "-d", f"phantom-heart[patients=7]={target}"), words)


def store_in(out: Path) -> Path:
    (folder,) = [path for path in (out / ".prepared").iterdir() if path.is_dir()]
    return folder


def give_away(store: Path) -> None:
    """Say that the first case is of another modality."""
    frame = pd.read_parquet(store / "manifest.parquet")
    frame.loc[0, "modality"] = next(m for m in Toy.modalities if m != frame.loc[0, "modality"])
    frame.to_parquet(store / "manifest.parquet", index=False)


def rename_a_class(store: Path) -> None:
    """Say that the first class is another organ."""
    facts = json.loads((store / "dataset.json").read_text())
    facts["classes"][0] = "liver"
    (store / "dataset.json").write_text(json.dumps(facts, indent=1))


@pytest.mark.parametrize(("edit", "file"), [(give_away, "manifest.parquet"), (rename_a_class, "dataset.json")])
def test_a_store_that_was_edited_is_refused(fedbench, data, tmp_path, edit, file):
    """It can still be read, and its arrays are whole; of a store from before there were seals nobody can tell."""
    target = tmp_path / "store"
    assert fedbench("prepare", f"{TOY}={data}", "--to", str(target))[0] == 0
    edit(target)
    words = f"{target / file} was edited; delete {target} and prepare the data again"
    for command in ("plan", "run"):
        refused(fedbench(command, "-a", "fedavg", "-d", f"{TOY}={target}", *PLANNED), words)
    refused(fedbench("partition", "show", "-d", f"{TOY}={target}"), words)
    facts = json.loads((target / "dataset.json").read_text())
    (target / "dataset.json").write_text(json.dumps(facts | {"sealed": None}))
    refused(fedbench("plan", "-a", "fedavg", "-d", f"{TOY}={target}", *PLANNED), "was edited; delete")
    del facts["sealed"]
    (target / "dataset.json").write_text(json.dumps(facts))
    assert fedbench("plan", "-a", "fedavg", "-d", f"{TOY}={target}", *PLANNED)[0] == 0


def test_a_store_of_our_own_that_was_edited_is_found_by_the_check_and_by_verify(fedbench, data):
    named = f"{TOY}={data}"
    assert fedbench("run", "-a", "fedavg", "-d", named, *TINY)[0] == 0
    give_away(store := store_in(Path("results/runs")))
    words = f"{store / 'manifest.parquet'} was edited"
    status, out, _ = fedbench("prepare", named, "--check")
    assert status == 2 and words in out
    refused(fedbench("verify", "toy.fedavg.s0"), words)


def test_prepare_and_run_share_a_store(fedbench, data):
    status, out, err = fedbench("prepare", f"{TOY}={data}", "--spacing", "2,2,4", "--size", "16")
    assert (status, err) == (0, "") and "72 cases in" in out
    assert reads(data) == 72
    folder = store_in(Path("results/runs"))
    assert str(folder) in out.replace("\n", "")
    assert {case.spacing for case in load(folder).cases} == {(2.0, 2.0, 4.0)} and load(folder).size == (16, 16)
    arguments = ("run", "-a", "fedavg", "-d", f"{TOY}={data}", "--spacing", "2,2,4", "--size", "16", *TINY)
    assert fedbench(*arguments)[0] == 0
    assert reads(data) == 72


def test_a_store_can_be_given_in_place_of_the_data(fedbench, data, tmp_path):
    """Prepared on one machine, used on another; what does not fit is refused."""
    target = tmp_path / "store"
    before = set(tmp_path.iterdir())
    assert fedbench("prepare", f"{TOY}={data}", "--to", str(target))[0] == 0
    assert set(tmp_path.iterdir()) == before | {target}
    data.rename(tmp_path / "gone")
    assert fedbench("run", "-a", "fedavg", "-d", f"{TOY}={target}", *TINY)[0] == 0
    assert len(load_results("results/runs").runs) == 1
    refused(fedbench("run", "-a", "fedavg", "-d", f"sts={target}", *TINY), "store of 'toy', not of 'sts'")
    wrong = ("--spacing", "3,3,4")
    refused(
        fedbench("run", "-a", "fedavg", "-d", f"{TOY}={target}", *TINY, *wrong), "prepared with spacing [1.0, 1.0, 4.0]"
    )
    assert fedbench("plan", "-a", "fedavg", "-d", f"{TOY}={target}", *PLANNED, "--spacing", "1.0005,1,4")[0] == 0
    refused(fedbench("plan", "-a", "fedavg", "-d", f"{TOY}[nonsense=3]={target}", *PLANNED), "no parameter 'nonsense'")
    refused(
        fedbench("run", "-a", "fedavg", "-d", f"{TOY}={target}", *TINY, "--set", "data.colour=rgb"),
        "1 channels, not rgb",
    )


def test_check_exits_with_2_and_lists_everything(fedbench, data):
    status, out, _ = fedbench("prepare", f"{TOY}={data}", "--check")
    assert status == 0 and "no problem found" in out and "foreground" not in out
    write_volume(data, "P06", "CT", np.arange(128.0).reshape(1, 8, 8, 2), np.zeros((8, 8, 2)), (1, 1, 4), "A")
    status, out, _ = fedbench("prepare", f"{TOY}={data}", "--check")
    assert status == 0 and "toy: 1 mask without foreground, which must be meant: P06/CT" in out
    shutil.copy(data / "P00.CT.A.npz", data / "P02.CT.A.npz")
    status, out, _ = fedbench("prepare", f"{TOY}={data}", "--check", "--spacing", "20,20,4")
    assert status == 0 and "1 image of several patients, who may be trained on and tested: P00/CT = P02/CT" in out
    assert "too small for the common grid, so that none of it is left (a finer --spacing keeps it): P00/CT (" in out
    (data / "P03.MR.B.npz").write_bytes(b"")
    write_volume(data, "P04", "CT", np.zeros((1, 8, 8, 2)), np.zeros((8, 8, 2)), (1, 1, 4), "A")
    status, out, err = fedbench("prepare", f"{TOY}={data}", "--check")
    assert status == 2 and "Traceback" not in err
    assert "P03.MR.B.npz is empty" in out and "P04/CT" in out and "2 problems" in out
    assert not Path("results").exists()


def test_check_says_what_would_keep_sound_cases_from_being_dealt_to_clients(fedbench, data, tmp_path):
    """Nothing of it is wrong with the files, and settings may mend it: a note, and no problem."""
    check = ("prepare", "--check")
    assert "note" not in fedbench(*check, f"{TOY}={data}")[1]
    few = write_toy(tmp_path / "few", full(3))
    status, out, _ = fedbench(*check, f"{TOY}={few}")
    assert status == 0 and "no problem found" in out and "note: with the default settings" in out and "patient" in out
    for path in [path for path in data.iterdir() if ".CT." not in path.name]:
        path.unlink()
    status, out, _ = fedbench(*check, f"{TOY}={data}")
    assert status == 0 and "are of the modality CT: there is one client, nothing to federate" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--label-resampling", "linear"), "choose majority or nearest"),
        (("--spacing", "2,2,fine"), "--spacing 2,2,fine: write positive numbers"),
        (("--spacing", "2"), "2 or 3 positive numbers"),
        (("--spacing", "2,-2"), "positive numbers"),
        (("--size", "9.5"), "voxels are whole numbers"),
        (("--colour", "sepia"), "choose auto, grey or rgb"),
    ],
)
def test_options_that_make_no_sense(fedbench, data, arguments, words):
    refused(fedbench("prepare", f"{TOY}={data}", *arguments), words)


def test_results_and_raw_data_lie_apart(fedbench, data, tmp_path):
    """Neither in the other, before anything is written; a store may lie in the results folder."""
    before, named = sorted(data.rglob("*")), f"{TOY}={data}"
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "s.toml").write_text(f"algorithms = ['fedavg', 'local']\ndatasets = ['{named}']\n")
    for out in (data, data / "results", tmp_path / "link" / "results", tmp_path):
        words = "which is only read" if out != tmp_path else "where results are written"
        for command in (
            ("run", "-a", "fedavg", "-d", named), ("plan", "-a", "fedavg", "-d", named), ("prepare", named),
            ("partition", "show", "-d", named), ("tune", "s.toml"),
        ):  # fmt: skip
            refused(fedbench(*command, "--out", str(out)), f"--out {out}", words, "give --out a folder")
    refused(fedbench("prepare", named, "--to", str(data / "store")), f"--to {data / 'store'} lies in {data}")
    assert sorted(data.rglob("*")) == before and not (tmp_path / ".prepared").exists()
    assert fedbench("prepare", named, "--out", "runs")[0] == 0
    again = ("partition", "show", "-d", f"{TOY}={store_in(Path('runs'))}", "--out", "runs")
    assert fedbench(*again)[0] == 0


def test_an_interrupted_preparation_goes_on(tmp_path):
    """Killed in the middle by SIGINT, SIGTERM or SIGKILL; nothing is read twice but what was being read."""
    data = write_toy(tmp_path / "toy", full(12))
    (data / "slow").touch()
    command = [sys.executable, "-m", "fedbench", "prepare", f"{TOY}={data}", "--workers", "1"]
    codes = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = reads(data)
        process = start(command, tmp_path)
        while reads(data) < before + 6 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, number)
        message = process.communicate()[1]
        codes.append(process.returncode)
        assert "Traceback" not in message
    assert codes == [130, 130, -9]
    (data / "slow").unlink()
    assert finish(command, tmp_path)[0] == 0
    assert 36 <= reads(data) <= 36 + 3 * 2
    whole = store_in(tmp_path / "results" / "runs")
    assert load(whole).content == load(prepare_toy(data, tmp_path / "fresh")).content


def test_raw_files_are_never_changed(fedbench, data):
    def state() -> dict[str, tuple[bytes, int]]:
        return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in data.glob("*.npz")}

    before = state()
    assert fedbench("prepare", f"{TOY}={data}")[0] == 0
    assert state() == before


def test_partition_show_prints_and_draws(fedbench, data):
    status, out, _ = fedbench(
        "partition", "show", "-d", f"{TOY}={data}", "--clients-per-modality", "1", "--seeds", "0-1"
    )
    assert status == 0
    assert out.count("partition ") == 2 and "(test)" in out
    assert out.count("class volumes, ml") == 2 and out.count("client  split  modality  patients  cases  slices") == 2
    pictures = sorted(Path("results/runs/figures/partitions").glob("*.png"))
    assert [p.name for p in pictures] == ["toy.s0.png", "toy.s1.png"]
    first = pictures[0].read_bytes()
    assert first[:4] == b"\x89PNG"
    fedbench("partition", "show", "-d", f"{TOY}={data}", "--png", "again.png")
    assert Path("again.png").read_bytes() == first
    several = ("partition", "show", "-d", f"{TOY}={data}", "--png", "one.png")
    refused(fedbench(*several, "--seeds", "0-2"), "--png one.png: one picture, but 3 partitions")
    refused(fedbench(*several, "--folds", "4"), "4 partitions")
    assert not Path("one.png").exists()


def test_partition_show_says_what_is_wrong(fedbench, data):
    refused(fedbench("partition", "show", "-d", f"{TOY}={data}", "--clients-per-modality", "9"), "for 9 clients")
    refused(fedbench("partition", "show", "-d", f"{TOY}={data}", "--set", "data.unlabelled_share=0.5"), "has its mask")
    refused(
        fedbench("partition", "show", "-d", f"{TOY}={data}", "--set", "data.size_skw=1"), "did you mean 'size_skew'"
    )
    refused(fedbench("partition", "show", "-d", f"{TOY}={data}", "--set", "nonsense"), "write KEY=VALUE")
    (data / "notes.txt").write_text("mine")
    refused(fedbench("partition", "show", "-d", f"{TOY}={data}", "--png", str(data / "notes.txt")), "must end in .png")
    assert (data / "notes.txt").read_text() == "mine"
    refused(fedbench("partition", "show"), "which partition?", "-d DATASET")


def test_leave_one_out_in_turn_and_folds(fedbench, data):
    """3 modalities x 2 folds: six runs, six partitions; each modality gets a table, folds are pooled."""
    options = ("-a", "fedavg", "-d", f"{TOY}={data}", "--leave-out", "each", "--folds", "2")
    status, out, _ = fedbench("run", *options, *TINY)
    assert status == 0 and "6 runs" in out
    runs, cases, _ = load_results("results/runs")
    assert sorted(zip(runs["unseen"], runs["fold"], strict=True)) == [
        (m, f) for m in ("CT", "MR", "PET") for f in (0, 1)
    ]
    assert runs["partition"].nunique() == 6
    for unseen, group in cases[cases["selection"] == "last"].groupby("unseen"):
        assert set(group[group["relation"] == "unseen"]["modality"]) == {unseen}
        tested = group.groupby("fold")["patient"].agg(set)
        assert tested[0] | tested[1] == set(full(24)) and not tested[0] & tested[1]
    for modality in ("CT", "MR", "PET"):
        assert f"toy without {modality} (last round)" in out
        assert Path(f"results/runs/figures/toy-without-{modality}/overlays.png").exists()
    assert fedbench("summary")[1].count("24 patients") == 3


def test_mixed_clients_have_a_column_of_their_own(fedbench, tmp_path):
    data = write_toy(tmp_path / "many", full(40))
    arguments = ("-a", "fedavg", "-d", f"{TOY}={data}", "--modality-mix", "0.5")
    status, out, _ = fedbench("run", *arguments, *TINY)
    assert status == 0 and "minor-modality" in out.replace("\n", "").replace(" ", "")
    cases = load_results("results/runs").cases
    assert set(cases["relation"]) == {"in", "minor"}


def test_pictures_are_scored_in_pixels(fedbench, tmp_path):
    """2-D images whose pixels have no size: one slice, lengths in px, and the table says so."""
    folder = tmp_path / "pictures"
    for number in range(24):
        for modality in ("CT", "MR"):
            label = np.zeros((32, 24), np.uint8)
            label[4:20, 4:16] = 1
            image = label[None] * 50 + np.random.default_rng(number).normal(0, 5, (3, 32, 24))
            write_volume(folder, f"P{number:02d}", modality, image, label, (1.0, 1.0))
    plugin = tmp_path / "pixels.py"
    plugin.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(TOY.partition(':')[0]).parents[1])!r})\n"
        "from tests.toys import Toy\n\n\n"
        'class Pixels(Toy):\n    """Pictures."""\n\n    name = "pixels"\n    modalities = ("CT", "MR")\n'
        '    classes = ("organ",)\n    spacing = (1.0, 1.0)\n    unit = "px"\n'
    )
    status, out, _ = fedbench("run", "-a", "fedavg", "-d", f"{plugin}:Pixels={folder}", *TINY)
    assert status == 0 and "HD95" in out and "(px)" in out and "(mm)" not in out
    cases = load_results("results/runs").cases
    assert set(cases["unit"]) == {"px"}
    assert (cases["volume_truth"] == 16 * 12).all()
    missed = cases[cases["flag"] == "missed"]
    assert np.allclose(missed["hd95"], np.hypot(32, 24))


def test_show_dataset_tells_where_it_comes_from(fedbench):
    _, out, _ = fedbench("show", "dataset", "sts")
    flat = " ".join(out.split())
    for words in ("CC BY 3.0", "CT, MR, PET", "24 patients", "10.1088/0031-9155/60/14/5471", "-d sts=PATH"):
        assert words in flat, words
    refused(fedbench("show", "dataset", "stss"), "did you mean 'sts'")
    refused(fedbench("show", "dataset"), "which dataset?")


def test_show_algorithm_tells_its_parameters(fedbench):
    status, out, _ = fedbench("show", "algorithm", "fedprox")
    assert status == 0
    for words in ("[mu]", "0.01", "arXiv 1812.06127"):
        assert words in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(fedbench, data):
    (data / "P00.CT.A.npz").chmod(0)
    refused(fedbench("prepare", f"{TOY}={data}"), "P00.CT.A.npz cannot be read: no permission")


def test_the_manifest_can_be_read_with_pandas(fedbench, data):
    assert fedbench("prepare", f"{TOY}={data}")[0] == 0
    frame = pd.read_parquet(store_in(Path("results/runs")) / "manifest.parquet")
    assert len(frame) == 72 and set(frame["site"]) == {"A", "B"} and set(frame["modality"]) == set(Toy.modalities)
