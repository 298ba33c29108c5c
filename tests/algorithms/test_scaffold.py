"""SCAFFOLD's three equations by hand, option II under plain SGD, and what the correction is for."""

from __future__ import annotations

import pytest
import torch

from fedbench.algorithm import Server, Upload
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.scaffold import Scaffold
from tests.algorithms.quadratic import train
from tests.federations import make_federation, make_training, model_state, same_bits, trained

C = "control/model.w"


def one_round():
    """x = (1, 2), c = (0.5, -1), c_i = (0.1, 0.2), two steps of eta = 0.1 on 1/2 * ||y - (3, -2)||^2."""
    return train(
        Scaffold(),
        {"model": [1.0, 2.0]},
        [[3.0, -2.0]] * 2,
        received={C: torch.tensor([0.5, -1.0])},
        memory={C: torch.tensor([0.1, 0.2])},
    )


def test_local_steps_by_hand():
    """The correction c - c_i is (0.4, -1.2).

    g = (-2, 4), corrected (-1.6, 2.8), so y = (1.16, 1.72);
    g = (-1.84, 3.72), corrected (-1.44, 2.52), so y = (1.304, 1.468).
    """
    torch.testing.assert_close(one_round().model.w.detach(), torch.tensor([1.304, 1.468]))


def test_the_new_control_variate_is_the_mean_gradient_and_option_two():
    """Mean of (-2, 4) and (-1.84, 3.72); and c_i - c + (x - y) / (K eta) from where the model ended."""
    client = one_round()
    own = client.memory[C]
    torch.testing.assert_close(own, torch.tensor([-1.92, 3.86]))
    x, y = torch.tensor([1.0, 2.0]), client.model.w.detach()
    c, c_i = torch.tensor([0.5, -1.0]), torch.tensor([0.1, 0.2])
    torch.testing.assert_close(own, c_i - c + (x - y) / (2 * 0.1))


def test_both_variates_travel_and_the_server_averages_by_samples():
    """n = (1, 3), eta_g = 1/2, x = (0.5, 1): mean y = (2.5, -1), so x = (1.5, 0); c = (1 - 3, 0 + 12) / 4."""
    client = one_round()
    assert same_bits(Scaffold().upload(client), {"model.w": client.model.w.detach(), C: client.memory[C]})
    server = Server({"model.w": torch.tensor([0.5, 1.0])})
    algorithm = Scaffold(eta_g=0.5)
    uploads = [
        Upload("CT", 0, 1, {"model.w": torch.tensor([1.0, 2.0]), C: torch.tensor([1.0, 0.0])}),
        Upload("MR", 1, 3, {"model.w": torch.tensor([3.0, -2.0]), C: torch.tensor([-1.0, 4.0])}),
    ]
    algorithm.aggregate(server, uploads)
    assert server.weights["model.w"].tolist() == [1.5, 0.0]
    assert server.memory[C].tolist() == [-0.5, 3.0]
    assert same_bits(algorithm.download(server, None, 0), server.weights | server.memory)


def drift(algorithm, rounds=60):
    """Where two clients end that pull with curvature 1 to 0 and with curvature 3 to 4, with five steps a round."""
    server, memory = Server({"model.w": torch.tensor([1.0])}), [{}, {}]
    for _ in range(rounds):
        uploads = []
        for k, (target, curvature) in enumerate([(0.0, 1.0), (4.0, 3.0)]):
            message = algorithm.download(server, None, k)
            start = {"model": message.pop("model.w").tolist()}
            client = train(algorithm, start, [[target]] * 5, 0.1, curvature, message, memory[k])
            memory[k] = client.memory
            sent = {name: value.detach().clone() for name, value in algorithm.upload(client).items()}
            uploads.append(Upload(str(k), k, 1, sent))
        algorithm.aggregate(server, uploads)
    return server.weights["model.w"].item()


def test_it_finds_the_optimum_from_which_local_steps_drift():
    """(1 * 0 + 3 * 4) / 4 = 3.

    FedAvg stops where the clients' ways cancel: w -> 0.9^5 w and w -> 4 - 0.7^5 (4 - w) have the mean w.
    """
    a, b = 0.9**5, 0.7**5
    assert drift(FedAvg()) == pytest.approx(4 * (1 - b) / (2 - a - b), abs=1e-4)
    assert drift(FedAvg()) == pytest.approx(2.680, abs=1e-3)
    assert drift(Scaffold()) == pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_first_round_is_fedavg_and_the_second_is_not(tmp_path, optimizer):
    federation = make_federation(tmp_path, clients=3)
    for rounds, equal in ((1, True), (2, False)):
        settings = {"rounds": rounds, "optimizer": optimizer, "schedule": "constant"}
        scaffold, fedavg = (model_state(trained(federation, a, **settings)) for a in (Scaffold(), FedAvg()))
        assert same_bits(scaffold, fedavg) is equal


def test_option_two_holds_for_a_network_under_plain_sgd(tmp_path):
    """c_i+ = c_i - c + (x - y_i) / (K eta) for every parameter, in a round with corrections."""
    ended = {}

    class Watching(Scaffold):
        def end_round(self, client):
            before, c = dict(client.memory), client.received
            super().end_round(client)
            if client.round == 1:
                k = client.scratch["steps"]
                for name, y in client.networks.named_parameters():
                    own, common = f"control/{name}", c[f"control/{name}"]
                    option_two = before[own] - common + (c[name] - y.detach()) / (k * 0.1)
                    torch.testing.assert_close(client.memory[own], option_two, atol=1e-4, rtol=1e-3)
                ended[client.name] = k

    training = make_training(
        make_federation(tmp_path), Watching(), rounds=2, optimizer="sgd", momentum=0.0, lr=0.1, schedule="constant"
    )
    for _ in training.rounds():
        pass
    assert ended == {"CT": training.sets[0].steps, "MR": training.sets[1].steps}


def test_the_variates_are_of_trainable_parameters_only_and_are_counted_in_bytes(tmp_path):
    training = trained(make_federation(tmp_path), Scaffold(), rounds=2)
    trainable = {f"control/{name}" for name, _ in training.networks.named_parameters()}
    assert training.server.memory.keys() == trainable
    assert all(state.memory.keys() == trainable for state in training.states)
    model = sum(v.numel() * v.element_size() for v in training.server.weights.values())
    control = sum(v.numel() * v.element_size() for v in training.server.memory.values())
    sent = {(r["round"], r["metric"]): r["value"] for r in training.history if r["metric"].startswith("bytes")}
    assert sent == {
        (0, "bytes down"): model, (0, "bytes up"): model + control,
        (1, "bytes down"): model + control, (1, "bytes up"): model + control,
    }  # fmt: skip


def test_buffers_are_averaged_whatever_the_server_step(tmp_path):
    training = trained(make_federation(tmp_path), Scaffold(eta_g=0.5), rounds=1)
    fedavg = trained(make_federation(tmp_path), FedAvg(), rounds=1)
    trainable = {name for name, _ in training.networks.named_parameters()}
    for name, value in training.server.weights.items():
        assert torch.equal(value, fedavg.server.weights[name]) is (name not in trainable), name
