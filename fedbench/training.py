"""One run: rounds of broadcast, local training and aggregation, resumable after any round to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from fedbench.algorithm import (
    MODEL,
    Algorithm,
    Client,
    ClientState,
    Deployment,
    Message,
    Server,
    Setup,
    State,
    Step,
    Upload,
)  # fmt: skip
from fedbench.arrays import arrays_on
from fedbench.batches import TrainingSet
from fedbench.compute import Compute, own_stream, to_cpu
from fedbench.config import DataConfig, ModelConfig, TrainingConfig
from fedbench.evaluation import validation_dice
from fedbench.federation import ClientData, Federation
from fedbench.held import Held, all_finite, message_bytes
from fedbench.models import build_model
from fedbench.streams import derive_seed


@dataclass(frozen=True)
class Task:
    """Everything that determines a run's weights."""

    federation: Federation
    algorithm: Algorithm
    seed: int
    classes: int
    channels: int
    size: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    model: ModelConfig
    training: TrainingConfig
    data: DataConfig


class TrainingDiverged(Exception):
    """A loss term or a weight became NaN or infinite; the run has failed and has no result."""


@dataclass
class Snapshot:
    """Deployed models after a round."""

    round: int
    score: float
    deployments: list[Deployment] = field(default_factory=list)


def learning_rate(config: TrainingConfig, round: int) -> float:
    """The rate of a round: constant, or ``lr/2 (1 + cos(pi r / R))``."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * round / config.rounds))


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Return a fresh optimiser as the suite says."""
    if config.optimizer == "adam":
        return Adam(parameters, lr=lr, weight_decay=config.weight_decay, fused=True)
    return SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)


def build_networks(task: Task, clients: Iterable[ClientData]) -> nn.ModuleDict:
    """Return the segmentation network and the algorithm's side networks, initialised from streams of their own.

    The segmentation network's stream depends on the seed alone: the same start for every algorithm.
    """
    with own_stream(derive_seed("initial weights", task.seed)):
        model = build_model(task.model, task.channels, task.classes + 1)
    algorithm = task.algorithm
    algorithm.setup = Setup(model, tuple(clients), task.training.rounds)
    algorithm.check(algorithm.setup)
    with own_stream(derive_seed("side networks", algorithm.name, task.seed)):
        side = algorithm.side_networks(algorithm.setup)
    return nn.ModuleDict({MODEL.rstrip("."): model, **side})


