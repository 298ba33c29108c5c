"""What FedDA's discriminator can tell that is no modality: a network in training from the same one at rest."""

from __future__ import annotations

import pytest
import torch

from fedbench.algorithms.fedda import FedDAJoint
from tests.federations import make_federation, make_training


@pytest.mark.parametrize(("norm", "told"), [("batch", True), ("instance", False)])
def test_by_batch_normalisation_alone_a_discriminator_tells_source_from_target(tmp_path, norm, told):
    """The same weights on the same images: sources in training, targets from a copy at rest, as FedDA takes them."""
    accuracy = []

    class Same(FedDAJoint):
        def local_step(self, step):
            step.record = lambda term, value: accuracy.append(value.item()) if "accuracy" in term else None
            with torch.no_grad():
                target = step.client.frozen({})["model"].encode(step.images)[0]
            for _ in range(20):
                self.train_discriminator(step, step.features.detach(), target)

    training = make_training(make_federation(tmp_path), Same(), rounds=12, batch_size=2, model={"norm": norm})
    for _ in training.rounds():
        pass
    late = sum(accuracy[-len(accuracy) // 4 :]) / (len(accuracy) // 4)
    assert late > 0.8 if told else late == 0.5
