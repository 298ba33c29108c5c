"""Hands cells to workers of a Ray cluster; what a lost worker or node had begun goes on elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbench.errors import UserError
from fedbench.execution import shipping
from fedbench.execution.cluster import living_nodes
from fedbench.execution.delivery import Delivery, begin, receive
from fedbench.execution.packing import Packing
from fedbench.execution.runner import Options, Outcome, record_failure
from fedbench.execution.watcher import Watcher
from fedbench.execution.worker import Briefing, Cargo, Greeting, Worker
from fedbench.store import DONE, Store
from fedbench.suite import Cell

ATTEMPTS = 3  # of a run whose worker died; a node that was lost does not count
POLL_SECONDS = 0.5
BUSY_SECONDS = 2.0
PUT_BACK = "put it back to go on with these runs, or start again"
AHEAD = 2  # deliveries that a worker may be ahead of the driver


@dataclass
class Job:
    """A cell that is to be run, how often it brought down its worker, and the moment before which it is not tried."""

    cell: Cell
    crashes: int = 0
    not_before: float = 0.0


@dataclass
class Hand:
    """A worker, as the driver knows it, and the packing under which it was hired."""

    actor: Any
    packing: Packing
    greeting: Greeting = field(default_factory=lambda: Greeting(""))


@dataclass
class Errand:
    """A worker on a job; the driver holds the run's lock where the worker cannot."""

    hand: Hand
    job: Job
    lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class Freight:
    """What the driver sends along with runs; a dataset is put into the object store once, when it is first needed.

    Args:
        needed: whether there are workers on other machines than the driver's.
    """

    def __init__(self, ray: Any, cells: Sequence[Cell], needed: bool) -> None:
        self._ray = ray
        self._stores: dict[str, shipping.Shipment] = {}
        named = {cell.algorithm for cell in cells} if needed else ()
        self._sources = {name: shipping.pack_sources(name) for name in named}

    def cargo(self, cell: Cell, greeting: Greeting, checkpoint: shipping.Bytes | None) -> Cargo:
        """Return what goes with ``cell`` to the worker that gave ``greeting``."""
        folder, store = cell.prepared, None
        if folder in greeting.lacks:
            if folder not in self._stores:
                content = cell.identity["dataset_content"]
                self._stores[folder] = shipping.pack_store(Path(folder), content, self._ray.put)
            store = self._stores[folder]
        return Cargo(store, self._sources.get(cell.algorithm), checkpoint)


