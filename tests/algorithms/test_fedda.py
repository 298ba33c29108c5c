"""FedDA's parts: discriminator, schedule, peers, target maps, gradients and bytes."""

from __future__ import annotations

import math

import pytest
import torch

from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedda import FedDACyclic, FedDAJoint, PatchDiscriminator, judge
from fedbench.errors import UserError
from fedbench.federation import with_clients
from tests.federations import make_federation, make_training, trained

READINGS = [(variant, exchange) for variant in (FedDACyclic, FedDAJoint) for exchange in ("weights", "features")]


def rows(training, metric):
    return [row for row in training.history if row["metric"] == metric]


def test_judge_by_hand():
    """BCE of logit 0 is log 2 for both labels; of logit 2 for label 1 it is log(1 + e^-2)."""
    assert judge(torch.zeros(2, 1, 3, 3), 1.0).item() == pytest.approx(math.log(2))
    assert judge(torch.full((1, 1, 2, 2), 2.0), 1.0).item() == pytest.approx(math.log(1 + math.e**-2), rel=1e-5)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_discriminator_gives_patch_logits_without_norm_layers(spatial_dims):
    d = PatchDiscriminator(8, spatial_dims)
    assert d(torch.zeros(2, 8, *[4] * spatial_dims)).shape == (2, 1, *[4] * spatial_dims)
    assert not [m for m in d.modules() if "Norm" in type(m).__name__]


def test_discriminator_learns_to_tell_two_distributions_apart(tmp_path):
    """Over 95% right within 200 steps on clearly different fixed maps, through the algorithm's own training step."""
    training = make_training(make_federation(tmp_path), FedDAJoint())
    stream = torch.Generator().manual_seed(0)
    accuracy = []

    class Learning(FedDAJoint):
        def local_step(self, step):
            step.record = lambda term, value: accuracy.append(value.item()) if "accuracy" in term else None
            shape = (4, 8, 4, 4)
            for _ in range(200):
                source = torch.randn(shape, generator=stream)
                target = torch.randn(shape, generator=stream) + 1.0
                self.train_discriminator(step, source, target)

    training = make_training(make_federation(tmp_path), Learning(), rounds=1, batch_size=100)
    next(training.rounds())
    assert len(accuracy) == 400  # two clients
    assert min(sum(accuracy[180:200]) / 20, sum(accuracy[380:]) / 20) > 0.95
    assert sum(accuracy[:5]) / 5 < 0.9  # it had to learn


def test_cyclic_peers_visit_everybody_else_in_turn():
    for clients in (2, 3, 5):
        for index in range(clients):
            peers = [FedDACyclic().peers(index, clients, r) for r in range(clients - 1)]
            assert sorted(p for (p,) in peers) == [k for k in range(clients) if k != index]
    assert FedDACyclic().peers(0, 3, 0) == [1]
    assert FedDACyclic().peers(0, 3, 1) == [2]
    assert FedDACyclic().peers(2, 3, 4) == [0]  # (2 + 1 + 4 mod 2) mod 3


def test_joint_peers_are_all_others():
    assert FedDAJoint().peers(1, 4, 7) == [0, 2, 3]


@pytest.mark.parametrize(("variant", "exchange"), READINGS)
def test_lambda_rises_linearly_over_a_fifth_of_the_rounds(tmp_path, variant, exchange):
    """10 rounds: 0, 1/2, 1, 1, ... times lambda; recovered from total loss - segmentation = weight * adversarial."""
    weights = {}

    class Watching(variant):
        def loss(self, step):
            terms = {}
            step.record = lambda term, value: terms.__setitem__(term, value.item())
            total = super().loss(step)
            if "adversarial" in terms:
                weights[step.client.round] = (total.item() - terms["segmentation"]) / terms["adversarial"]
            return total

    trained(make_federation(tmp_path), Watching(lam=0.5, exchange=exchange), rounds=10, batch_size=100)
    assert 0 not in weights
    assert weights[1] == pytest.approx(0.25, rel=1e-3)
    assert [weights[r] for r in range(2, 10)] == pytest.approx([0.5] * 8, rel=1e-3)


@pytest.mark.parametrize(("variant", "exchange"), READINGS)
def test_adversarial_gradient_reaches_the_encoder_only_and_d_is_not_moved_by_the_model_step(
    tmp_path, variant, exchange
):
    checked = []

    class Watching(variant):
        def local_step(self, step):
            if "target" not in step.client.scratch:
                return super().local_step(step)
            d = step.client.networks["discriminator"].requires_grad_(False)
            before = {k: v.clone() for k, v in d.state_dict().items()}
            step.client.model.zero_grad(set_to_none=True)
            judge(d(step.features), 0.0).backward(retain_graph=True)
            reached = {
                name for name, p in step.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
            }
            encoder = step.model.encoder_entries()
            assert reached
            assert reached <= encoder
            step.client.model.zero_grad(set_to_none=True)
            step.minimise(self.loss(step))
            assert all(torch.equal(before[k], v) for k, v in d.state_dict().items())
            assert all(p.grad is None for p in d.parameters())
            checked.append(step.client.name)

    trained(make_federation(tmp_path), Watching(lam=1.0, exchange=exchange), rounds=2, batch_size=100)
    assert set(checked) == {"CT", "MR"}


