"""What was saved comes back to the bit, and a damaged file is noticed."""

from __future__ import annotations

import json
import math
import os
import resource
from contextlib import ExitStack, suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from fedbench.engine.checkpoint import CorruptCheckpoint, _checksum, load, save
from fedbench.errors import UserError

DTYPES = (
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.float16,
    torch.bfloat16,
)


def roundtrip(folder, tensors):
    save(folder / "x.safetensors", tensors, {})
    back, _ = load(folder / "x.safetensors")
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype and back[name].shape == value.shape, name
        assert torch.equal(back[name], value), name
    return back


shapes = st.lists(st.integers(0, 4), max_size=3)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), shapes), max_size=6))
def test_tensors_of_every_kind_come_back(tmp_path_factory, kinds):
    """Also without dimensions, and empty: all empty tensors lie at address 0."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{i}/{dtype}": torch.randint(0, 2, shape, generator=generator).to(dtype)
        for i, (dtype, shape) in enumerate(kinds)
    }
    roundtrip(tmp_path_factory.mktemp("checkpoint"), tensors)


def test_parts_of_one_piece_of_memory_come_back_whether_they_overlap_or_not(tmp_path):
    memory = torch.arange(12.0)
    apart = {"a": memory[:4], "b": memory[4:10].view(2, 3), "c": memory[10:]}
    roundtrip(tmp_path, apart)
    same = {"all": memory, "again": memory[:4], "bits": memory.view(torch.int32)}
    roundtrip(tmp_path, apart | {"across": memory[3:6]} | same)
    roundtrip(tmp_path, {"all": memory, "early": memory[1:2], "late": memory[5:7]})


def test_facts_come_back(tmp_path):
    facts = {"round": 3, "history": [{"value": 0.1 + 0.2, "client": "CT"}], "best": None, "nan": float("nan"), "ü": "é"}
    save(tmp_path / "x", {}, facts)
    tensors, back = load(tmp_path / "x")
    assert tensors == {} and math.isnan(back.pop("nan"))
    del facts["nan"]
    assert back == facts


def test_facts_may_be_larger_than_a_header(tmp_path):
    """Curves of hundreds of clients over hundreds of rounds; the format's header takes 100 MB."""
    facts = {"history": "x" * 100_000_001}
    save(tmp_path / "x", {"w": torch.ones(2)}, facts)
    tensors, back = load(tmp_path / "x")
    assert back == facts and list(tensors) == ["w"]


def test_a_file_of_before_which_held_its_facts_in_the_header_is_read(tmp_path):
    text = json.dumps({"facts": {"round": 3}, "aliases": {"again": "w"}})
    weights = {"w": torch.ones(2)}
    save_file(weights, tmp_path / "x", {"content": text, "sha256": _checksum(weights, text)})
    tensors, facts = load(tmp_path / "x")
    assert facts == {"round": 3} and tensors["again"] is tensors["w"]


def test_special_values_keep_their_bits(tmp_path):
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    save(tmp_path / "x", {"odd": odd}, {})
    back = load(tmp_path / "x")[0]["odd"]
    assert torch.equal(back.view(torch.int32), odd.view(torch.int32))


def test_a_tensor_under_two_names_is_stored_once(tmp_path):
    weights = torch.rand(100, 100)
    back = roundtrip(tmp_path, {"last/w": weights, "best/w": weights, "copy": weights.clone()})
    assert back["last/w"].data_ptr() == back["best/w"].data_ptr() != back["copy"].data_ptr()
    assert (tmp_path / "x.safetensors").stat().st_size < 2 * weights.nbytes + 2000


def test_tensors_at_one_address_that_differ_are_kept_apart(tmp_path):
    weights = torch.arange(4.0)
    roundtrip(tmp_path, {"w": weights, "bits": weights.view(torch.int32)})
    roundtrip(tmp_path, {"float": torch.empty(0), "int": torch.empty(0, dtype=torch.int64)})


def test_parts_of_one_storage_come_back(tmp_path):
    whole = torch.arange(12.0)
    roundtrip(tmp_path, {"left": whole[:6], "right": whole[6:], "one": torch.arange(3)[1]})
    square = torch.arange(9.0).reshape(3, 3)
    roundtrip(tmp_path, {"whole": square, "row": square[0], "transposed": square.t(), "column": square[:, 1]})


def test_parameters_of_a_living_network_come_back(tmp_path):
    network = torch.nn.Linear(3, 2)
    save(tmp_path / "x", dict(network.named_parameters()), {})
    back = load(tmp_path / "x")[0]
    assert torch.equal(back["weight"], network.weight) and not back["weight"].requires_grad


def small(folder):
    file = folder / "x.safetensors"
    same = torch.tensor([1.0, 2.0])
    save(file, {"a": same, "b": same, "n": torch.tensor(7)}, {"round": 1})
    return file, file.read_bytes()


def test_every_truncation_is_noticed(tmp_path):
    file, whole = small(tmp_path)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CorruptCheckpoint):
            load(file)
    file.write_bytes(whole)
    assert load(file)[1] == {"round": 1}


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    """Harmless: white space of the header. Whatever loads must be what was saved."""
    file, whole = small(tmp_path)
    saved = load(file)
    noticed = 0
    for at in range(len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            try:
                tensors, facts = load(file)
            except CorruptCheckpoint:
                noticed += 1
                continue
            assert facts == saved[1] and tensors.keys() == saved[0].keys(), (at, bit)
            assert all(torch.equal(tensors[k], saved[0][k]) for k in tensors), (at, bit)
    assert noticed > 0.97 * 8 * len(whole)


def test_a_missing_or_foreign_file_is_noticed(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="none"):
        load(tmp_path / "none")
    save_file({"a": torch.ones(2)}, tmp_path / "foreign")
    with pytest.raises(CorruptCheckpoint, match="checksum"):
        load(tmp_path / "foreign")


def test_an_error_of_reading_is_no_damage(tmp_path):
    """Neither the system's refusal to open or map a file nor a process that has no file left to open."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "memory").symlink_to("/proc/self/mem")
    for name in ("folder", "memory"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            load(tmp_path / name)
    file, _ = small(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 10 + max(int(name) for name in os.listdir("/proc/self/fd"))
    try:
        with ExitStack() as opened:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
            with suppress(OSError):
                while True:
                    opened.enter_context(open(os.devnull))
            with pytest.raises(UserError, match=f"{file.name} cannot be read: Too many open files"):
                load(file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert load(file)[1] == {"round": 1}


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path):
    file, whole = small(tmp_path)
    with pytest.raises(TypeError):
        save(file, {"a": torch.ones(2)}, {"not json": object()})
    assert file.read_bytes() == whole and [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_save_that_stops_half_way_keeps_the_old_checkpoint(tmp_path):
    """No file of this process may grow beyond a kilobyte, as on a full disk."""
    file, whole = small(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises((OSError, SafetensorError)):
            save(file, {"a": torch.ones(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
