"""Raw volumes onto a common grid, worked by hand; a store that is whole or absent."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.config import DataConfig
from fedbench.data.preparation import check, prepare
from fedbench.data.prepared import describe, load
from fedbench.data.resampling import resample
from fedbench.dataset import Intensity, Volume
from fedbench.errors import UserError
from tests.toys import Toy, ToyBackwards, full, in_another_process, prepare_toy, reads, write_toy, write_volume


def volume(image, spacing, label=None) -> Volume:
    image = np.asarray(image, np.float32)
    label = np.zeros(image.shape, np.uint8) if label is None else np.asarray(label, np.uint8)
    return Volume(image[None], label, tuple(spacing))


def leftovers(cache) -> list[str]:
    """What lies in the cache besides locks."""
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock")


# -- resampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 3, 8), (0.7, 1.9, 4)])
def test_a_constant_stays_constant(spacing):
    out = resample(volume(np.full((9, 10, 6), 7.0), (1.0, 1.5, 4.0)), spacing)
    np.testing.assert_allclose(out.image, 7.0, rtol=1e-6)
    assert out.spacing == spacing and out.image.shape[1:] == out.label.shape


def test_the_same_grid_changes_nothing():
    before = volume(np.random.default_rng(0).normal(size=(4, 5, 3)), (1.0, 1.0, 3.27))
    after = resample(before, (1.0, 1.0, 3.27))
    np.testing.assert_array_equal(after.image, before.image)


def test_a_grid_that_is_a_twentieth_finer_is_another_one():
    """20 voxels of 1 mm are 21 of 0.95; of 1.0004, which is how a header may round 1, they are the same 20."""
    before = volume(np.arange(20.0), [1.0])
    assert resample(before, (0.95,)).label.shape == (21,)
    assert resample(before, (1.0004,)) is before


def test_finer_by_hand():
    """Voxels of 2 mm centred at 1, 3, 5, 7 mm; of 1 mm at 0.5, 1.5, ...: a quarter of the way, edges repeated."""
    out = resample(volume([0, 1, 2, 3], [2.0], label=[0, 1, 2, 0]), (1.0,))
    np.testing.assert_allclose(out.image[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-6)
    assert out.label.tolist() == [0, 0, 1, 1, 2, 2, 0, 0]


def test_a_ramp_stays_a_ramp_when_coarser():
    """Centres of voxels twice as wide lie at 2i + 0.5: the smoothing before must not shift or bend a ramp."""
    out = resample(volume(np.arange(40.0), [1.0]), (2.0,))
    np.testing.assert_allclose(out.image[0, 2:-2], 2 * np.arange(20)[2:-2] + 0.5, atol=1e-4)


@pytest.mark.parametrize("factor", [2.0, 2.0002, 3.0, 4.0, 1.3, 0.6])
def test_a_mask_stays_where_its_image_is(factor):
    """A structure, drawn as image and mask: the same centre in both, and no more area than half voxels at its edge."""
    x, y = np.meshgrid(np.arange(48.0), np.arange(48.0), indexing="ij")
    disc = np.hypot(x - 19.3, y - 25.8) < 11
    out, turned = (
        resample(volume(disc[::way].astype(float), (1.0, 1.0), label=disc[::way]), (factor, factor)) for way in (1, -1)
    )
    assert out.label.sum() * factor**2 == pytest.approx(disc.sum(), rel=0.08)
    for axis in range(2):
        places = np.indices(out.label.shape)[axis]
        shown, drawn = ((places * each).sum() / each.sum() for each in (out.image[0], out.label))
        assert shown == pytest.approx(drawn, abs=0.12)
    if factor in (2.0, 3.0, 4.0):  # grids that lie the same way round
        np.testing.assert_array_equal(out.label, turned.label[::-1])


def test_the_class_that_has_most_of_a_voxel_gets_it():
    """Three raw voxels in one; no class between two others is invented. Two in one: the higher label of equal ones."""
    out = resample(volume(np.zeros(9), [1.0], label=[3, 3, 3, 3, 1, 1, 0, 0, 1]), (3.0,))
    assert out.label.tolist() == [3, 1, 0] and out.label.dtype == np.uint8
    halves = resample(volume(np.zeros(6), [1.0], label=[0, 1, 2, 1, 0, 0]), (2.0,))
    assert halves.label.tolist() == [1, 2, 0]


def test_the_nearest_raw_voxel_lies_half_a_voxel_off_where_factors_are_even():
    """What the published studies did, kept so that their runs can be repeated."""
    label = [0, 1, 1, 1, 1, 0, 0, 0]
    ways = [resample(volume(np.zeros(8), [1.0], label=label[::way]), (2.0,), "nearest").label for way in (1, -1)]
    assert ways[0].tolist() != ways[1][::-1].tolist()


def test_axes_are_resampled_each_by_its_own_factor():
    x, y, z = np.meshgrid(np.arange(24.0), np.arange(16.0), np.arange(5.0), indexing="ij")
    out = resample(volume(x + 100 * y + 10000 * z, (1.0, 2.0, 5.0)), (3.0, 1.0, 5.0))
    assert out.label.shape == (8, 32, 5)
    x, y, z = np.meshgrid(3 * np.arange(8) + 1.0, np.arange(32) / 2 - 0.25, np.arange(5), indexing="ij")
    inner = np.s_[2:-2, 1:-1, :]
    np.testing.assert_allclose(out.image[0][inner], (x + 100 * y + 10000 * z)[inner], rtol=1e-5)


def test_channels_are_resampled_apart():
    image = np.stack([np.full((8, 8), 1.0), np.full((8, 8), -5.0)]).astype(np.float32)
    out = resample(Volume(image, np.zeros((8, 8), np.uint8), (1.0, 1.0)), (2.0, 2.0))
    assert out.image.shape == (2, 4, 4)
    assert np.allclose(out.image[0], 1.0) and np.allclose(out.image[1], -5.0)


def test_coarser_averages_instead_of_picking():
    """A checkerboard of 0 and 10 is 5 from afar; the centres of voxels three times as wide lie on voxels 3i + 1."""
    board = 10.0 * (np.indices((33, 33)).sum(0) % 2)
    out = resample(volume(board, (1.0, 1.0)), (3.0, 3.0))
    np.testing.assert_allclose(out.image[0, 2:-2, 2:-2], 5.0, atol=0.5)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 4.0), (1.3, 0.8, 3.0), (1.0, 1.0, 1.0)])
def test_labels_keep_their_values_and_their_volume(spacing):
    """Label 5 inside label 2: between them no 3 or 4 may appear, and the millilitres stay within 6 %."""
    grid, before = (1.0, 1.0, 2.0), np.zeros((48, 48, 24), np.uint8)
    distance = np.linalg.norm((np.indices(before.shape).T - [24, 23, 12]) * grid, axis=-1).T
    before[distance < 20] = 2
    before[distance < 13] = 5
    after = resample(volume(np.zeros(before.shape), grid, before), spacing).label
    assert after.dtype == np.uint8
    assert np.unique(after).tolist() == [0, 2, 5]
    for value in (2, 5):
        was, now = np.count_nonzero(before == value) * 2.0, np.count_nonzero(after == value) * np.prod(spacing)
        assert now == pytest.approx(was, rel=0.06)


# -- intensity --------------------------------------------------------------------------------------------------------


def test_window_by_hand():
    """Clipped to -100, -100, 100, 100: mean 0, standard deviation 100."""
    out = Intensity("window", -100, 100)(np.array([-200.0, -100, 100, 3000]))
    assert out.tolist() == [-1.0, -1.0, 1.0, 1.0] and out.dtype == np.float32


def test_percentile_by_hand():
    """Of 0..100 the 10th percentile is 10 and the 90th 90; the mean stays 50, whatever the image's scale."""
    values = np.arange(101.0)
    out = Intensity("percentile", 10, 90)(values)
    assert (out[:11] == out[0]).all() and (out[90:] == out[100]).all() and out[10] < out[11] < out[89] < out[90]
    assert out.mean() == pytest.approx(0, abs=1e-6) and out.std() == pytest.approx(1) and out[50] == pytest.approx(0)
    assert out[30] == pytest.approx(out[10] / 2)
    np.testing.assert_allclose(Intensity("percentile", 10, 90)(values * 37 + 5), out, atol=1e-5)
    np.testing.assert_allclose(Intensity("percentile", 10, 90)(values * 1e-11), out, atol=1e-5)  # diffusion, in m2/s


