"""The slices that figures show: chosen by a rule, stored once for all runs on the same test cases."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.config import DataConfig
from fedbench.data.prepared import load
from fedbench.federation import partition
from fedbench.views import (
    array_key,
    cut,
    keep_views,
    load_views,
    read_key,
    save_views,
    shown_slices,
    view_of,
    views_key,
)
from tests.toys import full, prepare_toy, write_toy


def truth(*counts: int) -> np.ndarray:
    """``(8, 8, len(counts))`` with so many voxels in each slice."""
    volume = np.zeros((64, len(counts)), np.uint8)
    for z, n in enumerate(counts):
        volume[:n, z] = 1
    return volume.reshape(8, 8, -1)


@pytest.mark.parametrize(
    ("counts", "slices"),
    [
        ((0, 1, 2, 9, 2, 1, 0), [2, 3, 4]),  # truth in 1 to 5; a quarter of 4 steps from both ends
        ((9, 1, 1, 1, 1, 1, 1, 1, 1), [0, 2, 6]),
        ((0, 0, 5), [2]),
        ((0, 0, 0, 0, 0), [1, 2, 3]),  # no truth: of all slices
        ((3,), [0]),
    ],
)
def test_slices_by_hand(counts, slices):
    assert shown_slices(truth(*counts)) == slices


def test_cut_takes_the_same_slices_of_a_prediction():
    true, predicted = truth(0, 1, 2, 9, 2, 1, 0), np.broadcast_to(np.arange(7, dtype=np.uint8), (8, 8, 7))
    assert cut(predicted, true)[:, 0, 0].tolist() == [2, 3, 4]
    assert cut(predicted[..., 5], true[..., 5]).shape == (1, 8, 8)


@pytest.fixture
def federation(tmp_path):
    prepared = load(prepare_toy(write_toy(tmp_path / "toy", full(24)), tmp_path / "cache"))
    return partition(prepared, DataConfig(), 0)


def test_a_view_shows_the_case(federation):
    case = federation.test[0]
    view = view_of(case)
    assert (view.patient, view.modality, view.unit, view.picture) == (case.patient, case.modality, "mm", False)
    assert view.image.shape == (len(view.slices), 16, 16, 1) and view.truth.shape == view.image.shape[:3]
    np.testing.assert_array_equal(view.truth, case.label[list(view.slices)])
    assert view.image.min() == 0 and view.image.max() == 255
    flat = np.corrcoef(view.image[..., 0].ravel(), np.asarray(case.image[list(view.slices), 0]).ravel())
    assert flat[0, 1] > 0.99


def test_views_are_stored_once_and_read_back(federation, tmp_path):
    key = keep_views(tmp_path, federation)
    assert key == views_key(federation) == keep_views(tmp_path, federation)
    file = tmp_path / ".views" / f"{key}.npz"
    content = file.read_bytes()
    views = load_views(file)
    assert set(views) == {case.id for case in federation.test}
    for case in federation.test:
        np.testing.assert_array_equal(views[case.id].image, view_of(case).image)
        assert views[case.id].slices == view_of(case).slices
    save_views(tmp_path / "again.npz", views)
    assert (tmp_path / "again.npz").read_bytes() == content


def test_keys_go_both_ways():
    assert read_key(array_key("personal", "CT", "P|1/CT/part")) == ("personal", "CT", "P|1/CT/part")
    assert read_key(array_key("global", None, "P/CT")) == ("global", "", "P/CT")
