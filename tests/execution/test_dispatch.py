"""What the driver believes and writes about runs, between workers that see nothing of its folder and other drivers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from fedbench.execution.dispatch import ATTEMPTS, Dispatcher, Errand, Hand, Job
from fedbench.execution.packing import Packing
from fedbench.execution.runner import Options, Outcome
from fedbench.execution.watcher import Watcher
from fedbench.execution.worker import Briefing, Greeting
from fedbench.store import DONE, FAILURE, TRACEBACK, Store, read_json
from fedbench.suite import Cell
from tests.test_store import RUN, write_run

PACKING = Packing(1, 0)


@pytest.fixture
def dispatcher(tmp_path):
    """Without a run to do; Ray stands in, but for its errors, and its one node lives."""
    node = {"NodeID": "there", "NodeManagerHostname": "", "NodeManagerAddress": "", "Resources": {}, "Alive": True}
    stand_in = SimpleNamespace(kill=lambda _: None, nodes=lambda: [node], exceptions=ray.exceptions)
    return Dispatcher(stand_in, [], PACKING, 1, Briefing(str(tmp_path)), Options(), Watcher())


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