@pytest.mark.parametrize("kind", ["window", "percentile"])
def test_an_empty_image_is_finite(kind):
    """Also where a mean of equal values is not quite their value."""
    for value in (0.0, 0.1, 1e-9 / 3):
        out = Intensity(kind, 0, 50)(np.full((7, 11), value))
        assert np.abs(out).max() < 1e-3


# -- what is refused --------------------------------------------------------------------------------------------------


def noise(shape=(1, 8, 8, 3)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def refused(tmp_path, message: str, **changes) -> None:
    """Prepare two cases, the second of them broken; the first is kept for the next attempt."""
    folder = write_toy(tmp_path / "toy", {"P00": ["CT"]})
    arrays = {"image": noise(), "label": np.zeros((8, 8, 3), np.uint8), "spacing": (1.0, 1.0, 4.0)}
    write_volume(folder, "P01", "CT", **arrays | changes)
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=message) as caught:
        prepare_toy(folder, cache)
    assert "P01/CT" in str(caught.value) and "P01.CT.A.npz" in str(caught.value)
    assert "P00/CT" not in str(caught.value)
    assert [name for name in leftovers(cache) if not name.endswith(".partial")] == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_is_refused(tmp_path, value):
    image = noise()
    image[0, 1, 2] = value
    refused(tmp_path, "3 voxels are NaN or infinite", image=image)


