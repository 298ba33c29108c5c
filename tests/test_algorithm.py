"""Values worked by hand on vectors of two or three numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedbench.algorithm import pack, squared_distance, unpack, weighted_mean
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedprox import FedProx
from fedbench.errors import UserError


def test_weighted_mean_of_two_clients():
    """(3 * [1, 2, 3] + 1 * [5, 6, 7]) / 4 = [2, 3, 4]."""
    mean = weighted_mean([{"w": torch.tensor([1.0, 2.0, 3.0])}, {"w": torch.tensor([5.0, 6.0, 7.0])}], [3, 1])
    assert mean["w"].tolist() == [2.0, 3.0, 4.0]
    assert mean["w"].dtype == torch.float32


def test_weighted_mean_takes_the_maximum_of_integers_and_averages_running_statistics():
    states = [
        {"running_mean": torch.tensor([0.0]), "num_batches_tracked": torch.tensor(7)},
        {"running_mean": torch.tensor([4.0]), "num_batches_tracked": torch.tensor(10)},
    ]
    mean = weighted_mean(states, [1, 3])
    assert mean["running_mean"].tolist() == [3.0]
    assert mean["num_batches_tracked"].item() == 10
    assert mean["num_batches_tracked"].dtype == torch.int64
    assert weighted_mean(states[::-1], [3, 1])["num_batches_tracked"].item() == 10


def test_weighted_mean_accumulates_in_float64():
    """In float32, 2**24 + 1 + 1 summed one by one stays 2**24."""
    states = [{"w": torch.tensor([x])} for x in (2.0**24, 1.0, 1.0)]
    assert weighted_mean(states, [1, 1, 1])["w"].item() == pytest.approx((2**24 + 2) / 3, rel=1e-7)
    states = [{"w": torch.tensor([x])} for x in (2.0**24, 1.0, -(2.0**24))]
    assert weighted_mean(states, [1, 1, 1])["w"].item() == pytest.approx(1 / 3, rel=1e-6)


def test_weighted_mean_of_one_client_is_that_client_to_the_bit():
    w = torch.rand(1000)
    assert torch.equal(weighted_mean([{"w": w}], [17])["w"], w)


def test_squared_distance_is_squared_and_ignores_buffers():
    """(1-0)^2 + (2-0)^2 over weights, (3-1)^2 over the bias: 1 + 4 + 4 = 9; the running mean (100) is not counted."""
    model = nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([1.0, 2.0]))
        model.bias.copy_(torch.tensor([3.0, 0.0]))
        model.running_mean.fill_(100.0)
    reference = {"weight": torch.zeros(2), "bias": torch.tensor([1.0, 0.0]), "running_mean": torch.zeros(2)}
    distance = squared_distance(model, reference)
    assert distance.item() == 9.0
    distance.backward()
    assert model.weight.grad.tolist() == [2.0, 4.0]


def test_squared_distance_leaves_out_frozen_parameters():
    model = nn.Linear(2, 1)
    reference = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.bias.requires_grad_(False).fill_(5.0)
    assert squared_distance(model, reference).item() == pytest.approx(model.weight.square().sum().item())


def test_pack_copies_and_unpack_gives_back():
    w = torch.tensor([1.0])
    packed = pack("previous", {"a.b": w})
    w.fill_(2.0)
    assert unpack("previous", packed | {"other/a.b": w})["a.b"].item() == 1.0
    assert list(unpack("previous", packed)) == ["a.b"]


@pytest.mark.parametrize("values", [{"mu": -1}, {"mu": float("nan")}, {"mu": "much"}])
def test_parameters_out_of_range_are_refused_by_name(values):
    with pytest.raises(UserError, match=r"fedprox.*'mu'"):
        FedProx(**values)


def test_unknown_parameter_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'mu'"):
        FedProx(muu=0.1)
    with pytest.raises(UserError, match="no parameter 'mu'"):
        FedAvg(mu=0.1)
