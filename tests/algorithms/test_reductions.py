"""Relations between algorithms that must hold to the bit, and the ways in which they must differ."""

from __future__ import annotations

import pytest
import torch
from torch.optim import Adam

from fedbench.algorithms.centralised import Centralised
from fedbench.algorithms.ditto import Ditto
from fedbench.algorithms.fedadam import FedAdam
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedda import FedDACyclic, FedDAJoint
from fedbench.algorithms.fedprox import FedProx
from fedbench.algorithms.local import Local
from fedbench.algorithms.moon import MOON
from fedbench.algorithms.scaffold import Scaffold
from fedbench.algorithms.silobn import SiloBN
from fedbench.engine.task import learning_rate
from fedbench.federation import with_clients
from tests.federations import make_federation, make_training, model_state, same_bits, trained

ALL = {
    "local": Local,
    "centralised": Centralised,
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedbn": FedBN,
    "moon": MOON,
    "moon-decoder": lambda: MOON(feature="decoder"),
    "fedda-cyclic": FedDACyclic,
    "fedda-joint": FedDAJoint,
    "scaffold": Scaffold,
    "fedadam": FedAdam,
    "ditto": Ditto,
    "silobn": SiloBN,
    "fedda-cyclic-features": lambda: FedDACyclic(exchange="features", bank=3),
    "fedda-joint-features": lambda: FedDAJoint(exchange="features", bank=3),
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    return make_federation(tmp_path_factory.mktemp("federation"), clients=3)


@pytest.fixture(scope="module")
def averaged(federation):
    """FedAvg's model after each of three rounds."""
    training = make_training(federation, FedAvg())
    return [{name: value.clone() for name, value in model_state(training).items()} for _ in training.rounds()]


@pytest.mark.parametrize(
    "reduced",
    [
        FedProx(mu=0.0),
        MOON(mu=0.0),
        MOON(mu=0.0, feature="decoder"),
        FedDACyclic(lam=0.0),
        FedDAJoint(lam=0.0),
        FedDACyclic(lam=0.0, exchange="features", bank=3),
        FedDAJoint(lam=0.0, exchange="features", bank=3),
    ],
    ids=lambda a: a.name,
)
def test_with_its_term_off_an_algorithm_is_fedavg_to_the_bit(federation, averaged, reduced):
    assert same_bits(model_state(trained(federation, reduced)), averaged[-1])


@pytest.mark.parametrize(
    "algorithm",
    [FedProx(mu=1.0), MOON(mu=5.0), MOON(mu=5.0, feature="decoder"), FedDACyclic(lam=1.0), FedDAJoint(lam=1.0),
     FedDACyclic(lam=1.0, exchange="features"), FedDAJoint(lam=1.0, exchange="features")],
    ids=lambda a: a.name,
)  # fmt: skip
def test_with_its_term_on_an_algorithm_is_not_fedavg(federation, averaged, algorithm):
    assert not same_bits(model_state(trained(federation, algorithm)), averaged[-1])


@pytest.mark.parametrize("algorithm", [MOON(mu=5.0), FedDACyclic(lam=1.0), FedDAJoint(lam=1.0)], ids=lambda a: a.name)
def test_the_first_round_is_fedavg(federation, averaged, algorithm):
    """MOON has no previous model and FedDA no target before anybody has uploaded."""
    training = make_training(federation, algorithm)
    next(training.rounds())
    assert same_bits(model_state(training), averaged[0])


def test_fedavg_of_one_client_is_plain_training_with_a_fresh_optimiser_each_round(federation):
    alone = with_clients(federation, federation.clients[:1])
    federated = trained(alone, FedAvg())
    plain = make_training(alone, FedAvg())
    model = plain.networks["model"].train()
    for round in range(3):
        optimizer = Adam(model.parameters(), lr=learning_rate(plain.task.training, round), fused=True)
        from fedbench.engine.task import stream

        stream = stream("batches", 0, "CT", round, 0)
        for images, labels in plain.sets[0].batches(stream, augmented=True):
            optimizer.zero_grad()
            plain.trainers[0].segmentation_loss(model(plain.compute.images(images)), labels).backward()
            optimizer.step()
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    assert same_bits(model_state(federated), own)


def test_local_is_fedavg_with_one_client_for_every_client(federation):
    together = trained(federation, Local())
    for client in federation.clients:
        alone = trained(with_clients(federation, [client]), FedAvg())
        assert same_bits(model_state(together, client.name), model_state(alone))


def test_local_exchanges_nothing(federation):
    history = trained(federation, Local()).history
    assert {row["value"] for row in history if row["metric"].startswith("bytes")} == {0.0}


def test_one_full_batch_sgd_step_is_a_step_on_the_pooled_weighted_loss(federation):
    """BN-free model, E = 1, batch = all of a client: FedAvg's round equals one step on sum_k n_k/n * L_k."""
    settings = {
        "model": {"norm": "instance-plain"}, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "batch_size": 100,
        "rounds": 1, "augment": False,
    }  # fmt: skip
    averaged = model_state(trained(federation, FedAvg(), **settings))
    pooled = make_training(federation, FedAvg(), **settings)
    model = pooled.networks["model"].train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total = sum(len(s) for s in pooled.sets)
    loss = torch.zeros(())
    for samples in pooled.sets:
        ((images, labels),) = samples.batches(torch.Generator(), augmented=False)
        loss = loss + len(samples) / total * pooled.trainers[0].segmentation_loss(model(images), labels)
    loss.backward()
    optimizer.step()
    assert {len(s) for s in pooled.sets} == {4, 5, 6}  # unequal, or the weights would not matter
    for name, value in model.state_dict().items():
        assert torch.allclose(averaged[f"model.{name}"], value, atol=1e-6), name


@pytest.mark.parametrize("name", ALL)
def test_saving_and_loading_the_state_after_every_round_changes_nothing(federation, name):
    tensors, facts, done = {}, {}, []
    while len(done) < 3:
        training = make_training(federation, ALL[name]())
        if done:
            training.restore({k: v.clone() for k, v in tensors.items()}, facts)
        done.append(next(training.rounds()))
        tensors, facts = training.state()
    assert done == [0, 1, 2] and list(training.rounds()) == []
    assert same_bits(tensors, trained(federation, ALL[name]()).state()[0])


def test_every_algorithm_starts_from_the_same_weights_and_sees_the_same_batches(federation):
    """All federated algorithms have the same segmentation loss in round 0 (the local ones differ later only)."""
    losses = {}
    starts = []
    for name, make in ALL.items():
        training = make_training(federation, make())
        starts.append({k: v.clone() for k, v in training.networks["model"].state_dict().items()})
        if name != "centralised":
            next(training.rounds())
            losses[name] = {
                r["client"]: r["value"] for r in training.history if r["round"] == 0 and r["metric"] == "segmentation"
            }
    assert all(same_bits(starts[0], start) for start in starts)
    assert losses["fedavg"].keys() == {"CT", "MR", "PET"}
    for name in losses.keys() - {"fedprox"}:
        assert losses[name] == losses["fedavg"], name


def test_centralised_takes_as_many_steps_as_the_clients_together(federation):
    assert (
        make_training(federation, Centralised()).steps_per_round == make_training(federation, FedAvg()).steps_per_round
    )