def test_different_shapes_are_refused(tmp_path):
    refused(tmp_path, r"image \(8, 8, 3\) and mask \(8, 9, 3\) differ", label=np.zeros((8, 9, 3), np.uint8))


def test_undeclared_labels_are_refused(tmp_path):
    label = np.zeros((8, 8, 3), np.int16)
    label[0], label[1] = 3, -1
    refused(tmp_path, r"unexpected labels \[-1, 3\]; allowed are 0\.\.2", label=label)


@pytest.mark.parametrize("value", [0, -1024])
def test_an_image_of_one_value_is_refused(tmp_path, value):
    refused(tmp_path, f"every voxel is {value}", image=np.full((1, 8, 8, 3), value))


@pytest.mark.parametrize("image", [noise() * 0.1 + 200, noise() * 0.1 - 1000])
def test_an_image_outside_the_window_is_refused(tmp_path, image):
    """It would be zero everywhere. One voxel inside is enough; ``--check`` tells it too."""
    refused(tmp_path, r"all voxels \(.* lie outside the window of CT, -100 to 100, .*is it in HU", image=image)
    (problem,) = check(Toy(tmp_path / "toy"), "v1", tmp_path / "other").problems
    assert "P01/CT" in problem and "outside the window of CT" in problem
    image[0, 4, 4, 1] = 0
    write_volume(tmp_path / "toy", "P01", "CT", image, np.zeros((8, 8, 3)), (1.0, 1.0, 4.0))
    assert len(load(prepare_toy(tmp_path / "toy", tmp_path / "cache")).cases) == 2


def test_an_image_of_which_percentiles_leave_nothing_is_refused(tmp_path):
    """One voxel of 192 differs: the 1st and the 99th percentile are the same."""
    image = np.full((1, 8, 8, 3), 7.0)
    image[0, 4, 4, 1] = 900
    folder = tmp_path / "toy"
    write_volume(folder, "P00", "MR", image, np.zeros((8, 8, 3)), (1.0, 1.0, 4.0))
    dataset = Toy(folder)
    assert check(dataset, "v1", tmp_path / "cache").problems == []  # of 0 and 100 it is not
    dataset.intensity = {"MR": Intensity("percentile", 1, 99)}
    message = r"P00/MR .*nearly every voxel is 7 \(of 7 to 900; percentiles 1 and 99 are the same\)"
    with pytest.raises(UserError, match=message):
        prepare(dataset, "v1", tmp_path / "cache")
    (problem,) = check(dataset, "v1", tmp_path / "cache").problems
    assert re.search(message, problem)


@pytest.mark.parametrize("channels", [2, 4])
def test_neither_grey_nor_colour_is_refused(tmp_path, channels):
    refused(tmp_path, f"{channels} channels; an image has 1", image=noise((channels, 8, 8, 3)))


def test_a_spacing_of_other_dimensions_is_refused(tmp_path):
    refused(tmp_path, "3 axes and 2 voxel sizes; an image has 2 or 3 axes", spacing=(1.0, 1.0))
    folder = write_toy(tmp_path / "several", full(2), spacing=(1.0000000238531952, 1.0, 4.0))
    words = "images have 3 axes, the common grid has 2; give 3 voxel sizes, such as --spacing 2,2,3"
    with pytest.raises(UserError, match=f"^dataset 'toy': {words}[^\n]*$"):  # once for all six cases
        prepare_toy(folder, tmp_path / "cache", spacing=(2.0, 2.0))
    (problem,) = check(Toy(folder), "v1", tmp_path / "cache", DataConfig(spacing=(2.0, 2.0))).problems
    assert problem.startswith(words)


