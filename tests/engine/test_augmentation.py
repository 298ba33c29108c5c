"""Augmentation moves image and label together, nowhere in particular, and draws from its own stream alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d, max_pool3d

from fedbench.engine import augmentation
from fedbench.engine.augmentation import affine_matrices, augment

SIZES = [(32, 32), (24, 24, 8)]


def stream(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def block(size, n=1) -> torch.Tensor:
    """Labels ``(n, 1, *size)``: a block of 1 off centre with a corner of 3, so that no flip or rotation keeps it."""
    label = torch.zeros(n, 1, *size, dtype=torch.uint8)
    label[:, :, size[0] // 4 : size[0] // 2 + 3, size[1] // 4 : size[1] // 2] = 1
    label[:, :, size[0] // 4 : size[0] // 4 + 3, size[1] // 4 : size[1] // 4 + 4] = 3
    return label


@pytest.fixture
def still(monkeypatch):
    """Every magnitude is nought: only flips are left."""
    for name in ("ROTATION", "SCALE", "SHIFT", "GAIN", "OFFSET", "NOISE"):
        monkeypatch.setattr(augmentation, name, 0.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mirror_axes", [(), (0,), (1,), (0, 1)])
def test_without_magnitudes_only_the_allowed_flips_are_left(still, size, mirror_axes):
    """Voxel for voxel: anything half a voxel off, or a zoom by (n - 1) / n, would show."""
    labels = block(size, n=40)
    images = torch.rand(40, 2, *size, generator=stream(1))
    moved, moved_labels = augment(images, labels, mirror_axes, stream())
    seen = set()
    for before, after, label, moved_label in zip(images, moved, labels, moved_labels, strict=True):
        for flips in ((), (0,), (1,), (0, 1)):
            axes = [1 + axis for axis in flips]
            if torch.allclose(after, before.flip(axes), atol=1e-4):
                assert torch.equal(moved_label, label.flip(axes))
                seen.add(flips)
                break
        else:
            pytest.fail("neither the image nor a mirror image of it")
    assert seen == {flips for flips in ((), (0,), (1,), (0, 1)) if set(flips) <= set(mirror_axes)}


@pytest.mark.parametrize("size", SIZES)
def test_no_label_value_is_invented_and_types_stay(size):
    labels = block(size, n=64)
    images, moved = augment(labels.float(), labels, (0, 1), stream())
    assert set(moved.unique().tolist()) == {0, 1, 3}
    assert moved.dtype == torch.uint8 and images.dtype == torch.float32
    assert moved.shape == labels.shape and images.shape == labels.shape
    assert (labels == block(size, n=64)).all()  # copies: what went in is as it was
    assert len({moved[i].numpy().tobytes() for i in range(64)}) == 64


@pytest.mark.parametrize("size", SIZES)
def test_image_and_label_move_together(size):
    """The image is the mask itself, then gain <= 15 %, offset <= 0.1 and noise of 0.05: 0.5 separates in from out.

    Checked wherever a voxel's whole neighbourhood has one label; on edges linear and nearest interpolation differ.
    """
    labels = (block(size, n=64) > 0).to(torch.uint8)
    images, moved = augment(labels.float(), labels, (0, 1), stream())
    pool = max_pool2d if len(size) == 2 else max_pool3d
    inside = -pool(-moved.float(), 3, 1, 1) == 1
    outside = pool(moved.float(), 3, 1, 1) == 0
    inside[..., [0, -1]] = outside[..., [0, -1]] = False  # the frame: an image's edge is repeated, a label's is not
    assert inside.sum() > 64 * 30 and outside.sum() > 64 * 30
    assert (images[inside] > 0.5).float().mean() > 0.999
    assert (images[outside] < 0.5).float().mean() > 0.999


@pytest.mark.parametrize("size", [(32, 32), (48, 16), (24, 24, 8), (16, 48, 8)])
def test_matrices_are_small_and_have_no_preferred_direction(size):
    spatial_dims = len(size)
    matrices = affine_matrices(40_000, size, (0, 1), stream())
    shift, half = matrices[..., -1], torch.tensor(size[::-1]) / 2
    linear = half[:, None] * matrices[..., :-1] / half  # from torch's coordinates, -1 to 1 on every axis, to voxels
    scale = torch.linalg.det(linear).abs() ** (1 / spatial_dims)
    low, high = 1 - augmentation.SCALE, 1 + augmentation.SCALE
    assert low - 1e-4 <= scale.min() < low + 0.01 and high - 0.01 < scale.max() <= high + 1e-4
    assert scale.mean().item() == pytest.approx(1, abs=0.002)
    assert shift.abs().max() <= augmentation.SHIFT and shift.mean(0).abs().max() < 0.001
    gram = linear @ linear.transpose(1, 2) / scale[:, None, None] ** 2
    assert torch.allclose(gram, torch.eye(spatial_dims).expand_as(gram), atol=1e-4)  # no shear
    plane = linear[:, -2:, -2:] / scale[:, None, None]
    assert plane.mean(0).abs().max() < 0.02  # as many flips as not, as much to the left as to the right
    angle = torch.asin((plane[:, 1, 0] * plane[:, 0, 0].sign()).clamp(-1, 1))
    assert angle.abs().max() <= augmentation.ROTATION + 1e-4 and abs(angle.mean()) < 0.01
    if spatial_dims == 3:
        assert (linear[:, 0, 0] > 0).all() and (linear[:, 0, 1:] == 0).all()  # never out of plane


@pytest.mark.parametrize("size", SIZES)
def test_labels_go_on_beyond_the_edge_as_the_image_does(size):
    """A structure that the sample's edge cuts is repeated beyond it in the image, so it is no background there."""
    cut = torch.zeros(200, 1, *size, dtype=torch.uint8)
    cut[:, :, : size[0] // 2] = 2
    unlike = {}
    for edges in ("repeat", "background"):
        images, moved = augment((cut == 2).float(), cut, (), stream(), edges)
        assert set(moved.unique().tolist()) == {0, 2}
        unlike[edges] = ((images > 0.5) != (moved == 2)).float().mean()
    assert unlike["repeat"] < 0.02 < unlike["background"]


def test_a_disc_keeps_its_place_and_its_area_on_average():
    """Sizes go with 1/s^2, s uniform in 0.85..1.15, whose mean is 1 / (1 - 0.15^2) = 1.023."""
    x, y = np.meshgrid(np.arange(48) - 23.5, np.arange(48) - 23.5, indexing="ij")
    disc = torch.from_numpy((np.hypot(x, y) < 12).astype(np.uint8)).expand(2000, 1, 48, 48)
    _, moved = augment(disc.float(), disc, (), stream())
    mass = moved.double().sum(dim=(1, 2, 3))
    assert (mass.mean() / disc[0].sum()).item() == pytest.approx(1.023, abs=0.015)
    for other in (2, 3):
        centre = (moved.double().sum(dim=(1, other)) * torch.arange(48)).sum(1) / mass
        assert centre.mean().item() == pytest.approx(23.5, abs=0.1)
        assert centre.std() > 0.5


def test_intensities_keep_their_mean():
    images = torch.full((4000, 1, 8, 8), 0.5)
    moved, _ = augment(images, torch.zeros(4000, 1, 8, 8, dtype=torch.uint8), (), stream())
    means = moved.mean(dim=(1, 2, 3))
    assert means.mean().item() == pytest.approx(0.5, abs=0.005)
    assert 0.03 < means.std() < 0.1


def test_the_stream_alone_decides_and_no_other_is_touched():
    images, labels = torch.rand(4, 1, 16, 16, generator=stream(1)), block((16, 16), n=4)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    one, other, third = (augment(images, labels, (0, 1), stream(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], third[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]  # noqa: NPY002


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_draws_are_the_same_whatever_the_device(device):
    """On the device ``meta`` nothing is computed, but all that is drawn is drawn: the streams end alike."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    images, labels = torch.rand(3, 1, 16, 16, generator=stream(1)), block((16, 16), n=3)
    here, there = stream(), stream()
    expected, expected_labels = augment(images, labels, (0, 1), here)
    moved, moved_labels = augment(images.to(device), labels.to(device), (0, 1), there)
    assert torch.equal(here.get_state(), there.get_state())
    assert moved.device.type == moved_labels.device.type == device and moved.shape == expected.shape
    if device == "cuda":
        assert torch.allclose(moved.cpu(), expected, atol=1e-4)
        assert (moved_labels.cpu() == expected_labels).float().mean() > 0.99
