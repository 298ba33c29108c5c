"""Which model a client uses, and Dice from counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedbench.algorithm import Deployment
from fedbench.engine.evaluation import deployed_to, dice_per_class
from fedbench.federation import ClientData

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