def test_no_case_and_a_case_there_twice_are_refused(tmp_path):
    folder = write_toy(tmp_path / "toy", {})
    folder.mkdir()
    with pytest.raises(UserError, match="no cases found"):
        prepare_toy(folder, tmp_path / "cache")
    write_toy(folder, full(1))
    shutil.copy(folder / "P00.MR.A.npz", folder / "P00.MR.B.npz")
    with pytest.raises(UserError, match=r"P00/MR is there twice: .*P00\.MR\.A\.npz and .*P00\.MR\.B\.npz"):
        prepare_toy(folder, tmp_path / "cache")


def test_all_problems_come_in_one_message_and_nothing_is_lost(tmp_path):
    """Seen from outside first, at no cost; then while reading. Sound cases are not read a second time."""
    folder, cache = write_toy(tmp_path / "toy", full(4)), tmp_path / "cache"
    sound = (folder / "P01.MR.B.npz").read_bytes()
    (folder / "P01.MR.B.npz").write_bytes(b"")
    (folder / "P02.CT.A.npz").unlink()
    (folder / "P02.CT.A.npz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="2 problems") as caught:
        prepare_toy(folder, cache)
    assert "P01.MR.B.npz is empty" in str(caught.value) and "P02.CT.A.npz is a broken link" in str(caught.value)
    assert reads(folder) == 0
    (folder / "P01.MR.B.npz").write_bytes(sound)
    (folder / "P02.CT.A.npz").unlink()
    for name in ("P00.CT.A", "P03.PET.B"):
        write_volume(folder, *name.split(".")[:2], np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3)), (1, 1, 4), name[-1])
    with pytest.raises(UserError, match="2 problems") as caught:
        prepare_toy(folder, cache)
    assert str(caught.value).index("P00/CT") < str(caught.value).index("P03/PET")
    assert reads(folder) == 11
    for number, name in enumerate(("P00.CT.A", "P03.PET.B")):
        image = np.random.default_rng(number).normal(size=(1, 8, 8, 3))
        write_volume(folder, *name.split(".")[:2], image, np.zeros((8, 8, 3), np.uint8), (1, 1, 4), name[-1])
    folder_of_store = prepare_toy(folder, cache)
    assert len(load(folder_of_store).cases) == 11
    assert leftovers(cache) == [folder_of_store.name]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    """A link inside the folder is fine."""
    folder = write_toy(tmp_path / "toy", full(2))
    shutil.move(folder / "P00.CT.A.npz", tmp_path / "secret.npz")
    (folder / "P00.CT.A.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(UserError, match=r"P00\.CT\.A\.npz is a link out of .*toy, to .*secret\.npz; copy the file"):
        prepare_toy(folder, tmp_path / "cache")
    (folder / "P00.CT.A.npz").unlink()
    (folder / "kept").mkdir()
    shutil.move(tmp_path / "secret.npz", folder / "kept" / "a.npz")
    (folder / "P00.CT.A.npz").symlink_to(folder / "kept" / "a.npz")
    assert len(load(prepare_toy(folder, tmp_path / "cache")).cases) == 6


# -- looking without writing ------------------------------------------------------------------------------------------


def test_check_lists_every_problem_and_writes_nothing(tmp_path):
    folder, cache = write_toy(tmp_path / "toy", full(3)), tmp_path / "cache"
    assert check(Toy(folder), "v1", cache) == ([], [], [], [])
    (folder / "P00.MR.A.npz").write_bytes(b"")
    for patient, image in (("P01", np.zeros((1, 8, 8, 3))), ("P02", np.full((1, 8, 8, 3), np.nan))):
        write_volume(folder, patient, "CT", image, np.zeros((8, 8, 3)), (1, 1, 4), "BA"[int(patient[-1]) % 2 == 0])
    problems = check(Toy(folder), "v1", cache).problems
    assert len(problems) == 3
    for problem, words in zip(problems, ("P00.MR.A.npz is empty", "P01/CT", "192 voxels are NaN"), strict=True):
        assert words in problem
    assert not cache.exists()


def test_check_tells_of_what_the_common_grid_loses(tmp_path):
    """One voxel of 1 mm is less than half of one of 3 mm."""
    folder = write_toy(tmp_path / "toy", full(2))
    label = np.zeros((16, 16, 2), np.uint8)
    label[4, 4, 0], label[8:12, 3:9] = 1, 2
    write_volume(folder, "P00", "MR", 40.0 * label[None] + noise((16, 16, 2)), label, (1.0, 1.0, 4.0))
    found = check(Toy(folder), "v1", tmp_path / "cache", DataConfig(spacing=(3.0, 3.0, 4.0)))
    assert found == ([], [], ["P00/MR (organ)"], [])
    assert check(Toy(folder), "v1", tmp_path / "cache").lost == []


def test_check_tells_of_one_image_under_several_patients(tmp_path):
    """In two modalities of one patient it is no leak."""
    folder = write_toy(tmp_path / "toy", full(4))
    for copy in ("P02.MR.A", "P03.MR.B", "P03.PET.B"):
        shutil.copy(folder / "P00.CT.A.npz", folder / f"{copy}.npz")
    shutil.copy(folder / "P01.CT.B.npz", folder / "P01.MR.B.npz")
    assert check(Toy(folder), "v1", tmp_path / "cache").twins == ["P00/CT = P02/MR = P03/MR = P03/PET"]


def test_check_notices_a_damaged_store(toy, tmp_path):
    folder = prepare_toy(toy, tmp_path / "cache")
    assert check(Toy(toy), "v1", tmp_path / "cache") == ([], [], [], [])
    file = folder / "00003.label.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (problem,) = check(Toy(toy), "v1", tmp_path / "cache").problems
    assert "00003.label.npy does not match its checksum" in problem


# -- the store --------------------------------------------------------------------------------------------------------


def test_what_is_prepared(prepared):
    assert [case.id for case in prepared.cases] == [
        "P00/CT", "P00/MR", "P00/PET", "P01/CT", "P01/MR", "P01/PET", "P02/CT", "P02/MR", "P03/MR",
    ]  # fmt: skip
    assert (prepared.modalities, prepared.classes, prepared.channels) == (("CT", "MR", "PET"), ("organ", "tumour"), 1)
    case = prepared.cases[3]
    assert (case.patient, case.modality, case.site) == ("P01", "CT", "B")
    assert (case.spacing, case.shape) == ((1.0, 1.0, 4.0), (16, 16, 2))
    assert case.image.shape == (2, 1, 16, 16) and case.image.dtype == np.float32
    assert case.label.shape == (2, 16, 16) and case.label.dtype == np.uint8
    assert np.mean(case.image) == pytest.approx(0, abs=0.01) and np.std(case.image) == pytest.approx(1, abs=0.01)
    air, organ, tumour = (case.image[:, 0][case.label == value].mean() for value in (0, 1, 2))
    assert (tumour - organ) / (organ - air) == pytest.approx(1, abs=0.25)  # 0, 40 and 80 of -100..100


def test_a_flat_image_is_one_slice(tmp_path):
    folder = write_toy(tmp_path / "toy", {"P00": ["CT"]}, shape=(16, 12), spacing=(2.0, 2.0))
    case = load(prepare_toy(folder, tmp_path / "cache")).cases[0]
    assert case.shape == (32, 24) and case.spacing == (1.0, 1.0)
    assert case.image.shape == (1, 1, 32, 24) and case.label.shape == (1, 32, 24)


def test_labels_are_bytes_whatever_a_plugin_yields(tmp_path):
    folder = tmp_path / "toy"
    write_volume(folder, "P00", "CT", noise((1, 8, 8, 2)), np.ones((8, 8, 2), np.int64), (1.0, 1.0, 4.0))
    case = load(prepare_toy(folder, tmp_path / "cache")).cases[0]
    assert case.label.dtype == np.uint8 and (case.label == 1).all()


def test_the_second_time_nothing_is_read(toy, tmp_path):
    first = prepare_toy(toy, tmp_path / "cache")
    assert reads(toy) == 9
    assert prepare_toy(toy, tmp_path / "cache") == first
    assert reads(toy) == 9


def test_another_file_code_or_grid_is_another_store(toy, tmp_path):
    cache = tmp_path / "cache"
    folders = [prepare_toy(toy, cache), prepare_toy(toy, cache, "v2"), prepare_toy(toy, cache, spacing=(2.0, 2.0, 4.0))]
    before = load(folders[0])
    write_volume(toy, "P00", "CT", noise(), np.ones((8, 8, 3), np.uint8), (1.0, 1.0, 4.0))
    folders.append(prepare_toy(toy, cache))
    (toy / "P03.MR.B.npz").unlink()
    folders.append(prepare_toy(toy, cache))
    assert len(set(folders)) == 5
    contents = [load(folder).content for folder in folders]
    assert contents[0] == contents[1] and len(set(contents)) == 4  # another plugin may well yield the same images
    assert load(folders[0]) == before


def test_the_content_does_not_depend_on_the_order_of_listing(toy, tmp_path):
    one, other = (load(prepare(cls(toy), "v1", tmp_path / cls.__name__)) for cls in (Toy, ToyBackwards))
    assert [case.id for case in one.cases] == [case.id for case in other.cases][::-1]
    assert one.content == other.content


def test_a_store_can_be_moved(prepared, toy, tmp_path):
    here, there = prepare_toy(toy, tmp_path / "cache"), tmp_path / "elsewhere"
    shutil.move(here, there)
    moved = load(there)
    assert moved.content == prepared.content
    assert [describe(case) for case in moved.cases] == [describe(case) for case in prepared.cases]
    assert moved.cases[0].label.max() == 2


def test_arrays_are_mapped_and_cannot_be_written(prepared):
    for array in (prepared.cases[0].image, prepared.cases[0].label):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_pickled_case_carries_no_arrays(prepared):
    case = prepared.cases[0]
    image, label = np.array(case.image), np.array(case.label)
    sent = pickle.dumps(case)
    assert len(sent) < 1000 < image.nbytes
    received = pickle.loads(sent)
    assert received == case
    np.testing.assert_array_equal(received.image, image)
    np.testing.assert_array_equal(received.label, label)


def test_after_an_error_the_next_call_goes_on(toy, tmp_path):
    """The fifth case fails: the four before it are kept, and nothing that looks like a store."""
    cache = tmp_path / "cache"
    (toy / "fault").write_text("raise P01.MR")
    with pytest.raises(RuntimeError, match=r"P01\.MR"):
        prepare_toy(toy, cache)
    assert all(name.endswith(".partial") for name in leftovers(cache))
    (toy / "fault").unlink()
    before = reads(toy)
    folder = prepare_toy(toy, cache)
    assert len(load(folder).cases) == 9 and leftovers(cache) == [folder.name]
    assert reads(toy) - before < 9


def test_after_a_kill_the_next_call_goes_on_to_the_same_bytes(toy, tmp_path):
    cache = tmp_path / "cache"
    (toy / "fault").write_text("kill P01.MR")
    process = multiprocessing.get_context("spawn").Process(target=prepare_toy, args=(toy, cache))
    process.start()
    process.join()
    assert process.exitcode == -9 and reads(toy) == 5
    assert all(name.endswith(".partial") for name in leftovers(cache))
    (toy / "fault").unlink()
    folder = prepare_toy(toy, cache)
    assert reads(toy) == 10 and leftovers(cache) == [folder.name]
    fresh = prepare_toy(toy, tmp_path / "fresh")
    assert reads(toy) == 19
    for file in fresh.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_what_an_interrupted_attempt_at_an_older_version_left_is_swept_up(toy, tmp_path):
    cache = tmp_path / "cache"
    (toy / "fault").write_text("raise P01.MR")
    with pytest.raises(RuntimeError):
        prepare_toy(toy, cache)
    (toy / "fault").unlink()
    write_volume(toy, "P00", "CT", noise(), np.ones((8, 8, 3), np.uint8), (1.0, 1.0, 4.0))
    folder = prepare_toy(toy, cache)
    assert leftovers(cache) == [folder.name]


@pytest.mark.parametrize("change", ["grid", "source"])
def test_an_interrupted_attempt_at_a_named_folder_is_not_mixed_with_another(toy, tmp_path, change):
    """Four cases were prepared; then another grid is asked for, or a file changes, and the same folder named."""
    target, others = tmp_path / "named" / "store", tmp_path / "others"
    (toy / "fault").write_text("raise P01.MR")
    with pytest.raises(RuntimeError):
        prepare(Toy(toy), "v1", others, target=target, workers=1)
    (toy / "fault").unlink()
    data = DataConfig(spacing=(2.0, 2.0, 4.0)) if change == "grid" else None
    if change == "source":
        write_volume(toy, "P00", "CT", noise(), np.ones((8, 8, 3), np.uint8), (1.0, 1.0, 4.0))
    prepare(Toy(toy), "v1", others, data, target=target)
    fresh = prepare(Toy(toy), "v1", others, data)
    assert sorted(file.name for file in target.parent.iterdir()) == ["store"]
    for file in fresh.iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes(), file.name


def test_an_interrupted_attempt_at_a_named_folder_goes_on(toy, tmp_path):
    (toy / "fault").write_text("raise P01.MR")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            prepare(Toy(toy), "v1", tmp_path / "cache", target=tmp_path / "store", workers=1)
    (toy / "fault").unlink()
    before = reads(toy)
    prepare(Toy(toy), "v1", tmp_path / "cache", target=tmp_path / "store")
    assert 0 < reads(toy) - before < 9


def test_threads_change_nothing(toy, tmp_path):
    one, many = prepare_toy(toy, tmp_path / "one"), prepare(Toy(toy), "v1", tmp_path / "many", workers=8)
    for file in one.iterdir():
        assert (many / file.name).read_bytes() == file.read_bytes(), file.name


def test_progress_counts_the_cases(toy, tmp_path):
    told = []
    prepare(Toy(toy), "v1", tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 9) for done in range(10)]
    prepare(Toy(toy), "v1", tmp_path, progress=lambda done, total: told.append((done, total)))
    assert len(told) == 10  # there already: nothing to tell


