"""Workers that are hired, used and given up; Ray stands in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fedbench.errors import UserError
from fedbench.execution import dispatch
from fedbench.execution.cluster import Token
from fedbench.execution.dispatch import Dispatcher, Hand
from fedbench.execution.packing import Packing
from fedbench.execution.runner import Outcome
from fedbench.execution.scheduler import Watcher
from fedbench.execution.worker import Briefing, Greeting
from fedbench.store import Store
from tests.execution.test_runner import EVERY_ROUND, plan


class Reasons(Watcher):
    def __init__(self):
        self.reasons = []
        self.words = []

    def lost(self, cell, reason):
        self.reasons.append((cell.id, reason))

    def told(self, words):
        self.words.append(words)


def test_a_worker_that_differs_from_the_driver_gets_no_run(tmp_path):
    gone, watcher, packing = [], Reasons(), Packing(1, 0)
    greeting = Greeting("there", differs=("torch is 1, here 2",))
    ray = SimpleNamespace(kill=gone.append, get=lambda _: greeting, exceptions=SimpleNamespace(RayError=OSError))
    dispatcher = Dispatcher(ray, [], packing, 1, Briefing(str(tmp_path), {}), EVERY_ROUND, watcher)
    dispatcher._greeted(Hand("worker", packing), "reference")
    assert dispatcher.idle == [] and gone == ["worker"]
    assert watcher.words == ["a worker could not be started: torch is 1, here 2"]


def test_after_three_workers_that_never_come_no_more_are_hired(tmp_path, monkeypatch):
    """A stand-in for Ray whose workers all fail as they greet, and that would notice a fifth."""
    hired, watcher = [], Reasons()

    def greet(_briefing):
        hired.append(len(hired))
        assert len(hired) < 5
        return hired[-1]

    def get(_reference):
        raise OSError("it broke")

    actor = SimpleNamespace(greet=SimpleNamespace(remote=greet))
    monkeypatch.setattr(dispatch, "hire", lambda *_: actor)
    ray = SimpleNamespace(
        wait=lambda waiting, timeout: (waiting, []), get=get, kill=lambda _: None,
        exceptions=SimpleNamespace(RayError=OSError),
    )  # fmt: skip
    cell = SimpleNamespace(id="never run")
    dispatcher = Dispatcher(ray, [cell], Packing(1, 0), 1, Briefing(str(tmp_path), {}), EVERY_ROUND, watcher)
    with pytest.raises(UserError, match="no worker can be started: OSError: it broke"):
        list(dispatcher.outcomes())
    assert len(hired) == 3 and watcher.words == ["a worker could not be started: OSError: it broke"] * 2


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
