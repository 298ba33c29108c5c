"""A Ray that was started for a command leaves nothing on the disk when the command is over."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest

from tests.faults.machine import bits, finish, make, start, wait_for


@pytest.fixture
def rays_folder():
    """A folder of its own for Ray's sessions; its path is short, as sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        yield folder


def test_a_finished_command_leaves_no_session_behind(tmp_path, rays_folder):
    status, _, err = finish(make(tmp_path, "fedavg", rounds=1, workers=1), tmp_path, RAY_TMPDIR=rays_folder)
    assert status == 0, err
    assert len(bits(tmp_path / "runs")) == 1
    assert not list(Path(rays_folder).rglob("session_*"))


def test_an_interrupted_command_leaves_none_either(tmp_path, rays_folder):
    process = start(make(tmp_path, "fedavg", rounds=200, workers=1), tmp_path, RAY_TMPDIR=rays_folder)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    assert list(Path(rays_folder).rglob("session_*"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert not list(Path(rays_folder).rglob("session_*"))
