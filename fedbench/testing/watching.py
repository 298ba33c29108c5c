"""A watched run: the algorithm with every hook overheard, and what it did that no hook may do."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

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
from fedbench.data.prepared import PreparedCase
from fedbench.federation import ClientData
from fedbench.testing.laboratory import copied, differing, reads_told

At = tuple[int, str]  # round, client


@dataclass(frozen=True)
class Aggregation:
    """One call of ``aggregate``: what the server held, what it got, and what it held then."""

    round: int
    before: State
    memory: State
    uploads: tuple[Upload, ...]
    after: State


@dataclass
class Watch:
    """What was seen of one run.

    Attributes:
        notes: rule -> what broke it, in the order seen.
        steps: per batch, how often each optimiser stepped.
        model_steps: per batch, how many steps had parameters of the segmentation network.
        sent: bytes of the messages, by (round, client, "down" or "up").
        ended: what a client's networks held when it sent its upload.
    """

    setup: Setup | None = None
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[At, list[Counter[str]]] = field(default_factory=lambda: defaultdict(list))
    model_steps: dict[At, list[int]] = field(default_factory=lambda: defaultdict(list))
    sent: dict[tuple[int, str, str], int] = field(default_factory=dict)
    ended: dict[At, State] = field(default_factory=dict)
    aggregations: list[Aggregation] = field(default_factory=list)
    _client: Client | None = None
    _hook: str = ""  # which of the plugin's is at work
    _made: dict[Optimizer, dict[str, Any]] = field(default_factory=dict)  # in this client's round, by make()
    _stepped: list[Optimizer] = field(default_factory=list)  # in this client's round
    _times: Counter[int] = field(default_factory=Counter)  # how often a parameter was stepped with this batch
    _late: list[Optimizer] = field(default_factory=list)  # made after the first batch
    _remembered: dict[int, Optimizer] = field(default_factory=dict)  # parameter -> who remembers something of it
    _live: set[int] = field(default_factory=set)
    _passes: Counter[int] = field(default_factory=Counter)  # of a BatchNorm, with gradients, within a hook
    _trained: set[int] = field(default_factory=set)
    _strangers: dict[int, nn.Module] = field(default_factory=dict)
    _guarded: list[tuple[str, Mapping[str, Tensor], State]] = field(default_factory=list)

    def note(self, rule: str, text: str) -> None:
        """Remember that ``rule`` was broken, with where."""
        place = f"round {self._client.round}, client {self._client.name}: " if self._client else ""
        self.notes[rule].append(place + text)

    # -- hooks of the plugin --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def within(self, hook: str, client: Client | None = None) -> Iterator[None]:
        """A block in which one hook of the plugin is at work, for a client or for nobody."""
        self._hook = hook
        counted = self._counted(client) if client is not None else {}
        self._passes = Counter()
        try:
            yield
        finally:
            self._hook = ""
        for module, (name, before) in counted.items():
            learned = self._passes[id(module)] if hook == "local_step" else 0
            if int(module.num_batches_tracked) > before + learned:  # type: ignore[arg-type]
                self.note("modes", f"{hook}: statistics of '{name}' moved in a forward pass that nobody learns from")
                break

    @staticmethod
    def _counted(client: Client) -> dict[nn.Module, tuple[str, int]]:
        """Return the model's layers that count the batches they have seen, with how many these are."""
        return {
            module: (name, int(module.num_batches_tracked))
            for name, module in client.model.named_modules()
            if isinstance(module, _NormBase) and module.num_batches_tracked is not None
        }

    def deals(self, given: Sequence[ClientData], dealt: Sequence[ClientData]) -> None:
        """Note a client that trains on what is not for training, or on another's cases."""
        owner: dict[str, str] = {}
        kept = {case.id for client in given for case in client.val}
        for client in dealt:
            for case in client.train:
                if case.id in kept:
                    self.note("own-data", f"client {client.name} trains on the validation case {case.id}")
                elif owner.setdefault(case.id, client.name) != client.name:
                    self.note("own-data", f"case {case.id} trains at {owner[case.id]} and at {client.name}")

    def reads(self, case: PreparedCase) -> None:
        """Note a case that a hook has no right to read."""
        if not self._hook:
            return  # the harness reads
        own = self._client is not None and self.setup is not None and self.setup.clients[self._client.index]
        if not own:
            self.note("own-data", f"{self._hook}() reads case {case.id}, which never leaves its client")
        elif case.id not in {each.id for each in own.train}:
            what = "a validation case" if case.id in {each.id for each in own.val} else "no case of this client"
            self.note("own-data", f"{self._hook}() reads {case.id}, which is {what}")

    # -- tensors that must not be edited --------------------------------------------------------------------------

    def guard(self, what: str, state: Mapping[str, Tensor]) -> None:
        """Remember tensors that from now on must keep their values."""
        self._guarded.append((what, dict(state), copied(state)))

    def verify(self) -> None:
        """Note what was edited of the guarded tensors, and let go of them."""
        for what, held, original in self._guarded:
            if names := differing(held, original):
                self.note("in-place", f"{what} '{names[0]}' was edited in place")
        self._guarded = []

    # -- hooks of torch -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def overhearing(self) -> Iterator[None]:
        """Within the block, see every module that computes, every optimiser that steps, every case that is read."""
        handles = [
            register_module_forward_pre_hook(self._computes),
            register_optimizer_step_pre_hook(self._steps),
            register_optimizer_step_post_hook(self._stepped_with),
        ]
        try:
            with reads_told(self.reads):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _computes(self, module: nn.Module, _inputs: Any) -> None:
        tells = isinstance(module, _NormBase | nn.modules.dropout._DropoutNd)  # train and eval mode differ
        if self._client is not None and tells and module.training and id(module) not in self._live:
            self._strangers[id(module)] = module
        if isinstance(module, _NormBase) and self._client is not None and torch.is_grad_enabled():
            self._passes[id(module)] += module.training
            if self._hook == "local_step" and not module.training and module in self._client.model.modules():
                self.note("modes", "a batch goes through the segmentation network in eval mode, with gradients")

    def _steps(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self._client is None:
            return
        names = {id(each): name for name, each in self._client.optimizers.items()}
        at = (self._client.round, self._client.name)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._trained |= {id(p) for p in parameters}
        name = names.get(id(optimizer), "an optimiser of its own")
        model = {id(p) for p in self._client.model.parameters()}
        moves = any(id(p) in model for p in parameters)
        if self.steps[at]:
            self.steps[at][-1][name] += 1
            self.model_steps[at][-1] += moves
        if moves and self._hook != "local_step":
            self.note("batches", f"an optimiser steps the segmentation network in {self._hook}(), without a batch")
        self._again(optimizer, name, moves)
        if optimizer not in self._stepped:
            self._first_step(optimizer, name, moves)
        self._as_given(optimizer, name, model, len(self.steps[at]))
        for p in parameters:
            if p.grad is not None and not torch.isfinite(p.grad).all():
                self.note("finite", f"step {len(self.steps[at])}: a gradient is NaN or infinite")
                return

    def _again(self, optimizer: Optimizer, name: str, moves: bool) -> None:
        """Note parameters that are stepped once more with the same batch, or of which the past has been forgotten."""
        assert self._client is not None
        known = {id(p): entry for entry, p in self._client.networks.named_parameters()}
        stepped = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self._times.update(id(p) for p in stepped)
        if twice := [known[id(p)] for p in stepped if id(p) in known and self._times[id(p)] > 1]:
            self.note("batches", f"'{twice[0]}' is stepped more than once with one batch, here by {name}")
        for p in stepped if moves else ():
            before = self._remembered.get(id(p))
            if before is not None and not optimizer.state.get(p) and (before is optimizer or optimizer in self._late):
                self.note(
                    "optimizers", f"{name} has forgotten what it knew of '{known.get(id(p))}' after earlier batches"
                )
                return

    def _stepped_with(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._remembered |= {id(p): optimizer for p, state in optimizer.state.items() if state}

    def _first_step(self, optimizer: Optimizer, name: str, moves: bool) -> None:
        """Note where an optimiser comes from, and what it remembers at its first step of a round."""
        self._stepped.append(optimizer)
        kind = f"{name} ({type(optimizer).__name__})"
        if moves and optimizer not in self._made:
            self.note("optimizers", f"{kind} steps the segmentation network, and make() did not build it")
        kept = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        if any(value.any() for value in kept):  # zeros, as Adagrad begins with, are no past
            self.note("optimizers", f"{kind} remembers something at its first step of the round")

    def _as_given(self, optimizer: Optimizer, name: str, model: set[int], step: int) -> None:
        """Note with what an optimiser of the suite's making steps the segmentation network, if that is not given."""
        given = self._made.get(optimizer, {})
        for group in optimizer.param_groups:
            if any(id(p) in model for p in group["params"]):
                for key in (key for key, value in given.items() if group.get(key, value) != value):
                    self.note("learning-rate", f"step {step}: {name} has {key} = {group[key]}, and not {given[key]}")

    # -- a client's round -----------------------------------------------------------------------------------------

    def arrives(self, client: Client) -> None:
        """A client's networks are loaded and its round begins."""
        self._client, self._trained, self._strangers = client, set(), {}
        self._made, self._stepped, self._late, self._remembered = {}, [], [], {}
        self._times = Counter()
        self._live = {id(module) for module in client.networks.modules()}

    def made(self, optimizer: Optimizer) -> None:
        """Remember an optimiser of the suite's making, and what the suite gave it: rate, moments, weight decay."""
        self._made[optimizer] = dict(optimizer.defaults)
        if self._client is not None and self.steps[self._client.round, self._client.name]:
            self._late.append(optimizer)

    def batch(self, step: Step) -> str:
        """Remember a batch; return its digest."""
        at = (step.client.round, step.client.name)
        self.steps[at].append(Counter())
        self.model_steps[at].append(0)
        self._times = Counter()
        if any(isinstance(m, _NormBase) and not m.training for m in step.model.modules()):
            self.note("modes", "the segmentation network trains in eval mode")
        return batch_digest(step)

    def leaves(self) -> None:
        """A client's round is over."""
        if self._client is None:
            return
        trained = [m for m in self._strangers.values() if any(id(p) in self._trained for p in m.parameters())]
        if frozen := [m for m in self._strangers.values() if m not in trained]:
            kind = type(frozen[0]).__name__
            self.note("modes", f"a copy of the networks that nobody trains computes in train mode ({kind})")
        self._client = None


def batch_digest(step: Step) -> str:
    """Return a digest of a batch's images and labels."""
    sha = hashlib.sha256(step.images.detach().contiguous().numpy().tobytes())
    sha.update(step.labels.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _plain(message: Any) -> str | None:
    """Return what is wrong with a message, if anything."""
    if not isinstance(message, dict):
        return f"it is a {type(message).__name__}, not a dict of tensors"
    for name, value in message.items():
        if not isinstance(name, str):
            return f"the name {name!r} is not text"
        if type(value) not in (Tensor, nn.Parameter):
            return f"'{name}' is a {type(value).__name__}, not a tensor: it could not be counted in bytes"
        if value.layout != torch.strided:
            return f"'{name}' is sparse; send dense tensors"
    return None


def misfit(deployment: Deployment, state: Mapping[str, Tensor]) -> str | None:
    """Return what keeps a deployed model from being loaded into a model with the given state, if anything."""
    what = f"the {deployment.kind} model{f' of {deployment.client}' if deployment.client else ''}"
    if missing := state.keys() - deployment.entries.keys():
        return f"{what} lacks '{min(missing)}'"
    if unknown := deployment.entries.keys() - state.keys():
        return f"{what} has '{min(unknown)}', which the model does not know"
    for name, value in deployment.entries.items():
        if value.shape != state[name].shape or value.dtype != state[name].dtype:
            return f"{what}: '{name}' is {value.dtype} {tuple(value.shape)}, not {state[name].dtype}"
    return None


def _bytes(message: Message) -> int:
    return sum(value.numel() * value.element_size() for value in message.values())


def watched(cls: type[Algorithm], watch: Watch) -> Callable[..., Algorithm]:
    """Return a subclass of the plugin's class whose hooks tell ``watch`` what they see, and change nothing."""

    class Watched(cls):  # type: ignore[valid-type, misc]
        def training_clients(self, clients: Sequence[ClientData]) -> Sequence[ClientData]:
            dealt = super().training_clients(clients)
            watch.deals(clients, dealt)
            return dealt

        def check(self, setup: Setup) -> None:
            watch.setup = setup
            with watch.within("check"):
                super().check(setup)

        def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
            with watch.within("side_networks"):
                return super().side_networks(setup)

        def download(self, server: Server, client: ClientState, index: int) -> Message:
            watch.guard("the server's", {**server.weights, **{f"memory/{k}": v for k, v in server.memory.items()}})
            watch.guard(f"the memory of client {client.name}", {**client.memory, **client.local})
            with watch.within("download"):
                message = super().download(server, client, index)
            if problem := _plain(message):
                watch.note("messages", f"download to client {client.name}: {problem}")
            else:
                watch.sent[server.round, client.name, "down"] = _bytes(message)
            return message

        def optimizers(self, client: Client, make: Any) -> dict[str, Optimizer]:
            watch.arrives(client)

            def noted(parameters: Iterable[nn.Parameter]) -> Optimizer:
                watch.made(optimizer := make(parameters))
                return optimizer

            with watch.within("optimizers", client):
                return super().optimizers(client, noted)

        def begin_round(self, client: Client) -> None:
            with watch.within("begin_round", client):
                super().begin_round(client)

        def local_step(self, step: Step) -> None:
            digest = watch.batch(step)
            with watch.within("local_step", step.client):
                super().local_step(step)
            if batch_digest(step) != digest:
                watch.note("in-place", "the batch's images or labels were edited in place")

        def end_round(self, client: Client) -> None:
            with watch.within("end_round"):  # there a client may well let statistics settle
                super().end_round(client)

        def upload(self, client: Client) -> Message:
            before = copied(client.networks.state_dict())
            with watch.within("upload"):
                message = super().upload(client)
            watch.ended[client.round, client.name] = ended = copied(client.networks.state_dict())
            if names := differing(before, ended):
                watch.note("modes", f"upload() changed the network: '{names[0]}'")
            if problem := _plain(message):
                watch.note("messages", f"upload: {problem}")
            else:
                watch.sent[client.round, client.name, "up"] = _bytes(message)
            watch.leaves()
            watch.verify()
            return message

        def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
            before, memory = copied(server.weights), copied(server.memory)
            kept = tuple(Upload(u.client, u.index, u.samples, copied(u.message)) for u in uploads)
            watch.guard("what the server held before the round,", {**server.weights})
            for upload in uploads:
                watch.guard(f"the upload of client {upload.client}:", upload.message)
            with watch.within("aggregate"):
                super().aggregate(server, uploads)
            watch.verify()
            watch.aggregations.append(Aggregation(server.round, before, memory, kept, copied(server.weights)))

        def deployments(self, server: Server, clients: Sequence[ClientState]) -> list[Deployment]:
            with watch.within("deployments"):
                deployed = super().deployments(server, clients)
            state = {MODEL + name: value for name, value in self.setup.model.state_dict().items()}
            for problem in filter(None, (misfit(deployment, state) for deployment in deployed)):
                watch.note("deployments", problem)
            return deployed

    return Watched
