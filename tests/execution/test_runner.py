"""Runs that are killed, fail or are repeated: nothing finished is lost, and the bits are the same."""

from __future__ import annotations

import json
import math
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fedbench import load_results, store
from fedbench.analysis.loading import read_evidence
from fedbench.engine import checkpoint
from fedbench.execution import planning, provenance, runner
from fedbench.execution.installation import versions
from fedbench.execution.runner import Options, execute
from fedbench.execution.scheduler import Resources, Watcher, run_cells
from fedbench.sources import RESULT_MODULES
from fedbench.store import Store
from fedbench.suite import make_suite
from tests import plugins
from tests.faults.machine import finish

TINY = {
    "datasets": ["phantom-heart[patients=10,size=32]"],
    "seeds": [0],
    "model": {"name": "unet", "channels": [4, 8]},
    "training": {"rounds": 4, "batch_size": 16},
}
EVERY_ROUND = Options(checkpoint_seconds=0)


def plan(root: Path, *algorithms: str, **changes):
    return planning.plan(make_suite(TINY | {"algorithms": algorithms} | changes), root / ".prepared")


def bits(root: Path, run_id: str):
    """Everything that a result consists of: rows, round metrics (without seconds) and final weights."""
    folder = root / run_id
    rounds = pd.read_parquet(folder / store.ROUNDS)
    return (
        pd.read_parquet(folder / store.CASES),
        rounds[~rounds["metric"].str.contains("seconds")].reset_index(drop=True),
        checkpoint.load(folder / store.CHECKPOINT)[0],
    )


def assert_same_bits(a, b):
    pd.testing.assert_frame_equal(a[0], b[0], check_exact=True)
    pd.testing.assert_frame_equal(a[1], b[1], check_exact=True)
    assert a[2].keys() == b[2].keys()
    assert all(a[2][name].equal(b[2][name]) for name in a[2])


def test_killed_in_mid_round_and_started_again_gives_the_bits_of_an_uninterrupted_run(tmp_path, monkeypatch):
    plugin = plugins.write(tmp_path, "fragile", plugins.FRAGILE)
    marker = tmp_path / "marker"
    monkeypatch.setenv("FEDBENCH_TEST_MARKER", str(marker))
    (cell,) = plan(tmp_path / "killed", plugin)
    (tmp_path / "cell").write_bytes(pickle.dumps(cell))
    (tmp_path / "runs_one.py").write_text(
        "import pickle; from pathlib import Path; from fedbench.execution.runner import Options, execute\n"
        "cell = pickle.loads(Path('cell').read_bytes()); execute(cell, Path('killed'), Options(checkpoint_seconds=0))\n"
    )
    assert finish([sys.executable, "-m", "runs_one"], tmp_path)[0] == -signal.SIGKILL
    assert marker.exists()
    results = Store(tmp_path / "killed")
    assert results.status(cell.id) == "interrupted"
    assert not results.running(cell.id)
    assert checkpoint.load(results.folder(cell.id) / store.CHECKPOINT)[1]["round"] == 2
    assert load_results(tmp_path / "killed").runs.empty  # nothing half-written is visible

    assert execute(cell, tmp_path / "killed", EVERY_ROUND).status == "done"
    (same,) = plan(tmp_path / "whole", plugin)
    assert same.id == cell.id
    assert execute(same, tmp_path / "whole", EVERY_ROUND).status == "done"
    assert_same_bits(bits(tmp_path / "killed", cell.id), bits(tmp_path / "whole", cell.id))


def test_a_finished_run_is_not_repeated(tmp_path):
    (cell,) = plan(tmp_path, "fedavg")
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / cell.id).iterdir()}
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / cell.id).iterdir()} == before


