"""What is seen of a run, and noted of what no hook may do (the hooks tell of it: :mod:`fedbench.testing.hooks`)."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fedbench.algorithm import (
    Client,
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
