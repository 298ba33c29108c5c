"""Which model a client uses, Dice from counts, and which rows a model gets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedbench.algorithm import Deployment
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.config import EvaluationConfig
from fedbench.engine import evaluation
from fedbench.engine.evaluation import deployed_to, dice_per_class, evaluate, score_regions, validation_dice
from fedbench.engine.inference import truth
from fedbench.federation import ClientData, with_clients
from fedbench.metrics import score_case
from tests.federations import make_case, make_federation, make_training, trained

REGIONS = {"first": (1,), "second": (2,), "either": (1, 2)}

CT, MR, PET = (ClientData(name, name, (), ()) for name in ("CT", "MR", "PET"))


def test_a_client_uses_its_own_model_and_whoever_has_none_the_first_for_everybody():
    models = [
        Deployment("personal", "CT", {}),
        Deployment("personal", "MR", {}),
        Deployment("global", None, {}),
        Deployment("averaged", None, {}),
    ]
    assert [deployed_to(client, models) for client in (CT, MR, PET)] == models[:3]


def test_dice_per_class_by_hand():
    """Class 1: one of 2 + 2 voxels in common, 2/4; class 2: 0 of 1 + 2; class 3 in neither."""
    truth, prediction = np.array([[1, 1, 0], [2, 2, 0]]), np.array([[1, 0, 1], [0, 0, 2]])
    found = dice_per_class(prediction, truth, 3)
    assert found[:2] == pytest.approx([0.5, 0.0])
    assert math.isnan(found[2])


def test_dice_tells_sizes_of_truth_and_prediction_apart():
    """One voxel in common, 4 true and 2 predicted: 2 / 6."""
    truth, prediction = np.array([1, 1, 1, 1, 0]), np.array([1, 0, 0, 0, 1])
    assert dice_per_class(prediction, truth, 1) == pytest.approx([1 / 3])


def test_regions_are_unions_of_labels():
    true = np.zeros((4, 4), np.uint8)
    true[0, :2], true[0, 2:] = 1, 2
    prediction = np.zeros_like(true)
    prediction[0, :] = 1
    scores = score_regions(prediction, true, REGIONS, (1.0, 1.0), 1.0)
    assert scores["first"].dice == pytest.approx(2 * 2 / (4 + 2))
    assert scores["second"].flag == "missed"
    assert scores["either"].dice == 1.0
    assert [score.label for score in scores.values()] == [1, 2, 3]


def test_a_global_model_is_listed_for_every_client_and_a_personal_one_for_its_own(tmp_path):
    federation = make_federation(tmp_path, clients=3)
    for algorithm, kinds in ((FedAvg(), {"global"}), (FedBN(), {"personal", "averaged"})):
        training = trained(federation, algorithm, rounds=1)
        rows = evaluate(
            training.task, REGIONS, EvaluationConfig(), training.networks, training.deployments(), "last",
            training.compute,
        )  # fmt: skip
        assert {row["deployment"] for row in rows} == kinds
        for kind in kinds:
            listed = [(r["client"], r["case"], r["class"]) for r in rows if r["deployment"] == kind]
            assert len(listed) == len(set(listed)) == 3 * len(federation.test) * len(REGIONS)


def striped(_model, case, _compute, _patch):
    """A prediction: stripes of background and both classes, the same for every case of a size."""
    return np.broadcast_to(np.arange(case.shape[0])[:, None, None] // 5 % 3, case.shape).astype(np.uint8)


def test_validation_dice_is_the_mean_over_a_clients_own_validation_cases(tmp_path, monkeypatch):
    federation = make_federation(tmp_path)
    first, second = federation.clients
    more = replace(first, val=(*first.val, make_case(tmp_path, "V9", "CT", 3, 16)))
    training = make_training(with_clients(federation, [more, second]), FedAvg())
    monkeypatch.setattr(evaluation, "predict", striped)
    found = validation_dice(training.task, training.networks, training.deployments(), training.compute)
    for client in (more, second):
        values = [dice_per_class(striped(None, case, None, None), truth(case), 2) for case in client.val]
        assert found[client.name] == pytest.approx(np.mean(values)) and 0 < found[client.name] < 1


def test_lengths_are_measured_in_the_unit_and_with_the_tolerance_of_the_case(tmp_path, monkeypatch):
    """A case in mm and one of the same voxels in px, whose tolerance is another."""
    federation = make_federation(tmp_path)
    in_mm = federation.test[0]
    in_px = replace(in_mm, id="X0/px", spacing=(1.0, 1.0, 1.0), unit="px")
    training = make_training(replace(federation, test=(in_mm, in_px)), FedAvg())
    monkeypatch.setattr(evaluation, "predict", striped)
    rows = evaluate(
        training.task, {"first": (1,), "second": (2,)}, EvaluationConfig(nsd_tolerance_mm=4.0, nsd_tolerance_px=1.0),
        training.networks, training.deployments(), "last", training.compute,
    )  # fmt: skip
    found = {}
    for case, tolerance in ((in_mm, 4.0), (in_px, 1.0)):
        own = [row for row in rows if row["case"] == case.id and row["client"] == "CT"]
        found[case.unit] = [(row["hd95"], row["nsd"], row["volume_truth"]) for row in own]
        scores = score_case(striped(None, case, None, None), truth(case), [1, 2], case.spacing, tolerance)
        assert found[case.unit] == [(score.hd95, score.nsd, score.volume_truth) for score in scores]
        assert {row["unit"] for row in own} == {case.unit}
    assert all(mm != px for rows in zip(*found.values(), strict=True) for mm, px in zip(*rows, strict=True))
