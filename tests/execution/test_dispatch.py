"""Workers that are hired, used and given up; what the driver believes and writes about their runs. Ray stands in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from fedbench.errors import UserError
from fedbench.execution import dispatch
from fedbench.execution.cluster import Token
from fedbench.execution.dispatch import ATTEMPTS, Dispatcher, Errand, Hand, Job
from fedbench.execution.packing import Packing
from fedbench.execution.runner import Options, Outcome
from fedbench.execution.watcher import Watcher
from fedbench.execution.worker import Briefing, Greeting
from fedbench.store import DONE, FAILURE, TRACEBACK, Store, read_json
from fedbench.suite import Cell
from tests.execution.test_runner import EVERY_ROUND, plan
from tests.test_store import RUN, write_run


class Reasons(Watcher):
    def __init__(self):
        self.reasons = []
        self.words = []

    def lost(self, cell, reason):
        self.reasons.append((cell.id, reason))

    def told(self, words):
        self.words.append(words)


def test_a_worker_that_differs_from_the_driver_gets_no_run(tmp_path):
    """On a cluster others may do; where all import the same, the command ends."""
    gone, watcher, packing = [], Reasons(), Packing(1, 0)
    greeting = Greeting("there", differs=("torch is 1, here 2",))
    stand_in = SimpleNamespace(kill=gone.append, get=lambda _: greeting, exceptions=SimpleNamespace(RayError=OSError))
    cluster, here = Briefing(str(tmp_path), {}, Token("", "")), Briefing(str(tmp_path), {})
    dispatcher = Dispatcher(stand_in, [], packing, 1, cluster, EVERY_ROUND, watcher)
    dispatcher._greeted(Hand("worker", packing), "reference")
    assert dispatcher.idle == [] and gone == ["worker"]
    assert watcher.words == ["a worker could not be started: torch is 1, here 2"]
    dispatcher = Dispatcher(stand_in, [], packing, 1, here, EVERY_ROUND, watcher)
    with pytest.raises(UserError, match=r"no worker can be started: torch is 1, here 2: .* start again"):
        dispatcher._greeted(Hand("worker", packing), "reference")
    assert dispatcher.idle == []


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
    stand_in = SimpleNamespace(
        wait=lambda waiting, timeout: (waiting, []), get=get, kill=lambda _: None,
        exceptions=SimpleNamespace(RayError=OSError),
    )  # fmt: skip
    cell = SimpleNamespace(id="never run")
    dispatcher = Dispatcher(stand_in, [cell], Packing(1, 0), 1, Briefing(str(tmp_path), {}), EVERY_ROUND, watcher)
    with pytest.raises(UserError, match="no worker can be started: OSError: it broke"):
        list(dispatcher.outcomes())
    assert len(hired) == 3 and watcher.words == ["a worker could not be started: OSError: it broke"] * 2


def test_a_worker_on_whose_gpu_a_run_failed_is_used_for_no_other(tmp_path):
    """After an error of CUDA its process may be of no use; there is no GPU here, so Ray stands in only to be asked."""
    dismissed = []
    stand_in = SimpleNamespace(kill=dismissed.append, exceptions=SimpleNamespace(RayError=OSError))
    briefing = Briefing(str(tmp_path), {})
    for gpu, status, goes in ((0.5, "failed", True), (0.5, "done", False), (0.0, "failed", False)):
        packing = Packing(2, gpu)
        dispatcher = Dispatcher(stand_in, [], packing, 1, briefing, EVERY_ROUND, Watcher())
        hand = Hand(f"worker {gpu} {status}", packing)
        dispatcher._release(hand, Outcome("x", status))
        assert (hand.actor in dismissed, hand in dispatcher.idle) == (goes, not goes)


@pytest.mark.parametrize("error", ["OutOfDiskError", "ObjectStoreFullError"])
def test_a_worker_that_the_object_store_has_no_room_for_is_given_up_and_others_take_its_run(tmp_path, error):
    """It sees nothing of the driver; the other one does. Ray stands in, but for its errors."""

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


# -- what is believed and written ------------------------------------------------------------------------------------

PACKING = Packing(1, 0)


@pytest.fixture
def dispatcher(tmp_path):
    """Without a run to do; Ray stands in, but for its errors, and its one node lives."""
    node = {"NodeID": "there", "NodeManagerHostname": "", "NodeManagerAddress": "", "Resources": {}, "Alive": True}
    stand_in = SimpleNamespace(kill=lambda _: None, nodes=lambda: [node], exceptions=ray.exceptions)
    return Dispatcher(stand_in, [], PACKING, 1, Briefing(str(tmp_path), {}), Options(), Watcher())


def errand(monkeypatch, crashes=0) -> Errand:
    """One of a worker that does not see the driver's folder."""
    monkeypatch.setattr(Cell, "id", RUN)
    sent: list[Cell] = []
    work = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda cell, *_: sent.append(cell) or "sent"))
    hand = Hand(SimpleNamespace(work=work, sent=sent), PACKING, Greeting("there", apart=True))
    return Errand(hand, Job(Cell({}, "fedavg", "nowhere", "fedavg"), crashes))