def test_two_processes_at_once_make_one_store(tmp_path):
    toy, cache = write_toy(tmp_path / "toy", full(12), shape=(64, 64, 8)), tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.starmap(prepare_toy, [(toy, cache)] * 4, chunksize=1)
    assert len(set(folders)) == 1 and leftovers(cache) == [folders[0].name]
    assert reads(toy) == 36  # every image once, although four asked
    assert [case.label.max() for case in load(folders[0]).cases] == [2] * 36


def test_the_content_is_the_same_in_another_process(prepared, toy, tmp_path):
    code = f"""
        from pathlib import Path
        from fedbench.data.prepared import load
        from tests.toys import prepare_toy
        print(load(prepare_toy(Path({str(toy)!r}), Path({str(tmp_path / "other")!r}))).content)
    """
    assert in_another_process(code) == prepared.content


def test_the_manifest_is_a_table_of_cases_with_checksums_of_their_sources(toy, tmp_path):
    frame = pd.read_parquet(prepare_toy(toy, tmp_path / "cache") / "manifest.parquet").set_index("id")
    row = frame.loc["P01/CT"]
    assert (row["patient"], row["site"], row["modality"]) == ("P01", "B", "CT")
    assert (row["spacing"].tolist(), row["shape"].tolist()) == ([1.0, 1.0, 4.0], [16, 16, 2])
    assert row["voxels"].tolist() == [4 * 6 * 2, 4 * 6 * 2]
    file = toy / "P01.CT.B.npz"
    assert row["sources"].tolist() == [str(file)]
    assert row["sources_sha256"].tolist() == [hashlib.sha256(file.read_bytes()).hexdigest()]


