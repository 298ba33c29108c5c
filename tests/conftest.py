"""Fixtures for tests that need data but no phantoms."""

from __future__ import annotations

import pytest

from fedbench.prepared import PreparedDataset, load
from tests.toys import full, prepare_toy, write_toy


@pytest.fixture
def toy(tmp_path):
    """A folder of the toy dataset: four patients, one of them without PET and one with MR only."""
    return write_toy(tmp_path / "toy", full(2) | {"P02": ("CT", "MR"), "P03": ("MR",)})


@pytest.fixture
def prepared(toy, tmp_path) -> PreparedDataset:
    """The toy dataset, prepared."""
    return load(prepare_toy(toy, tmp_path / "cache"))
