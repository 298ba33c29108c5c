"""Whole volumes from windows and slices: what the network sees, and where its labels go."""

from __future__ import annotations

import numpy as np
import torch

from fedbench.algorithms.fedavg import FedAvg
from fedbench.engine.inference import predict
from tests.federations import make_federation, make_training, trained


def test_a_volume_shorter_than_the_patch_is_padded_as_in_training(tmp_path):
    """The network sees the value beyond the edges that training samples have there."""
    federation = make_federation(tmp_path, slices=(20, 20, 2), size=16)
    training = make_training(federation, FedAvg(), model={"spatial_dims": 3})
    model, seen = training.networks["model"], []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    case = federation.test[0]
    predict(model, case, training.compute, training.task.size)
    (window,) = seen
    depth = case.shape[2]
    assert depth < window.shape[-1] == 16
    assert torch.equal(window.unique(dim=-1).amin(), torch.tensor(min(-1.0, float(case.image.min()))))
    beyond = [plane for plane in window[0, 0].unbind(-1) if (plane == plane[0, 0]).all()]
    assert len(beyond) == 16 - depth and all((plane == -1.0).all() for plane in beyond)


def test_slices_are_restacked_where_they_came_from(tmp_path):
    """The prediction of a volume is its slices' predictions, in order; odd sizes are padded and cut back."""
    federation = make_federation(tmp_path, size=21)
    training = trained(federation, FedAvg(), rounds=1)
    case, model = federation.test[0], training.networks["model"]
    whole = predict(model, case, training.compute, (16, 16))
    assert whole.shape == (21, 21, 2)
    for z in range(2):
        image = np.pad(np.asarray(case.image)[z : z + 1], ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1.0)
        with torch.inference_mode():
            labels = model(torch.from_numpy(image)).argmax(1)[0, :21, :21].numpy()
        np.testing.assert_array_equal(whole[..., z], labels)
