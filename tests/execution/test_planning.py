"""What a plan resolves before it gives a run its identity."""

from __future__ import annotations

import pytest

from fedbench.algorithms.fedavg import FedAvg
from fedbench.execution import planning
from tests.execution.test_runner import plan


def test_the_precision_of_a_run_is_what_this_machine_computes_with(tmp_path, monkeypatch):
    """``auto`` is in no identity: with bf16 in hardware and without it, these are two runs."""
    found = {}
    for precision, has_bf16 in (("bf16", True), ("fp32", False)):
        monkeypatch.setattr(planning, "_has_bf16", lambda _device, has=has_bf16: has)
        (cell,) = plan(tmp_path, "fedavg")
        assert cell.identity["training"]["precision"] == precision
        found[precision] = cell.id
        (given,) = plan(tmp_path, "fedavg", training={"rounds": 4, "batch_size": 16, "precision": "fp32"})
        assert given.identity["training"]["precision"] == "fp32"
    assert found["bf16"] != found["fp32"] == given.id


def test_what_goes_wrong_in_an_algorithm_of_ours_keeps_its_traceback(tmp_path, monkeypatch):
    """Of a plugin from a file it is told in a line: see the tests of ``fedbench run``."""

    def broken(_self, _model):
        raise KeyError("a fault of ours")

    monkeypatch.setattr(FedAvg, "side_networks", broken)
    with pytest.raises(KeyError, match="a fault of ours"):
        plan(tmp_path, "fedavg")
