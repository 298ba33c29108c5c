"""Expected values are worked by hand, or come from MONAI."""

import warnings
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion, gaussian_filter

from fedbench import metrics
from fedbench.metrics import ClassScore, score_case, surface

SEED = st.integers(0, 2**32 - 1)
NDIM = st.sampled_from((2, 3))
quick = settings(max_examples=60, derandomize=True)


def score(prediction, truth, spacing, tolerance=1.0) -> ClassScore:
    return score_case(np.asarray(prediction, np.uint8), np.asarray(truth, np.uint8), [1], spacing, tolerance)[0]


def monai(prediction, truth, spacing, tolerance) -> tuple[float, float]:
    one_hot = [torch.from_numpy(np.asarray(mask) == 1)[None, None] for mask in (prediction, truth)]
    common = {"include_background": True, "spacing": tuple(spacing)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hd95 = compute_hausdorff_distance(*one_hot, percentile=95, directed=False, **common)
        nsd = compute_surface_dice(*one_hot, class_thresholds=[tolerance], use_subvoxels=False, **common)
    return float(hd95), float(nsd)


def drawn(seed: int, ndim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Two non-empty masks of any smoothness, filling any share of the image and often touching its border."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 14 if ndim == 3 else 40, ndim)
    masks = []
    for _ in range(2):
        field = gaussian_filter(rng.standard_normal(shape), rng.choice((0.0, 1.0, 3.0)))
        masks.append(field >= np.quantile(field, rng.uniform(0.0, 0.99)))
    spacing = rng.choice((0.1, 0.7, 0.98, 1.0, 3.27, rng.uniform(0.2, 6.0)), ndim)
    # Half of the tolerances are a distance that occurs, so that ties are tried too.
    tolerance = rng.choice((rng.uniform(0.0, 6.0), int(rng.integers(0, 4)) * spacing[0]))
    return masks[0], masks[1], spacing, float(tolerance)


# ------------------------------------------------------------------------------------------------ worked by hand


def test_bars_shifted_by_one_along_a_line() -> None:
    """Voxels 1-4 against 2-5 of a line 2 mm apart; in one row of a 2-D image every voxel is surface.

    Overlap 3 of 4 and 4: Dice 6/8. Distances there (2, 0, 0, 0), and back the same: the 95th percentile lies at rank
    0.95 x 3 = 2.85, so 0.85 x 2 = 1.7 mm. Within 1 mm: 3 of 4 both ways, 6/8. Area 4 x (1 x 2) = 8 mm^2.
    """
    result = score([[0, 1, 1, 1, 1, 0, 0]], [[0, 0, 1, 1, 1, 1, 0]], (1.0, 2.0))
    assert (result.dice, result.nsd, result.flag) == (0.75, 0.75, "")
    assert result.hd95 == pytest.approx(1.7, rel=1e-6)
    assert (result.volume_truth, result.volume_prediction) == (8.0, 8.0)


def test_single_voxels_are_as_far_apart_as_their_centres() -> None:
    """(0, 0, 0) and (3, 4, 1) at 1 x 1 x 12 mm: sqrt(9 + 16 + 144) = 13 mm; a voxel is 12 mm^3 = 0.012 ml."""
    prediction, truth = np.zeros((2, 5, 6, 3))
    prediction[0, 0, 0] = truth[3, 4, 1] = 1
    result = score(prediction, truth, (1.0, 1.0, 12.0), tolerance=13.0)
    assert (result.dice, result.hd95, result.nsd, result.volume_truth) == (0.0, 13.0, 1.0, 0.012)
    assert score(prediction, truth, (1.0, 1.0, 12.0), tolerance=12.9).nsd == 0.0


@pytest.mark.parametrize(("axis", "expected"), [(0, 0.5), (1, 2.0), (2, 5.0)])
def test_each_axis_has_its_own_spacing(axis, expected) -> None:
    """Two voxels, next to each other along one axis: HD95 is the spacing of that axis."""
    prediction, truth = np.zeros((2, 4, 4, 4))
    prediction[1, 1, 1] = 1
    truth[tuple(np.eye(3, dtype=int)[axis] + 1)] = 1
    assert score(prediction, truth, (0.5, 2.0, 5.0)).hd95 == expected


def test_surface_distances_ignore_the_inside() -> None:
    """A 5 x 5 square against its own 3 x 3 middle, 1 mm. Surfaces: 16 and 8 voxels (the centre is inside).

    From the 16: the corners are sqrt 2 from the nearest corner of the 3 x 3 ring, the other 12 are 1 mm away; the rank
    0.95 x 15 = 14.25 falls on a corner. Back: all 8 are 1 mm away. NSD at 1 mm: (12 + 8) / 24. Dice 2 x 9 / (25 + 9).
    """
    square = np.zeros((9, 9))
    middle = square.copy()
    square[2:7, 2:7] = middle[3:6, 3:6] = 1
    result = score(square, middle, (1.0, 1.0), tolerance=1.0)
    assert result.hd95 == pytest.approx(sqrt(2), rel=1e-6)
    assert result.nsd == pytest.approx(20 / 24)
    assert result.dice == pytest.approx(18 / 34)


def test_a_distance_equal_to_the_tolerance_is_within_it() -> None:
    """3 x 0.7 is 2.0999999999999996 and 0.1 x 3 is 0.30000000000000004 in float64; both must count."""
    for size, tolerance in ((0.7, 2.1), (0.1, 0.3)):
        assert score([[1, 0, 0, 0]], [[0, 0, 0, 1]], (1.0, size), tolerance).nsd == 1.0


def test_classes_are_scored_apart_and_in_the_order_asked() -> None:
    prediction = np.array([[1, 1, 2, 2], [0, 0, 0, 0]])
    truth = np.array([[1, 1, 2, 0], [0, 0, 7, 0]])
    scores = score_case(prediction, truth, (7, 2, 1, 3), (1.0, 1.0), 1.0)
    assert [s.label for s in scores] == [7, 2, 1, 3]
    assert [s.flag for s in scores] == ["missed", "", "", "both-empty"]
    assert [s.dice for s in scores[:3]] == [0.0, pytest.approx(2 / 3), 1.0]
    assert [(s.volume_truth, s.volume_prediction) for s in scores] == [(1, 0), (1, 2), (2, 2), (0, 0)]


# ------------------------------------------------------------------------------------------------ empty masks


def test_both_empty_is_not_applicable() -> None:
    result = score(np.zeros((4, 5, 6)), np.zeros((4, 5, 6)), (1.0, 1.0, 1.0))
    assert result.flag == "both-empty"
    assert np.isnan([result.dice, result.hd95, result.nsd]).all()
    assert result.volume_truth == result.volume_prediction == 0.0


@pytest.mark.parametrize("missed", [True, False])
def test_one_empty_mask_costs_the_image_diagonal(missed) -> None:
    """30 x 40 voxels of 1 x 3 mm: 30 x 120 mm; 10 slices of 2 mm: sqrt(900 + 14400 + 400) mm."""
    full, empty = np.zeros((2, 30, 40, 10))
    full[3:5, 3:5, 3] = 1
    prediction, truth = (empty, full) if missed else (full, empty)
    result = score(prediction, truth, (1.0, 3.0, 2.0))
    assert (result.dice, result.nsd) == (0.0, 0.0)
    assert result.hd95 == pytest.approx(sqrt(900 + 14400 + 400))
    assert result.flag == ("missed" if missed else "false-alarm")
    assert result.volume_truth == pytest.approx(0.024 if missed else 0.0)
    assert result.volume_prediction == pytest.approx(0.0 if missed else 0.024)


# ------------------------------------------------------------------------------------------------ properties


@quick
@given(SEED, NDIM)
def test_equals_monai(seed, ndim) -> None:
    prediction, truth, spacing, tolerance = drawn(seed, ndim)
    result = score(prediction, truth, spacing, tolerance)
    hd95, nsd = monai(prediction, truth, spacing, tolerance)
    assert result.hd95 == pytest.approx(hd95, rel=1e-6, abs=1e-6)
    assert result.nsd == pytest.approx(nsd, rel=0, abs=1e-6)


@pytest.mark.parametrize("dense", [0.0, 10.0], ids=["transform", "tree"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_both_ways_to_the_distances_equal_monai(monkeypatch, dense, ndim) -> None:
    monkeypatch.setattr(metrics, "DENSE", dense)
    for seed in range(25):
        prediction, truth, spacing, tolerance = drawn(seed, ndim)
        result = score(prediction, truth, spacing, tolerance)
        expected = monai(prediction, truth, spacing, tolerance)
        assert (result.hd95, result.nsd) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "face", [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1], np.s_[..., 0], np.s_[..., -1], np.s_[:]]
)
def test_masks_on_the_image_border_equal_monai(face) -> None:
    rng = np.random.default_rng(3)
    truth = rng.random((9, 8, 7)) > 0.9
    truth[face] = True
    prediction = np.roll(truth, 1, axis=1)
    expected = monai(prediction, truth, (1.0, 0.5, 3.27), 1.0)
    result = score(prediction, truth, (1.0, 0.5, 3.27))
    assert (result.hd95, result.nsd) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_large_surfaces_equal_monai() -> None:
    """With thousands of surface voxels the float32 rank of the percentile shows in the result."""
    rng = np.random.default_rng(0)
    prediction, truth = (gaussian_filter(rng.standard_normal((48, 48, 40)), 2.0) > 0.05 for _ in range(2))
    spacing = (0.977, 0.977, 3.27)
    result = score(prediction, truth, spacing, 2.0)
    assert (result.hd95, result.nsd) == pytest.approx(monai(prediction, truth, spacing, 2.0), rel=1e-6, abs=1e-6)


@quick
@given(SEED, NDIM)
def test_range_and_symmetry(seed, ndim) -> None:
    a, b, spacing, tolerance = drawn(seed, ndim)
    there, back = score(a, b, spacing, tolerance), score(b, a, spacing, tolerance)
    assert 0.0 <= there.dice <= 1.0 and 0.0 <= there.nsd <= 1.0
    assert 0.0 <= there.hd95 <= np.linalg.norm(np.multiply(a.shape, spacing))
    assert (there.dice, there.hd95, there.nsd) == (back.dice, back.hd95, back.nsd)
    assert (there.volume_truth, there.volume_prediction) == (back.volume_prediction, back.volume_truth)


@quick
@given(SEED, NDIM)
def test_identical_masks_are_perfect(seed, ndim) -> None:
    mask, _, spacing, tolerance = drawn(seed, ndim)
    result = score(mask, mask, spacing, tolerance)
    assert (result.dice, result.hd95, result.nsd, result.flag) == (1.0, 0.0, 1.0, "")


@quick
@given(SEED, NDIM)
def test_translation_and_padding_change_nothing(seed, ndim) -> None:
    a, b, spacing, tolerance = drawn(seed, ndim)
    before = score(a, b, spacing, tolerance)
    margin = [tuple(pair) for pair in np.random.default_rng(seed).integers(0, 5, (ndim, 2))]
    assert score(np.pad(a, margin), np.pad(b, margin), spacing, tolerance) == before


@quick
@given(SEED, NDIM)
def test_axes_may_be_permuted_and_flipped(seed, ndim) -> None:
    a, b, spacing, tolerance = drawn(seed, ndim)
    before = score(a, b, spacing, tolerance)
    after = score(np.flip(a.T, 0), np.flip(b.T, 0), spacing[::-1], tolerance)
    assert after.hd95 == pytest.approx(before.hd95, rel=1e-6)
    assert (after.dice, after.nsd) == (before.dice, before.nsd)


@quick
@given(SEED, NDIM)
def test_surface_is_what_an_erosion_removes(seed, ndim) -> None:
    mask = drawn(seed, ndim)[0]
    np.testing.assert_array_equal(surface(mask), mask & ~binary_erosion(mask))


# ------------------------------------------------------------------------------------------------ refusals

A = np.zeros((3, 4), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A, A.T, [1], (1.0, 1.0), 1.0), "differ in shape"),
        ((A[0], A[0], [1], (1.0,), 1.0), "2-D or 3-D"),
        ((A.astype(float), A, [1], (1.0, 1.0), 1.0), "integers"),
        ((A, A, [1], (1.0, 1.0, 1.0), 1.0), "spacing"),
        ((A, A, [1], (1.0, 0.0), 1.0), "spacing"),
        ((A, A, [1], (1.0, float("nan")), 1.0), "spacing"),
        ((A, A, [1], (1.0, 1.0), -1.0), "tolerance"),
        ((A, A, [1], (1.0, 1.0), float("inf")), "tolerance"),
    ],
)
def test_refusals(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        score_case(*arguments)