def test_a_changed_hyper_parameter_budget_dataset_or_plugin_is_a_new_run(tmp_path):
    plugin = plugins.write(tmp_path, "mine", plugins.SLOW)
    ids = {
        "base": plan(tmp_path, "fedprox")[0].id,
        "mu": plan(tmp_path, "fedprox[mu=0.1]")[0].id,
        "rounds": plan(tmp_path, "fedprox", training={"rounds": 5, "batch_size": 16})[0].id,
        "seed": plan(tmp_path, "fedprox", seeds=[1])[0].id,
        "patients": plan(tmp_path, "fedprox", datasets=["phantom-heart[patients=11,size=32]"])[0].id,
        "images": plan(tmp_path, "fedprox", datasets=["phantom-heart[patients=10,size=32,seed=1]"])[0].id,
        "left out": plan(
            tmp_path, "fedprox", datasets=["phantom-abdomen[patients=10,size=32]"], data={"leave_out": "T2"}
        )[0].id,
        "plugin": plan(tmp_path, plugin)[0].id,
    }
    plugins.write(tmp_path, "mine", plugins.SLOW + "\n# another line\n")
    ids["plugin changed"] = plan(tmp_path, plugin)[0].id
    assert len(set(ids.values())) == len(ids)
    assert plan(tmp_path, "fedprox[mu=0.01]")[0].id == ids["base"]  # the default, written out


def test_what_determines_a_result_is_in_the_digest_of_the_harness():
    """The size of a sample that a suite does not give, and which rounds' models become rows."""
    for function in (planning.sample_size, runner.score_rounds):
        assert function.__module__.removeprefix("fedbench.").replace(".", "/") in RESULT_MODULES


def test_a_failing_run_leaves_its_traceback_and_is_tried_again(tmp_path):
    (cell,) = plan(tmp_path, plugins.write(tmp_path, "raising", plugins.RAISING))
    outcome = execute(cell, tmp_path, EVERY_ROUND)
    assert (outcome.status, outcome.error) == ("failed", "RuntimeError: the plugin broke")
    folder = tmp_path / cell.id
    assert "begin_round" in (folder / store.TRACEBACK).read_text()
    assert Store(tmp_path).status(cell.id) == "failed"
    assert execute(cell, tmp_path, EVERY_ROUND).status == "failed"


@pytest.fixture
def failed_once(tmp_path, monkeypatch):
    """A run that failed in round 2, when torch was another, and does not again; its checkpoint holds two rounds."""
    monkeypatch.setenv("FEDBENCH_TEST_MARKER", str(tmp_path / "marker"))
    (cell,) = plan(tmp_path, plugins.write(tmp_path, "raising", plugins.RAISING_ONCE))
    with monkeypatch.context() as then:
        then.setattr(provenance, "versions", lambda: {**versions(), "torch": "1.0"})
        assert execute(cell, tmp_path, EVERY_ROUND).status == "failed"
    return cell


def test_a_run_that_failed_and_then_ended_counts_all_its_time_and_shows_no_failure(failed_once, tmp_path):
    folder = tmp_path / failed_once.id
    assert (folder / store.FAILURE).exists() and (folder / store.TRACEBACK).exists()
    tensors, facts = checkpoint.load(folder / store.CHECKPOINT)
    checkpoint.save(folder / store.CHECKPOINT, tensors, facts | {"seconds": 1000.0})
    assert execute(failed_once, tmp_path, EVERY_ROUND).status == "done"
    assert not (folder / store.FAILURE).exists() and not (folder / store.TRACEBACK).exists()
    assert 1000 <= store.read_json(folder / store.RUN)["seconds"] < 2000


