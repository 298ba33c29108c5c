"""Windows worked by hand on images whose voxels say where they are; epochs that hold every sample once."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from fedbench.engine.batches import TrainingSet
from fedbench.federation import ClientData, pooled
from tests.toys import stored_case


def stream(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def where(z: int, x: int, y: int) -> np.ndarray:
    """An image ``(Z, X, Y)`` whose voxel at x, y, z is ``10000 x + 100 y + z``."""
    z, x, y = np.meshgrid(np.arange(z), np.arange(x), np.arange(y), indexing="ij")
    return (10000 * x + 100 * y + z).astype(np.float32)


def client(folder, *shapes, modality="CT") -> ClientData:
    """Cases of the given ``(Z, X, Y)``; the label is the position's remainder by 7, plus 1."""
    cases = []
    for number, shape in enumerate(shapes):
        image = where(*shape)
        cases.append(stored_case(folder, f"P{number}", image[:, None], image % 7 + 1, modality))
    return ClientData(modality, modality, tuple(cases), ())


def named(folder, slices, modality="CT") -> ClientData:
    """Cases of 4 x 4 slices; every slice is filled with a number of its own (case * 100 + slice)."""
    cases = []
    for number, n in enumerate(slices):
        image = np.broadcast_to(100.0 * number + np.arange(n)[:, None, None, None], (n, 1, 4, 4))
        cases.append(stored_case(folder, f"P{number}", image, np.zeros((n, 4, 4)), modality))
    return ClientData(modality, modality, tuple(cases), ())


def drawn(samples: TrainingSet, seed=0) -> list[list[float]]:
    """The numbers of the slices, batch by batch."""
    return [images[:, 0, 0, 0].tolist() for images, _ in samples.batches(stream(seed), augmented=False)]


# -- epochs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
def test_an_epoch_holds_every_slice_once_in_even_batches(tmp_path, batch_size):
    samples = TrainingSet(named(tmp_path, (3, 1, 5)), (4, 4), batch_size)
    batches = drawn(samples)
    expected = [0, 1, 2, 100, 200, 201, 202, 203, 204]
    assert sorted(chain(*batches)) == expected and len(samples) == 9
    assert len(batches) == samples.steps == -(-9 // batch_size)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= batch_size


def test_the_stream_alone_decides_the_batches(tmp_path):
    samples = TrainingSet(client(tmp_path, (6, 12, 12)), (4, 4), 2, mirror_axes=(0,))

    def epoch(seed, augmented):
        return [torch.cat([i, labels.float()], 1) for i, labels in samples.batches(stream(seed), augmented=augmented)]

    for augmented in (False, True):
        torch.manual_seed(1)
        one = epoch(0, augmented)
        torch.manual_seed(2)
        assert all(torch.equal(a, b) for a, b in zip(one, epoch(0, augmented), strict=True))
        assert not torch.equal(torch.cat(one), torch.cat(epoch(1, augmented)))


def test_a_pooled_client_makes_the_steps_of_its_parts(tmp_path):
    """3, 5 and 4 slices at batches of 4: 1 + 2 + 1 = 4 steps of 3 samples, not ceil(12 / 4) = 3."""
    parts = [named(tmp_path, (n,), m) for n, m in ((3, "CT"), (5, "MR"), (4, "PET"))]
    steps = [TrainingSet(part, (4, 4), 4).steps for part in parts]
    together = TrainingSet(pooled(parts), (4, 4), 4)
    assert steps == [1, 2, 1] and together.steps == 4 and len(together) == 12
    assert [len(batch) for batch in drawn(together)] == [3, 3, 3, 3]
    assert sorted(chain(*drawn(together))) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4]


def test_patches_per_case_is_the_number_of_samples_of_a_case(tmp_path):
    samples = TrainingSet(client(tmp_path, (8, 8, 8), (9, 9, 9)), (4, 4, 4), 4, patches_per_case=3)
    batches = list(samples.batches(stream(), augmented=False))
    assert len(samples) == 6 and [len(images) for images, _ in batches] == [3, 3]