class Training:
    """The state of one run and the loop over its rounds.

    Use: ``for round in training.rounds(): ...``; between rounds :meth:`state` may be saved, and a new ``Training`` of
    the same task given :meth:`restore` goes on to the same bits.
    """

    def __init__(self, task: Task, compute: Compute) -> None:
        self.task = task
        self.compute = compute
        self.clients = sorted(task.algorithm.training_clients(task.federation.clients), key=lambda c: c.name)
        self.networks = compute.networks(build_networks(task, self.clients), task.model.spatial_dims)
        self.entries = self.networks.state_dict()  # live: what changes in the networks changes here
        self.shared = frozenset(task.algorithm.shared_names(self.networks))
        initial = to_cpu(self.entries)
        config, size, axes = task.training, task.size, task.mirror_axes
        arrays = arrays_on(compute.device, [case for client in self.clients for case in client.train])
        self.sets = [
            TrainingSet(c, size, config.batch_size, task.data.patches_per_case, axes, arrays) for c in self.clients
        ]
        self.server = Server({k: v for k, v in initial.items() if k in self.shared})
        local = {k: v for k, v in initial.items() if k not in self.shared}
        self.states = [ClientState(c.name, len(s), dict(local)) for c, s in zip(self.clients, self.sets, strict=True)]
        self.history: list[dict[str, Any]] = []
        self.best: Snapshot | None = None
        from monai.losses import DiceCELoss  # here: see models

        self._loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    @property
    def steps_per_round(self) -> int:
        """Optimiser steps of all clients in one round."""
        return sum(s.steps for s in self.sets) * self.task.training.local_epochs

    # -- rounds ---------------------------------------------------------------------------------------------------

    def rounds(self) -> Iterator[int]:
        """Train the rounds that are left; yields each finished round's number."""
        config = self.task.training
        while self.server.round < config.rounds:
            self._train_round()
            done = self.server.round
            self.server.round += 1
            if (done + 1) % config.validate_every == 0 or done + 1 == config.rounds:
                self._validate(done)
            yield done

    def _train_round(self) -> None:
        with Held() as held:
            uploads = []
            for index, state in enumerate(self.states):
                started = time.perf_counter()
                message = self.task.algorithm.download(self.server, state, index)
                upload = self._train_client(index, state, message)
                uploads.append(Upload(state.name, index, state.samples, held.keep(upload)))
                self._log(state.name, "bytes down", message_bytes(message))
                self._log(state.name, "bytes up", message_bytes(upload))
                self._log(state.name, "seconds", time.perf_counter() - started)
            self.task.algorithm.aggregate(self.server, uploads)
        if not all_finite(self.server.weights):
            broken = next(name for name, value in self.server.weights.items() if not all_finite({name: value}))
            raise TrainingDiverged(f"round {self.server.round}: aggregated weight '{broken}' is NaN or infinite")

    def _train_client(self, index: int, state: ClientState, message: Message) -> Message:
        task, algorithm, round = self.task, self.task.algorithm, self.server.round
        received = self.compute.state(message)
        own = {name: value for name, value in received.items() if name in self.shared}
        self._load({**state.local, **own})
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
            generator=_generator("algorithm", algorithm.name, task.seed, state.name, round),
            samples_without_augmentation=lambda n, g: self.compute.images(self.sets[index].plain(n, g)),
        )
        lr = learning_rate(task.training, round)
        client.optimizers = algorithm.optimizers(client, lambda p: make_optimizer(task.training, p, lr))
        algorithm.begin_round(client)
        self._train_epochs(client, self.sets[index])
        with torch.no_grad(), self.compute.autocast():
            algorithm.end_round(client)
            upload = to_cpu(algorithm.upload(client))
        state.local = to_cpu({k: v for k, v in self.entries.items() if k not in self.shared})
        state.memory = to_cpu(client.memory)
        return upload

    def _load(self, entries: Message) -> None:
        """Copy ``entries`` into the networks; where they do not fit, ``load_state_dict`` says why."""
        if entries.keys() != self.entries.keys() or any(v.shape != entries[k].shape for k, v in self.entries.items()):
            self.networks.load_state_dict(entries)
        for name, value in self.entries.items():
            value.copy_(entries[name])

    def _train_epochs(self, client: Client, samples: TrainingSet) -> None:
        config = self.task.training
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}

        def record(term: str, value: Tensor) -> None:
            sums[term] = sums[term] + value if term in sums else value.float()
            counts[term] = counts.get(term, 0) + 1

        for epoch in range(config.local_epochs):
            stream = _generator("batches", self.task.seed, client.name, client.round, epoch)
            for images, labels in samples.batches(stream, augmented=config.augment):
                step = Step(client, self.compute.images(images), labels, self._segmentation_loss, record)
                with self.compute.autocast():
                    self.task.algorithm.local_step(step)
        there = [total.to(self.compute.device) for total in sums.values()]
        totals = torch.stack(there).tolist() if there else []  # the round's only wait for the device
        means = {term: total / counts[term] for term, total in zip(sums, totals, strict=True)}
        if broken := [f"'{term}' is {mean}" for term, mean in means.items() if not math.isfinite(mean)]:
            raise TrainingDiverged(f"round {client.round}, client '{client.name}': term {', '.join(broken)}")
        for term, mean in means.items():
            self._log(client.name, term, mean)

    def _segmentation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return self._loss(logits.float(), labels)

    # -- validation -----------------------------------------------------------------------------------------------

    def deployments(self) -> list[Deployment]:
        """The models in use after the rounds so far."""
        return self.task.algorithm.deployments(self.server, self.states)

    def _validate(self, round: int) -> None:
        started = time.perf_counter()
        deployments = self.deployments()
        scores = validation_dice(self.task, self.networks, deployments, self.compute)
        for client, dice in scores.items():
            self._log(client, "validation dice", dice, round)
        self._log("", "validation seconds", time.perf_counter() - started, round)
        score = sum(scores.values()) / len(scores)
        if self.best is None or score > self.best.score:
            self.best = Snapshot(round, score, deployments)

    def _log(self, client: str, metric: str, value: float, round: int | None = None) -> None:
        at = self.server.round if round is None else round
        self.history.append({"round": at, "client": client, "metric": metric, "value": float(value)})

    # -- checkpoint -----------------------------------------------------------------------------------------------

    def state(self) -> tuple[State, dict[str, Any]]:
        """Return the whole state between two rounds as flat tensors and plain facts."""
        tensors = {f"server/weights/{k}": v for k, v in self.server.weights.items()}
        tensors |= {f"server/memory/{k}": v for k, v in self.server.memory.items()}
        for i, state in enumerate(self.states):
            tensors |= {f"client/{i}/local/{k}": v for k, v in state.local.items()}
            tensors |= {f"client/{i}/memory/{k}": v for k, v in state.memory.items()}
        facts: dict[str, Any] = {"round": self.server.round, "history": self.history}
        if self.best is not None:
            facts["best"] = {"round": self.best.round, "score": self.best.score, "deployments": []}
            for i, deployment in enumerate(self.best.deployments):
                facts["best"]["deployments"].append([deployment.kind, deployment.client])
                tensors |= {f"best/{i}/{k}": v for k, v in deployment.entries.items()}
        return tensors, facts

    def restore(self, tensors: State, facts: dict[str, Any]) -> None:
        """Take up the state that :meth:`state` returned."""

        def under(prefix: str) -> State:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.server = Server(under("server/weights/"), under("server/memory/"), facts["round"])
        for i, state in enumerate(self.states):
            state.local, state.memory = under(f"client/{i}/local/"), under(f"client/{i}/memory/")
        self.history = facts["history"]
        if best := facts.get("best"):
            models = [Deployment(kind, name, under(f"best/{i}/")) for i, (kind, name) in enumerate(best["deployments"])]
            self.best = Snapshot(best["round"], best["score"], models)


def _generator(*names: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(*names))
