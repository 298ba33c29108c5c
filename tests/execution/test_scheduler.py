"""Runs in this process, one after another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fedbench.errors import UserError
from fedbench.execution import scheduler
from fedbench.execution.runner import Options, Outcome
from fedbench.execution.scheduler import Resources, Watcher, run_cells


def test_a_gpu_that_a_failure_broke_is_used_for_no_other_run(tmp_path, monkeypatch):
    """On the CPU the next run goes on; there is no GPU here, so torch stands in only to be asked."""
    tried = []

    def execute(cell, *_):
        tried.append(cell.id)
        return Outcome(cell.id, "failed")

    def broken(*_, **__):
        raise RuntimeError("CUDA error: unspecified launch failure\nand more")

    monkeypatch.setattr(scheduler, "execute", execute)
    monkeypatch.setattr(torch, "zeros", broken)
    for device, ids in (("cpu", ["a", "b"]), ("cuda", ["a"])):
        tried.clear()
        cells = [SimpleNamespace(id=name, identity={"device": device}) for name in ("a", "b")]
        if device == "cpu":
            assert len(run_cells(cells, tmp_path, Resources(0), Options(), Watcher())) == 2
        else:
            with pytest.raises(UserError, match=r"cannot use the GPU any more \(CUDA error: unspecified launch fai"):
                run_cells(cells, tmp_path, Resources(0), Options(), Watcher())
        assert tried == ids
