"""A run in a folder of its node's own, and the driver's folder after every single thing that reaches it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fedbench import load_results, store
from fedbench.engine.checkpoint import load as load_checkpoint
from fedbench.errors import UserError
from fedbench.execution import planning
from fedbench.execution.delivery import Delivery, begin, own_folder, receive, work_apart
from fedbench.execution.runner import Inputs, Options, Outcome, execute
from fedbench.store import Store
from fedbench.suite import make_suite
from tests import plugins
from tests.execution.test_runner import EVERY_ROUND, TINY
from tests.faults.machine import bits

OFTEN = Options(checkpoint_seconds=0)


@pytest.fixture
def often(monkeypatch):
    """Every checkpoint and every progress is sent."""
    monkeypatch.setattr("fedbench.execution.delivery.PATIENCE", 0)
    monkeypatch.setattr("fedbench.execution.delivery.SECONDS_BETWEEN_PROGRESS", 0)


def plan(root, algorithm="fedavg"):
    (cell,) = planning.plan(make_suite(TINY | {"algorithms": [algorithm]}), root / ".prepared")
    return cell, Inputs(cell.prepared, cell.algorithm)


def test_the_driver_never_shows_a_run_as_done_that_is_not(tmp_path, often):
    """Cut off after any delivery, the run is unfinished; taken up from there, it ends with the same bits."""
    root = tmp_path / "driver"
    cell, inputs = plan(root)
    results, *delivered = Store(root), *work_apart(cell, tmp_path / "node", OFTEN, inputs, None)
    assert isinstance(outcome := delivered.pop(), Outcome) and outcome.status == "done"
    assert begin(results, cell.id) is None
    names = [delivery.name for delivery in delivered]
    assert names[-1] == f"{cell.id}/{store.DONE}" and names.count(f"{cell.id}/{store.CHECKPOINT}") == 5 + 1
    resumed = set()
    for delivery in delivered:
        assert results.status(cell.id) in ("absent", "interrupted")
        assert load_results(root).runs.empty
        receive(results, delivery)
        if delivery.name.endswith(store.CHECKPOINT):
            resumed.add(load_checkpoint(root / delivery.name)[1]["round"])
    assert results.status(cell.id) == "done" and resumed == {1, 2, 3, 4}
    assert results.progress(cell.id) is None
    expected = bits(root)

    half = next(i for i, d in enumerate(delivered) if d.name.endswith(store.CHECKPOINT)) + 3
    shutil.rmtree(root / cell.id)
    begin(results, cell.id)
    for delivery in delivered[:half]:
        receive(results, delivery)
    begun = begin(results, cell.id)
    assert begun is not None
    rest = list(work_apart(cell, tmp_path / "other node", OFTEN, inputs, begun))
    assert len(rest) < len(delivered)
    for delivery in rest[:-1]:
        receive(results, delivery)
    assert bits(root) == expected
    alone = tmp_path / "alone"
    assert execute(plan(alone)[0], alone, EVERY_ROUND).status == "done"
    assert bits(alone) == expected
    assert (alone / ".views").exists() and {p.name for p in (alone / ".views").iterdir()} == {
        p.name for p in (root / ".views").iterdir()
    }


def test_a_failure_arrives_with_its_traceback_and_its_last_checkpoint(tmp_path):
    root = tmp_path / "driver"
    cell, inputs = plan(root, plugins.write(tmp_path, "raising", plugins.RAISING))
    results = Store(root)
    begin(results, cell.id)
    *delivered, outcome = work_apart(cell, tmp_path / "node", OFTEN, inputs, None)
    for delivery in delivered:
        receive(results, delivery)
    assert (outcome.status, outcome.error) == ("failed", "RuntimeError: the plugin broke")
    assert results.status(cell.id) == "failed"
    assert "begin_round" in (root / cell.id / store.TRACEBACK).read_text()
    assert begin(results, cell.id) is not None and results.status(cell.id) == "interrupted"


def test_a_corrupt_checkpoint_is_not_sent_but_put_aside(tmp_path, often):
    root = tmp_path / "driver"
    cell, inputs = plan(root)
    results = Store(root)
    begin(results, cell.id)
    stream = work_apart(cell, tmp_path / "node", OFTEN, inputs, None)
    receive(results, next(d for d in stream if isinstance(d, Delivery) and d.name.endswith(store.CHECKPOINT)))
    path = root / cell.id / store.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    assert begin(results, cell.id) is None
    assert len([p for p in (root / ".quarantine").iterdir() if p.is_dir()]) == 1


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_put_aside(tmp_path):
    results = Store(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / store.CHECKPOINT).symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=f"{store.CHECKPOINT} cannot be read"):
        begin(results, "run")
    assert (tmp_path / "run" / store.CHECKPOINT).is_symlink() and not (tmp_path / ".quarantine").exists()


def test_what_a_killed_driver_left_half_written_is_gone_when_the_seal_arrives(tmp_path):
    results = Store(tmp_path)
    begin(results, "run")
    left = {".cases.parquet.x8.part", ".progress.json.4711"}
    for name in left:
        (tmp_path / "run" / name).write_text("half")
    content = np.zeros(3, np.uint8)
    receive(results, Delivery(f"run/{store.CASES}", content))
    assert left < {file.name for file in (tmp_path / "run").iterdir()}
    receive(results, Delivery(f"run/{store.DONE}", content))
    assert {file.name for file in (tmp_path / "run").iterdir()} == {store.CASES, store.DONE}


def test_a_folder_in_use_is_left_to_its_process(tmp_path):
    with own_folder(tmp_path) as mine:
        mine.mkdir()
        (mine / "file").touch()
        with own_folder(tmp_path) as other:
            assert (mine / "file").exists() and other != mine
    assert not mine.exists()


def test_the_node_s_folder_holds_nothing_of_what_ended_or_died(tmp_path):
    root = tmp_path / "driver"
    cell, inputs = plan(root)
    cache = tmp_path / "cache"
    (cache / "runs" / "dead" / cell.id).mkdir(parents=True)
    (cache / "runs" / "dead.lock").touch()
    with own_folder(cache) as mine, own_folder(cache) as other:
        assert mine != other
        list(work_apart(cell, mine, OFTEN, inputs, None))
        assert not (mine / cell.id).exists()
        assert sorted(p.name for p in (cache / "runs").iterdir() if p.is_dir()) == [mine.name]
    assert not [p for p in (cache / "runs").iterdir() if p.is_dir()]
