"""The algorithm contract: what one file in ``algorithms/`` may say, and what the harness does around it.

One round, as the harness runs it (:mod:`fedbench.engine.training`)::

    for client in clients:
        message = algorithm.download(server, client)      # counted in bytes
        networks <- message + the client's local entries
        algorithm.begin_round(client)
        for batch in client's batches: algorithm.local_step(step)
        algorithm.end_round(client)
        upload = algorithm.upload(client)                 # counted in bytes
    algorithm.aggregate(server, uploads)

State is explicit: the server's and the clients' ``memory`` are flat dictionaries of tensors that the harness
checkpoints without knowing what is in them. What is sent, kept in a memory or deployed must be finite: a run whose
tensors hold NaN or an infinity has diverged (where nothing is known yet, leave the entry out). ``scratch`` lives for
one round. Plugins name no device, dtype or path.
Clients of a round may train side by side in threads, so what is one client's belongs to the client, not on ``self``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fedbench.federation import ClientData
from fedbench.models import SegmentationNetwork
from fedbench.parameters import Parameters, validate

State = dict[str, Tensor]
Message = dict[str, Tensor]

MODEL = "model."  # prefix of the segmentation network's entries in every state and message


@dataclass(frozen=True)
class Setup:
    """What an algorithm may know before training: the network's structure and the clients that take part."""

    model: SegmentationNetwork
    clients: tuple[ClientData, ...]
    rounds: int


@dataclass
class Server:
    """What the server keeps between rounds. ``weights``: the shared entries; ``memory``: the algorithm's own."""

    weights: State
    memory: State = field(default_factory=dict)
    round: int = 0


@dataclass
class ClientState:
    """What a client keeps between rounds.

    Attributes:
        samples: n_k, the training samples (2-D slices or 3-D patches) of one local epoch.
        local: entries of its networks that are not shared.
        memory: whatever else the algorithm keeps.
    """

    name: str
    samples: int
    local: State
    memory: State = field(default_factory=dict)


@dataclass
class Client:
    """A client at work in one round.

    Attributes:
        networks: ``model`` and the algorithm's side networks, loaded with what was received and what is local.
        entries: the networks' present state by name, detached and live: it changes as the client trains.
        shared: names of the entries that travel.
        received: the message that came down, on the networks' device; frozen copies, not the live parameters.
        memory: kept between rounds; replace entries, never edit tensors in place.
        optimizers: fresh in every round; ``main`` steps the segmentation network.
        generator: the algorithm's own random stream (CPU) for this client and round; batches do not draw from it.
        samples_without_augmentation: ``f(n, generator)`` gives n training images ``(n, C, *size)``, drawn evenly.
    """

    name: str
    index: int
    samples: int
    networks: nn.ModuleDict
    entries: State
    shared: frozenset[str]
    received: Message
    memory: State
    round: int
    rounds: int
    generator: torch.Generator
    samples_without_augmentation: Callable[[int, torch.Generator], Tensor]
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> SegmentationNetwork:
        """The segmentation network in training."""
        return self.networks["model"]  # type: ignore[return-value]

    def frozen(self, entries: Mapping[str, Tensor]) -> nn.ModuleDict:
        """Return a copy of the networks in eval mode without gradients, loaded with ``entries`` where they match."""
        frozen = copy.deepcopy(self.networks)
        current = frozen.state_dict()
        frozen.load_state_dict({**current, **{name: v for name, v in entries.items() if name in current}})
        return frozen.eval().requires_grad_(False)


