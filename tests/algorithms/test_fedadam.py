"""The server's Adam by hand, for trainable parameters only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedbench.algorithm import Server, Setup, Upload
from fedbench.algorithms.fedadam import FedAdam
from fedbench.algorithms.fedavg import FedAvg
from tests.algorithms.quadratic import Point
from tests.federations import make_federation, model_state, same_bits, trained


def uploads(*messages):
    """From clients with 1, 3, ... samples."""
    return [Upload(str(k), k, 1 + 2 * k, message) for k, message in enumerate(messages)]


def test_two_rounds_by_hand():
    """eta = 0.12, beta1 = beta2 = 1/2, tau = 1; x = (1, 2).

    Delta = (1, 7): m = (0.5, 3.5), v = (0.5 + 0.5, 0.5 + 24.5), x + 0.12 * (0.5 / 2, 3.5 / 6) = (1.03, 2.07).
    Delta = (-1, -5): m = (-0.25, -0.75), v = (1, 25), x - 0.12 * (0.25 / 2, 0.75 / 6) = (1.015, 2.055).
    """
    algorithm = FedAdam(eta=0.12, beta1=0.5, beta2=0.5, tau=1.0)
    algorithm.setup = Setup(Point([0.0, 0.0]), (), 2)
    server = Server({"model.w": torch.tensor([1.0, 2.0])})
    algorithm.aggregate(
        server, uploads({"model.w": torch.tensor([5.0, 3.0])}, {"model.w": torch.tensor([1.0, 11.0])})
    )  # mean (2, 9)
    torch.testing.assert_close(server.weights["model.w"], torch.tensor([1.03, 2.07]))
    torch.testing.assert_close(server.memory["m/model.w"], torch.tensor([0.5, 3.5]))
    torch.testing.assert_close(server.memory["v/model.w"], torch.tensor([1.0, 25.0]))
    algorithm.aggregate(
        server, uploads({"model.w": torch.tensor([3.03, 0.07])}, {"model.w": torch.tensor([-0.97, -3.93])})
    )  # mean (0.03, -2.93)
    torch.testing.assert_close(server.weights["model.w"], torch.tensor([1.015, 2.055]))
    torch.testing.assert_close(server.memory["m/model.w"], torch.tensor([-0.25, -0.75]))
    torch.testing.assert_close(server.memory["v/model.w"], torch.tensor([1.0, 25.0]))


def test_the_defaults_are_the_papers():
    params = FedAdam().params
    assert (params.beta1, params.beta2, params.tau) == (0.9, 0.99, 1e-3)


def test_where_all_clients_return_what_they_received_nothing_moves():
    algorithm = FedAdam()
    algorithm.setup = Setup(Point([0.0, 0.0]), (), 1)
    server = Server({"model.w": torch.tensor([1.0, -2.0])})
    algorithm.aggregate(server, uploads(dict(server.weights), dict(server.weights)))
    assert server.weights["model.w"].tolist() == [1.0, -2.0]


def test_buffers_are_averaged_and_a_running_variance_stays_valid():
    """Variances fall from 1 to 0.01: Adam's large step would carry them below 0, as it does the weights."""
    model = nn.BatchNorm1d(2)
    algorithm = FedAdam(eta=5.0)
    algorithm.setup = Setup(model, (), 1)
    server = Server({f"model.{name}": value.detach().clone() for name, value in model.state_dict().items()})

    def upload(value, batches):
        sent = {name: torch.full((2,), value) for name in ("weight", "bias", "running_mean", "running_var")}
        sent["num_batches_tracked"] = torch.tensor(batches)
        return {f"model.{name}": entry for name, entry in sent.items()}

    algorithm.aggregate(server, uploads(upload(0.04, 7), upload(0.0, 5)))
    assert (server.weights["model.weight"] < 0).all()
    torch.testing.assert_close(server.weights["model.running_var"], torch.full((2,), 0.01))
    torch.testing.assert_close(server.weights["model.running_mean"], torch.full((2,), 0.01))
    assert server.weights["model.num_batches_tracked"] == 7
    assert {name.partition(".")[2] for name in server.memory} == {"weight", "bias"}


def test_variances_of_a_network_are_fedavgs_after_one_round_and_never_negative(tmp_path):
    federation = make_federation(tmp_path)
    fedavg = trained(federation, FedAvg(), rounds=1).server.weights
    first = trained(federation, FedAdam(), rounds=1)
    trainable = {name for name, _ in first.networks.named_parameters()}
    for name, value in first.server.weights.items():
        assert torch.equal(value, fedavg[name]) is (name not in trainable), name
    weights = trained(federation, FedAdam(eta=1.0), rounds=4).server.weights
    variances = [value for name, value in weights.items() if name.endswith("running_var")]
    assert variances
    assert all((value >= 0).all() for value in variances)


def test_with_a_large_tau_it_tends_to_fedavg(tmp_path):
    """beta1 = beta2 = 0 and eta = tau: x + Delta / (1 + |Delta| / tau)."""
    federation = make_federation(tmp_path)
    fedavg = model_state(trained(federation, FedAvg(), rounds=1))
    for tau, tolerance in ((10.0, 1e-2), (1e5, 1e-6)):
        limit = model_state(trained(federation, FedAdam(eta=tau, beta1=0.0, beta2=0.0, tau=tau), rounds=1))
        worst = max((limit[name] - fedavg[name]).abs().max().item() for name in fedavg)
        assert 0 < worst <= tolerance


@pytest.mark.parametrize("change", [{"eta": 0.1}, {"beta1": 0.5}, {"beta2": 0.5}, {"tau": 0.1}])
def test_every_hyperparameter_counts(tmp_path, change):
    federation = make_federation(tmp_path)
    default, changed = (model_state(trained(federation, FedAdam(**c), rounds=2)) for c in ({}, change))
    assert not same_bits(default, changed)


def test_no_more_travels_than_in_fedavg(tmp_path):
    federation = make_federation(tmp_path)
    sent = [
        [row["value"] for row in trained(federation, a, rounds=2).history if row["metric"].startswith("bytes")]
        for a in (FedAdam(), FedAvg())
    ]
    assert sent[0] == sent[1]
