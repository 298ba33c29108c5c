"""Norm layers stay with their client, all of their state, found by type; both deployments are kept apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedbench.algorithms.fedbn import FedBN
from fedbench.config import ModelConfig
from fedbench.errors import UserError
from fedbench.models import build_model
from tests.federations import make_federation, make_training, trained

MODELS = ["basicunet", "unet", "segresnet"]


@pytest.mark.parametrize("model", MODELS)
def test_exactly_the_batchnorm_state_is_local_whatever_it_is_called(model):
    networks = nn.ModuleDict({"model": build_model(ModelConfig(name=model), 1, 3)})
    shared = FedBN().shared_names(networks)
    by_hand = {
        f"{prefix}.{entry}"
        for prefix, module in networks.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert by_hand
    assert not any("bn" in name for name in by_hand)  # a search for names would find nothing in MONAI's networks
    assert set(networks.state_dict()) - shared == by_hand


def test_norms_differ_between_clients_and_the_rest_is_common(tmp_path):
    training = trained(make_federation(tmp_path), FedBN())
    first, second = training.states
    statistics = [name for name in first.local if name.endswith("running_mean")]
    assert statistics
    assert all(not torch.equal(first.local[name], second.local[name]) for name in statistics)
    assert not set(first.local) & set(training.server.weights)


def test_local_norms_persist_between_rounds(tmp_path):
    """What a client's BatchNorm starts a round with is what it ended the last one with."""
    seen = {}

    class Watching(FedBN):
        def begin_round(self, client):
            key = next(n for n in client.networks.state_dict() if n.endswith("running_var"))
            if client.round:
                assert torch.equal(client.networks.state_dict()[key], seen[client.name])
                seen["checked"] = True

        def end_round(self, client):
            key = next(n for n in client.networks.state_dict() if n.endswith("running_var"))
            seen[client.name] = client.networks.state_dict()[key].clone()

    trained(make_federation(tmp_path), Watching())
    assert seen["checked"]


def test_deployments_are_one_per_client_and_the_average_of_norms(tmp_path):
    training = trained(make_federation(tmp_path), FedBN())
    personal_ct, personal_mr, averaged = training.deployments()
    assert [(d.kind, d.client) for d in (personal_ct, personal_mr, averaged)] == [
        ("personal", "CT"), ("personal", "MR"), ("averaged", None),
    ]  # fmt: skip
    n_ct, n_mr = (state.samples for state in training.states)
    for name, value in averaged.entries.items():
        ct, mr = personal_ct.entries[name], personal_mr.entries[name]
        if name in training.server.weights:
            assert torch.equal(ct, mr)
            assert torch.equal(ct, value)
        elif value.is_floating_point():
            assert torch.allclose(value, (n_ct * ct + n_mr * mr) / (n_ct + n_mr), atol=1e-6)
        else:
            assert value == max(ct, mr)


def test_fewer_bytes_travel_than_the_model_has(tmp_path):
    training = trained(make_federation(tmp_path), FedBN(), rounds=1)
    state = training.networks["model"].state_dict()
    whole = sum(v.numel() * v.element_size() for v in state.values())
    kept = sum(v.numel() * v.element_size() for v in training.states[0].local.values())
    up = {row["value"] for row in training.history if row["metric"] == "bytes up"}
    assert up == {whole - kept}


SMALL = {"name": "segresnet", "channels": (8, 16)}


@pytest.mark.parametrize("norm", ["instance", "instance-plain", "group"])
def test_a_model_without_batchnorm_is_refused(tmp_path, norm):
    with pytest.raises(UserError, match="no BatchNorm layer"):
        make_training(make_federation(tmp_path), FedBN(), model=SMALL | {"norm": norm})


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_norms_all_keeps_other_affine_norms_local(tmp_path, norm):
    training = make_training(make_federation(tmp_path), FedBN(norms="all"), model=SMALL | {"norm": norm})
    assert {name.rpartition(".")[2] for name in training.states[0].local} == {"weight", "bias"}
    with pytest.raises(UserError, match="no normalisation layer"):
        make_training(make_federation(tmp_path), FedBN(norms="all"), model={"norm": "instance-plain"})
