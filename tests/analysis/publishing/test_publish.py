"""Published results: the same tables, chosen pictures, no trace of the machine, and a refusal of what does not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench import store
from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import choice
from fedbench.analysis.loading import MANIFEST, published_folders, read_evidence, read_manifest
from fedbench.analysis.publishing import frames as publish_frames
from fedbench.analysis.publishing import pictures as publish_pictures
from fedbench.analysis.publishing import publish
from fedbench.analysis.tables import formats
from fedbench.analysis.tables.all_tables import all_tables
from fedbench.analysis.tables.runs import unfinished
from fedbench.errors import UserError
from tests.analysis.evidence_rows import evidence, of_cases, write_store
from tests.analysis.score_rows import both_empty, table

TOY = Condition("toy")
CONDITIONS = (TOY, Condition("toy", "MR"), Condition("other"))
FEW = ("local", "fedavg", "fedda-joint")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A results folder of three algorithms under three conditions, two seeds."""
    return write_store(tmp_path_factory.mktemp("runs"), evidence(CONDITIONS, FEW, modalities=("CT", "MR", "PET")))


@pytest.fixture(scope="module")
def ours(runs, tmp_path_factory) -> Path:
    """These runs, published; not to be changed."""
    folder = tmp_path_factory.mktemp("published") / "ours"
    publish.publish(analysed(runs), folder, "Our study")
    return folder


@pytest.fixture
def small(tmp_path) -> Path:
    return write_store(tmp_path / "runs", evidence((TOY,), ("fedavg", "moon"), patients=3))


def analysed(folder: Path, **choices) -> Analyses:
    return Analyses(read_evidence(folder), Choices(**choices))


def in_all_formats(folder: Path) -> list[str]:
    return [write(table) for table in all_tables(analysed(folder)) for write in formats.FORMATS.values()]


# -- the round trip --------------------------------------------------------------------------------------------------


def test_tables_from_runs_and_from_published_are_the_same_bytes(runs, ours):
    assert in_all_formats(ours) == in_all_formats(runs)
    manifest = read_manifest(ours)
    assert (manifest["name"], manifest["title"]) == ("ours", "Our study")
    assert manifest["versions"] == {"torch": ["2"]} and manifest["runs by"]["harness"] == "a" * 64
    assert set(manifest["sha256"]) == {f.name for f in ours.iterdir()} - {MANIFEST}


def test_publishing_twice_gives_the_same_bytes(runs, ours, tmp_path):
    again = tmp_path / "ours"
    publish.publish(analysed(runs), again, "Our study")
    assert {file.name for file in again.iterdir()} == {file.name for file in ours.iterdir()}
    for file in ours.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_frames_keep_every_value(runs, ours):
    kept, theirs = read_evidence(ours), read_evidence(runs)
    pd.testing.assert_frame_equal(kept.rounds, theirs.rounds)
    pd.testing.assert_frame_equal(kept.cases, theirs.cases.drop(columns=list(publish.UNUSED)))
    hidden = ["identity", "provenance"]
    pd.testing.assert_frame_equal(kept.runs.drop(columns=hidden), theirs.runs.drop(columns=hidden))


def test_pictures_of_chosen_cases_are_those_of_the_runs(runs, ours):
    published, theirs = read_evidence(ours), read_evidence(runs)
    analyses, again = Analyses(theirs), Analyses(published)
    for condition in CONDITIONS:
        chosen = choice.chosen_cases(theirs, analyses, condition)
        assert set(published.views(condition)) == set(chosen)
        assert chosen == choice.chosen_cases(published, again, condition)
        for case in chosen:
            assert np.array_equal(published.views(condition)[case].image, theirs.views(condition)[case].image)
            for setting in FEW:
                run_id = theirs.shown_run(condition, setting)
                assert run_id is not None and run_id == published.shown_run(condition, setting)
                kept, known = published.prediction(run_id, "CT", case), theirs.prediction(run_id, "CT", case)
                assert kept is not None and known is not None
                assert kept[0] == known[0] and np.array_equal(kept[1], known[1])