@dataclass
class Step:
    """One local step: a batch, the client at work, and the loss in the making.

    Attributes:
        images: ``(B, C, *size)`` float; labels: ``(B, 1, *size)`` integer, 0 = background.
    """

    client: Client
    images: Tensor
    labels: Tensor
    segmentation_loss: Callable[[Tensor, Tensor], Tensor]
    record: Callable[[str, Tensor], None]

    @property
    def model(self) -> SegmentationNetwork:
        """The client's segmentation network."""
        return self.client.model

    @cached_property
    def received(self) -> State:
        """The received segmentation network's entries, named as in ``model.state_dict()``."""
        return {k.removeprefix(MODEL): v for k, v in self.client.received.items() if k.startswith(MODEL)}

    @cached_property
    def _encoded(self) -> tuple[Tensor, list[Tensor]]:
        return self.model.encode(self.images)

    @property
    def features(self) -> Tensor:
        """Bottleneck maps ``(B, C', ...)`` of the batch, with gradient; shared with :attr:`logits`."""
        return self._encoded[0]

    @cached_property
    def logits(self) -> Tensor:
        """Network output ``(B, classes + 1, *size)``; the forward pass happens once."""
        return self.model.decode(*self._encoded)

    def log(self, term: str, value: Tensor) -> Tensor:
        """Record a scalar for this round's table (averaged over the steps) and return it."""
        self.record(term, value.detach())
        return value

    def minimise(self, loss: Tensor, optimizer: str = "main") -> None:
        """One optimiser step on ``loss``."""
        stepper = self.client.optimizers[optimizer]
        stepper.zero_grad(set_to_none=True)
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        stepper.step()


@dataclass(frozen=True)
class Upload:
    """What one client sent, with its weight."""

    client: str
    index: int
    samples: int
    message: Mapping[str, Tensor]


@dataclass(frozen=True)
class Deployment:
    """A model somebody would use after training.

    Attributes:
        kind: ``global``, ``personal`` or a variant's name; results of different kinds are never mixed.
        client: who uses it; None means every client.
        entries: the segmentation network's state, names with the ``model.`` prefix.
    """

    kind: str
    client: str | None
    entries: State