def test_a_run_is_done_when_what_was_delivered_is_whole(dispatcher, monkeypatch, tmp_path):
    done, job = Outcome(RUN, "done", 3.0), errand(monkeypatch)
    write_run(tmp_path, sealed=False)
    assert dispatcher._checked(done, job) == Outcome(RUN, "failed", 3.0, "its results did not arrive whole")
    (tmp_path / RUN / DONE).symlink_to("/proc/self/mem")
    refused = dispatcher._checked(done, job)
    assert refused.status == "failed" and f"{DONE} cannot be read" in refused.error
    write_run(tmp_path / "elsewhere").rename(tmp_path / "whole")
    (tmp_path / RUN).rename(tmp_path / "not whole")
    (tmp_path / "whole").rename(tmp_path / RUN)
    assert dispatcher._checked(done, job) == done
    (tmp_path / RUN / DONE).unlink()
    failed = Outcome(RUN, "failed")
    assert dispatcher._checked(failed, job) is failed
    near = Errand(Hand(None, PACKING, Greeting("there")), job.job)
    assert dispatcher._checked(done, near) is done


def test_a_run_that_another_driver_has_sealed_is_not_sent(dispatcher, monkeypatch, tmp_path):
    job = errand(monkeypatch)
    write_run(tmp_path)
    before = {file.name for file in (tmp_path / RUN).iterdir()}
    assert dispatcher._begin(job) == Outcome(RUN, "done")
    assert not job.hand.actor.sent and not dispatcher.busy
    assert {file.name for file in (tmp_path / RUN).iterdir()} == before


@pytest.mark.parametrize("meanwhile", ["nothing", "claimed", "finished"])
def test_why_a_run_was_given_up_is_written_unless_another_driver_has_it(dispatcher, monkeypatch, tmp_path, meanwhile):
    job, driver = errand(monkeypatch, ATTEMPTS - 1), Store(tmp_path)
    job.lock.enter_context(driver.lock(RUN))
    dispatcher._dismiss = lambda _: write_run(tmp_path) if meanwhile == "finished" else None
    if meanwhile == "claimed":  # between the moment this driver lets go and the one it would write
        close, other = job.lock.close, Store(tmp_path).lock(RUN)
        job.lock.close = lambda: (close(), other.__enter__())
    outcome = dispatcher._lost(job, ray.exceptions.RayError("gone"))
    assert outcome is not None and outcome.status == "failed" and f"{ATTEMPTS} times" in outcome.error
    failure = read_json(tmp_path / RUN / FAILURE)
    assert (failure or {}).get("error") == (outcome.error if meanwhile == "nothing" else None)
    assert (tmp_path / RUN / TRACEBACK).exists() is (meanwhile == "nothing")
    assert driver.running(RUN) is (meanwhile == "claimed")
