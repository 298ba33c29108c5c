"""One instance of an algorithm for the server and one for each client, which share nothing but their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import nn
from torch.optim import Optimizer

from fedbench.algorithm import Algorithm, Client, ClientState, Deployment, Message, Server, Setup, Step, Upload
from fedbench.engine.compute import own_stream
from fedbench.federation import ClientData


class Separate(Algorithm):
    """Passes every hook on to the instance of whoever would run it in a real federation."""

    name = "separate"

    def __init__(self, make: Callable[[], Algorithm]) -> None:
        self._make, self._server = make, make()
        self._clients: dict[int, Algorithm] = {}
        self.name, self.params = self._server.name, self._server.params  # type: ignore[misc]  # streams are named so

    def _client(self, index: int) -> Algorithm:
        if index not in self._clients:
            own = self._make()
            own.setup = self.setup
            own.check(self.setup)
            with own_stream(0):
                own.side_networks(self.setup)
            self._clients[index] = own
        return self._clients[index]

    def training_clients(self, clients: Sequence[ClientData]) -> Sequence[ClientData]:
        return self._server.training_clients(clients)

    def check(self, setup: Setup) -> None:
        self._server.setup = setup
        self._server.check(setup)

    def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
        return self._server.side_networks(setup)

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        return self._server.is_shared(owner, name)

    def download(self, server: Server, client: ClientState, index: int) -> Message:
        return self._server.download(server, client, index)

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        self._server.aggregate(server, uploads)

    def deployments(self, server: Server, clients: Sequence[ClientState]) -> list[Deployment]:
        return self._server.deployments(server, clients)

    def optimizers(self, client: Client, make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> dict[str, Optimizer]:
        return self._client(client.index).optimizers(client, make)

    def begin_round(self, client: Client) -> None:
        self._client(client.index).begin_round(client)

    def local_step(self, step: Step) -> None:
        self._client(step.client.index).local_step(step)

    def end_round(self, client: Client) -> None:
        self._client(client.index).end_round(client)

    def upload(self, client: Client) -> Message:
        return self._client(client.index).upload(client)
