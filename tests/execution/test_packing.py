"""How many runs share a GPU, worked by hand; the dry step, on the CPU; what happens to runs that are out of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedbench import registry
from fedbench.algorithms.fedavg import FedAvg
from fedbench.engine import evaluation
from fedbench.engine.compute import Compute
from fedbench.engine.inference import truth
from fedbench.engine.training import Training
from fedbench.errors import is_out_of_memory
from fedbench.execution import planning
from fedbench.execution.packing import Footprint, Packing, dry_step, kinds, runs_per_gpu, share
from fedbench.execution.runner import execute
from fedbench.execution.scheduler import Resources, run_cells
from fedbench.federation import with_clients
from fedbench.store import FAILURE, Store, read_json
from fedbench.suite import make_suite
from tests import plugins
from tests.execution.test_dispatch import Reasons
from tests.execution.test_runner import EVERY_ROUND, TINY
from tests.faults.machine import bits
from tests.federations import make_case, make_federation, make_training
from tests.toys import refused

GB = 10**9


@pytest.mark.parametrize(
    ("needed", "cpus_per_gpu", "threads", "expected"),
    [
        ((2,), 64, 1, 18),  # 0.9 * 40 = 36 of 40 GB may be used, 36 // 2 = 18
        ((2, 5), 64, 1, 7),  # the hungriest counts: 36 // 5
        ((2, 5), 4, 1, 4),  # four CPUs feed four runs
        ((2, 5), 8, 3, 2),  # eight CPUs feed two runs of three threads
        ((37,), 64, 1, 1),  # fits alone, with less than a tenth to spare
        ((2,), 0.5, 1, 1),  # two GPUs on one CPU: still one
    ],
)
def test_runs_per_gpu(needed, cpus_per_gpu, threads, expected):
    assert runs_per_gpu([Footprint(n * GB, 40 * GB) for n in needed], cpus_per_gpu, threads) == expected


def test_shares_are_what_ray_can_count_and_add_up_to_at_most_one_gpu():
    assert [share(n) for n in (1, 2, 3, 7)] == [1.0, 0.5, 0.3333, 0.1428]
    assert all(n * share(n) <= 1 and (n + 1) * share(n) > 1 for n in range(1, 100))


def test_a_packing_is_halved_until_a_run_has_a_gpu_to_itself():
    """Two GPUs, four runs on each: half as many with twice as much, so that they are spread over both."""
    assert Packing(8, 0.25).lowered() == Packing(4, 0.5)
    assert Packing(4, 0.5).lowered() == Packing(2, 1.0)
    assert Packing(2, 1.0).lowered() is None
    assert Packing(3, 0.3333).lowered() == Packing(1, 0.6666)
    assert Packing(1, 0.6666).lowered() == Packing(1, 1.0)
    assert Packing(5, 0).lowered() == Packing(2, 0) and Packing(2, 0).lowered() == Packing(1, 0)
    assert Packing(1, 0).lowered() is None
    assert Packing(4, 2).lowered() is None


COUNTING = '''
"""Writes down how large its batches are."""
from fedbench.algorithms.fedavg import FedAvg

class Counting(FedAvg):
    """Counts."""
    name = "counting"
    sizes = []

    def local_step(self, step):
        self.sizes.append((step.client.name, len(step.images)))
        super().local_step(step)
'''


def plan(root, *algorithms, **changes):
    return planning.plan(make_suite(TINY | {"algorithms": algorithms} | changes), root / ".prepared")


def test_the_dry_step_is_one_full_batch_per_client_and_round_and_leaves_no_trace(tmp_path):
    """Two rounds, for what an algorithm keeps of the one before; 21 and 14 slices make batches of 7."""
    plugin = plugins.write(tmp_path, "counting", COUNTING)
    (cell,) = plan(tmp_path, plugin, training={"rounds": 4, "batch_size": 8})
    task = planning.make_task(cell)
    dry_step(task, Compute.start(task.training, "cpu"))
    cls = registry.load("algorithm", registry.find("algorithm", plugin))
    assert [len(samples) for samples in Training(task, Compute.start(task.training, "cpu")).sets] == [21, 14]
    assert sorted(cls.sizes) == [("CT", 7), ("CT", 7), ("MR", 7), ("MR", 7)]
    assert not list(tmp_path.glob("*.s0.*"))


@pytest.mark.parametrize("where", ["test", "val"])
def test_the_dry_step_predicts_the_largest_case_there_is(tmp_path, monkeypatch, where):
    federation, largest = make_federation(tmp_path), make_case(tmp_path, "X1", "CT", 9, 16)
    if where == "test":
        federation = replace(federation, test=(*federation.test, largest))
    else:
        first, *others = federation.clients
        federation = with_clients(federation, [replace(first, val=(*first.val, largest)), *others])
    task, predicted = make_training(federation, FedAvg()).task, []

    def predict(model, case, compute, patch):
        predicted.append(case.id)
        return truth(case)

    monkeypatch.setattr(evaluation, "predict", predict)
    dry_step(task, Compute.start(task.training, "cpu"))
    assert set(predicted) == {largest.id}


def test_runs_that_differ_in_seed_or_fold_are_measured_once(tmp_path):
    cells = plan(tmp_path, "fedavg", "fedprox", "fedprox[mu=0.5]", seeds=[0, 1], data={"folds": 2})
    assert len(cells) == 12
    assert [cell.label for cell in kinds(cells)] == ["fedavg", "fedprox", "fedprox[mu=0.5]"]


def test_out_of_memory_is_known_in_whichever_words():
    def caused(error, cause):
        error.__cause__ = cause
        return error

    oom = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    for error in (
        oom, RuntimeError("CUDA error: out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), caused(RuntimeError("map. Seems to be OOM"), oom),
        caused(ValueError("in a plugin"), oom),
    ):  # fmt: skip
        assert is_out_of_memory(error), error
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(None) and not is_out_of_memory(MemoryError())


def test_auto_needs_a_gpu(fedbench):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for one is no mistake")
    arguments = ("run", "-a", "fedavg", "-d", "phantom-heart[patients=10,size=32]", "--gpus-per-run")
    refused(fedbench(*arguments, "auto"), "--gpus-per-run auto", "no GPU")
    for wrong in ("many", "-1", "1.5", "nan", "inf"):
        refused(fedbench(*arguments, wrong), f"--gpus-per-run {wrong}", "auto")


CROWDED = '''
"""Out of memory in round 2 as long as another run goes on; one that always is has mu = 0.9."""
import os
import time
from pathlib import Path

import torch

from fedbench.algorithms.fedprox import FedProx

class Crowded(FedProx):
    """Needs room."""
    name = "crowded"

    def begin_round(self, client):
        super().begin_round(client)
        here = Path(os.environ["FEDBENCH_TEST_ROOM"])
        mine = here / f"{os.getpid()}"
        mine.touch()
        if client.round == 1 and client.index == 0:
            deadline = time.monotonic() + float(os.environ["FEDBENCH_TEST_WAIT"])
            while not self._others(here) and not (here / "crowded").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        if client.round == 2 and (self._others(here) or self.params.mu == 0.9):
            (here / "crowded").touch()
            raise torch.OutOfMemoryError("no room for 2 GiB")

    def _others(self, here):
        names = [path.name for path in here.iterdir() if path.name.isdecimal() and path.name != str(os.getpid())]
        return [name for name in names if Path("/proc", name).exists()]

    def end_round(self, client):
        super().end_round(client)
        if client.round == 3:
            Path(os.environ["FEDBENCH_TEST_ROOM"], f"{os.getpid()}").unlink(missing_ok=True)
'''


@pytest.fixture
def room(tmp_path, monkeypatch):
    (tmp_path / "room").mkdir()
    monkeypatch.setenv("FEDBENCH_TEST_ROOM", str(tmp_path / "room"))
    monkeypatch.setenv("FEDBENCH_TEST_WAIT", "60")
    return plugins.write(tmp_path, "crowded", CROWDED)


def test_out_of_memory_runs_go_on_one_at_a_time_and_what_never_fits_is_given_up(tmp_path, monkeypatch, room):
    """Two do not fit together, one not even alone: it says what to change, and the next goes on."""
    fit = [f"{room}[mu=0.1]", f"{room}[mu=0.2]", "fedavg"]
    cells = plan(tmp_path / "two", *fit[:2], f"{room}[mu=0.9]", fit[2])
    watcher = Reasons()
    ended = {o.run_id: o for o in run_cells(cells, tmp_path / "two", Resources(2), EVERY_ROUND, watcher)}
    assert [ended[cell.id].status for cell in cells] == ["done", "done", "failed", "done"]
    assert watcher.reasons and {run_id for run_id, _ in watcher.reasons} <= {cell.id for cell in cells[:2]}
    assert {why for _, why in watcher.reasons} == {"out of memory on the device; from here on 1 at a time"}
    for words in ("out of memory", "training.batch_size", "data.size", "no room for 2 GiB"):
        kept = read_json(tmp_path / "two" / cells[2].id / FAILURE) or {}
        assert words in ended[cells[2].id].error and words in kept["error"]
    assert Store(tmp_path / "two").status(cells[2].id) == "failed"
    monkeypatch.setenv("FEDBENCH_TEST_WAIT", "0")
    for cell in plan(tmp_path / "alone", *fit):
        assert execute(cell, tmp_path / "alone", EVERY_ROUND).status == "done"
    assert bits(tmp_path / "two") == bits(tmp_path / "alone")
