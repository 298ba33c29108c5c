"""The job of :mod:`benchmarks.bare` by Flower's simulation; runs in the peers' environment, without fedbench.

``python -m benchmarks.peer_flower JOB OUT.npz ROUNDS``. One client per core at a time, one thread each; the clients'
processes keep job and network between rounds. Flower's FedAvg strategy aggregates.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks import bare


@cache
def network(folder: Path) -> torch.nn.Module:
    """Return this process's network."""
    torch.set_num_threads(1)
    return bare.load(folder).network()


def train(message: Message, context: Context) -> Message:
    """One client's round."""
    folder = Path(message.content["config"]["folder"])
    job, model = bare.load(folder), network(folder)
    client = int(context.node_config["partition-id"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    bare.train_client(job, model, client, int(message.content["config"]["server-round"]) - 1)
    metrics = MetricRecord({"num-examples": len(job.images[client])})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


def serve(grid: Grid, context: Context) -> None:
    """The server: all clients in every round, no evaluation."""
    folder, out, rounds = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), int(sys.argv[3])
    job, ends = bare.load(folder), [time.time()]

    class Clocked(FedAvg):
        def aggregate_train(self, *arguments: Any) -> Any:
            result = super().aggregate_train(*arguments)
            ends.append(time.time())
            return result

    clients = job.settings.clients
    strategy = Clocked(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    config = ConfigRecord({"folder": str(folder)})
    result = strategy.start(grid, ArrayRecord(job.network().state_dict()), rounds, train_config=config)
    bare.finish(out, {k: v.numpy() for k, v in result.arrays.to_torch_state_dict().items()}, ends)


def main() -> None:
    """Run the simulation on all cores of the machine."""
    cores = os.cpu_count() or 1
    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(sys.modules["benchmarks.peer_flower"].train)
    server_app.main()(serve)
    resources = {"client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}, "init_args": {"num_cpus": cores}}
    job = bare.load(Path(sys.argv[1]))
    run_simulation(server_app, client_app, job.settings.clients, backend_config=resources)


if __name__ == "__main__":
    import benchmarks.peer_flower as module  # so that clients import this module and keep its caches

    module.main()
