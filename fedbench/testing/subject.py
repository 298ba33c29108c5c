"""The algorithm that is checked: makes its instances, trains them in the laboratory, and keeps what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import monai.losses
import monai.networks.nets  # noqa: F401 (MONAI sets an environment variable, which no plugin shall be blamed for)
import torch

from fedbench.algorithm import Algorithm, Deployment, Server, State, Upload, model_entries
from fedbench.engine.compute import Compute
from fedbench.engine.task import TrainingDiverged
from fedbench.engine.training import Training
from fedbench.errors import UserError
from fedbench.parameters import Parameters
from fedbench.testing import elsewhere
from fedbench.testing.findings import Broken, NotApplicable
from fedbench.testing.global_state import changed, observe, seeded
from fedbench.testing.hooks import watched
from fedbench.testing.laboratory import MODALITIES, Averaging, Scenario, copied, differing
from fedbench.testing.watching import Aggregation, Watch

STANDARD = Scenario()


@dataclass
class Trained:
    """A training run to its end.

    Attributes:
        states: what could be saved after each round.
        touched: what of the process's state the run changed.
    """

    training: Training
    states: list[tuple[State, dict[str, Any]]] = field(default_factory=list)
    deployed: list[Deployment] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    diverged: str = ""


def train(training: Training) -> Trained:
    """Train to the end; divergence is kept, not raised."""
    done = Trained(training)
    try:
        for _ in training.rounds():
            tensors, facts = training.state()
            done.states.append((copied(tensors), {**facts, "history": list(facts["history"])}))
    except TrainingDiverged as error:
        done.diverged = str(error)
        return done
    done.deployed = training.deployments()
    return done


@cache
def _averaging(scenario: Scenario) -> Trained:
    return train(scenario.start(Averaging()))


class Subject:
    """One algorithm with the parameters it is checked with.

    Args:
        params: what differs from the defaults.
    """

    def __init__(self, cls: type[Algorithm], params: Mapping[str, Any] | None = None) -> None:
        self.cls, self.params = cls, dict(params or {})
        self.watch = Watch()  # of the standard run
        self._runs: dict[Any, Trained] = {}

    def make(self, **changes: Any) -> Algorithm:
        """Return a new instance."""
        return self.cls(**{**self.params, **changes})

    @property
    def fields(self) -> Mapping[str, Any]:
        """The declared hyper-parameters, by name."""
        return self.cls.Params.model_fields if issubclass(self.cls.Params, Parameters) else {}

    @cached_property
    def main(self) -> Trained:
        """The standard run, watched, from known global random states."""
        task = STANDARD.task(watched(self.cls, self.watch)(**self.params))
        compute = Compute.start(task.training, "cpu")  # before anybody listens: it removes whatever does
        with seeded(170593), self.watch.overhearing():
            torch.optim.SGD([torch.zeros(1)])  # torch's first optimiser imports its compiler, which sets a variable
            before = observe()
            done = train(Training(task, compute))
            done.touched = changed(before)
        return done

    def run(self, scenario: Scenario = STANDARD, **changes: Any) -> Trained:
        """Return a run to its end; the same is not repeated."""
        if scenario == STANDARD and not changes:
            return self.main
        key = (scenario, tuple(sorted(changes.items())))
        if key not in self._runs:
            self._runs[key] = train(scenario.start(self.make(**changes)))
        return self._runs[key]

    def reference(self, scenario: Scenario = STANDARD) -> Trained:
        """Return plain averaging's run, over the clients that the algorithm trains."""
        like = self.make()
        if type(like).training_clients is Algorithm.training_clients:
            return _averaging(scenario)
        if scenario not in self._runs:
            self._runs[scenario] = train(scenario.start(Averaging(like)))
        return self._runs[scenario]

    @cached_property
    def elsewhere(self) -> dict[str, Any]:
        """What another process says of the standard run; see :func:`fedbench.testing.elsewhere.ask`."""
        return elsewhere.ask(self.cls, self.params)

    # -- declared reduction ---------------------------------------------------------------------------------------

    @property
    def reduced(self) -> dict[str, Any]:
        """The parameters with which the algorithm says it is plain averaging; empty if it says nothing.

        Raises:
            NotApplicable: it names what it does not accept.
        """
        try:
            self.make(**self.cls.is_fedavg_with)
        except UserError:
            raise NotApplicable("is_fedavg_with is no parameter and value; see 'declaration'") from None
        return dict(self.cls.is_fedavg_with)

    @property
    def strong(self) -> dict[str, Any]:
        """The same parameters at the upper end of their search range, so that what they weigh shows."""
        strong = {}
        for name in self.reduced:
            extra = self.fields[name].json_schema_extra if name in self.fields else None
            values = [v for v in (extra or {}).get("search", []) if isinstance(v, int | float)]
            strong[name] = max(values, default=getattr(self.make().params, name, None))
        return strong

    # -- aggregation once more ------------------------------------------------------------------------------------

    @property
    def first_aggregation(self) -> Aggregation:
        """What the server did after the first round of the standard run."""
        assert self.main
        return self.watch.aggregations[0]

    @cached_property
    def crowd(self) -> Watch:
        """What was seen of one round of five clients, as many as the laboratory has modalities."""
        watch = Watch()
        train(Scenario(clients=len(MODALITIES), rounds=1).start(watched(self.cls, watch)(**self.params)))
        return watch

    def aggregated(self, uploads: list[Upload], watch: Watch | None = None) -> State:
        """Return the server's weights had it got ``uploads`` after the first round, in that order of clients.

        Args:
            watch: of the run that is meant; None is the standard run.
        """
        seen = watch.aggregations[0] if watch else self.first_aggregation
        algorithm, setup = self.make(), (watch or self.watch).setup
        assert setup is not None
        number = {u.client: u.index for u in uploads}
        clients = sorted(setup.clients, key=lambda c: number.get(c.name, len(number)))
        algorithm.setup = replace(setup, clients=tuple(clients))
        server = Server(copied(seen.before), copied(seen.memory), seen.round)
        algorithm.aggregate(server, [Upload(u.client, u.index, u.samples, copied(u.message)) for u in uploads])
        return server.weights


def completes(trained: Trained, what: str) -> str:
    """Say that a run came to a sound end, or raise :class:`Broken`."""
    if trained.diverged:
        raise Broken(f"{what}: {trained.diverged}")
    for deployment in trained.deployed:
        for name, value in deployment.entries.items():
            if not torch.isfinite(value).all():
                raise Broken(f"{what}: '{name}' of the {deployment.kind} model is NaN or infinite")
    return what


def differ(a: Trained, b: Trained) -> str:
    """Say in which entry the models deployed by two runs differ first; empty if they have the same bits.

    A model is compared with the other run's of the same kind for the same client. Plain averaging has one alone, with
    which it is compared whatever its kind.
    """
    for one in a.deployed:
        fitting = [d for d in b.deployed if (d.kind, d.client) == (one.kind, one.client)]
        if not fitting and isinstance(b.training.task.algorithm, Averaging):
            fitting = [d for d in b.deployed if d.client in (None, one.client)] or b.deployed
        what = f"{one.kind} model{f' of {one.client}' if one.client else ''}"
        if not fitting:
            return f"{what}, which one of the two lacks,"
        if names := differing(model_entries(one.entries), model_entries(fitting[0].entries)):
            return f"{what}, '{names[0]}'"
    return ""