@pytest.mark.parametrize(("variant", "exchange"), READINGS)
def test_discriminators_are_local_persistent_and_logged(tmp_path, variant, exchange):
    training = trained(make_federation(tmp_path), variant(exchange=exchange), rounds=4)
    first, second = training.states
    assert all(name.startswith("discriminator.") for name in first.local)
    assert not any(torch.equal(first.local[n], second.local[n]) for n in first.local if n.endswith("weight"))
    for term in ("discriminator", "discriminator_accuracy", "adversarial"):
        assert {(r["round"], r["client"]) for r in rows(training, term)} == {
            (r, c) for r in (1, 2, 3) for c in ("CT", "MR")
        }
    assert all(0 <= r["value"] <= 1 for r in rows(training, "discriminator_accuracy"))
    assert [d.kind for d in training.deployments()] == ["global"]


@pytest.mark.parametrize(("variant", "exchange"), READINGS)
def test_the_encoder_learns_to_make_d_take_its_maps_for_target_maps(tmp_path, variant, exchange):
    """The term is BCE(D(f), 0), so a step against its gradient lowers what D says of the batch's maps."""
    checked = []

    class Watching(variant):
        def loss(self, step):
            terms = {}
            step.record = terms.__setitem__
            total = super().loss(step)
            if "adversarial" in terms:
                d = step.client.networks["discriminator"]
                assert terms["adversarial"].item() == pytest.approx(judge(d(step.features), 0.0).item(), rel=1e-6)
                term = total - step.segmentation_loss(step.logits, step.labels)
                (gradient,) = torch.autograd.grad(term, step.features, retain_graph=True)
                assert d(step.features - 1e-2 * gradient / gradient.norm()).mean() < d(step.features).mean()
                checked.append(step.client.name)
            return total

    trained(make_federation(tmp_path), Watching(lam=1.0, exchange=exchange), rounds=2, batch_size=100)
    assert checked == ["CT", "MR"]


def test_target_of_cyclic_weights_is_the_peers_last_uploaded_encoder(tmp_path):
    uploads, checked = {}, []

    class Watching(FedDACyclic):
        def begin_round(self, client):
            super().begin_round(client)
            if client.round == 0:
                assert "target" not in client.scratch
                return
            (peer,) = self.peers(client.index, 3, client.round)
            entries = {k.removeprefix("target/"): v for k, v in client.received.items() if k.startswith("target/")}
            assert entries.keys() == {f"model.{n}" for n in client.model.encoder_entries()}
            assert all(torch.equal(v, uploads[peer][k]) for k, v in entries.items())
            checked.append(client.index)

        def aggregate(self, server, sent):
            super().aggregate(server, sent)
            uploads.update({u.index: u.message for u in sent})

    trained(make_federation(tmp_path, clients=3), Watching())
    assert checked == [0, 1, 2] * 2


def test_target_of_joint_weights_is_the_received_global_encoder_on_own_images(tmp_path):
    checked = []

    class Watching(FedDAJoint):
        def local_step(self, step):
            if step.client.round:
                encoder = step.client.frozen(step.client.received)["model"]
                target = step.client.scratch["target"](step.images)
                with torch.no_grad():
                    checked.append(torch.equal(target, encoder.encode(step.images)[0]))
            super().local_step(step)

    trained(make_federation(tmp_path), Watching(), rounds=2)
    # the received weights are copied before training, so this holds at the last step of the round too
    assert checked
    assert all(checked)


@pytest.mark.parametrize("variant", [FedDACyclic, FedDAJoint])
def test_features_come_from_the_peers_banks(tmp_path, variant):
    banks, checked = {}, []

    class Watching(variant):
        def local_step(self, step):
            if step.client.round:
                peers = self.peers(step.client.index, 3, step.client.round)
                target = step.client.scratch["target"](step.images)
                allowed = torch.cat([banks[p] for p in peers]).flatten(1)
                distance = torch.cdist(target.flatten(1), allowed).min(1).values
                checked.append(distance.max().item())
            super().local_step(step)

        def aggregate(self, server, sent):
            super().aggregate(server, sent)
            banks.update({u.index: u.message["features"] for u in sent})

    trained(make_federation(tmp_path, clients=3), Watching(exchange="features", bank=3), rounds=3)
    assert checked
    assert max(checked) < 1e-3


def test_bytes_are_what_really_travels(tmp_path):
    federation = make_federation(tmp_path, clients=3)

    def traffic(algorithm):
        training = trained(federation, algorithm, rounds=2)
        last = {m: [r["value"] for r in rows(training, m) if r["round"] == 1] for m in ("bytes up", "bytes down")}
        return training, last

    plain, average = traffic(FedAvg())
    state = plain.networks["model"].state_dict()
    encoder = sum(state[n].numel() * state[n].element_size() for n in plain.networks["model"].encoder_entries())
    feature = 8 * 8 * 8 * 4  # channels x 8 x 8, float32
    assert traffic(FedDAJoint())[1] == average
    cyclic = traffic(FedDACyclic())[1]
    assert cyclic["bytes up"] == average["bytes up"]
    assert cyclic["bytes down"] == [b + encoder for b in average["bytes down"]]
    cyclic_features = traffic(FedDACyclic(exchange="features", bank=3))[1]
    assert cyclic_features["bytes up"] == [b + 3 * feature for b in average["bytes up"]]
    assert cyclic_features["bytes down"] == [b + 3 * feature for b in average["bytes down"]]
    joint_features = traffic(FedDAJoint(exchange="features", bank=3))[1]
    assert joint_features["bytes down"] == [b + 2 * 3 * feature for b in average["bytes down"]]


@pytest.mark.parametrize("variant", [FedDACyclic, FedDAJoint])
def test_one_client_is_refused(tmp_path, variant):
    federation = make_federation(tmp_path)
    with pytest.raises(UserError, match="at least two clients"):
        make_training(with_clients(federation, federation.clients[:1]), variant())
