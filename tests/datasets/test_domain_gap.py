"""The modalities of a phantom differ for a network, not just for the eye; measured with the real training loop."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fedbench.data.prepared import load
from fedbench.engine.compute import Compute
from fedbench.engine.evaluation import evaluate
from fedbench.engine.training import Training
from fedbench.execution import planning
from fedbench.suite import make_suite


@pytest.mark.parametrize("name", ["phantom-heart", "phantom-abdomen", "phantom-tumour"])
def test_a_model_trained_on_one_modality_alone_loses_clearly_on_the_others(tmp_path, name):
    """After 12 rounds of `local`, each client is at least 0.2 Dice worse on the other modalities than on its own."""
    suite = make_suite(
        {
            "algorithms": ["local"], "datasets": [name], "seeds": [0],
            "model": {"name": "unet", "channels": [16, 32, 64]},
            "training": {"rounds": 12, "validate_every": 12, "lr": 5e-3},
        }
    )  # fmt: skip
    (cell,) = planning.plan(suite, tmp_path)
    training = Training(planning.make_task(cell), Compute.start(suite.training, "cpu"))
    for _ in training.rounds():
        pass
    regions = load(Path(cell.prepared)).regions
    rows = evaluate(
        training.task, regions, suite.evaluation, training.networks, training.deployments(), "last", training.compute
    )
    dice = pd.DataFrame(rows).pivot_table(values="dice", index="client", columns="relation")
    assert (dice["in"] > 0.5).all(), dice
    assert (dice["in"] - dice["cross"] > 0.2).all(), dice
