"""Statistics of BatchNorm taken anew: by hand, and what is scored with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.config import EvaluationConfig, TrainingConfig
from fedbench.engine.compute import Compute
from fedbench.engine.evaluation import evaluate
from fedbench.engine.reestimation import reestimate, samples_of
from tests.federations import make_case, make_federation, make_training

REGIONS = {"first": (1,), "second": (2,)}


def test_statistics_are_the_means_over_the_batches_by_hand(tmp_path):
    case = make_case(tmp_path, "P", "CT", 4, 16)
    model = nn.Sequential(nn.BatchNorm2d(1, momentum=0.3))
    model[0].running_mean.fill_(99)
    samples = samples_of([case], (16, 16), 2, 1)
    order = torch.randperm(4, generator=_stream())
    reestimate(model, samples, Compute.start(TrainingConfig(precision="fp32"), "cpu"))
    halves = [case.image[order[:2].numpy()], case.image[order[2:].numpy()]]
    assert model[0].running_mean.item() == pytest.approx(np.mean([h.mean() for h in halves]), abs=1e-6)
    assert model[0].running_var.item() == pytest.approx(np.mean([h.var(ddof=1) for h in halves]), rel=1e-5)
    assert model[0].momentum == 0.3 and not model[0].training


def _stream():
    from fedbench.streams import derive_seed

    return torch.Generator().manual_seed(derive_seed("statistics taken anew"))


@pytest.mark.parametrize(
    ("algorithm", "norm", "expected"),
    [
        (FedAvg, "batch", {"global", "reestimated"}),
        (FedAvg, "instance", {"global"}),
        (FedBN, "batch", {"personal", "averaged", "averaged, reestimated"}),
    ],
)
def test_models_for_everybody_are_scored_once_more_where_they_have_batch_norm(tmp_path, algorithm, norm, expected):
    training = make_training(make_federation(tmp_path), algorithm(), model={"norm": norm}, rounds=2)
    list(training.rounds())
    rows = _rows(training, reestimate=True)
    assert {row["deployment"] for row in rows} == expected
    plain = [row for row in rows if "reestimated" not in row["deployment"]]
    assert repr(plain) == repr(_rows(training, reestimate=False)), "the other scores are as they were"


def test_a_modality_nobody_trained_on_has_no_statistics(tmp_path):
    federation = make_federation(tmp_path, clients=3)
    without = replace(federation, clients=federation.clients[:2], unseen="PET")
    training = make_training(without, FedAvg(), rounds=1)
    list(training.rounds())
    scored = {row["modality"] for row in _rows(training, reestimate=True) if row["deployment"] == "reestimated"}
    assert scored == {"CT", "MR"}


def _rows(training, *, reestimate):
    config = EvaluationConfig(reestimate=reestimate)
    models = training.deployments()
    return evaluate(training.task, REGIONS, config, training.networks, models, "last", training.compute)