def test_memory_and_clients_of_a_run_are_those_of_its_attempt_with_the_most(tmp_path, monkeypatch):
    """The first held a terabyte, or says so, and trained two clients at a time; the last does neither."""
    monkeypatch.setenv("FEDBENCH_TEST_MARKER", str(tmp_path / "marker"))
    (cell,) = plan(tmp_path, plugins.write(tmp_path, "raising", plugins.RAISING_ONCE))
    assert execute(cell, tmp_path, replace(EVERY_ROUND, clients_at_once=2)).status == "failed"
    file = tmp_path / cell.id / store.CHECKPOINT
    tensors, facts = checkpoint.load(file)
    assert 2**20 < facts["peak_memory_bytes"] < 2**40
    checkpoint.save(file, tensors, facts | {"peak_memory_bytes": 2**40})
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"
    runs = read_evidence(tmp_path).runs
    assert runs.loc[0, "peak_memory_bytes"] == checkpoint.load(file)[1]["peak_memory_bytes"] == 2**40
    assert runs.loc[0, "clients_at_once"] == 2
    assert store.read_json(tmp_path / cell.id / store.RUN)["clients_at_once"] == 1  # as all else there, of the last


def test_a_run_that_went_on_with_other_packages_says_both(failed_once, tmp_path):
    folder = tmp_path / failed_once.id
    assert execute(failed_once, tmp_path, EVERY_ROUND).status == "done"
    run = store.read_json(folder / store.RUN)
    first, second = run["attempts"]
    assert (first["from_round"], first["versions"]["torch"]) == (0, "1.0")
    assert (second["from_round"], second["versions"]["torch"]) == (2, versions()["torch"])
    assert first["hardware"] == second["hardware"] and first["hardware"].items() <= run["hardware"].items()
    assert run["versions"] == versions()
    assert checkpoint.load(folder / store.CHECKPOINT)[1]["attempts"] == run["attempts"]


def test_a_checkpoint_that_does_not_say_what_computed_it_is_gone_on_with(failed_once, tmp_path):
    folder = tmp_path / failed_once.id
    tensors, facts = checkpoint.load(folder / store.CHECKPOINT)
    del facts["attempts"], facts["peak_memory_bytes"]
    checkpoint.save(folder / store.CHECKPOINT, tensors, facts)
    assert execute(failed_once, tmp_path, EVERY_ROUND).status == "done"
    assert "attempts" not in store.read_json(folder / store.RUN)


def test_attempts_that_are_alike_are_one():
    ours, theirs = {"versions": {"torch": "2"}}, {"versions": {"torch": "1"}}
    alone = provenance.with_attempt([], 0, ours)
    assert alone == [{"from_round": 0, **ours}] == provenance.with_attempt(alone, 3, ours)
    two = provenance.with_attempt(alone, 3, theirs)
    assert two == [*alone, {"from_round": 3, **theirs}]
    assert provenance.with_attempt(two, 3, ours) == alone  # the second finished no round
    assert provenance.with_attempt(two, 5, ours) == [*two, {"from_round": 5, **ours}]


def test_steps_and_the_best_round_of_a_run_are_those_of_its_training(tmp_path):
    training = {"rounds": 3, "batch_size": 16, "local_epochs": 2}
    (cell,) = plan(tmp_path, "fedavg", training=training)
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"
    run = store.read_json(tmp_path / cell.id / store.RUN)
    of_epoch = sum(math.ceil(samples / 16) for samples in run["samples"].values())
    assert run["steps"] == of_epoch * 2 * 3
    rounds = pd.read_parquet(tmp_path / cell.id / store.ROUNDS)
    dice = rounds[rounds["metric"] == "validation dice"].groupby("round")["value"].mean()
    assert run["best_validation_round"] == dice.idxmax()


def test_nan_ends_a_run_as_failed_and_says_round_client_and_term(tmp_path):
    (cell,) = plan(tmp_path, plugins.write(tmp_path, "diverging", plugins.DIVERGING))
    outcome = execute(cell, tmp_path, EVERY_ROUND)
    assert outcome.status == "failed"
    assert "round 1, client 'CT'" in outcome.error
    assert "'odd term' is nan" in outcome.error
    assert not (tmp_path / cell.id / store.DONE).exists()