@pytest.mark.parametrize("damage", ["dataset.json", "manifest.parquet", "00002.image.npy"])
def test_a_store_that_is_not_whole_is_refused(toy, tmp_path, damage):
    folder = prepare_toy(toy, tmp_path / "cache")
    (folder / damage).unlink()
    with pytest.raises(UserError, match="prepare"):
        load(folder)


def test_a_store_in_a_folder_of_the_users_choice(toy, tmp_path):
    target = tmp_path / "stores" / "mine"
    assert prepare(Toy(toy), "v1", tmp_path / "cache", target=target) == target
    assert load(target).content == load(prepare_toy(toy, tmp_path / "cache")).content
    with pytest.raises(UserError, match="exists already"):
        prepare(Toy(toy), "v1", tmp_path / "cache", target=target)


def test_nothing_of_the_users_is_deleted_beside_a_folder_of_their_choice(toy, tmp_path):
    (tmp_path / "mine.lock").write_text("precious")
    prepare(Toy(toy), "v1", tmp_path / "cache", target=tmp_path / "mine")
    assert (tmp_path / "mine.lock").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.lock", "toy"]


def test_of_two_commands_that_name_one_folder_the_second_is_refused(toy, tmp_path):
    """It waits for the first, and does not take for its own what that one made on another grid."""
    (toy / "slow").touch()
    target, coarse = tmp_path / "mine", DataConfig(spacing=(2.0, 2.0, 4.0))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(prepare, Toy(toy), "v1", tmp_path / "cache", target=target, workers=1)
        while not reads(toy):
            time.sleep(0.001)
        second = pool.submit(prepare, Toy(toy), "v1", tmp_path / "cache", coarse, target=target, workers=1)
        assert first.result() == target
        with pytest.raises(UserError, match="mine exists already"):
            second.result()
    assert load(target).cases[0].spacing == (1.0, 1.0, 4.0)


