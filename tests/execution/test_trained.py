"""The network that is loaded from a run's folder predicts what the run scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedbench import load_model, load_results, store
from fedbench.data.prepared import load
from fedbench.engine.compute import Compute
from fedbench.engine.evaluation import dice_per_class
from fedbench.engine.inference import predict, truth
from fedbench.errors import UserError
from fedbench.execution.runner import Options, execute
from tests.execution.test_runner import plan

CPU = Compute(torch.device("cpu"), False, False)


@pytest.mark.parametrize(("algorithm", "client"), [("fedavg", None), ("fedbn", "CT"), ("fedbn", None)])
def test_a_loaded_model_has_the_dice_that_its_run_has(tmp_path, algorithm, client):
    (cell,) = plan(tmp_path, algorithm, training={"rounds": 2, "batch_size": 16, "precision": "fp32"})
    assert execute(cell, tmp_path, Options()).status == "done"
    prepared, stream = load(Path(cell.prepared)), torch.get_rng_state()
    rows = load_results(tmp_path).cases
    kind = {"fedavg": "global", "fedbn": "personal" if client else "averaged"}[algorithm]
    for selection in ("last", "best-validation"):
        model = load_model(tmp_path / cell.id, selection=selection, client=client)
        assert not model.training and torch.equal(stream, torch.get_rng_state())
        own = rows[
            (rows["selection"] == selection) & (rows["deployment"] == kind) & (rows["client"] == (client or "CT"))
        ]
        for name, scores in own.groupby("case"):
            case = next(c for c in prepared.cases if c.id == name)
            dice = dice_per_class(predict(model, case, CPU, (32, 32)), truth(case), len(prepared.classes))
            expected = scores.set_index("class")["dice"][list(prepared.classes)].to_numpy()
            np.testing.assert_allclose(dice, expected, atol=1e-12)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    (cell,) = plan(tmp_path, "local", training={"rounds": 1, "batch_size": 16})
    folder = tmp_path / cell.id
    with pytest.raises(UserError, match="is not a finished run"):
        load_model(folder)
    assert execute(cell, tmp_path, Options()).status == "done"
    with pytest.raises(UserError, match="has no model of all clients; name whose: client= one of CT, MR"):
        load_model(folder)
    with pytest.raises(UserError, match="has no client 'PET'; there are: CT, MR"):
        load_model(folder, client="PET")
    with pytest.raises(UserError, match="selection 'best': choose last, best-validation"):
        load_model(folder, selection="best", client="CT")
    (folder / store.CHECKPOINT).write_bytes(b"cut")
    with pytest.raises(UserError, match=r"is corrupt \(checkpoint"):
        load_model(folder, client="CT")
