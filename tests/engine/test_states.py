"""What clients keep between rounds is the same, whether it lies in memory or in files."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbench.algorithm import ClientState
from fedbench.engine import states
from fedbench.engine.states import Pieces, kept
from fedbench.errors import UserError
from fedbench.execution.runner import Options, execute
from tests.engine.test_checkpoint import DTYPES, shapes
from tests.execution.test_runner import assert_same_bits, bits, plan
from tests.faults.test_disk import small_disk


def mappings(folder) -> list[range]:
    """Where files of ``folder`` are mapped into this process."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    return [range(*(int(address, 16) for address in line.split()[0].split("-"))) for line in lines]


def files_in(folder) -> int:
    """How many files of ``folder`` are mapped into this process."""
    return len(mappings(folder))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@given(st.lists(st.tuples(st.sampled_from(DTYPES), shapes), min_size=1, max_size=6))
def test_tensors_of_every_kind_come_back(kinds):
    given = {f"{i}": (torch.randn(shape) * 5).to(dtype) for i, (dtype, shape) in enumerate(kinds)}
    there = Pieces().put(given)
    assert list(there) == list(given)
    for name, value in given.items():
        assert there[name].dtype == value.dtype and there[name].shape == value.shape
        assert torch.equal(there[name], value)
        assert there[name].is_contiguous() and there[name].data_ptr() % value.element_size() == 0


def test_little_stays_in_memory_and_much_goes_to_files(folder, monkeypatch):
    monkeypatch.setattr(states, "IN_MEMORY", 3 * 4000)
    clients = kept([ClientState(f"client {i}", i, {}) for i in range(3)])
    assert [(c.name, c.samples, c.local, c.memory) for c in clients] == [(f"client {i}", i, {}, {}) for i in range(3)]
    little, much = torch.randn(1000), torch.randn(1001)
    clients[0].memory, clients[1].local = {"w": little}, {"w": little}
    assert clients[0].memory["w"] is little and files_in(folder) == 0
    clients[0].memory, clients[1].local = {"w": much}, {"w": much}
    assert torch.equal(clients[0].memory["w"], much) and torch.equal(clients[1].local["w"], much)
    assert files_in(folder) == 2
    assert any(clients[0].memory["w"].data_ptr() in place for place in mappings(folder))
    assert not list(folder.iterdir()), "the files have no names"


def test_a_state_that_is_still_used_is_not_written_over(folder):
    """As that of the best validation round, which is deployed at the end."""
    pieces = Pieces()
    best = pieces.put({"w": torch.zeros(100), "n": torch.tensor(0)})
    part = pieces.put({"w": torch.full((100,), 0.5), "n": torch.tensor(0)})["w"][3:5]
    for number in range(1, 5):
        now = pieces.put({"w": torch.full((100,), float(number)), "n": torch.tensor(number)})
    assert best["w"].eq(0).all() and best["n"] == 0 and part.eq(0.5).all()
    assert now["w"].eq(4).all() and now["n"] == 4


def test_files_are_used_again_and_are_gone_with_the_last_tensor(folder):
    pieces = Pieces()
    for number in range(20):
        now = pieces.put({"w": torch.full((5000,), float(number))})
    assert now["w"].eq(19).all()
    assert files_in(folder) == 2  # one is filled while the other is still held
    del pieces
    assert now["w"].eq(19).all() and files_in(folder) == 2
    del now
    gc.collect()
    assert files_in(folder) == 0


def test_a_tensor_in_a_file_may_be_changed_and_no_other_changes(folder):
    pieces = Pieces()
    one, two = (pieces.put({"a": torch.zeros(3), "b": torch.zeros(3)}) for _ in range(2))
    one["a"].add_(1)
    assert one["a"].eq(1).all() and one["b"].eq(0).all() and two["a"].eq(0).all()


@pytest.mark.parametrize("algorithm", ["scaffold", "ditto", "fedbn"])
def test_the_bits_of_a_run_are_the_same_also_when_it_is_interrupted(tmp_path, monkeypatch, algorithm):
    model = {"name": "unet", "channels": [4, 8], "norm": "batch"}
    training = {"rounds": 4, "batch_size": 16}
    (cell,) = plan(tmp_path / "memory", algorithm, model=model, training=training)
    assert execute(cell, tmp_path / "memory", Options(checkpoint_seconds=0)).status == "done"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(states, "IN_MEMORY", 0)
    mapped = []

    def interrupt(progress):
        mapped.append(files_in(temporary))
        if progress["round"] == 2 and len(mapped) < 4:
            raise KeyboardInterrupt

    (same,) = plan(tmp_path / "files", algorithm, model=model, training=training)
    with pytest.raises(KeyboardInterrupt):
        execute(same, tmp_path / "files", Options(checkpoint_seconds=0), interrupt)
    assert execute(same, tmp_path / "files", Options(checkpoint_seconds=0), interrupt).status == "done"
    assert same.id == cell.id and min(mapped[1:]) >= 2, "two clients, each with a file"
    assert_same_bits(bits(tmp_path / "memory", cell.id), bits(tmp_path / "files", cell.id))


def test_no_room_for_the_files(tmp_path, monkeypatch):
    with small_disk(tmp_path / "small", "100k"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "small"))
        pieces = Pieces()
        there = pieces.put({"w": torch.ones(10_000)})
        with pytest.raises(UserError) as error:
            [pieces.put({"w": torch.ones(10_000)}) for _ in range(3)]
        assert all(words in str(error.value) for words in ("No space left", str(tmp_path / "small"), "TMPDIR"))
        assert there["w"].eq(1).all()
