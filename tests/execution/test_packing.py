"""How many runs share a GPU, worked by hand; the dry step, on the CPU; what happens to runs that are out of memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fedbench import registry
from fedbench.engine.compute import Compute
from fedbench.engine.training import Training
from fedbench.errors import UserError, is_out_of_memory
from fedbench.execution import planning
from fedbench.execution.cluster import Node, Token, living_nodes, other_gpus
from fedbench.execution.dispatch import Dispatcher, Hand
from fedbench.execution.installation import differences, installation, other_instructions
from fedbench.execution.packing import Footprint, Packing, dry_step, kinds, runs_per_gpu, share
from fedbench.execution.runner import Outcome, execute
from fedbench.execution.scheduler import Resources, Watcher, run_cells
from fedbench.execution.worker import Briefing, Greeting
from fedbench.store import FAILURE, Store, read_json
from fedbench.suite import make_suite
from tests import plugins
from tests.execution.test_runner import EVERY_ROUND, TINY
from tests.faults.machine import bits
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


def test_workers_that_fit_a_node():
    node = Node("id", "name", cpus=16, gpus=2)
    assert [node.workers(3, 0), node.workers(1, 0.25), node.workers(4, 0.25)] == [5, 8, 4]
    assert [node.workers(1, 1), node.workers(1, 2), node.workers(1, 0.3333), node.workers(1, 0.6666)] == [2, 1, 6, 2]
    assert Node("id", "name", 16, 0).workers(1, 0.5) == 0


def test_what_differs_is_named():
    assert {"python", "torch", "monai", "numpy", "scipy", "fedbench"} < installation().keys()
    driver = {"python": "3.11", "torch": "2.13.0", "fedbench": "0.1.0"}
    assert differences(driver, dict(driver)) == []
    assert differences(driver, driver | {"torch": "2.12.1"}) == ["torch is 2.12.1, here 2.13.0"]
    assert differences(driver, {"python": "3.11", "torch": "2.13.0"}) == ["fedbench is unknown, here 0.1.0"]


def test_another_processor_is_named_and_no_reason_to_refuse_a_node():
    """What computes bf16 matters to runs at bf16 alone; where it is not known, nothing is said."""
    driver = {"instructions": "AVX512", "bf16_instructions": "avx512_bf16"}
    other, older = driver | {"bf16_instructions": "none"}, {"instructions": "AVX512"}
    assert differences(driver, {"instructions": "AVX2"}) == differences(driver, other) == []
    assert other_instructions(driver, other, bf16=True) == "computes bf16 with none, this machine with avx512_bf16"
    assert (
        other_instructions(driver, {"instructions": "AVX2"}, bf16=False)
        == "computes with AVX2, this machine with AVX512"
    )
    for here, there, bf16 in (
        (driver, other, False),
        (driver, older, True),
        (older, driver, True),
        (driver, driver, True),
    ):
        assert other_instructions(here, there, bf16) == ""


def test_gpus_of_another_model_are_named():
    """As Ray lists what nodes have; it does not know every model."""
    have = ({"CPU": 4}, {"GPU": 1, "accelerator_type:A100": 1}, {"GPU": 1, "accelerator_type:H100": 1}, {"GPU": 2})
    listed = [
        {
            "NodeID": f"id{n}",
            "NodeManagerHostname": f"host{n}",
            "NodeManagerAddress": "",
            "Resources": own,
            "Alive": True,
        }
        for n, own in enumerate(have)
    ]
    nodes = living_nodes(SimpleNamespace(nodes=lambda: listed))
    (words,) = other_gpus(nodes)
    assert "host2" in words and "has GPUs H100" in words and "host1" in words and "A100: what runs there" in words
    assert other_gpus(nodes[:2]) == other_gpus(nodes[::3]) == []


def test_a_worker_on_whose_gpu_a_run_failed_is_used_for_no_other(tmp_path):
    """After an error of CUDA its process may be of no use; there is no GPU here, so Ray stands in only to be asked."""
    dismissed = []
    ray = SimpleNamespace(kill=dismissed.append, exceptions=SimpleNamespace(RayError=OSError))
    briefing = Briefing(str(tmp_path), {})
    for gpu, status, goes in ((0.5, "failed", True), (0.5, "done", False), (0.0, "failed", False)):
        packing = Packing(2, gpu)
        dispatcher = Dispatcher(ray, [], packing, 1, briefing, EVERY_ROUND, Watcher())
        hand = Hand(f"worker {gpu} {status}", packing)
        dispatcher._release(hand, Outcome("x", status))
        assert (hand.actor in dismissed, hand in dispatcher.idle) == (goes, not goes)


@pytest.mark.parametrize("error", ["OutOfDiskError", "ObjectStoreFullError"])
def test_a_worker_that_the_object_store_has_no_room_for_is_given_up_and_others_take_its_run(tmp_path, error):
    """It sees nothing of the driver; the other one does. Ray stands in, but for its errors."""
    import ray

    def put(_content):
        raise getattr(ray.exceptions, error)("no room\nfor it")

    cell, other = plan(tmp_path, "fedavg", "fedprox")
    sent, gone, watcher = [], [], Reasons()
    work = SimpleNamespace(remote=lambda cell, *_: sent.append(cell) or "under way")
    near = SimpleNamespace(work=SimpleNamespace(options=lambda **_: work))
    stand_in = SimpleNamespace(put=put, kill=gone.append, exceptions=ray.exceptions)
    briefing = Briefing(str(tmp_path), {}, Token("", ""))
    dispatcher = Dispatcher(stand_in, [cell, other], packing := Packing(2, 0), 1, briefing, EVERY_ROUND, watcher)
    apart = Hand("apart", packing, Greeting("there", True, frozenset({cell.prepared})))
    dispatcher.idle = [Hand(near, packing), apart]
    assert dispatcher._hand_out() == [] and (sent, gone) == ([cell], ["apart"])
    (reason,) = [why for _, why in watcher.reasons]
    for words in ("no room", "free Ray's object store", "share the results folder"):
        assert words in reason and "\n" not in reason
    dispatcher._hire()
    assert not dispatcher.starting and dispatcher.todo  # no other worker in its place

    alone = Dispatcher(stand_in, [cell], packing, 1, briefing, EVERY_ROUND, watcher)
    alone.idle = [apart]
    with pytest.raises(UserError, match=r"no room.*free Ray's object store"):
        list(alone.outcomes())
    with Store(tmp_path).lock(cell.id) as free:
        assert free


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


class Reasons(Watcher):
    def __init__(self):
        self.reasons = []

    def lost(self, cell, reason):
        self.reasons.append((cell.id, reason))


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
