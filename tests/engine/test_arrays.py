"""Where samples are read: windows of arrays and tensors are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbench.engine.arrays import MappedArrays, ResidentArrays, arrays_on, window
from fedbench.engine.batches import TrainingSet
from tests.federations import make_case, make_federation


@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=3),
    corner=st.integers(-3, 6),
    size=st.integers(1, 6),
    fill=st.sampled_from([-1.0, 0.0]),
)
def test_a_window_is_a_cut_of_the_padded_array(shape, corner, size, fill):
    array = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    corners = [min(corner, n - 1) for n in shape]
    sizes = [max(size, -c + 1) for c in corners]
    padded = np.pad(array, [(0, 0)] + [(10, 20)] * len(shape), constant_values=fill)
    expected = padded[(slice(None), *(slice(10 + c, 10 + c + s) for c, s in zip(corners, sizes, strict=True)))]
    cut = window(array, corners, sizes, fill)
    assert np.array_equal(cut, expected)
    assert np.array_equal(window(torch.from_numpy(array), corners, sizes, fill).numpy(), expected)


@pytest.mark.parametrize("size", [(16, 16), (24, 24), (16, 16, 4)])
def test_resident_arrays_give_the_batches_of_the_store(tmp_path, size):
    client = make_federation(tmp_path).clients[0]
    cpu = torch.device("cpu")
    batches = []
    for arrays in (MappedArrays(), ResidentArrays(client.train, cpu)):
        samples = TrainingSet(client, size, 3, 2, (0,), arrays)
        batches.append(list(samples.batches(torch.Generator().manual_seed(4), augmented=True)))
    for stored, resident in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(stored, resident, strict=True))


def test_on_the_cpu_the_store_is_read(tmp_path):
    arrays = arrays_on(torch.device("cpu"), [make_case(tmp_path, "P", "CT", 2, 16)])
    assert not isinstance(arrays, ResidentArrays)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_what_fits_stays_there(tmp_path):
    arrays = arrays_on(torch.device("cuda"), [make_case(tmp_path, "P", "CT", 2, 16)])
    assert isinstance(arrays, ResidentArrays)