def test_a_corrupt_finished_run_is_quarantined_and_rerun(tmp_path):
    (cell,) = plan(tmp_path, "fedavg")
    execute(cell, tmp_path, EVERY_ROUND)
    expected = bits(tmp_path, cell.id)
    path = tmp_path / cell.id / store.CASES
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"
    assert_same_bits(bits(tmp_path, cell.id), expected)
    (kept,) = [p for p in (tmp_path / ".quarantine").iterdir() if p.is_dir()]
    assert (kept / store.CASES).read_bytes() == bytes(content)
    assert "checksum" in kept.with_name(kept.name + ".reason.txt").read_text()


def test_a_corrupt_checkpoint_is_quarantined_and_the_run_starts_over(tmp_path):
    (cell,) = plan(tmp_path, plugins.write(tmp_path, "raising", plugins.RAISING))
    execute(cell, tmp_path, EVERY_ROUND)
    path = tmp_path / cell.id / store.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    assert execute(cell, tmp_path, EVERY_ROUND).status == "failed"
    assert len([p for p in (tmp_path / ".quarantine").iterdir() if p.is_dir()]) == 1
    assert checkpoint.load(path)[1]["round"] == 1


def test_what_cannot_be_read_for_now_is_left_where_it_is(tmp_path):
    """An error of the disk is no damage: a run that was begun goes on once it has passed, a finished one is finished.

    The memory of a process is a file that can be opened and neither mapped nor read from its beginning.
    """
    (begun,) = plan(tmp_path, plugins.write(tmp_path, "raising", plugins.RAISING))
    (finished,) = plan(tmp_path, "fedavg")
    for cell in (begun, finished):
        execute(cell, tmp_path, EVERY_ROUND)
    for cell, names in ((begun, [store.CHECKPOINT]), (finished, [store.DONE, store.CASES])):
        for name in names:
            path, kept = tmp_path / cell.id / name, tmp_path / "kept"
            path.rename(kept)
            path.symlink_to("/proc/self/mem")
            outcome = execute(cell, tmp_path, EVERY_ROUND)
            assert outcome.status == "failed" and f"{path} cannot be read" in outcome.error
            path.unlink()
            kept.rename(path)
    assert not (tmp_path / ".quarantine").exists()
    assert execute(finished, tmp_path, EVERY_ROUND).status == "done"
    assert checkpoint.load(tmp_path / begun.id / store.CHECKPOINT)[1]["round"] == 1
    assert not (tmp_path / finished.id / store.FAILURE).exists()


def test_a_run_that_another_process_holds_is_left_alone(tmp_path):
    (cell,) = plan(tmp_path, "fedavg")
    with Store(tmp_path).lock(cell.id) as free:
        assert free
        assert execute(cell, tmp_path, EVERY_ROUND).status == "busy"
    assert execute(cell, tmp_path, EVERY_ROUND).status == "done"


def test_rows_are_complete_and_describe_themselves(tmp_path):
    (cell,) = plan(tmp_path, "fedbn", datasets=["phantom-abdomen[patients=10,size=32]"], data={"leave_out": "T2"})
    execute(cell, tmp_path, EVERY_ROUND)
    runs, cases, rounds = load_results(tmp_path)
    run = json.loads((tmp_path / cell.id / store.RUN).read_text())
    tests = run["partition"]["test"]
    key = ["selection", "deployment", "client", "case", "label"]
    assert not cases.duplicated(key).any()
    # 2 clients with an own model each and the average used by both, last and best round, all test cases, 4 classes
    assert len(cases) == 2 * 2 * 2 * len(tests) * 4
    assert set(cases["relation"]) == {"in", "cross", "unseen"}
    assert set(cases.loc[cases["relation"] == "unseen", "modality"]) == {"T2"}
    assert (
        cases.loc[cases["relation"] == "in", "modality"] == cases["client_modality"][cases["relation"] == "in"]
    ).all()
    assert set(cases["partition"]) == {cell.identity["partition"]}
    assert set(cases["run_id"]) == {cell.id}
    assert {"segmentation", "validation dice", "bytes up", "bytes down", "seconds"} <= set(rounds["metric"])
    assert set(rounds["round"]) == {0, 1, 2, 3}
    assert runs.loc[0, "seconds"] > 0
    assert {"torch", "monai", "python"} <= set(run["versions"])
    assert run["started"] <= run["ended"]