class Dispatcher:
    """Runs cells on as many workers as ``packing`` says.

    Args:
        threads: CPUs of a worker.
        briefing: without a token, workers are on this machine.
    """

    def __init__(
        self, ray: Any, cells: Sequence[Cell], packing: Packing, threads: int, briefing: Briefing, options: Options,
        watcher: Watcher,
    ) -> None:  # fmt: skip
        self.ray = ray
        self.packing = packing
        self.threads = threads
        self.briefing = briefing
        self.options = options
        self.watcher = watcher
        self.results = Store(Path(briefing.root))
        self.freight = Freight(ray, cells, briefing.token is not None)
        self.todo = deque(Job(cell) for cell in cells)
        self.starting: dict[Any, Hand] = {}
        self.idle: list[Hand] = []
        self.busy: dict[Any, Errand] = {}
        self.stillborn = 0  # workers in a row that never came to work
        self.unreached = 0  # workers that were given up

    def outcomes(self) -> Iterator[Outcome]:
        """Yield every cell's outcome as it ends.

        Raises:
            UserError: no worker can be started, or none can be reached.
        """
        try:
            while self.todo or self.busy:
                self._hire()
                ended = self._hand_out()
                if waiting := [*self.busy, *self.starting]:
                    ready, _ = self.ray.wait(waiting, timeout=0 if ended else POLL_SECONDS)
                    ended += [outcome for reference in ready if (outcome := self._heed(reference))]
                else:
                    time.sleep(POLL_SECONDS)  # every run left is held by another process
                self.watcher.tick()
                for outcome in ended:
                    self.watcher.finished(outcome)
                    yield outcome
        finally:
            for errand in self.busy.values():
                errand.lock.close()
            for hand in (*self.idle, *self.starting.values(), *(errand.hand for errand in self.busy.values())):
                self._dismiss(hand)

    # -- workers --------------------------------------------------------------------------------------------------

    def _hire(self) -> None:
        for hand in [hand for hand in self.idle if hand.packing is not self.packing]:
            self.idle.remove(hand)
            self._dismiss(hand)
        there = len(self.starting) + len(self.idle) + len(self.busy)
        if self.stillborn >= ATTEMPTS and there:
            return
        room = max(1, self.packing.runs - self.unreached)
        for _ in range(there, min(room, len(self.todo) + len(self.busy))):
            hand = Hand(hire(self.ray, self.threads, self.packing.gpu), self.packing)
            self.starting[hand.actor.greet.remote(self.briefing)] = hand

    def _dismiss(self, hand: Hand) -> None:
        with contextlib.suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.kill(hand.actor)

    def _greeted(self, hand: Hand, reference: Any) -> None:
        try:
            hand.greeting = self.ray.get(reference)
            problem = "; ".join(hand.greeting.differs)
            if problem and self.briefing.token is None:  # every other worker would import the same
                self.stillborn = ATTEMPTS
                problem = f"{problem}: that was changed since this command began; {PUT_BACK}"
        except self.ray.exceptions.RayError as error:
            problem = f"{type(error).__name__}: {str(error)[-300:]}"
        if not problem:
            self.stillborn = 0
            self.idle.append(hand)
            return
        self.stillborn += 1
        self._dismiss(hand)
        if self.stillborn >= ATTEMPTS and not (self.starting or self.idle or self.busy):
            raise UserError(f"no worker can be started: {problem}")
        self.watcher.told(f"a worker could not be started: {problem}")

    # -- runs -----------------------------------------------------------------------------------------------------

    def _hand_out(self) -> list[Outcome]:
        """Give every idle worker a run; return the outcomes of those that need none."""
        ended = []
        while self.idle and (job := self._next_job()):
            errand = Errand(self.idle.pop(), job)
            self.watcher.started(job.cell)
            try:
                outcome = self._begin(errand)
            except (OSError, UserError) as error:
                outcome = self._not_written(job, error)
            except self.ray.exceptions.RayError as error:
                self._unreached(errand, error)
                continue
            if outcome:
                self.idle.append(errand.hand)
                ended.append(self._end(errand, outcome))
        return [outcome for outcome in ended if outcome]

    def _next_job(self) -> Job | None:
        """Take the first job whose time has come."""
        job = next((job for job in self.todo if job.not_before <= time.monotonic()), None)
        if job is not None:
            self.todo.remove(job)
        return job

    def _begin(self, errand: Errand) -> Outcome | None:
        """Send a worker on its errand; return the outcome if there is nothing to do."""
        cell, hand = errand.job.cell, errand.hand
        checkpoint = None
        if hand.greeting.apart:
            if not errand.lock.enter_context(self.results.lock(cell.id)):
                return Outcome(cell.id, "busy")
            if self.results.status(cell.id, claimed=True) == "done":
                return Outcome(cell.id, "done")
            checkpoint = begin(self.results, cell.id)
        cargo = self.freight.cargo(cell, hand.greeting, checkpoint)
        work = hand.actor.work.options(num_returns="streaming", _generator_backpressure_num_objects=AHEAD)
        self.busy[work.remote(cell, self.options, cargo)] = errand
        return None

    def _unreached(self, errand: Errand, error: Exception) -> None:
        """Give up a worker that a run cannot be sent to, as where the object store is full; others take the run."""
        errand.lock.close()
        self._dismiss(errand.hand)
        self.todo.appendleft(errand.job)
        self.unreached += 1
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        problem = (
            f"cannot be sent to a worker ({reason}): free Ray's object store and the disk it spills to, or share "
            "the results folder with all nodes"
        )
        if not (self.starting or self.idle or self.busy):
            raise UserError(f"{errand.job.cell.id}: {problem}; the same command goes on.")
        self.watcher.lost(errand.job.cell, f"{problem}; that worker is given up")

    def _heed(self, reference: Any) -> Outcome | None:
        """Take what a worker says: that it is there, a file to write, or how its run ended."""
        if reference in self.starting:
            self._greeted(self.starting.pop(reference), reference)
            return None
        errand = self.busy[reference]
        outcome: Outcome | None
        try:
            said = self.ray.get(next(reference))
            if isinstance(said, Delivery):
                receive(self.results, said)
                return None
            outcome = self._checked(said, errand)
            self._release(errand.hand, outcome)
        except (self.ray.exceptions.RayError, StopIteration) as error:
            outcome = self._lost(errand, error)
        except OSError as error:
            self._dismiss(errand.hand)
            outcome = self._not_written(errand.job, error)
        del self.busy[reference]
        return self._end(errand, outcome) if outcome else None

    def _release(self, hand: Hand, outcome: Outcome) -> None:
        """Keep a worker for the next run, unless a run failed there on a GPU.

        After an error of CUDA the process may be of no use for any other run; out of memory, it still holds much of it.
        """
        if outcome.out_of_memory or (outcome.status == "failed" and hand.packing.gpu):
            self._dismiss(hand)
        else:
            self.idle.append(hand)

    def _not_written(self, job: Job, error: Exception) -> Outcome:
        message = str(error) if isinstance(error, UserError) else f"cannot write the results: {error}"
        return Outcome(job.cell.id, "failed", error=message)

    def _checked(self, outcome: Outcome, errand: Errand) -> Outcome:
        """Believe that a run is done when what was delivered is whole."""
        if outcome.status != "done" or not errand.hand.greeting.apart:
            return outcome
        try:
            whole = self.results.status(outcome.run_id, claimed=True) == "done"
            problem = "" if whole else "its results did not arrive whole"
        except UserError as error:
            problem = str(error)
        return Outcome(outcome.run_id, "failed", outcome.seconds, problem) if problem else outcome

    def _end(self, errand: Errand, outcome: Outcome) -> Outcome | None:
        """Close an errand; return its outcome unless the cell is to be tried again."""
        errand.lock.close()
        job = errand.job
        if outcome.status == "busy":
            self.todo.append(Job(job.cell, job.crashes, time.monotonic() + BUSY_SECONDS))
            return None
        if outcome.out_of_memory and (reason := self._make_room(errand.hand.packing)):
            self.watcher.lost(job.cell, reason)
            self.todo.appendleft(job)
            return None
        return outcome

    def _make_room(self, packing: Packing) -> str:
        """Lower the number of runs at a time after one under ``packing`` ran out of memory; empty if it was alone."""
        if packing is self.packing:
            lower = packing.lowered()
            if lower is None:
                return ""
            self.packing = lower
        return f"out of memory on the device; from here on {self.packing.runs} at a time"

    def _lost(self, errand: Errand, error: Exception) -> Outcome | None:
        """Take leave of a worker that died or cannot be reached; its run is tried again."""
        self._dismiss(errand.hand)
        errand.lock.close()
        job, node = errand.job, errand.hand.greeting.node
        if self.briefing.token and isinstance(error, self.ray.exceptions.ActorUnavailableError):
            reason = "worker out of reach"  # the machine or the network, not the run
        elif node not in {alive.id for alive in living_nodes(self.ray)}:
            reason = "node lost"
        else:
            job.crashes += 1
            reason = f"worker lost: {type(error).__name__}"
        if job.crashes >= ATTEMPTS:
            message = f"{reason} {ATTEMPTS} times"
            self._record_failure(job.cell.id, message, error)
            return Outcome(job.cell.id, "failed", error=message)
        self.watcher.lost(job.cell, reason)
        self.todo.appendleft(job)
        return None

    def _record_failure(self, run_id: str, message: str, error: Exception) -> None:
        """Keep why a run was given up, unless another process has taken it meanwhile, or it is finished."""
        details = f"{message}; no traceback: its process ended. The last error:\n{error}\n"
        with contextlib.suppress(OSError, UserError), self.results.lock(run_id) as free:
            folder = self.results.folder(run_id)
            if free and not (folder / DONE).exists():
                record_failure(folder, message, details)


def hire(ray: Any, threads: int, gpu: float) -> Any:
    """Start a worker somewhere in the cluster; it comes when there is room for it."""
    return ray.remote(num_cpus=threads, num_gpus=gpu, scheduling_strategy="SPREAD")(Worker).remote()
