"""Messages that wait for the aggregation read the same in memory and on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from fedbench.algorithm import weighted_mean
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedda import FedDAJoint
from fedbench.engine import held
from fedbench.engine.held import Held, all_finite, first_broken, message_bytes
from tests.federations import make_federation, make_training


def test_messages_beyond_the_limit_go_to_disk_and_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    messages = [{"w": torch.randn(4, 5).t(), "n": torch.tensor(k)} for k in range(4)]
    with Held(in_memory=2 * 88) as kept:
        there = [kept.keep(message) for message in messages]
        assert [isinstance(message, dict) for message in there] == [True, True, False, False]
        assert open_files_in(tmp_path) == 1
        for message, read in zip(messages, there, strict=True):
            assert list(read) == list(message) and len(read) == 2 and "x" not in read
            assert all(torch.equal(read[name], value) for name, value in message.items())
        means = [weighted_mean(states, [1, 2, 3, 4]) for states in (messages, there)]
        assert all(torch.equal(means[0][name], means[1][name]) for name in means[0])
    assert open_files_in(tmp_path) == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_any_tensor_comes_back_from_disk_in_type_shape_and_bits(dtype, shape):
    value = (torch.randn(shape) * 5).to(dtype)
    with Held(in_memory=0) as kept:
        assert len(kept.keep({})) == 0
        kept.keep({"before": torch.ones(7, dtype=torch.uint8)})  # what follows is not aligned
        read = kept.keep({"w": value, "more": torch.arange(3)})
        assert read["w"].dtype == dtype and read["w"].shape == shape and torch.equal(read["w"], value)
        assert torch.equal(read["more"], torch.arange(3))
        assert read["w"] is not read["w"]
        assert len(kept.keep({})) == 0


def test_messages_of_the_next_round_take_the_place_of_the_last_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Held(in_memory=0) as kept:
        first = kept.keep({"w": torch.ones(1000)})
        in_memory = first["w"]
        kept.clear()
        second = [kept.keep({"w": torch.full((1000,), float(k)), "other": torch.zeros(k)}) for k in (2, 3)]
        assert [m["w"][0].item() for m in second] == [2, 3] and [len(m["other"]) for m in second] == [2, 3]
        with pytest.raises(RuntimeError, match="earlier round"):
            first["w"]
        assert in_memory.eq(1).all()
        (file,) = (Path(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if str(tmp_path) in reads(n))
        assert file.stat().st_size <= 2 * 4000 + 20
    with pytest.raises(RuntimeError, match="earlier round"):
        second[0]["w"]


def reads(number: str) -> str:
    link = Path("/proc/self/fd") / number
    return os.readlink(link) if link.is_symlink() else ""


def open_files_in(folder: Path) -> int:
    """How many files of a folder this process has open, those without a name too."""
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith(str(folder)) for link in links if link.is_symlink())


@pytest.mark.parametrize("algorithm", [FedBN(), FedDAJoint(exchange="features")])
def test_a_run_gives_the_same_bits_wherever_its_messages_wait(tmp_path, monkeypatch, algorithm):
    states = []
    for limit in (held.IN_MEMORY, 0):
        monkeypatch.setattr(held, "IN_MEMORY", limit)
        folder = tmp_path / str(limit)
        folder.mkdir()
        training = make_training(make_federation(folder), algorithm, rounds=3)
        list(training.rounds())
        states.append(training.state()[0])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_file_is_gone_even_if_training_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError), Held(in_memory=0) as kept:
        kept.keep({"w": torch.ones(3)})
        assert open_files_in(tmp_path) == 1
        raise RuntimeError
    assert open_files_in(tmp_path) == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "finite"),
    [([1.0, 2.0], True), ([1.0, float("nan")], False), ([float("inf")], False), ([float("inf"), float("-inf")], False)],
)
def test_all_finite_by_hand(values, finite):
    assert all_finite({"w": torch.tensor(values), "n": torch.tensor(3)}) is finite


def test_large_weights_that_overflow_in_a_sum_are_finite():
    assert all_finite({"w": torch.full((4,), 3e38)})
    assert all_finite({})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_broken_entry_is_named_whatever_its_type(dtype):
    large = torch.full((5,), torch.finfo(dtype).max, dtype=dtype)
    state = {"large": large, "n": torch.tensor([2**62]), "w": torch.ones(2, dtype=dtype), "empty": torch.empty(0)}
    assert first_broken(state) is None
    assert first_broken(state | {"w": torch.tensor([1.0, float("nan")]).to(dtype)}) == "w"


def test_message_bytes_by_hand():
    message = {
        "w": torch.zeros(2, 3),
        "n": torch.zeros((), dtype=torch.int64),
        "h": torch.zeros(4, dtype=torch.bfloat16),
    }
    assert message_bytes(message) == 24 + 8 + 8