def test_of_many_pictures_only_the_best_slices_are_kept(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(publish_pictures, "PICTURES", 2000)
    publish.publish(analysed(runs), tmp_path / "ours")
    ours, theirs = read_evidence(tmp_path / "ours"), read_evidence(runs)
    for case, view in ours.views(TOY).items():
        full = theirs.views(TOY)[case]
        assert view.image.shape == (1, 12, 12, 1) and view.slices == (full.slices[full.best],) and view.best == 0
        run_id = ours.shown_run(TOY, "local")
        assert run_id is not None
        kept, known = ours.prediction(run_id, "CT", case), theirs.prediction(run_id, "CT", case)
        assert kept is not None and known is not None and np.array_equal(kept[1], known[1][[full.best]])


def test_features_are_some_of_the_runs(runs, ours):
    """8 patients x 8 slices of each modality: 60 of 64; of three clients' own models 20 each."""
    published, theirs = read_evidence(ours), read_evidence(runs)
    for setting, expected in (("fedavg", 60), ("local", 3 * 20)):
        run_id = theirs.shown_run(TOY, setting)
        assert run_id is not None
        kept, full = published.features(run_id), theirs.features(run_id)
        assert sum(len(values) for key, values in kept.items() if key.endswith("/MR")) == expected
        for key, values in kept.items():
            near = np.abs(values[:, None] - full[key][None]).max(axis=-1).min(axis=1)
            assert values.dtype == np.float32 and near.max() < 1e-3 * np.abs(full[key]).max()
    others = published.runs.query("setting == 'fedavg' and seed == 1 and dataset == 'toy' and unseen == ''")
    assert published.features(others["run_id"].iloc[0]) == {}


def test_features_are_rounded_to_the_nearest():
    values = np.array([1.0, 1 + 2**-14, -1 / 3, 0.0, 1e-30], np.float32)
    rounded = publish_pictures.rounded(values)
    assert rounded[0] == 1.0 and rounded[3] == 0.0
    assert np.all(np.abs(rounded - values) <= np.abs(values) * 2**-13)


# -- what is not published -------------------------------------------------------------------------------------------


def test_nothing_says_where_the_runs_were_made(runs, ours):
    found = read_evidence(ours).runs
    text = found.to_csv() + (ours / MANIFEST).read_text()
    assert "somebody" not in text and str(ours.parent) not in text and str(runs) not in text
    assert json.loads(found["identity"].iloc[0])["dataset_params"] == {"folder": "data"}
    assert json.loads(found["provenance"].iloc[0])["hardware"] == {"cores": 2, "machine": "x86_64", "system": "Linux"}


def test_a_path_in_a_parameter_is_only_a_name():
    frame = pd.DataFrame({"setting": ["fedavg", "mine[file=/home/me/x.pt,k=1]", 'mine[file="~/y z.pt"]', "a[b=c/d]"]})
    cleaned = publish_frames.settings_without_paths(frame)["setting"].tolist()
    assert cleaned == ["fedavg", "mine[file=x.pt,k=1]", 'mine[file="y z.pt"]', "a[b=c/d]"]
    assert publish_frames.clean({"a": ["/x/y", "C:\\u\\v", "./z", "3/4", "p"]}) == {"a": ["y", "v", "z", "3/4", "p"]}


# -- refusals --------------------------------------------------------------------------------------------------------


def test_runs_of_two_versions_are_refused(small, tmp_path):
    folder = next(small.glob("toy.moon.s1*"))
    run = json.loads((folder / store.RUN).read_text())
    run["identity"]["harness"] = "b" * 64
    (folder / store.RUN).write_text(json.dumps(run))
    store.seal(folder)
    with pytest.raises(UserError, match=r"2 versions of fedbench's code .*aaaaaaaaaaaa.*bbbbbbbbbbbb.*toy\.moon\.s1"):
        publish.publish(analysed(small), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_published_results_are_overwritten_only_on_request(small, tmp_path):
    target = tmp_path / "ours"
    publish.publish(analysed(small), target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="--replace"):
        publish.publish(analysed(small), target)
    (target / "views.gone.npz").write_bytes(b"")
    manifest = store.read_json(target / MANIFEST) or {}
    store.write_json(target / MANIFEST, manifest | {"sha256": manifest["sha256"] | {"views.gone.npz": "x"}})
    publish.publish(analysed(small), target, "again", replace=True)
    assert read_manifest(target)["title"] == "again"
    assert (target / "notes.txt").read_text() == "mine" and not (target / "views.gone.npz").exists()


def test_what_an_interrupted_publication_left_is_no_folder_of_results(small, tmp_path):
    """A process killed between taking the old folder away and giving the new one leaves the old under another name."""
    target, old = tmp_path / "ours", tmp_path / ".ours.before"
    publish.publish(analysed(small), target)
    shutil.copytree(target, old)
    assert published_folders(tmp_path) == [target]
    shutil.rmtree(target)
    with pytest.raises(
        UserError, match=r"ours is gone, for publishing it was interrupted; rename .*\.ours\.before to ours"
    ):
        published_folders(tmp_path)


def test_something_else_is_never_overwritten(small, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds no published results"):
        publish.publish(analysed(small), tmp_path / "ours", replace=True)
    with pytest.raises(UserError, match="letters, digits and dashes"):
        publish.publish(analysed(small), tmp_path / "../x y")


@pytest.mark.parametrize("file", ["cases.parquet", "views.toy.npz"])
def test_an_edited_file_is_noticed(small, tmp_path, file):
    target = tmp_path / "ours"
    publish.publish(analysed(small), target)
    if file.endswith("parquet"):
        cases = pd.read_parquet(target / file)
        cases.loc[0, "dice"] = 0.99
        cases.to_parquet(target / file, index=False)
    else:
        (target / file).write_bytes((target / file).read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"{file} does not match its checksum"):
        read_evidence(target)
    (target / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing"):
        read_evidence(target)


def test_names_that_would_share_a_file_are_refused(tmp_path):
    found = evidence((Condition("a b"), Condition("a-b")), ("fedavg", "moon"), patients=3)
    with pytest.raises(UserError, match="share the files 'a-b'"):
        publish.publish(Analyses(found), tmp_path / "ours")


def test_a_condition_that_cannot_be_compared_is_refused(tmp_path):
    lone = write_store(tmp_path / "runs", evidence((TOY,), ("fedavg",), patients=3))
    with pytest.raises(UserError, match="only one algorithm"):
        publish.publish(analysed(lone), tmp_path / "ours")
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]  # no half-written folder stays


def test_runs_without_pictures_are_published_without(tmp_path):
    found = evidence((TOY,), ("fedavg", "moon"), patients=3)
    sizes = publish.publish(Analyses(found), tmp_path / "ours")
    assert set(sizes) == {
        MANIFEST,
        "runs.parquet",
        "cases.parquet",
        "rounds.parquet",
        "features.parquet",
        "distances.parquet",
    }
    assert read_evidence(tmp_path / "ours").features(found.runs["run_id"].iloc[0]) == {}


def test_unfinished_runs_stay_known(small, tmp_path):
    left = [("toy.x.s1", "failed"), ("toy.a.s0", "not started")]
    publish.publish(analysed(small), tmp_path / "ours", unfinished=left)
    assert unfinished(read_evidence(tmp_path / "ours")) == sorted(left)


# -- which cases -----------------------------------------------------------------------------------------------------


def two(dice: list[float], focus: str = "fedda-joint", **other) -> Evidence:
    return of_cases(table({"fedavg": [0.5] * len(dice), focus: dice}, **other))


def roles(found: Evidence) -> dict[str, tuple[str, float]]:
    shown = choice.qualitative(Analyses(found), TOY)
    return {row.role: (row.patient, round(row.difference, 10)) for row in shown}


def test_best_median_and_worst_patient_by_hand():
    """Differences 0.2, -0.1, 0, 0.3: sorted P001, P002, P000, P003; the lower of the two in the middle."""
    assert roles(two([0.7, 0.4, 0.5, 0.8])) == {"best": ("P003", 0.3), "median": ("P002", 0.0), "worst": ("P001", -0.1)}
    assert roles(two([0.5, 0.5, 0.5])) == {"best": ("P002", 0), "median": ("P001", 0), "worst": ("P000", 0)}
    assert roles(two([0.7, 0.4])) == {"best": ("P000", 0.2), "worst": ("P001", -0.1)}


def test_of_a_patient_the_case_nearest_to_it_is_shown():
    """P000 differs by 0.3 in one case and by 0.1 in two others: its mean is 1/6, to which 0.1 is nearest; by name."""
    rows = [
        table({"fedavg": [0.5, 0.5], "fedda-joint": [dice, 0.5]}).assign(
            modality=m, case=lambda t, m=m: t["patient"] + "/" + m
        )
        for m, dice in (("PET", 0.6), ("MR", 0.8), ("T2", 0.6))
    ]
    (best, _) = choice.qualitative(Analyses(of_cases(pd.concat(rows, ignore_index=True))), TOY)
    assert (best.case, best.client, round(best.difference, 6)) == ("P000/PET", "CT", 0.166667)


def test_the_focus_is_the_first_reconstruction_else_the_best_federated_algorithm():
    several = {"local": [0.9] * 6, "fedavg": [0.5] * 6, "fedprox": [0.6] * 6, "moon": [0.7] * 6}
    assert choice.in_focus(Analyses(of_cases(table(several))).get(TOY)) == "moon"
    with_ours = several | {"fedda-joint": [0.1] * 6, "fedda-cyclic": [0.2] * 6}
    made = Analyses(of_cases(table(with_ours))).get(TOY)
    assert choice.in_focus(made) == "fedda-cyclic"
    assert "between fedda-cyclic and fedavg" in choice.rule(made)
    assert choice.in_focus(Analyses(of_cases(table({"local": [0.9] * 6, "fedavg": [0.5] * 6}))).get(TOY)) == "local"


def test_only_patients_with_pictures_are_chosen():
    """Two folds: the pictures are those of the first, so its three patients are ordered among themselves."""
    cases = table({"fedavg": [0.5] * 6, "fedda-joint": [0.9, 0.6, 0.1, 0.7, 0.2, 0.8]})
    cases["fold"] = cases["patient"].isin(["P000", "P002", "P004"]).astype(int)
    cases["run_id"] += cases["fold"].astype(str)
    assert roles(of_cases(cases)) == {"best": ("P005", 0.3), "median": ("P003", 0.2), "worst": ("P001", 0.1)}


def test_the_gallery_prefers_a_case_with_something_to_see():
    cases = pd.concat(
        [table({"fedavg": [0.5] * 3, "moon": [0.6] * 3}),
         pd.DataFrame([both_empty("P000", a, modality="PET", case="P000/PET") for a in ("fedavg", "moon")]),
         table({"fedavg": [0.5] * 3, "moon": [0.6] * 3}).iloc[[1, 4]].assign(modality="PET", case="P001/PET")],
        ignore_index=True,
    )  # fmt: skip
    found = of_cases(cases)
    assert choice.gallery(found, TOY) == {"MR": "P000/MR", "PET": "P001/PET"}
    chosen = choice.chosen_cases(found, Analyses(found), TOY)
    assert len(chosen) == len(set(chosen)) and {"P000/MR", "P001/PET"} <= set(chosen)


def test_conditions_may_be_published_apart(runs, tmp_path):
    found = read_evidence(runs)
    some = replace(found, **{n: getattr(found, n).query("dataset == 'other'") for n in ("runs", "cases", "rounds")})
    publish.publish(Analyses(some), tmp_path / "ours")
    assert read_evidence(tmp_path / "ours").conditions == [Condition("other")]
