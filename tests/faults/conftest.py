"""What runs end with when nothing happens to them."""

from __future__ import annotations

import pytest

from tests.faults.machine import bits, finish, make_gated, open_gate


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """The bits of the runs of ``make_gated`` when the gate is open from the start."""
    folder = tmp_path_factory.mktemp("calm")
    open_gate(folder)
    command, environment = make_gated(folder, "[number=1]", "fedavg")
    status, _, err = finish(command, folder, **environment)
    assert status == 0, err
    return bits(folder / "runs")
