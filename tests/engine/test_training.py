"""The training loop around the algorithms: schedule, dimensions, networks, what is logged."""

from __future__ import annotations

import copy
import math
import threading

import numpy as np
import pandas as pd
import pytest
import torch

from fedbench.algorithms.centralised import Centralised
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedda import FedDACyclic, FedDAJoint
from fedbench.algorithms.moon import MOON
from fedbench.config import EvaluationConfig, TrainingConfig
from fedbench.engine.compute import Compute
from fedbench.engine.evaluation import evaluate
from fedbench.engine.inference import predict, truth
from fedbench.engine.task import learning_rate
from fedbench.engine.training import score_rounds
from tests.federations import make_federation, make_training, model_state, same_bits, trained

REGIONS = {"first": (1,), "second": (2,)}


def test_cosine_rate_by_hand():
    """lr/2 (1 + cos(pi r / R)): full at first, half in the middle, never 0."""
    config = TrainingConfig(rounds=10, lr=0.4)
    assert learning_rate(config, 0) == 0.4
    assert learning_rate(config, 5) == pytest.approx(0.2)
    assert learning_rate(config, 9) == pytest.approx(0.2 * (1 + math.cos(0.9 * math.pi)))
    assert learning_rate(TrainingConfig(rounds=10, lr=0.4, schedule="constant"), 9) == 0.4


def test_optimisers_use_the_rate_of_the_round_and_are_fresh(tmp_path):
    seen = []

    class Watching(FedAvg):
        def begin_round(self, client):
            optimizer = client.optimizers["main"]
            seen.append((client.round, optimizer.param_groups[0]["lr"], len(optimizer.state)))

    training = trained(make_federation(tmp_path), Watching(), rounds=4, lr=0.02)
    expected = [(r, learning_rate(training.task.training, r), 0) for r in range(4) for _ in range(2)]
    assert seen == expected


@pytest.mark.parametrize(
    ("algorithm", "model"),
    [(FedAvg(), "unet"), (FedBN(), "unet"), (MOON(), "unet"), (FedDACyclic(), "unet"),
     (FedDAJoint(exchange="features"), "unet"), (FedAvg(), "basicunet"), (FedAvg(), "segresnet")],
    ids=lambda either: getattr(either, "name", either),
)  # fmt: skip
def test_three_dimensional_networks_train_on_patches_and_predict_whole_volumes(tmp_path, algorithm, model):
    channels = {"basicunet": (4, 4, 4, 8, 8), "unet": (4, 8), "segresnet": (8, 16)}[model]
    federation = make_federation(tmp_path, slices=(20, 18, 17), size=20)
    settings = {"name": model, "spatial_dims": 3, "channels": channels}
    training = trained(federation, algorithm, model=settings, rounds=2)
    assert [state.samples for state in training.states] == [2, 2]  # patches per case
    prediction = predict(training.networks["model"], federation.test[0], training.compute, training.task.size)
    assert prediction.shape == truth(federation.test[0]).shape == (20, 20, 2)