def test_tensorboard_events_are_the_round_metrics(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (cell,) = plan(tmp_path, "fedavg")
    execute(cell, tmp_path, Options(tensorboard=True))
    events = EventAccumulator(str(tmp_path / cell.id / "tensorboard")).Reload()
    rounds = load_results(tmp_path).rounds
    dice = rounds[(rounds["metric"] == "validation dice") & (rounds["client"] == "CT")].sort_values("round")["value"]
    assert [e.value for e in events.Scalars("validation dice/CT")] == pytest.approx(dice.tolist(), rel=1e-6)


class Recorder(Watcher):
    def __init__(self):
        self.lost_runs = []

    def lost(self, cell, reason):
        self.lost_runs.append(cell.id)


def test_ray_workers_give_the_bits_of_this_process_survive_a_kill_and_go_on_after_a_failure(tmp_path, monkeypatch):
    """In this process; two Ray workers of which one is killed in mid-run and that train two clients at a time."""
    monkeypatch.setenv("FEDBENCH_TEST_MARKER", str(tmp_path / "marker"))
    names = [
        plugins.write(tmp_path, "raising", plugins.RAISING),
        "fedavg", "moon", "fedda-cyclic",
        plugins.write(tmp_path, "fragile", plugins.FRAGILE),
    ]  # fmt: skip
    outcomes, roots, watcher = {}, {}, Recorder()
    for workers in (2, 0):  # with two workers first: the marker is not there yet, so 'fragile' kills its worker
        roots[workers] = tmp_path / str(workers)
        cells = plan(roots[workers], *names)
        resources = Resources(workers, clients_at_once=2 if workers == 2 else None)
        ended = run_cells(cells, roots[workers], resources, EVERY_ROUND, watcher)
        outcomes[workers] = {o.run_id: o.status for o in ended}
    fragile = cells[-1].id
    assert watcher.lost_runs == [fragile]
    assert outcomes[0] == outcomes[2]
    assert [outcomes[2][cell.id] for cell in cells] == ["failed", "done", "done", "done", "done"]
    for cell in cells[1:]:
        assert_same_bits(bits(roots[0], cell.id), bits(roots[2], cell.id))
    at_once = [json.loads((roots[n] / cells[1].id / store.RUN).read_text())["clients_at_once"] for n in (0, 2)]
    assert at_once == [1, 2]
    import ray

    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("resources", "runs", "clients"),
    [
        (Resources(None), 1, 8),
        (Resources(None), 3, 2),
        (Resources(None), 5, 1),
        (Resources(None), 100, 1),
        (Resources(None, threads=2), 1, 4),
        (Resources(1), 1, 1),
        (Resources(0), 1, 1),
        (Resources(None, gpus_per_run=0.5), 1, 1),
        (Resources(None, address="auto"), 1, 1),
        (Resources(None, clients_at_once=3), 100, 3),
    ],
)
def test_clients_train_side_by_side_where_cores_would_be_idle(resources, runs, clients):
    """On 8 cores. Whoever says how many runs go on at a time has said how much may be used."""
    assert resources.clients_of_each(runs, cores=lambda: 8) == clients


def test_the_order_of_runs_does_not_matter(tmp_path):
    """In one process; other environments: tests/faults/test_environment.py."""
    cells = plan(tmp_path / "a", "fedavg", "fedda-joint")
    for cell in cells:
        execute(cell, tmp_path / "a", EVERY_ROUND)
    for cell in plan(tmp_path / "b", "fedavg", "fedda-joint")[::-1]:
        execute(cell, tmp_path / "b", EVERY_ROUND)
    for cell in cells:
        assert_same_bits(bits(tmp_path / "a", cell.id), bits(tmp_path / "b", cell.id))
