"""The network of a finished run, as it would be used: deployed weights from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedbench import registry, store
from fedbench.algorithm import MODEL, ClientState, Deployment, Server, State
from fedbench.config import SELECTIONS, ModelConfig
from fedbench.engine import checkpoint
from fedbench.errors import UserError
from fedbench.execution.named import make_algorithm
from fedbench.models import SegmentationNetwork, build_model
from fedbench.sources import code_digest
from fedbench.wording import listed

CHANNELS = (1, 3)  # of images: grey, colour


def load_model(run_folder: Path | str, *, selection: str = "last", client: str | None = None) -> SegmentationNetwork:
    """Return the trained network of a finished run on the CPU, in eval mode.

    It takes images ``(B, C, X, Y[, Z])`` prepared as ``fedbench prepare`` does and gives logits of background and
    classes; sizes are multiples of its ``divisor``. :func:`fedbench.engine.inference.predict` applies it to a case of
    :func:`fedbench.data.prepared.load`.

    Args:
        run_folder: ``results/runs/RUN_ID``.
        selection: the model of the ``last`` round, or of the ``best-validation`` round.
        client: whose model: its own where it has one, else that of all clients; None is that of all clients.

    Raises:
        UserError: the run is not finished or damaged, it has no such client or no model of all clients, there is no
            such selection, or the algorithm's source changed, which says what is deployed.
    """
    folder = Path(run_folder)
    if selection not in SELECTIONS:
        raise UserError(f"selection '{selection}': choose {listed(SELECTIONS)}.")
    if not (folder / store.DONE).is_file():
        raise UserError(f"{folder} is not a finished run; `fedbench status` lists the runs of a results folder.")
    if problem := store.broken(folder):
        raise UserError(f"run {folder.name} is corrupt ({problem}); `fedbench run` repeats it.")
    run = store.record(folder)
    tensors, facts = checkpoint.load(folder / store.CHECKPOINT)
    names = list(run["samples"])
    if client is not None and client not in names:
        raise UserError(f"run {folder.name} has no client '{client}'; there are: {listed(names)}.")
    deployment = _used_by(client, _deployments(run, tensors, facts, selection), names, folder.name)
    entries = {name.removeprefix(MODEL): value for name, value in deployment.entries.items()}
    network = _network(ModelConfig(**run["identity"]["model"]), len(run["classes"]), entries)
    network.load_state_dict(entries)
    return network.eval()


def _deployments(
    run: Mapping[str, Any], tensors: State, facts: Mapping[str, Any], selection: str
) -> Sequence[Deployment]:
    """Return the models in use: those kept of the best round, which may be the last, else what the algorithm says."""
    best = facts.get("best")
    if best and (selection != "last" or best["round"] == facts["round"] - 1):
        return [
            Deployment(kind, name, _under(tensors, f"best/{i}/")) for i, (kind, name) in enumerate(best["deployments"])
        ]
    spec, cls = registry.named("algorithm", run["spec"])
    if code_digest(cls) != run["identity"]["algorithm_code"]:
        raise UserError(
            f"run {run['run_id']}: the source of '{spec.name}', which says what is deployed, changed since; take the "
            "version that made the run, or selection='best-validation', whose models are kept as they were."
        )
    server = Server(_under(tensors, "server/weights/"), _under(tensors, "server/memory/"), facts["round"])
    clients = [
        ClientState(name, samples, _under(tensors, f"client/{i}/local/"), _under(tensors, f"client/{i}/memory/"))
        for i, (name, samples) in enumerate(run["samples"].items())
    ]
    return make_algorithm(spec, cls).deployments(server, clients)


def _under(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _used_by(client: str | None, deployments: Sequence[Deployment], names: Sequence[str], run_id: str) -> Deployment:
    """Return what ``client`` uses: its own model where it has one, otherwise the first that everybody has."""
    own = [d for d in deployments if client is not None and d.client == client]
    found = own or [d for d in deployments if d.client is None]
    if not found:
        raise UserError(f"run {run_id} has no model of all clients; name whose: client= one of {listed(names)}.")
    return found[0]


def _network(config: ModelConfig, classes: int, entries: Mapping[str, Tensor]) -> SegmentationNetwork:
    """Build the network whose weights have the shapes of ``entries``: for grey images or for colour."""
    shapes = {name: value.shape for name, value in entries.items()}
    for channels in CHANNELS:
        with torch.random.fork_rng(devices=[]):  # the caller's stream of random numbers stays as it is
            network = build_model(config, channels, classes + 1)
        if {name: value.shape for name, value in network.state_dict().items()} == shapes:
            return network
    raise UserError(f"these weights are not of a '{config.name}' as this version of fedbench builds it.")