class Algorithm:
    """Base of every algorithm plugin; the defaults are federated learning without any aggregation rule.

    A subclass with a ``name`` is found by that name. Its docstring's first line is what `list algorithms` shows.

    Two promises may be declared; :mod:`fedbench.testing` holds it to them. ``is_fedavg_with``: parameters with which it
    is plain averaging bit for bit, such as ``{"mu": 0.0}``. ``terms_move``: what the other terms of the loss may move.
    """

    name: ClassVar[str]
    is_fedavg_with: ClassVar[Mapping[str, Any]] = {}
    terms_move: ClassVar[Literal["everything", "encoder"]] = "everything"
    setup: Setup  # set by the harness before training

    class Params(Parameters):
        """Hyper-parameters: ``mu: float = hyperparameter(0.01, search=[...], ge=0)``."""

    def __init__(self, **params: Any) -> None:
        self.params: Any = validate(self.Params, params, f"algorithm '{self.name}'")

    # -- before training ------------------------------------------------------------------------------------------

    def training_clients(self, clients: Sequence[ClientData]) -> Sequence[ClientData]:
        """Return who trains. Default: the federation's clients as they are."""
        return clients

    def check(self, setup: Setup) -> None:
        """Raise :class:`fedbench.errors.UserError` where the algorithm does not suit the network or the clients."""

    def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
        """Return extra modules (heads, discriminators); initialised from a stream of their own."""
        return {}

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """Say whether a state entry travels and is aggregated.

        Args:
            owner: the module that holds the parameter or buffer.
            name: its full name, ``model.…`` or ``<side network>.…``.
        """
        return True

    # -- one round ------------------------------------------------------------------------------------------------

    def download(self, server: Server, client: ClientState, index: int) -> Message:
        """Return what the server sends to client number ``index``. Default: the shared entries."""
        return dict(server.weights)

    def optimizers(self, client: Client, make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> dict[str, Optimizer]:
        """Return this round's optimisers; ``make`` builds the suite's. Default: one over all networks."""
        return {"main": make(client.networks.parameters())}

    def begin_round(self, client: Client) -> None:
        """Prepare ``client.scratch`` before the first batch."""

    def loss(self, step: Step) -> Tensor:
        """Return the local objective of one batch (scalar)."""
        return step.log("segmentation", step.segmentation_loss(step.logits, step.labels))

    def local_step(self, step: Step) -> None:
        """One local update. Default: one optimiser step on :meth:`loss`."""
        step.minimise(self.loss(step))

    def end_round(self, client: Client) -> None:
        """Update ``client.memory`` after the last batch."""

    def upload(self, client: Client) -> Message:
        """Return what the client sends. Default: the shared entries."""
        return {name: value for name, value in client.entries.items() if name in client.shared}

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """Update ``server.weights`` and ``server.memory`` from the uploads, in client order.

        Messages of many clients lie on disk: read one after the other, as :func:`weighted_mean` does.
        """
        raise NotImplementedError(f"algorithm '{self.name}' must implement aggregate()")

    # -- after training -------------------------------------------------------------------------------------------

    def deployments(self, server: Server, clients: Sequence[ClientState]) -> list[Deployment]:
        """Return the models in use after training: the global one, or one per client if any of its entries is local."""
        if not any(name.startswith(MODEL) for name in clients[0].local):
            return [Deployment("global", None, model_entries(server.weights))]
        return [Deployment("personal", c.name, model_entries({**server.weights, **c.local})) for c in clients]

    # -- helpers --------------------------------------------------------------------------------------------------

    def shared_names(self, networks: nn.ModuleDict) -> set[str]:
        """Names of all state entries (parameters and buffers) for which :meth:`is_shared` holds."""
        return {
            full
            for prefix, owner in networks.named_modules()
            for name in _own_entries(owner)
            if self.is_shared(owner, full := f"{prefix}.{name}" if prefix else name)
        }


def _own_entries(owner: nn.Module) -> list[str]:
    persistent = [name for name in owner._buffers if name not in owner._non_persistent_buffers_set]
    return [name for name, value in owner._parameters.items() if value is not None] + [
        name for name in persistent if owner._buffers[name] is not None
    ]


def model_entries(state: Mapping[str, Tensor]) -> State:
    """Return the segmentation network's entries of a state."""
    return {name: value for name, value in state.items() if name.startswith(MODEL)}


def weighted_mean(
    states: Iterable[Mapping[str, Tensor]], weights: Sequence[float], names: Collection[str] | None = None
) -> State:
    """Average whole state dictionaries, buffers included; one is read after the other.

    Float entries: ``sum_k weights_k * x_k / sum(weights)``, accumulated in float64 in the order given and cast back.
    Integer entries (BatchNorm's ``num_batches_tracked``): the maximum; their mean has no meaning.

    Args:
        names: which entries; None for those of the first state.
    """
    total = float(sum(weights))
    sums: State = {}
    dtypes: dict[str, torch.dtype] = {}
    for state, weight in zip(states, weights, strict=True):
        for name in state if names is None else names:
            value = state[name]
            if name not in sums:
                dtypes[name] = value.dtype
                sums[name] = value.double() * (weight / total) if value.is_floating_point() else value.clone()
            elif value.is_floating_point():
                sums[name].add_(value.double(), alpha=weight / total)
            else:
                sums[name] = torch.maximum(sums[name], value)
    return {name: value.to(dtypes[name]) for name, value in sums.items()}


def squared_distance(model: nn.Module, reference: Mapping[str, Tensor]) -> Tensor:
    """Return ``||w - w_ref||^2`` over the trainable parameters of ``model`` (buffers excluded), a scalar."""
    terms = [(p - reference[name]).square().sum() for name, p in model.named_parameters() if p.requires_grad]
    return torch.stack(terms).sum()


def pack(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Return ``state`` with every name under ``prefix/``, detached and copied, fit for a memory or a message."""
    return {f"{prefix}/{name}": value.detach().clone() for name, value in state.items()}


def unpack(prefix: str, packed: Mapping[str, Tensor]) -> State:
    """Return what :func:`pack` stored under ``prefix/``."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in packed.items() if k.startswith(f"{prefix}/")}
