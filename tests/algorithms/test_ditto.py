"""The personal step by hand; the global model is FedAvg's; a personal model held by nothing is trained alone."""

from __future__ import annotations

import pytest
import torch

from fedbench.algorithms.ditto import Ditto
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.local import Local
from tests.algorithms.quadratic import train
from tests.federations import make_federation, make_training, model_state, same_bits, trained


@pytest.fixture
def federation(tmp_path):
    return make_federation(tmp_path, clients=3)


def test_two_steps_by_hand():
    """w_t = (1, 2), v = (0, 1), a = (3, -2), lambda = 1/2, eta = 0.1; v is held near w_t, not near the moving w.

    v: grad (-3, 3) + (-1, -1) / 2, so (0.35, 0.75); grad (-2.65, 2.75) + (-0.65, -1.25) / 2, so (0.6475, 0.5375).
    w: grad (-2, 4), so (1.2, 1.6); grad (-1.8, 3.6), so (1.38, 1.24).
    """
    client = train(Ditto(lam=0.5), {"model": [1.0, 2.0], "personal": [0.0, 1.0]}, [[3.0, -2.0]] * 2)
    torch.testing.assert_close(client.networks["personal"].w.detach(), torch.tensor([0.6475, 0.5375]))
    torch.testing.assert_close(client.networks["model"].w.detach(), torch.tensor([1.38, 1.24]))


@pytest.mark.parametrize("lam", [0.0, 2.0])
def test_the_global_model_is_fedavgs_to_the_bit(federation, lam):
    ditto, fedavg = trained(federation, Ditto(lam=lam)), trained(federation, FedAvg())
    assert same_bits(ditto.server.weights, fedavg.server.weights)
    (shared,) = [d for d in ditto.deployments() if d.kind == "global"]
    assert shared.client is None
    assert same_bits(shared.entries, model_state(fedavg))


def test_with_lambda_zero_personal_models_are_local_trainings_to_the_bit(federation):
    free, held, local = (trained(federation, a) for a in (Ditto(lam=0.0), Ditto(lam=1.0), Local()))
    for client in federation.clients:
        assert same_bits(model_state(free, client.name), model_state(local, client.name))
        assert not same_bits(model_state(held, client.name), model_state(local, client.name))


def test_the_larger_lambda_the_nearer_personal_models_are_to_the_global(federation):
    ways = []
    for lam in (0.0, 1.0, 10.0):
        training = trained(federation, Ditto(lam=lam), rounds=4, optimizer="sgd", momentum=0.0, lr=0.05)
        names = [name for name, _ in training.networks["model"].named_parameters()]
        weights, local = training.server.weights, training.states[0].local
        ways.append(sum((local[f"personal.{n}"] - weights[f"model.{n}"]).square().sum() for n in names).item())
    assert ways == sorted(ways, reverse=True)
    assert ways[2] < 0.5 * ways[0]


def test_personal_models_start_as_the_global_and_go_on_from_where_they_ended(federation):
    ended, checked = {}, []

    class Watching(Ditto):
        def begin_round(self, client):
            personal = client.networks["personal"].state_dict()
            before = ended.get(client.name) or client.model.state_dict()
            checked.append(same_bits(dict(personal), dict(before)))

        def end_round(self, client):
            ended[client.name] = {k: v.clone() for k, v in client.networks["personal"].state_dict().items()}

    trained(federation, Watching())
    assert checked == [True] * 9
    assert not same_bits(ended["CT"], ended["MR"])


def test_deployments_are_one_per_client_and_the_global(federation):
    training = trained(federation, Ditto(), rounds=1)
    deployments = training.deployments()
    assert [(d.kind, d.client) for d in deployments] == [
        ("personal", "CT"), ("personal", "MR"), ("personal", "PET"), ("global", None),
    ]  # fmt: skip
    names = {f"model.{name}" for name in training.networks["model"].state_dict()}
    assert all(d.entries.keys() == names for d in deployments)


def test_it_takes_the_batches_and_bytes_of_fedavg(federation):
    """Two optimiser steps per batch, none of a batch that FedAvg does not see."""
    steps = []

    class Watching(Ditto):
        def local_step(self, step):
            super().local_step(step)
            steps.append({int(s["step"]) for o in step.client.optimizers.values() for s in o.state.values()})

    ditto, fedavg = make_training(federation, Watching(), rounds=1), trained(federation, FedAvg(), rounds=1)
    next(ditto.rounds())
    assert steps == [{k + 1} for s in ditto.sets for k in range(s.steps)]
    assert len(steps) == fedavg.steps_per_round
    sent = [[r["value"] for r in t.history if r["metric"].startswith("bytes")] for t in (ditto, fedavg)]
    assert sent[0] == sent[1]
    terms = {r["metric"] for r in ditto.history}
    assert {"segmentation", "personal", "proximal"} <= terms
