"""BatchNorm's statistics stay, its affine parameters travel; the shared weights are FedAvg's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedbench.algorithm import ClientState, Server, Upload
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.silobn import SiloBN
from fedbench.config import ModelConfig
from fedbench.errors import UserError
from fedbench.federation import with_clients
from fedbench.models import build_model
from tests.federations import make_federation, make_training, model_state, same_bits, trained

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("model", ["basicunet", "unet", "segresnet"])
def test_exactly_the_statistics_are_local(model):
    networks = nn.ModuleDict({"model": build_model(ModelConfig(name=model), 1, 3)})
    local = set(networks.state_dict()) - SiloBN().shared_names(networks)
    by_hand = {
        f"{prefix}.{entry}"
        for prefix, module in networks.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for entry in STATISTICS
    }
    assert by_hand
    assert local == by_hand


def test_one_round_by_hand():
    """n = (1, 3): affine (1, 2) and (3, -2) average to (2.5, -1); each client keeps its mean (0, 4), (8, 0)."""
    algorithm = SiloBN()
    networks = nn.ModuleDict({"model": nn.BatchNorm1d(2)})
    assert algorithm.shared_names(networks) == {"model.weight", "model.bias"}
    server = Server({"model.weight": torch.ones(2)})
    uploads = [
        Upload("CT", 0, 1, {"model.weight": torch.tensor([1.0, 2.0])}),
        Upload("MR", 1, 3, {"model.weight": torch.tensor([3.0, -2.0])}),
    ]
    algorithm.aggregate(server, uploads)
    clients = [
        ClientState("CT", 1, {"model.running_mean": torch.tensor([0.0, 4.0])}),
        ClientState("MR", 3, {"model.running_mean": torch.tensor([8.0, 0.0])}),
    ]
    deployed = [
        (d.kind, d.client, *(d.entries[f"model.{name}"].tolist() for name in ("weight", "running_mean")))
        for d in algorithm.deployments(server, clients)
    ]
    assert deployed == [
        ("personal", "CT", [2.5, -1.0], [0.0, 4.0]),
        ("personal", "MR", [2.5, -1.0], [8.0, 0.0]),
        ("averaged", None, [2.5, -1.0], [6.0, 1.0]),
    ]


def test_the_shared_weights_are_fedavgs_to_the_bit_and_the_models_in_use_are_not(tmp_path):
    """Training normalises by the batch, so no statistics enter a gradient."""
    federation = make_federation(tmp_path, clients=3)
    silobn, fedavg = trained(federation, SiloBN()), trained(federation, FedAvg())
    assert all(torch.equal(value, fedavg.server.weights[name]) for name, value in silobn.server.weights.items())
    for client in federation.clients:
        assert not same_bits(model_state(silobn, client.name), model_state(fedavg))


def test_with_one_client_it_is_fedavg(tmp_path):
    federation = make_federation(tmp_path)
    alone = with_clients(federation, federation.clients[:1])
    silobn = trained(alone, SiloBN())
    assert all(same_bits(d.entries, model_state(trained(alone, FedAvg()))) for d in silobn.deployments())


def test_statistics_are_each_clients_own_and_persist(tmp_path):
    """The number of batches a client has tracked is its own: steps per round times rounds."""
    training = trained(make_federation(tmp_path), SiloBN())
    for state, samples in zip(training.states, training.sets, strict=True):
        tracked = {int(v) for name, v in state.local.items() if name.endswith("num_batches_tracked")}
        assert tracked == {3 * samples.steps}
    first, second = (state.local for state in training.states)
    assert all(not torch.equal(first[name], second[name]) for name in first if name.endswith("running_mean"))


def test_the_statistics_do_not_travel(tmp_path):
    training = trained(make_federation(tmp_path), SiloBN(), rounds=1)
    shared = sum(v.numel() * v.element_size() for v in training.server.weights.values())
    assert {row["value"] for row in training.history if row["metric"].startswith("bytes")} == {shared}
    assert not [name for name in training.server.weights if name.endswith(STATISTICS)]


@pytest.mark.parametrize("norm", ["instance", "instance-plain", "group"])
def test_a_model_without_batchnorm_is_refused(tmp_path, norm):
    with pytest.raises(UserError, match=r"'silobn'.*no BatchNorm layer"):
        make_training(
            make_federation(tmp_path), SiloBN(), model={"name": "segresnet", "channels": (8, 16), "norm": norm}
        )


def test_it_has_no_choice_of_norm_layers():
    with pytest.raises(UserError, match="no parameter 'norms'"):
        SiloBN(norms="all")
