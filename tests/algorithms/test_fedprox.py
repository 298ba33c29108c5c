"""The proximal term as the paper writes it: squared, at every step, towards the weights that came down."""

from __future__ import annotations

import torch

from fedbench.algorithms.fedprox import FedProx
from tests.algorithms.quadratic import train
from tests.federations import make_federation, make_training


def test_two_steps_by_hand():
    """w_t = (1, 2), mu = 1, eta = 0.1, 1/2 * ||w - (3, -2)||^2.

    g = (-2, 4) and no pull yet, so w = (1.2, 1.6); g = (-1.8, 3.6), pull mu (w - w_t) = (0.2, -0.4), so (1.36, 1.28).
    """
    client = train(FedProx(mu=1.0), {"model": [1.0, 2.0]}, [[3.0, -2.0]] * 2)
    torch.testing.assert_close(client.model.w.detach(), torch.tensor([1.36, 1.28]))


def test_the_first_step_of_a_round_has_distance_zero_and_later_ones_the_distance_to_what_was_received(tmp_path):
    distances = []

    class Watching(FedProx):
        def local_step(self, step):
            sent = {name: value.clone() for name, value in self.sent.items()}
            by_hand = sum(
                (p.detach() - sent[f"model.{name}"]).square().sum() for name, p in step.model.named_parameters()
            )
            recorded = {}
            step.record = lambda term, value: recorded.__setitem__(term, value.item())
            super().local_step(step)
            distances.append((step.client.round, recorded["proximal"], float(by_hand)))

        def begin_round(self, client):
            self.sent = {name: value.clone() for name, value in client.networks.state_dict().items()}

    training = make_training(make_federation(tmp_path), Watching(mu=0.1), rounds=2)
    steps = training.sets[0].steps + training.sets[1].steps
    for _ in training.rounds():
        pass
    assert len(distances) == 2 * steps
    starts = [0, training.sets[0].steps, steps, steps + training.sets[0].steps]
    assert [d for i, (_, d, _) in enumerate(distances) if i in starts] == [0.0] * 4
    assert all(d > 0 for i, (_, d, _) in enumerate(distances) if i not in starts)
    for _, recorded, by_hand in distances:
        assert abs(recorded - by_hand) <= 1e-5 * max(by_hand, 1e-6)


def test_a_strong_proximal_term_keeps_the_client_near(tmp_path):
    """One client, SGD: the larger mu, the shorter the way from the weights received."""
    ways = []
    for mu in (0.0, 1.0, 10.0):
        federation = make_federation(tmp_path, clients=1)
        training = make_training(
            federation, FedProx(mu=mu), rounds=1, optimizer="sgd", momentum=0.0, lr=0.05, local_epochs=3
        )
        start = {k: v.clone() for k, v in training.server.weights.items()}
        for _ in training.rounds():
            pass
        names = [f"model.{name}" for name, _ in training.networks["model"].named_parameters()]
        ways.append(sum((training.server.weights[n] - start[n]).square().sum() for n in names).sqrt())
    assert torch.stack(ways).tolist() == sorted((w.item() for w in ways), reverse=True)
    assert ways[2] < 0.8 * ways[0]
