"""What runs end with when nothing happens to them; and an end to what a test has left behind."""

from __future__ import annotations

import tempfile

import pytest

from tests.faults.machine import bits, clear_away, here, make_gated, open_gate


@pytest.fixture(autouse=True)
def nothing_outlives_a_test():
    """A run at the gate would wait for ever."""
    yield
    clear_away()


@pytest.fixture
def rays_folder():
    """A folder of its own for Ray's sessions; its path is short, as sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        yield folder


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """The bits of the runs of ``make_gated`` when the gate is open from the start."""
    folder = tmp_path_factory.mktemp("calm")
    open_gate(folder)
    command, environment = make_gated(folder, "[number=1]", "fedavg")
    status, _, err = here(command, folder, **environment)
    assert status == 0, err
    return bits(folder / "runs")