@pytest.mark.parametrize("change", ["content", "site"])
def test_a_change_that_neither_size_nor_time_shows_is_noticed(toy, tmp_path, change):
    before = load(prepare_toy(toy, tmp_path / "cache"))
    (file,) = toy.glob("P00.CT.*")
    if change == "site":
        dataset = Toy(toy)
        moved = [replace(case, site="elsewhere") if case.patient == "P00" else case for case in dataset.cases()]
        dataset.cases = lambda: moved  # as from a table that is no source of any case
        after = load(prepare(dataset, "v1", tmp_path / "cache"))
        assert {case.site for case in after.cases if case.patient == "P00"} == {"elsewhere"}
        return
    times, content = file.stat(), file.read_bytes()
    with np.load(file) as arrays:
        np.savez(file, image=arrays["image"], label=arrays["label"][::-1], spacing=arrays["spacing"])
    assert len(content) == file.stat().st_size
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = load(prepare_toy(toy, tmp_path / "cache"))
    assert after.content != before.content


# -- colour -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def coloured(tmp_path):
    """A picture in colour, 3 red, and one in grey."""
    red = np.stack([noise((8, 8)) + 3, np.zeros((8, 8)), np.zeros((8, 8))])
    for patient, image in (("P00", red), ("P01", noise((1, 8, 8)))):
        write_volume(tmp_path / "toy", patient, "CT", image, np.zeros((8, 8), np.uint8), (1.0, 1.0))
    return tmp_path / "toy"


