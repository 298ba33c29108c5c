"""Fixtures: small data without phantoms, and the command line."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from fedbench.data.prepared import PreparedDataset, load
from tests.command_line import called
from tests.toys import full, prepare_toy, write_toy

# No example of a property has a deadline: other work may keep the machine busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# Tests that are started in the background would ignore SIGINT, and so would the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Ray gives its workers a low priority: beside other testers they would wait for minutes.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture
def toy(tmp_path):
    """A folder of the toy dataset: four patients, one of them without PET and one with MR only."""
    return write_toy(tmp_path / "toy", full(2) | {"P02": ("CT", "MR"), "P03": ("MR",)})


@pytest.fixture
def prepared(toy, tmp_path) -> PreparedDataset:
    """The toy dataset, prepared."""
    return load(prepare_toy(toy, tmp_path / "cache"))


@pytest.fixture
def fedbench(tmp_path, monkeypatch):
    """Call the command line in this process, in ``tmp_path``: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: called(arguments)
