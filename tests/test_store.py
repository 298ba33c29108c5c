"""Results on disk: folders made by hand, sealed, broken, and shared by two processes."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest

from fedbench import load_results
from fedbench.errors import UserError
from fedbench.store import Store, broken, read_json, seal, write_json, write_parquet

RUN, GOOD = "toy.fedavg.s0.abc", "toy.fedavg.s1.def"
spawn = multiprocessing.get_context("spawn")


def write_run(root, run_id="toy.fedavg.s0.abc", seed=0, sealed=True):
    """A finished run with two case rows and one round."""
    folder = root / run_id
    folder.mkdir(parents=True)
    identity = {"dataset": "toy", "algorithm": "fedavg", "seed": seed, "partition": "p" * 64}
    identity["data"] = {"fold": None, "leave_out": None}
    facts = {"started": "2026-01-01", "ended": "2026-01-02", "seconds": 1.5, "steps": 3, "parameters": 100}
    write_json(folder / "run.json", {"identity": identity, "label": "fedavg"} | facts)
    rows = [
        {"client": "CT", "case": "P0/CT", "label": 1, "dice": 0.5 + seed / 10, "hd95": math.inf, "flag": ""},
        {"client": "CT", "case": "P1/CT", "label": 2, "dice": math.nan, "hd95": 3.0, "flag": "both-empty"},
    ]
    write_parquet(folder / "cases.parquet", rows)
    write_parquet(folder / "rounds.parquet", [{"round": 0, "client": "CT", "metric": "segmentation", "value": 0.7}])
    (folder / "checkpoint.safetensors").write_bytes(b"tensors")
    (folder / "predictions.npz").write_bytes(b"slices")
    (folder / "features.npz").write_bytes(b"features")
    if sealed:
        seal(folder)
    return folder


# -- status -----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_run(tmp_path):
    store = Store(tmp_path / "new" / "results")
    assert store.status(RUN) == "absent" and store.run_ids() == []
    folder = store.folder(RUN)
    folder.mkdir()
    assert store.status(RUN) == "absent"
    (folder / "checkpoint.safetensors").write_bytes(b"half way")
    assert store.status(RUN) == "interrupted"
    write_json(folder / "failure.json", {"error": "boom"})
    assert store.status(RUN) == "failed"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    write_run(store.root, RUN, sealed=False)
    assert store.status(RUN) == "interrupted"
    seal(folder)
    assert store.status(RUN) == "done"
    (store.root / "figures").mkdir()
    assert store.run_ids() == [RUN]


def test_what_killed_attempts_left_half_written_is_gone_from_a_finished_run(tmp_path):
    folder = write_run(tmp_path, sealed=False)
    for name in (".checkpoint.safetensors.k3j2.part", ".cases.parquet.8x.part", ".progress.json.4711", "notes.txt"):
        (folder / name).write_text("half")
    before = {file.name for file in folder.iterdir()}
    seal(folder)
    names = {file.name for file in folder.iterdir()}
    assert names - before == {"done"}
    assert before - names == {name for name in before if name.startswith(".")}
    assert Store(tmp_path).status(RUN) == "done"


def test_progress_is_what_was_last_said_or_nothing(tmp_path):
    store = Store(tmp_path)
    assert store.progress(RUN) is None
    write_json(tmp_path / RUN / "progress.json", {"round": 2})
    assert store.progress(RUN) == {"round": 2}
    (tmp_path / RUN / "progress.json").write_text('{"rou')
    assert store.progress(RUN) is None and read_json(tmp_path / "none.json") is None


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("run.json", "cases.parquet", "rounds.parquet", "checkpoint.safetensors", "predictions.npz", "features.npz")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "reason"), [(flip, "{} does not match its checksum"), (lambda path: path.unlink(), "{} is missing")]
)
def test_a_damaged_run_is_moved_aside_with_the_reason_and_counts_as_absent(tmp_path, name, damage, reason):
    store, folder = Store(tmp_path), write_run(tmp_path, RUN)
    good = write_run(tmp_path, GOOD)
    damage(folder / name)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert store.status(RUN) == "absent" and not folder.exists()
    aside, why = sorted((tmp_path / ".quarantine").iterdir())
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == left
    assert aside.name.startswith(f"{RUN}.") and why.name == f"{aside.name}.reason.txt"
    assert why.read_text().strip() == reason.format(name)
    assert store.run_ids() == [GOOD] and store.status(GOOD) == "done" and good.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"sha256": 3}', '{"sha256": {}}', "\x00" * 40])
def test_an_unreadable_seal_is_no_seal(tmp_path, content):
    store, folder = Store(tmp_path), write_run(tmp_path, RUN)
    (folder / "done").write_text(content)
    assert broken(folder)
    assert store.status(RUN) == "absent"
    assert len(list((tmp_path / ".quarantine").glob(f"{RUN}.*/done"))) == 1


def test_a_damaged_run_that_another_process_has_claimed_is_left_to_it(tmp_path):
    flip(write_run(tmp_path, RUN) / "run.json")
    store = Store(tmp_path)
    with Store(tmp_path).lock(RUN):
        assert store.status(RUN) == "absent"
        assert store.folder(RUN).exists() and not (tmp_path / ".quarantine").exists()
        assert store.status(RUN, claimed=True) == "absent"
        assert not store.folder(RUN).exists() and store.set_aside()


@pytest.mark.parametrize(("sealed", "status"), [(True, "done"), (False, "interrupted")])
def test_a_run_that_is_made_anew_while_its_damage_is_found_stays(tmp_path, monkeypatch, sealed, status):
    """One driver reads a damaged run, another moves it aside and begins again before the first one does."""
    flip(write_run(tmp_path, RUN) / "run.json")
    first, other = Store(tmp_path), Store(tmp_path)

    def slow(folder):
        monkeypatch.undo()
        problem = broken(folder)
        other.quarantine(RUN, problem)
        write_run(tmp_path, RUN, sealed=sealed)
        return problem

    monkeypatch.setattr("fedbench.store.broken", slow)
    assert first.status(RUN) == status
    assert first.folder(RUN).exists() and len(first.set_aside()) == 1


@pytest.mark.parametrize("name", ["done", *FILES])
def test_what_cannot_be_read_for_now_is_no_damage(tmp_path, name):
    """The memory of a process is a file that can be opened and not read from its beginning."""
    store, folder = Store(tmp_path), write_run(tmp_path, RUN)
    (folder / name).rename(tmp_path / "kept")
    (folder / name).symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=f"{folder / name} cannot be read: Input/output error"):
        store.status(RUN)
    (folder / name).unlink()
    (tmp_path / "kept").rename(folder / name)
    assert store.status(RUN) == "done" and not (tmp_path / ".quarantine").exists()


def test_what_json_files_say(tmp_path):
    """None where there is none, and where it is no JSON; an error where it cannot be told."""
    (tmp_path / "file").write_text("{")
    assert read_json(tmp_path / "none") is read_json(tmp_path / "file" / "none") is read_json(tmp_path / "file") is None
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / RUN).mkdir()
    (tmp_path / RUN / "progress.json").symlink_to("/proc/self/mem")
    assert Store(tmp_path).progress(RUN) is None


def test_a_run_can_be_damaged_twice(tmp_path):
    store = Store(tmp_path)
    for _ in range(2):
        flip(write_run(tmp_path, RUN) / "run.json")
        assert store.status(RUN) == "absent"
    assert len(list((tmp_path / ".quarantine").glob(f"{RUN}.*.reason.txt"))) == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write results to .*/file/results: .*--out"):
        Store(tmp_path / "file" / "results")


# -- results ----------------------------------------------------------------------------------------------------------


def test_results_are_tidy_frames_over_all_finished_runs(tmp_path):
    write_run(tmp_path, "a", seed=0)
    write_run(tmp_path, "b", seed=1)
    write_run(tmp_path, "unfinished", seed=2, sealed=False)
    results = load_results(tmp_path)
    assert results.runs["run_id"].tolist() == ["a", "b"] and results.runs["seconds"].tolist() == [1.5, 1.5]
    assert results.cases[["run_id", "seed", "case", "label"]].values.tolist() == [
        ["a", 0, "P0/CT", 1], ["a", 0, "P1/CT", 2], ["b", 1, "P0/CT", 1], ["b", 1, "P1/CT", 2],
    ]  # fmt: skip
    assert results.cases["dice"].isna().sum() == 2 and np.isinf(results.cases["hd95"]).sum() == 2
    assert results.rounds["value"].tolist() == [0.7, 0.7]
    assert load_results(str(tmp_path), ["b"]).cases["seed"].unique().tolist() == [1]


def test_no_results_yet_are_empty_frames_and_no_folder_is_an_error(tmp_path):
    assert [len(frame) for frame in load_results(tmp_path)] == [0, 0, 0]
    Store(tmp_path)
    assert [len(frame) for frame in load_results(tmp_path)] == [0, 0, 0]
    with pytest.raises(UserError, match="no such folder"):
        load_results(tmp_path / "none")


def test_results_that_were_changed_are_refused_and_left_alone(tmp_path):
    write_run(tmp_path, "a")
    flip(write_run(tmp_path, "b") / "cases.parquet")
    with pytest.raises(UserError, match=r"run b is corrupt \(cases\.parquet does not match"):
        load_results(tmp_path)
    assert (tmp_path / "b" / "cases.parquet").exists()
    assert len(load_results(tmp_path, ["a"]).cases) == 2


def test_rows_keep_their_types(tmp_path):
    rows = [
        {"text": "Ä", "whole": 2**53 + 1, "number": 0.1, "hole": math.nan, "far": math.inf, "yes": True, "note": None},
        {"text": "", "whole": -1, "number": 1e-300, "hole": 1.0, "far": -math.inf, "yes": False, "note": "x"},
    ]
    write_parquet(tmp_path / "x.parquet", rows)
    frame = pd.read_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(frame, pd.DataFrame(rows))
    assert [frame[c].dtype.kind for c in ("whole", "number", "hole", "far", "yes")] == ["i", "f", "f", "f", "b"]
    assert frame["whole"][0] == 2**53 + 1 and math.isnan(frame["hole"][0])


# -- two processes on one root ----------------------------------------------------------------------------------------


def _hold(root, pipe) -> None:
    with Store(root).lock(RUN) as free:
        pipe.send(free)
        pipe.recv()


def test_a_run_belongs_to_one_living_process(tmp_path):
    store = Store(tmp_path)
    assert not store.running(RUN)
    here, there = spawn.Pipe()
    holder = spawn.Process(target=_hold, args=(tmp_path, there))
    holder.start()
    assert here.recv()
    assert store.running(RUN) and not store.running("other")
    with store.lock(RUN) as free:
        assert not free
    with store.lock("other") as free:
        assert free
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert not store.running(RUN)
    with store.lock(RUN) as free:
        assert free


def _work(root, run_ids, barrier) -> list[str]:
    """Do every run that nobody has done or is doing; return those done here."""
    store, mine = Store(root), []
    barrier.wait()
    for run_id in run_ids:
        with store.lock(run_id) as free:
            if free and store.status(run_id) == "absent":
                write_run(root, run_id)
                mine.append(run_id)
    return mine


def _worker(root, run_ids, barrier, pipe) -> None:
    pipe.send(_work(root, run_ids, barrier))


def test_two_processes_share_the_work_and_do_nothing_twice(tmp_path):
    run_ids, barrier = [f"r{i:02d}" for i in range(30)], spawn.Barrier(2)
    pipes = [spawn.Pipe() for _ in range(2)]
    workers = [spawn.Process(target=_worker, args=(tmp_path, run_ids, barrier, there)) for _, there in pipes]
    for worker in workers:
        worker.start()
    done = [here.recv() for here, _ in pipes]
    for worker in workers:
        worker.join()
    assert sorted(done[0] + done[1]) == run_ids
    assert all(Store(tmp_path).status(run_id) == "done" for run_id in run_ids)
    assert not (tmp_path / ".quarantine").exists()
    assert json.loads((tmp_path / "r07" / "done").read_text())["sha256"].keys() == set(FILES)
