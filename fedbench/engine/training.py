"""One run: rounds of broadcast, local training and aggregation, resumable after any round to the same bits,
and the scores of the models that it ends with.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from fedbench.algorithm import MODEL, ClientState, Deployment, Server, Setup, State, Upload
from fedbench.config import EvaluationConfig
from fedbench.data.prepared import PreparedCase
from fedbench.engine.arrays import MappedArrays, arrays_on
from fedbench.engine.batches import TrainingSet
from fedbench.engine.compute import Compute, own_stream, to_cpu
from fedbench.engine.evaluation import evaluate, validation_dice
from fedbench.engine.held import Held
from fedbench.engine.local import LocalTrainer, side_by_side
from fedbench.engine.task import Task, refuse_broken
from fedbench.federation import ClientData
from fedbench.models import build_model
from fedbench.streams import derive_seed


@dataclass
class Snapshot:
    """Deployed models after a round."""

    round: int
    score: float
    deployments: list[Deployment] = field(default_factory=list)


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


def training_sets(task: Task, arrays: MappedArrays | None = None) -> list[TrainingSet]:
    """Return the samples of every client that trains, in the order of their names.

    Args:
        arrays: where samples are read and where batches end up; None is the store and the CPU.
    """
    config = task.training
    return [
        TrainingSet(
            client, task.size, config.batch_size, task.data.patches_per_case, task.mirror_axes, arrays,
            config.label_edges,
        )
        for client in training_clients(task)
    ]  # fmt: skip


def training_clients(task: Task) -> list[ClientData]:
    """Return the clients that train, by name."""
    return sorted(task.algorithm.training_clients(task.federation.clients), key=lambda client: client.name)


class Training:
    """The state of one run and the loop over its rounds.

    Use: ``for round in training.rounds(): ...``; between rounds :meth:`state` may be saved, and a new ``Training`` of
    the same task given :meth:`restore` goes on to the same bits.

    Args:
        at_once: clients of a round that train side by side, each with networks and threads of its own; the same bits.
    """

    def __init__(self, task: Task, compute: Compute, at_once: int = 1) -> None:
        self.task = task
        self.compute = compute
        self.clients = training_clients(task)
        self.networks = compute.networks(build_networks(task, self.clients), task.model.spatial_dims)
        self.shared = frozenset(task.algorithm.shared_names(self.networks))
        networks = [self.networks] + [copy.deepcopy(self.networks) for _ in range(min(at_once, len(self.clients)) - 1)]
        self.trainers = [LocalTrainer(task, compute, own, self.shared) for own in networks]
        initial = to_cpu(self.trainers[0].entries)
        arrays = arrays_on(compute.device, [case for client in self.clients for case in client.train])
        self.sets = training_sets(task, arrays)
        self.server = Server({k: v for k, v in initial.items() if k in self.shared})
        local = {k: v for k, v in initial.items() if k not in self.shared}
        self.states = [ClientState(c.name, len(s), dict(local)) for c, s in zip(self.clients, self.sets, strict=True)]
        self.history: list[dict[str, Any]] = []
        self.best: Snapshot | None = None

    @property
    def steps_per_round(self) -> int:
        """Optimiser steps of all clients in one round."""
        return sum(s.steps for s in self.sets) * self.task.training.local_epochs

    # -- rounds ---------------------------------------------------------------------------------------------------

    def rounds(self) -> Iterator[int]:
        """Train the rounds that are left; yields each finished round's number."""
        config = self.task.training
        with Held() as held:
            while self.server.round < config.rounds:
                self._train_round(held)
                done = self.server.round
                self.server.round += 1
                if (done + 1) % config.validate_every == 0 or done + 1 == config.rounds:
                    self._validate(done)
                yield done

    def _train_round(self, held: Held) -> None:
        parts = zip(self.states, self.sets, strict=True)
        jobs = (
            partial(LocalTrainer.train, server=self.server, index=index, state=state, samples=samples)
            for index, (state, samples) in enumerate(parts)
        )
        held.clear()
        uploads = []
        for index, (upload, facts) in enumerate(side_by_side(self.trainers, jobs)):
            state = self.states[index]
            uploads.append(Upload(state.name, index, state.samples, held.keep(upload)))
            for metric, value in facts.items():
                self._log(state.name, metric, value)
        self.task.algorithm.aggregate(self.server, uploads)
        for what, kept in (("aggregated weight", self.server.weights), ("memory of the server", self.server.memory)):
            refuse_broken(kept, f"round {self.server.round}: {what}")

    # -- validation -----------------------------------------------------------------------------------------------

    def deployments(self) -> list[Deployment]:
        """The models in use after the rounds so far.

        Raises:
            TrainingDiverged: a weight of one is NaN or infinite.
        """
        deployments = self.task.algorithm.deployments(self.server, self.states)
        for deployment in deployments:
            whose = "" if deployment.client is None else f" of client '{deployment.client}'"
            refuse_broken(deployment.entries, f"round {self.server.round - 1}: {deployment.kind} model{whose}:")
        return deployments

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


def score_rounds(
    training: Training,
    regions: Mapping[str, Sequence[int]],
    config: EvaluationConfig,
    keep: Callable[[Deployment, PreparedCase, np.ndarray], None],
) -> list[dict[str, Any]]:
    """Score the last round's and the best validation round's models; ``keep`` sees what the last round's predict."""
    task, networks, compute = training.task, training.networks, training.compute
    rows = evaluate(task, regions, config, networks, training.deployments(), "last", compute, keep)
    best = training.best
    if best is None or best.round == task.training.rounds - 1:
        return rows + [row | {"selection": "best-validation"} for row in rows]
    return rows + evaluate(task, regions, config, networks, best.deployments, "best-validation", compute)
