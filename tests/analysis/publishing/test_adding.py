"""Results published in pieces: what is there stays, the pieces are the whole, what was computed otherwise is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench import store
from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures.choice import chosen_cases
from fedbench.analysis.loading import MANIFEST, TRIALS, read_evidence, read_manifest
from fedbench.analysis.publishing import pictures as publish_pictures
from fedbench.analysis.publishing import publish as module
from fedbench.analysis.publishing.adding import Addition, Published, addition, said
from fedbench.analysis.publishing.publish import publish
from fedbench.analysis.tables.all_tables import all_tables
from fedbench.config import DataConfig, TrainingConfig, section_of
from fedbench.errors import UserError
from fedbench.files import sha256
from fedbench.views import FOLDER
from tests.analysis.evidence_rows import evidence, write_store
from tests.toys import in_another_process

TOY = Condition("toy")
CONDITIONS = (TOY, Condition("toy", "MR"), Condition("other"))
FIRST, LATER = ("fedavg", "fedda-joint"), ("local", "moon")


def runs(folder: Path, algorithms, conditions=(TOY,), **options) -> Path:
    return write_store(folder, evidence(conditions, algorithms, patients=4, **options))


def published(source: Path, target: Path) -> Path:
    publish(Analyses(read_evidence(source)), target, "Our study")
    return target


def add(target: Path, source: Path) -> Addition:
    found = addition(Published(target), source)
    publish(Analyses(found.evidence, Choices()), target, addition=found)
    return found


def computed_by(code: str, folder: Path, dice: float = 0.0) -> None:
    """Make runs of ``folder`` those of other code: other digest, other ids, and scores ``dice`` higher."""
    for run in list(store.finished(folder)):
        record = json.loads((run / store.RUN).read_text())
        record["identity"]["harness"] = code * 64
        (run / store.RUN).write_text(json.dumps(record))
        cases = pd.read_parquet(run / store.CASES)
        cases.assign(dice=cases["dice"] + dice).to_parquet(run / store.CASES, index=False)
        store.seal(run)
        run.rename(run.with_name(run.name.rpartition(".")[0] + "." + code * 12))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Path:
    """A folder with the runs of FIRST and what was published of them."""
    folder = tmp_path_factory.mktemp("made")
    published(runs(folder / "runs", FIRST), folder / "ours")
    return folder


@pytest.fixture
def ours(made_once, tmp_path) -> Path:
    """What was published, beside the runs that it was made from."""
    return shutil.copytree(made_once, tmp_path, dirs_exist_ok=True) / "ours"


def test_pieces_are_the_whole(tmp_path):
    """Every file but the manifest has the bytes of a publication at once, pictures and features too."""
    whole = published(runs(tmp_path / "all", (*FIRST, *LATER), CONDITIONS), tmp_path / "whole" / "ours")
    parts = published(runs(tmp_path / "first", FIRST, CONDITIONS), tmp_path / "parts" / "ours")
    found = add(parts, runs(tmp_path / "later", LATER, CONDITIONS))
    assert said(found) == "12 runs joined 12"
    one, other = contents(whole), contents(parts)
    first, then = (json.loads(made.pop(MANIFEST)) for made in (one, other))
    assert one.keys() == other.keys() and [name for name in one if one[name] != other[name]] == []
    assert then.pop("added") == [{"runs by": first["runs by"], "runs": 12, "repeats": []}]
    assert first == then
    (tables,) = {tuple(str(t) for t in all_tables(Analyses(read_evidence(folder)))) for folder in (whole, parts)}
    assert tables


def test_the_runs_need_not_be_there_any_more_and_are_not_added_twice(ours, tmp_path):
    with pytest.raises(UserError, match=r"nothing to add to .*ours: every finished run that was asked for"):
        add(ours, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs")
    runs(tmp_path / "runs", ("local", FIRST[0]))
    assert add(ours, tmp_path / "runs").added == ("toy.local.s0.0123456789ab", "toy.local.s1.0123456789ab")
    runs(tmp_path / "more", LATER)
    assert len(add(ours, tmp_path / "more").added) == 2  # moon alone
    assert read_evidence(ours).settings == ["local", *FIRST, "moon"]
    assert [part["runs"] for part in read_manifest(ours)["added"]] == [2, 2]


def test_only_runs_that_are_asked_for_join(ours, tmp_path):
    later = runs(tmp_path / "later", LATER)
    asked = [run.name for run in store.finished(later) if "moon" in run.name]
    assert addition(Published(ours), later, asked).added == tuple(asked)
    with pytest.raises(UserError, match="nothing to add"):
        addition(Published(ours), later, [])


def test_shown_cases_stay_although_others_would_now_be_chosen(tmp_path):
    """With FedDA another algorithm is in focus; pictures of other cases are not kept of what is published."""
    first, later = (
        write_store(tmp_path / name, evidence((TOY,), algorithms, patients=12))
        for name, algorithms in (("runs", ("fedavg", "moon")), ("later", ("fedda-joint",)))
    )
    target = published(first, tmp_path / "ours")
    before = read_evidence(target)
    whole = Analyses(evidence((TOY,), ("fedavg", "moon", "fedda-joint"), patients=12))
    others = set(chosen_cases(whole.evidence, whole, TOY))
    assert others - set(before.views(TOY)) and set(before.views(TOY)) - others
    add(target, later)
    after = read_evidence(target)
    assert set(after.views(TOY)) == set(before.views(TOY))
    for setting in after.settings:
        run_id = after.shown_run(TOY, setting)
        assert run_id is not None and all(after.prediction(run_id, "CT", case) for case in after.views(TOY))


def test_of_cut_pictures_the_same_slices_join(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_pictures, "PICTURES", 500)
    target = published(runs(tmp_path / "runs", FIRST), tmp_path / "ours")
    monkeypatch.undo()
    later = runs(tmp_path / "later", ("moon",))
    add(target, later)
    after, own = read_evidence(target), read_evidence(later)
    run_id = after.shown_run(TOY, "moon")
    assert run_id is not None
    for case, view in after.views(TOY).items():
        kept, full = after.prediction(run_id, "CT", case), own.prediction(run_id, "CT", case)
        assert kept is not None and full is not None and len(view.slices) == 1
        place = own.views(TOY)[case].slices.index(view.slices[0])
        assert np.array_equal(kept[1], full[1][[place]])


def test_another_dataset_may_join(ours, tmp_path):
    add(ours, runs(tmp_path / "later", FIRST, (Condition("other"),)))
    after = read_evidence(ours)
    assert after.conditions == [Condition("other"), TOY]
    assert after.views(Condition("other")) and after.views(TOY)


def trials(folder: Path, chosen) -> Path:
    """What ``fedbench tune`` leaves: a table that says these settings were chosen."""
    folder.mkdir()
    table = pd.DataFrame({"stage": "own", "label": list(chosen), "parameters": "{}", "chosen": True, "dice toy": 0.5})
    table.to_parquet(folder / TRIALS[0], index=False)
    for name in TRIALS[1:]:
        (folder / name).write_text(f"the contents of {name}")
    return folder


def test_the_published_trials_stay_and_must_have_chosen_what_joins(tmp_path):
    target, chosen = tmp_path / "ours", trials(tmp_path / "trials", [*FIRST, "moon"])
    publish(Analyses(read_evidence(runs(tmp_path / "runs", FIRST))), target, trials=chosen)
    shutil.rmtree(tmp_path / "runs")
    kept = {name: (chosen / name).read_bytes() for name in TRIALS}
    shutil.rmtree(chosen)
    add(target, runs(tmp_path / "later", ("moon",)))
    assert {name: (target / name).read_bytes() for name in TRIALS} == kept
    assert set(TRIALS) <= read_manifest(target)["sha256"].keys()
    with pytest.raises(UserError, match="did not choose local"):
        add(target, runs(tmp_path / "more", ("local",)))


def test_what_was_unfinished_stays_known_until_it_is_there(tmp_path):
    left = [("toy.moon.s0.0123456789ab", "failed"), ("toy.x.s1.0123456789ab", "not started")]
    publish(Analyses(read_evidence(runs(tmp_path / "runs", FIRST))), tmp_path / "ours", unfinished=left)
    there = Published(tmp_path / "ours")
    assert there.unfinished({"toy.moon.s0.0123456789ab"}, [("toy.y.s0.1", "failed")]) == [
        ("toy.x.s1.0123456789ab", "not started"),
        ("toy.y.s0.1", "failed"),
    ]
    by_other_code = {"toy.moon.s0.fffffffffff0"}, [("toy.x.s1.fffffffffff1", "failed")]
    assert there.unfinished(*by_other_code) == [("toy.x.s1.fffffffffff1", "failed")]
    assert there.unfinished({"toy.moon.s1.0"}, []) == sorted(left)


def test_trials_are_not_lost_when_results_are_published_anew(tmp_path):
    found, target = Analyses(read_evidence(runs(tmp_path / "runs", FIRST))), tmp_path / "ours"
    chosen = trials(tmp_path / "trials", FIRST)
    publish(found, target, trials=chosen)
    with pytest.raises(UserError, match="trials of `fedbench tune`, which would be lost: give --trials FOLDER too"):
        publish(found, target, replace=True)
    publish(found, target, replace=True, trials=chosen)
    (target / TRIALS[0]).unlink()
    publish(found, target, replace=True)
    assert not set(TRIALS) & read_manifest(target)["sha256"].keys()


def test_older_publications_lack_a_column(ours, tmp_path):
    """How many clients trained side by side was not kept; of the added runs it is."""
    frame = pd.read_parquet(ours / "runs.parquet").drop(columns="clients_at_once")
    frame.to_parquet(ours / "runs.parquet", index=False)
    manifest = json.loads((ours / MANIFEST).read_text())
    manifest["sha256"]["runs.parquet"] = sha256(ours / "runs.parquet")
    store.write_json(ours / MANIFEST, manifest)
    later = runs(tmp_path / "later", ("moon",))
    for run in store.finished(later):
        record = json.loads((run / store.RUN).read_text())
        (run / store.RUN).write_text(json.dumps(record | {"clients_at_once": 2}))
        store.seal(run)
    add(ours, later)
    assert read_evidence(ours).runs.groupby("setting")["clients_at_once"].first().to_dict() == {
        "fedavg": 1, "fedda-joint": 1, "moon": 2
    }  # fmt: skip


# -- whoever is killed -----------------------------------------------------------------------------------------------


def test_killed_while_it_is_put_in_place_nothing_published_is_lost(made_once, tmp_path):
    """Processes of their own that die before the first move, between the two, and behind them."""
    later = runs(tmp_path / "later", ("moon",))
    targets = [shutil.copytree(made_once / "ours", tmp_path / str(renames) / "ours") for renames in range(3)]
    for target in targets:
        (target / "notes.txt").write_text("mine")
    before = contents(targets[0])
    ends = in_another_process(f"""
        import os, pathlib, shutil
        from tests.analysis.publishing.test_adding import add
        rename, tidy = pathlib.Path.rename, shutil.rmtree

        def add_and_die(target, renames):
            left = [renames]
            def counted(path, to):
                if not left[0]:
                    os.kill(os.getpid(), 9)
                left[0] -= 1
                return rename(path, to)
            pathlib.Path.rename = counted
            shutil.rmtree = lambda *a, **k: os.kill(os.getpid(), 9) if not left[0] and renames == 2 else tidy(*a, **k)
            add(pathlib.Path(target), pathlib.Path({str(later)!r}))

        for renames, target in enumerate({[str(target) for target in targets]!r}):
            if not os.fork():
                add_and_die(target, renames)
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    """)
    assert ends.split() == ["-9"] * 3
    for renames, target in enumerate(targets):
        there = Published(target)
        if renames < 2:
            assert contents(target) == before
            add(target, later)
        else:
            assert "moon" in there.evidence.settings
        assert read_evidence(target).settings == [*FIRST, "moon"] and (target / "notes.txt").read_text() == "mine"
        assert not [path for path in target.parent.iterdir() if path.name.endswith(".before")]


def test_an_error_while_it_is_made_leaves_what_is_published(ours, tmp_path, monkeypatch):
    before, later = contents(ours), runs(tmp_path / "later", ("moon",))
    monkeypatch.setattr(module, "_versions", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add(ours, later)
    assert contents(ours) == before and {p.name for p in tmp_path.iterdir()} == {"runs", "later", "ours"}


def test_of_two_that_add_at_once_the_second_is_refused(ours, tmp_path):
    mine = addition(Published(ours), runs(tmp_path / "later", ("moon",)))
    add(ours, runs(tmp_path / "more", ("local",)))
    with pytest.raises(UserError, match="published anew while runs were added"):
        publish(Analyses(mine.evidence), ours, addition=mine)
    assert read_evidence(ours).settings == ["local", *FIRST]


# -- other code ------------------------------------------------------------------------------------------------------


def by_other_code(folder: Path, repeated: float | None = None) -> Path:
    """Runs of moon by other code; beside them a published one again, with scores ``repeated`` higher."""
    if repeated is not None:
        runs(folder, ("fedavg",), seeds=(1,))
        computed_by("b", folder, repeated)
    runs(folder / "moon", ("moon",))
    computed_by("b", folder / "moon")
    for run in list(store.finished(folder / "moon")):
        run.rename(folder / run.name)
    if not (folder / FOLDER).exists():
        (folder / "moon" / FOLDER).rename(folder / FOLDER)
    return folder


def test_runs_of_other_code_are_refused(ours, tmp_path):
    before = contents(ours)
    told = r"by other code of fedbench \(aaaaaaaaaaaa\) than those to add \(bbbbbbbbbbbb\)\. Repeat a published run"
    with pytest.raises(UserError, match=told):
        add(ours, by_other_code(tmp_path / "later"))
    assert contents(ours) == before


def test_unless_a_published_run_was_repeated_with_the_same_scores(ours, tmp_path):
    found = add(ours, by_other_code(tmp_path / "later", repeated=0.0))
    assert found.repeats == {f"toy.fedavg.s1.{'b' * 12}": "toy.fedavg.s1.0123456789ab"}
    assert said(found) == "2 runs joined 4; repeated with the same scores: 1"
    (part,) = read_manifest(ours)["added"]
    assert part["repeats"] == ["toy.fedavg.s1.0123456789ab"] and part["runs by"]["harness"] == "b" * 64
    after = read_evidence(ours)
    assert len(after.runs) == 6 and after.settings == [*FIRST, "moon"]  # the repeated run is there once
    more = runs(tmp_path / "more", ("fedbn",))
    computed_by("b", more)
    assert add(ours, more).repeats == {}  # that code was shown to do the same


def test_a_repeated_run_with_other_scores_refuses_all(ours, tmp_path):
    before = contents(ours)
    with pytest.raises(
        UserError,
        match=r"toy\.fedavg\.s1\.b+ in .* repeats the published .*0123456789ab, and its scores: \d+ of \d+ values of ",
    ):
        add(ours, by_other_code(tmp_path / "later", repeated=1e-9))
    assert contents(ours) == before


def test_a_repeated_run_by_a_third_code_proves_nothing(ours, tmp_path):
    later = by_other_code(tmp_path / "later")
    runs(tmp_path / "third", ("fedavg",))
    computed_by("c", tmp_path / "third")
    for run in list(store.finished(tmp_path / "third")):
        run.rename(later / run.name)
    with pytest.raises(UserError, match="Repeat a published run"):
        add(ours, later)


def test_repeated_runs_of_code_that_does_not_join_are_passed_over(ours, tmp_path):
    """Runs of an older version may still lie there, with whatever scores."""
    later = by_other_code(tmp_path / "later", repeated=0.0)
    runs(tmp_path / "third", ("fedavg",))
    computed_by("c", tmp_path / "third", dice=0.01)
    for run in list(store.finished(tmp_path / "third")):
        run.rename(later / run.name)
    assert len(add(ours, later).repeats) == 1


def test_a_copy_of_a_published_run_with_other_scores_refuses_all(ours, tmp_path):
    """The same code on another machine: the run has the same id."""
    later = runs(tmp_path / "later", ("moon", "fedavg"))
    assert addition(Published(ours), later).repeats == {}
    folder = later / "toy.fedavg.s0.0123456789ab"
    cases = pd.read_parquet(folder / store.CASES)
    cases.assign(dice=cases["dice"] + 1e-9).to_parquet(folder / store.CASES, index=False)
    store.seal(folder)
    with pytest.raises(UserError, match=r"toy\.fedavg\.s0\.0123456789ab in .* repeats the published"):
        add(ours, later)


def algorithm_changed(folder: Path, *seeds: int, dice: float = 0.0) -> Path:
    """Runs of fedavg and moon whose fedavg has another digest, so that it has other ids."""
    runs(folder, ("fedavg", "moon"), seeds=seeds)
    for run in list(store.finished(folder)):
        record = json.loads((run / store.RUN).read_text())
        if record["identity"]["algorithm"] != "fedavg":
            continue
        record["identity"]["algorithm_code"] = "d" * 64
        (run / store.RUN).write_text(json.dumps(record))
        cases = pd.read_parquet(run / store.CASES)
        cases.assign(dice=cases["dice"] + dice).to_parquet(run / store.CASES, index=False)
        store.seal(run)
        run.rename(run.with_name(run.name.replace("0123456789ab", "d" * 12)))
    return folder


def test_other_code_of_an_algorithm_that_is_there_must_be_shown_to_do_the_same(ours, tmp_path):
    with pytest.raises(UserError, match=r"by other code of fedavg .*\(dddddddddddd\)\. Repeat .*such as fedavg with"):
        add(ours, algorithm_changed(tmp_path / "new seed", 2))
    with pytest.raises(UserError, match=r"repeats the published .*fedavg"):
        add(ours, algorithm_changed(tmp_path / "with another", 1, 2, dice=1e-9))
    found = addition(Published(ours), algorithm_changed(tmp_path / "with the same", 1, 2))
    assert list(found.repeats.values()) == ["toy.fedavg.s1.0123456789ab"]
    assert "toy.fedavg.s2.dddddddddddd" in found.added


def test_what_older_runs_do_not_say_is_what_they_did(ours):
    """A key that the configuration got later makes no other run of them, but what is the default since may."""
    there = Published(ours)
    identity = json.loads(there.evidence.runs["identity"].iloc[0])
    known = there.like(identity)
    assert known is not None
    whole = DataConfig(**section_of(identity, "data")).model_dump()  # as a plan holds it, with tuples
    training = TrainingConfig(**section_of(identity, "training")).model_dump()
    assert there.like(identity | {"data": whole, "harness": "new", "training": training}) == known
    assert there.like(identity | {"data": DataConfig(**identity["data"]).model_dump()}) is None
    assert there.like(identity | {"training": {"rounds": 3}}) is None


def test_runs_of_two_codes_do_not_join_at_once(ours, tmp_path):
    later = by_other_code(tmp_path / "later", repeated=0.0)
    runs(later, ("local",))
    with pytest.raises(UserError, match="2 versions of fedbench's code"):
        add(ours, later)


# -- refusals --------------------------------------------------------------------------------------------------------


def test_an_earlier_seed_would_change_what_figures_show(tmp_path):
    target = published(runs(tmp_path / "runs", FIRST, seeds=(1, 2)), tmp_path / "ours")
    add(target, runs(tmp_path / "later", FIRST, seeds=(3,)))
    assert sorted(set(read_evidence(target).runs["seed"])) == [1, 2, 3]
    with pytest.raises(UserError, match="with seed 0, fold -1 of toy added these would be others"):
        add(target, runs(tmp_path / "earlier", FIRST, seeds=(0,)))


def test_other_partitions_do_not_join(ours, tmp_path):
    found: Evidence = evidence((TOY,), ("moon",), patients=4)
    for frame in (found.runs, found.cases, found.rounds):
        frame["partition"] = "another"
    for i, text in found.runs["identity"].items():
        found.runs.loc[i, "identity"] = json.dumps(json.loads(text) | {"partition": "another"})
    before = contents(ours)
    with pytest.raises(UserError, match="the partitions differ"):
        add(ours, write_store(tmp_path / "later", found))
    assert contents(ours) == before


def test_damaged_runs_are_told_if_they_are_asked_for(ours, tmp_path):
    later = runs(tmp_path / "later", LATER)
    (later / "toy.moon.s0.0123456789ab" / store.RUN).write_text("{")
    local = [f"toy.local.s{seed}.0123456789ab" for seed in (0, 1)]
    assert addition(Published(ours), later, local).added == tuple(local)
    with pytest.raises(UserError, match=r"toy\.moon\.s0\.0123456789ab is corrupt"):
        addition(Published(ours), later)


def test_without_their_pictures_runs_that_figures_show_do_not_join(ours, tmp_path):
    later = runs(tmp_path / "later", ("moon",))
    shutil.rmtree(later / FOLDER)
    with pytest.raises(UserError, match=r"runs to add on toy lack slices that figures show .*bring the folder \.views"):
        addition(Published(ours), later)
    more = runs(tmp_path / "more", FIRST, seeds=(2,))
    shutil.rmtree(more / FOLDER)
    assert len(addition(Published(ours), more).added) == 2  # of another seed figures show none


def test_there_must_be_something_published(tmp_path):
    (tmp_path / "ours").mkdir()
    with pytest.raises(UserError, match=r"nothing is published in .*ours"):
        Published(tmp_path / "ours")


def test_an_edited_publication_is_not_added_to(ours, tmp_path):
    pd.read_parquet(ours / "cases.parquet").assign(dice=0.9).to_parquet(ours / "cases.parquet")
    with pytest.raises(UserError, match="does not match its checksum"):
        add(ours, runs(tmp_path / "later", LATER))
