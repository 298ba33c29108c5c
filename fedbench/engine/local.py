"""Local training: what one client does in one round, with networks that are its own for that time.

Clients of a round know nothing of each other until the aggregation, so their order, and whether some train side by
side, changes no bit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fedbench.algorithm import Client, ClientState, Message, Server, Step
from fedbench.engine.batches import TrainingSet
from fedbench.engine.compute import Compute, to_cpu
from fedbench.engine.held import message_bytes
from fedbench.engine.interruption import CLIENT_THREAD, PATIENCE
from fedbench.engine.task import Task, TrainingDiverged, learning_rate, make_optimizer, refuse_broken, stream

Facts = dict[str, float]  # what a client's round is remembered by: means of its loss terms, bytes, seconds
Result = TypeVar("Result")


class Abandoned(Exception):
    """The round is given up: another client failed, or the user interrupts."""


class LocalTrainer:
    """Trains one client at a time.

    Args:
        networks: of the run, as :func:`~fedbench.engine.training.build_networks` makes them; what they hold is
            overwritten.
        shared: names of the entries that travel.
    """

    def __init__(self, task: Task, compute: Compute, networks: nn.ModuleDict, shared: frozenset[str]) -> None:
        self.task = task
        self.compute = compute
        self.networks = networks
        self.entries = networks.state_dict()  # live: what changes in the networks changes here
        self.shared = shared
        self.abandoned = False  # set by another thread: raise :class:`Abandoned` before the next step
        from monai.losses import DiceCELoss  # here: see models

        self._loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def train(self, server: Server, index: int, state: ClientState, samples: TrainingSet) -> tuple[Message, Facts]:
        """Let client number ``index`` take its part in a round: update ``state``, and return the upload.

        Raises:
            TrainingDiverged: a term of the loss, or what the client keeps or sends, became NaN or infinite.
        """
        started, algorithm = time.perf_counter(), self.task.algorithm
        message = algorithm.download(server, state, index)
        client = self._at_work(index, state, samples, message, server.round)
        facts = self._epochs(client, samples)
        with torch.no_grad(), self.compute.autocast():
            algorithm.end_round(client)
            upload = to_cpu(algorithm.upload(client))
        state.local = to_cpu({k: v for k, v in self.entries.items() if k not in self.shared})
        state.memory = to_cpu(client.memory)
        for what, kept in (("upload", upload), ("local entry", state.local), ("memory", state.memory)):
            refuse_broken(kept, f"round {server.round}, client '{state.name}': {what}")
        facts |= {"bytes down": message_bytes(message), "bytes up": message_bytes(upload)}
        return upload, facts | {"seconds": time.perf_counter() - started}

    def _at_work(self, index: int, state: ClientState, samples: TrainingSet, message: Message, round: int) -> Client:
        """Load the client's networks and return it before its first batch."""
        task, algorithm = self.task, self.task.algorithm
        received = self.compute.state(message)
        self._load({**state.local, **{name: value for name, value in received.items() if name in self.shared}})
        self.networks.train().requires_grad_(True)
        client = Client(
            name=state.name,
            index=index,
            samples=state.samples,
            networks=self.networks,
            entries=self.entries,
            shared=self.shared,
            received=received,
            memory=self.compute.state(state.memory),
            round=round,
            rounds=task.training.rounds,
            generator=stream("algorithm", algorithm.name, task.seed, state.name, round),
            samples_without_augmentation=lambda n, g: self.compute.images(samples.plain(n, g)),
        )
        lr = learning_rate(task.training, round)
        client.optimizers = algorithm.optimizers(client, lambda p: make_optimizer(task.training, p, lr))
        algorithm.begin_round(client)
        return client

    def _load(self, entries: Message) -> None:
        """Copy ``entries`` into the networks; where they do not fit, ``load_state_dict`` says why."""
        if entries.keys() != self.entries.keys() or any(v.shape != entries[k].shape for k, v in self.entries.items()):
            self.networks.load_state_dict(entries)
        for name, value in self.entries.items():
            value.copy_(entries[name])

    def _epochs(self, client: Client, samples: TrainingSet) -> Facts:
        """Take the client's steps; return the mean of every logged term."""
        config = self.task.training
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}

        def record(term: str, value: Tensor) -> None:
            sums[term] = sums[term] + value if term in sums else value.float()
            counts[term] = counts.get(term, 0) + 1

        for epoch in range(config.local_epochs):
            order = stream("batches", self.task.seed, client.name, client.round, epoch)
            for images, labels in samples.batches(order, augmented=config.augment):
                if self.abandoned:
                    raise Abandoned
                step = Step(client, self.compute.images(images), labels, self.segmentation_loss, record)
                with self.compute.autocast():
                    self.task.algorithm.local_step(step)
        there = [total.to(self.compute.device) for total in sums.values()]
        totals = torch.stack(there).tolist() if there else []  # the round's only wait for the device
        means = {term: total / counts[term] for term, total in zip(sums, totals, strict=True)}
        if broken := [f"'{term}' is {mean}" for term, mean in means.items() if not math.isfinite(mean)]:
            raise TrainingDiverged(f"round {client.round}, client '{client.name}': term {', '.join(broken)}")
        return means

    def segmentation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Dice plus cross-entropy, at fp32 whatever the network computes in."""
        with torch.autocast(logits.device.type, enabled=False):
            return self._loss(logits.float(), labels)


Job = Callable[[LocalTrainer], Result]


def side_by_side(trainers: Sequence[LocalTrainer], jobs: Iterable[Job[Result]]) -> Iterator[Result]:
    """Yield the results of ``jobs`` in their order; as many go on at a time as there are trainers, each in a thread.

    The threads share Python's lock but not torch's work, which is nearly all there is. At most two jobs for every
    trainer are begun or done ahead of the one that is yielded next, so that results do not pile up. If one raises, the
    others are abandoned; whoever interrupts does not wait for one that hangs (its thread is left behind).
    """
    if len(trainers) == 1:
        yield from (job(trainers[0]) for job in jobs)
        return
    free: SimpleQueue[LocalTrainer] = SimpleQueue()
    for trainer in trainers:
        free.put(trainer)

    def work(job: Job[Result]) -> Result:
        trainer = free.get()
        try:
            torch.set_num_threads(trainer.task.training.threads)  # it is a setting of each thread
            return job(trainer)
        finally:
            free.put(trainer)

    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(len(trainers), thread_name_prefix=CLIENT_THREAD)
    patience = None
    try:
        for job in jobs:
            ahead.append(pool.submit(work, job))
            if len(ahead) == 2 * len(trainers):
                yield ahead[0].result()
                ahead.popleft()
        while ahead:
            yield ahead[0].result()
            ahead.popleft()
    except KeyboardInterrupt:
        patience = PATIENCE
        raise
    finally:
        pool.shutdown(wait=_abandon(trainers, ahead, patience))


def _abandon(trainers: Sequence[LocalTrainer], futures: Collection[Future[Any]], seconds: float | None) -> bool:
    """Wait, ``seconds`` at most, until ``futures`` have come to an end, which is soon; return whether all have."""
    for trainer in trainers if futures else ():
        trainer.abandoned = True
    for future in futures:
        future.cancel()
    if wait(futures, seconds).not_done:
        return False
    for trainer in trainers:
        trainer.abandoned = False
    return True
