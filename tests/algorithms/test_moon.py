"""The contrastive term by hand, and what it compares with."""

from __future__ import annotations

import math

import pytest
import torch

from fedbench.algorithms.moon import MOON, contrastive_loss
from tests.federations import make_federation, make_training, same_bits


def test_contrastive_term_by_hand():
    """z = (1, 0): cos with z_glob = (0, 2) is 0, with z_prev = (3, 0) is 1; tau = 0.5: -log(1 / (1 + e^2))."""
    z, z_global, z_previous = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    assert contrastive_loss(z, z_global, z_previous, 0.5).item() == pytest.approx(math.log(1 + math.e**2))


def test_contrastive_term_is_a_batch_mean():
    """Second row the other way round: cos 1 with the global and 0 with the previous: log(1 + e^-2)."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    a, b = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = (math.log(1 + math.e**2) + math.log(1 + math.e**-2)) / 2
    assert contrastive_loss(z, a, b, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_equal_global_and_previous_give_log_two():
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert contrastive_loss(z, z, z, 0.5).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("feature", ["bottleneck", "decoder"])
def test_frozen_models_are_the_received_and_the_previous_in_eval_mode_and_unchanged_by_training(tmp_path, feature):
    checked = []

    class Watching(MOON):
        def begin_round(self, client):
            super().begin_round(client)
            if client.round == 0:
                assert not client.scratch
                return
            for which in ("global", "previous"):
                frozen = client.scratch[which]
                assert not any(module.training for module in frozen.modules())
                assert not any(p.requires_grad for p in frozen.parameters())
            assert same_bits(dict(client.scratch["global"].state_dict()), client.received)
            self.before = {w: {k: v.clone() for k, v in client.scratch[w].state_dict().items()} for w in client.scratch}

        def end_round(self, client):
            if client.round:
                assert all(p.grad is not None for p in client.networks.parameters())
                assert client.networks.training
                for which, state in self.before.items():
                    assert same_bits(state, dict(client.scratch[which].state_dict()))
                previous = {k.removeprefix("previous/"): v for k, v in client.memory.items()}
                assert same_bits(previous, self.before["previous"])
                checked.append(client.name)
            super().end_round(client)
            last = {k.removeprefix("previous/"): v for k, v in client.memory.items()}
            assert same_bits(last, dict(client.networks.state_dict()))

    training = make_training(make_federation(tmp_path), Watching(mu=1.0, feature=feature))
    for _ in training.rounds():
        pass
    assert checked == ["CT", "MR"] * 2


@pytest.mark.parametrize("feature", ["bottleneck", "decoder"])
def test_the_term_is_mu_times_the_contrast_of_the_received_model_with_this_clients_previous_one(tmp_path, feature):
    """total - segmentation = mu * contrastive_loss(z, z(w_t), z(previous), tau), each z by the formula of the docs."""
    checked = []

    def z(networks, step):
        maps, skips = networks["model"].encode(step.images)
        if feature == "decoder":
            return networks["model"].decode(maps, skips).flatten(1)
        return networks["head"].layers(maps.flatten(2).mean(-1))

    class Watching(MOON):
        def loss(self, step):
            terms, client = {}, step.client
            step.record = terms.__setitem__
            total = super().loss(step)
            if client.round:
                previous = {name.removeprefix("previous/"): value for name, value in client.memory.items()}
                others = [z(client.frozen(entries), step) for entries in (client.received, previous)]
                contrast = contrastive_loss(z(client.networks, step), *others, 0.3)
                swapped = contrastive_loss(z(client.networks, step), *others[::-1], 0.3)
                assert abs(contrast - swapped) > 1e-4 * contrast  # or nobody sees whose model is pulled to
                assert (total - terms["segmentation"]).item() == pytest.approx(2.0 * contrast.item(), rel=1e-5)
                checked.append(client.name)
            return total

    algorithm = Watching(mu=2.0, tau=0.3, feature=feature)
    training = make_training(make_federation(tmp_path), algorithm, batch_size=100, lr=0.05)
    assert len(list(training.rounds())) == 3
    assert checked == ["CT", "MR"] * 2


def test_the_head_travels_with_the_weights_and_is_counted(tmp_path):
    training = make_training(make_federation(tmp_path), MOON())
    assert {name for name in training.server.weights if name.startswith("head.")}
    next(training.rounds())
    up = next(row["value"] for row in training.history if row["metric"] == "bytes up")
    assert up == sum(v.numel() * v.element_size() for v in training.server.weights.values())