@pytest.mark.parametrize("n", [1, 4, 8, 15, 40])
def test_plain_images_are_spread_evenly(tmp_path, n):
    """Of 3 cases with 5 slices each, no part of the list is passed over."""
    samples = TrainingSet(named(tmp_path, (5, 5, 5)), (4, 4), 4)
    images = samples.plain(n, stream())[:, 0, 0, 0].tolist()
    at = [int(value // 100) * 5 + int(value % 100) for value in images]
    assert len(set(at)) == len(at) == min(n, 15)
    assert max(np.diff([*at, 15])) <= -(-15 // len(at))


# -- windows ----------------------------------------------------------------------------------------------------------


def test_windows_of_a_slice(tmp_path):
    samples = TrainingSet(client(tmp_path, (3, 9, 7)), (4, 5), 3)
    corners = set()
    for seed in range(60):
        for images, labels in samples.batches(stream(seed), augmented=False):
            assert images.dtype == torch.float32 and labels.dtype == torch.uint8
            assert images.shape[1:] == labels.shape[1:] == (1, 4, 5)
            for image, label in zip(images.numpy()[:, 0], labels.numpy()[:, 0], strict=True):
                x, y, z = int(image[0, 0]) // 10000, int(image[0, 0]) // 100 % 100, int(image[0, 0]) % 100
                np.testing.assert_array_equal(image, where(3, 9, 7)[z, x : x + 4, y : y + 5])
                np.testing.assert_array_equal(label, image % 7 + 1)
                corners.add((x, y))
    assert corners == {(x, y) for x in range(6) for y in range(3)}  # everywhere it fits, both ends included


def test_a_slice_smaller_than_the_window_is_centred(tmp_path):
    """2 x 3 in 4 x 6: one row above and below; one column before, two after ((6 - 3) // 2 = 1)."""
    images, labels = next(TrainingSet(client(tmp_path, (1, 2, 3)), (4, 6), 1).batches(stream(), augmented=False))
    image, label = np.full((4, 6), -1.0), np.zeros((4, 6))
    image[1:3, 1:4] = where(1, 2, 3)[0]
    label[1:3, 1:4] = where(1, 2, 3)[0] % 7 + 1
    np.testing.assert_array_equal(images[0, 0], image)
    np.testing.assert_array_equal(labels[0, 0], label)


def test_one_axis_too_short_and_one_too_long(tmp_path):
    samples = TrainingSet(client(tmp_path, (1, 2, 8)), (4, 4), 1)
    starts = set()
    for seed in range(40):
        (images, labels) = next(samples.batches(stream(seed), augmented=False))
        image, y = images[0, 0].numpy(), int(images[0, 0, 1, 0]) // 100
        assert (image[[0, 3]] == -1).all() and (labels[0, 0].numpy()[[0, 3]] == 0).all()
        np.testing.assert_array_equal(image[1:3], where(1, 2, 8)[0, :, y : y + 4])
        starts.add(y)
    assert starts == {0, 1, 2, 3, 4}


def test_channels_keep_their_order(tmp_path):
    image = np.stack([where(2, 5, 5), -where(2, 5, 5)], axis=1)
    case = stored_case(tmp_path, "P", image, np.zeros((2, 5, 5)))
    images, _ = next(TrainingSet(ClientData("CT", "CT", (case,), ()), (4, 4), 2).batches(stream(), augmented=False))
    assert images.shape == (2, 2, 4, 4)
    assert torch.equal(images[:, 0], -images[:, 1]) and images[:, 0].max() > 0


def test_windows_of_a_volume(tmp_path):
    """Axes of a patch are X, Y, Z although slices come first in the store."""
    samples = TrainingSet(client(tmp_path, (5, 9, 7)), (4, 5, 2), 8, patches_per_case=8)
    corners = set()
    for seed in range(40):
        for images, labels in samples.batches(stream(seed), augmented=False):
            for image, label in zip(images.numpy()[:, 0], labels.numpy()[:, 0], strict=True):
                first = int(image[0, 0, 0])
                x, y, z = first // 10000, first // 100 % 100, first % 100
                whole = np.moveaxis(where(5, 9, 7), 0, -1)
                np.testing.assert_array_equal(image, whole[x : x + 4, y : y + 5, z : z + 2])
                np.testing.assert_array_equal(label, image % 7 + 1)
                corners.add((x, y, z))
    assert {c[0] for c in corners} == set(range(6))
    assert {c[1] for c in corners} == set(range(3))
    assert {c[2] for c in corners} == set(range(4))


def test_a_volume_smaller_than_the_patch_is_centred(tmp_path):
    """X: 3 of 4, none before ((4 - 3) // 2 = 0); Y: 4 of 4; Z: 1 of 4, one before ((4 - 1) // 2 = 1)."""
    samples = TrainingSet(client(tmp_path, (1, 3, 4)), (4, 4, 4), 1, patches_per_case=6)
    expected = np.full((4, 4, 4), -1.0)
    expected[:3, :, 1:2] = np.moveaxis(where(1, 3, 4), 0, -1)
    for images, labels in samples.batches(stream(), augmented=False):  # anywhere or around foreground: one place only
        np.testing.assert_array_equal(images[0, 0], expected)
        np.testing.assert_array_equal(labels[0, 0] > 0, expected >= 0)


@pytest.mark.parametrize("at", [(0, 0, 0), (15, 31, 31), (3, 20, 9)])
def test_half_of_the_patches_look_at_the_foreground(tmp_path, at):
    """A single voxel in 16 x 32 x 32: a patch of 8 voxels a side anywhere holds it with a chance of at most 0.1."""
    label = np.zeros((16, 32, 32))
    label[at] = 1
    case = stored_case(tmp_path, "P", where(16, 32, 32)[:, None], label)
    samples = TrainingSet(ClientData("CT", "CT", (case,), ()), (8, 8, 8), 10, patches_per_case=200)
    hits = sum(
        int(labels.sum(dim=(1, 2, 3, 4)).bool().sum()) for _, labels in samples.batches(stream(), augmented=False)
    )
    assert 80 <= hits <= 140


def test_a_volume_without_foreground_gives_patches_too(tmp_path):
    case = stored_case(tmp_path, "P", where(8, 8, 8)[:, None], np.zeros((8, 8, 8)))
    samples = TrainingSet(ClientData("CT", "CT", (case,), ()), (4, 4, 4), 5, patches_per_case=20)
    corners = {float(i[0, 0, 0, 0]) for images, _ in samples.batches(stream(), augmented=False) for i in images}
    assert len(corners) > 10
