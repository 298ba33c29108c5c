"""The algorithm with every hook overheard: it tells a :class:`fedbench.testing.watching.Watch`, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from fedbench.algorithm import (
    MODEL,
    Algorithm,
    Client,
    ClientState,
    Deployment,
    Message,
    Server,
    Setup,
    Step,
    Upload,
)  # fmt: skip
from fedbench.federation import ClientData
from fedbench.testing.laboratory import copied, differing
from fedbench.testing.watching import Aggregation, Watch, batch_digest


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