def test_a_patch_of_a_volume_deeper_than_the_patch_is_cut_from_it(tmp_path):
    federation = make_federation(tmp_path, slices=(40, 40, 40), size=24)
    training = make_training(federation, FedAvg(), model={"spatial_dims": 3})
    images, labels = next(training.sets[0].batches(torch.Generator().manual_seed(0), augmented=False))
    assert images.shape[1:] == (1, 16, 16, 16)
    assert labels.shape == images.shape
    case = federation.clients[0].train[0]
    volume = np.moveaxis(np.asarray(case.image), 0, -1)[0]
    patch = images[0, 0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(volume, (16, 16, 16))
    assert (windows[..., 0, 0, 0] == patch[0, 0, 0]).any()
    assert any((windows[tuple(at)] == patch).all() for at in np.argwhere(windows[..., 0, 0, 0] == patch[0, 0, 0]))


@pytest.mark.parametrize("change", [{"optimizer": "sgd"}, {"local_epochs": 2}, {"weight_decay": 0.1},
                                    {"augment": False}, {"schedule": "constant"}, {"precision": "bf16"}])  # fmt: skip
def test_every_setting_of_the_budget_changes_the_result(tmp_path, change):
    federation = make_federation(tmp_path)
    assert not same_bits(
        model_state(trained(federation, FedAvg(), rounds=2, **change)),
        model_state(trained(federation, FedAvg(), rounds=2)),
    )


def test_training_learns(tmp_path):
    history = trained(make_federation(tmp_path), Centralised(), rounds=15, lr=0.01).history
    losses = [row["value"] for row in history if row["metric"] == "segmentation"]
    assert losses[-1] < 0.7 * losses[0]


def test_the_best_validation_round_is_kept_as_it_was(tmp_path):
    training = make_training(make_federation(tmp_path), FedAvg(), rounds=5)
    states, scores = [], []
    for round in training.rounds():
        states.append(model_state(training))
        rows = [h for h in training.history if h["round"] == round and h["metric"] == "validation dice"]
        scores.append(sum(row["value"] for row in rows) / len(rows))
    assert training.best.round == int(np.argmax(scores))
    assert training.best.score == max(scores)
    assert same_bits(training.best.deployments[0].entries, states[training.best.round])


def test_the_best_round_is_scored_with_the_models_it_had(tmp_path):
    """The first round, called best: its rows are those of a copy kept after it, and not those of the last."""
    training = make_training(make_federation(tmp_path), FedAvg(), rounds=4, lr=0.1)
    config, kept = EvaluationConfig(), []
    for round in training.rounds():
        if round == 0:
            training.best.score = 2.0  # no other round is better
            kept = copy.deepcopy(training.deployments())
    rows = score_rounds(training, REGIONS, config, lambda *_: None)
    last, best = (pd.DataFrame([r for r in rows if r["selection"] == s]) for s in ("last", "best-validation"))
    again = evaluate(training.task, REGIONS, config, training.networks, kept, "best-validation", training.compute)
    pd.testing.assert_frame_equal(best, pd.DataFrame(again), check_exact=True)
    assert len(last) == len(best) and not last["dice"].equals(best["dice"])


def test_the_last_rounds_rows_are_listed_twice_where_it_is_the_best(tmp_path):
    training = trained(make_federation(tmp_path), FedAvg(), rounds=1)
    rows = score_rounds(training, REGIONS, EvaluationConfig(), lambda *_: None)
    last, best = (pd.DataFrame([r for r in rows if r["selection"] == s]) for s in ("last", "best-validation"))
    pd.testing.assert_frame_equal(last.drop(columns="selection"), best.drop(columns="selection"), check_exact=True)


def test_every_so_many_rounds_and_after_the_last_models_are_validated(tmp_path):
    history = trained(make_federation(tmp_path), FedAvg(), rounds=5, validate_every=2).history
    assert sorted({row["round"] for row in history if row["metric"] == "validation dice"}) == [1, 3, 4]


# -- clients side by side ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [FedBN, FedDACyclic], ids=lambda a: a.name)
def test_clients_side_by_side_give_the_bits_of_one_after_the_other(tmp_path, algorithm):
    """Two at a time, and as many as there are, which is fewer than were asked for."""
    federation = make_federation(tmp_path, clients=3)
    alone = trained(federation, algorithm())
    for at_once, trainers in ((2, 2), (8, 3)):
        together = make_training(federation, algorithm(), at_once=at_once)
        assert len(together.trainers) == trainers
        for _ in together.rounds():
            pass
        assert same_bits(alone.state()[0], together.state()[0])
        timed = ("seconds", "validation seconds")
        assert [row for row in alone.history if row["metric"] not in timed] == [
            row for row in together.history if row["metric"] not in timed
        ]


def test_clients_side_by_side_really_are(tmp_path):
    """Every client waits for the others before its first step: one after the other, none would ever begin."""
    meeting = threading.Barrier(3, timeout=60)

    class Meeting(FedAvg):
        def begin_round(self, client):
            meeting.wait()

    together = make_training(make_federation(tmp_path, clients=3), Meeting(), at_once=3, rounds=2)
    assert list(together.rounds()) == [0, 1]


def test_when_one_client_fails_the_others_stop_and_no_thread_is_left(tmp_path):
    steps, begun = [], threading.Event()

    class Failing(FedAvg):
        def local_step(self, step):
            if step.client.name == "CT":
                begun.wait(60)
                raise ValueError("no more")
            begun.set()
            steps.append(step.client.name)
            super().local_step(step)

    before = threading.active_count()
    together = make_training(make_federation(tmp_path, slices=(4, 400, 5)), Failing(), at_once=2)
    with pytest.raises(ValueError, match="no more"):
        next(together.rounds())
    assert 0 < len(steps) < 200
    assert threading.active_count() == before
    assert not any(trainer.abandoned for trainer in together.trainers)


def test_mixed_precision_of_one_thread_does_not_depend_on_what_another_does():
    """A weight used twice: its gradients are added in the same way if another thread leaves its block in between."""
    compute = Compute(torch.device("cpu"), bf16=True, channels_last=False)
    random = torch.Generator().manual_seed(0)
    start, *inputs = (torch.randn(32, 32, generator=random) for _ in range(3))

    def in_and_out():
        with compute.autocast():
            pass

    def gradient(between):
        weight = start.clone().requires_grad_()
        with compute.autocast():
            first = torch.nn.functional.linear(inputs[0], weight).square().sum()
            between()
            second = torch.nn.functional.linear(inputs[1], weight).square().sum()
        (first + second).backward()
        return weight.grad

    def elsewhere():
        thread = threading.Thread(target=in_and_out)
        thread.start()
        thread.join()

    assert torch.equal(gradient(lambda: None), gradient(elsewhere))