@pytest.mark.parametrize(("colour", "channels"), [("auto", 3), ("rgb", 3), ("grey", 1)])
def test_all_cases_have_the_same_channels(coloured, tmp_path, colour, channels):
    dataset = load(prepare_toy(coloured, tmp_path / "cache", colour=colour))
    assert dataset.channels == channels
    assert [case.image.shape for case in dataset.cases] == [(1, channels, 8, 8)] * 2
    grey = dataset.cases[1].image
    assert all((grey[:, c] == grey[:, 0]).all() for c in range(channels))


def test_grey_is_luminance(coloured, tmp_path):
    """Red alone: a constant factor, which normalisation takes away again."""
    grey = load(prepare_toy(coloured, tmp_path / "cache", colour="grey")).cases[0].image[0, 0]
    red = (noise((8, 8)) + 3) * 0.299
    red = np.clip(red, -100, 100)
    np.testing.assert_allclose(grey, (red - red.mean()) / red.std(), atol=1e-4)


def test_colours_are_normalised_together(coloured, tmp_path):
    """Red stays brighter than green and blue, which are equal."""
    image = load(prepare_toy(coloured, tmp_path / "cache")).cases[0].image[0]
    assert image.mean() == pytest.approx(0, abs=1e-5) and image.std() == pytest.approx(1, abs=1e-5)
    assert image[0].mean() > image[1].mean() + 1 and (image[1] == image[2]).all()


def test_a_store_of_any_size_needs_few_open_files(tmp_path):
    """600 cases, two arrays each; a process may have 400 files open here."""
    code = f"""
        import resource
        from pathlib import Path
        import numpy as np
        from fedbench.data import prepared
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
        grid = (1.0, 1.0), (4, 4)
        cases = [prepared.PreparedCase(str(i), "P", "CT", "", *grid, "", f"{tmp_path}/{{i}}") for i in range(600)]
        for i, case in enumerate(cases):
            np.save(f"{{case.stem}}.image.npy", np.full((1, 1, 4, 4), i, np.float32))
            np.save(f"{{case.stem}}.label.npy", np.zeros((1, 4, 4), np.uint8))
        print(sum(float(case.image[0, 0, 0, 0]) + case.label.max() for case in cases))
    """
    assert float(in_another_process(code)) == sum(range(600))
