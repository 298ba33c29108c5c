"""Raw volumes onto a common grid, worked by hand; a store that is whole or absent."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil

import numpy as np
import pytest

from fedbench.dataset import Intensity, Volume
from fedbench.errors import UserError
from fedbench.preparation import describe, load, prepare, resample
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


def test_finer_by_hand():
    """Voxels of 2 mm centred at 1, 3, 5, 7 mm; of 1 mm at 0.5, 1.5, ...: a quarter of the way, edges repeated."""
    out = resample(volume([0, 1, 2, 3], [2.0], label=[0, 1, 2, 0]), (1.0,))
    np.testing.assert_allclose(out.image[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-6)
    assert out.label.tolist() == [0, 0, 1, 1, 2, 2, 0, 0]


def test_a_ramp_stays_a_ramp_when_coarser():
    """Centres of voxels twice as wide lie at 2i + 0.5: the smoothing before must not shift or bend a ramp."""
    out = resample(volume(np.arange(40.0), [1.0]), (2.0,))
    np.testing.assert_allclose(out.image[0, 2:-2], 2 * np.arange(20)[2:-2] + 0.5, atol=1e-4)


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
    """Label 5 inside label 2: between them no 3 or 4 may appear, and the millilitres stay within 3 %."""
    grid, before = (1.0, 1.0, 2.0), np.zeros((48, 48, 24), np.uint8)
    distance = np.linalg.norm((np.indices(before.shape).T - [24, 23, 12]) * grid, axis=-1).T
    before[distance < 20] = 2
    before[distance < 13] = 5
    after = resample(volume(np.zeros(before.shape), grid, before), spacing).label
    assert after.dtype == np.uint8
    assert np.unique(after).tolist() == [0, 2, 5]
    for value in (2, 5):
        was, now = np.count_nonzero(before == value) * 2.0, np.count_nonzero(after == value) * np.prod(spacing)
        assert now == pytest.approx(was, rel=0.03)


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


@pytest.mark.parametrize("kind", ["window", "percentile"])
def test_an_empty_image_is_finite(kind):
    out = Intensity(kind, 0, 50)(np.zeros((4, 4)))
    assert (out == 0).all()


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(tmp_path, message: str, **changes) -> None:
    """Prepare two cases, the second of them broken."""
    folder = write_toy(tmp_path / "toy", {"P00": ["CT"]})
    arrays = {"image": np.zeros((1, 8, 8, 3)), "label": np.zeros((8, 8, 3), np.uint8), "spacing": (1.0, 1.0, 4.0)}
    write_volume(folder, "P01", "CT", **arrays | changes)
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=message) as caught:
        prepare_toy(folder, cache)
    assert "P01/CT" in str(caught.value) and "P01.CT.A.npz" in str(caught.value)
    assert leftovers(cache) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_is_refused(tmp_path, value):
    image = np.zeros((1, 8, 8, 3))
    image[0, 1, 2] = value
    refused(tmp_path, "3 voxels are NaN or infinite", image=image)


def test_different_shapes_are_refused(tmp_path):
    refused(tmp_path, r"image \(8, 8, 3\) and mask \(8, 9, 3\) differ", label=np.zeros((8, 9, 3), np.uint8))


def test_undeclared_labels_are_refused(tmp_path):
    label = np.zeros((8, 8, 3), np.int16)
    label[0], label[1] = 3, -1
    refused(tmp_path, r"unexpected labels \[-1, 3\]; allowed are 0\.\.2", label=label)


def test_a_spacing_of_other_dimensions_is_refused(tmp_path):
    refused(tmp_path, r"3 axes, spacing \(1\.0, 1\.0\)", spacing=(1.0, 1.0))
    with pytest.raises(UserError, match=r"P00/CT .* 3 axes, .*\[data\] spacing \(2\.0, 2\.0\)"):
        prepare(Toy(tmp_path / "toy"), "v1", tmp_path / "cache", (2.0, 2.0))


def test_no_case_and_a_case_listed_twice_are_refused(tmp_path):
    folder = write_toy(tmp_path / "toy", {})
    folder.mkdir()
    with pytest.raises(UserError, match="no cases found"):
        prepare_toy(folder, tmp_path / "cache")
    write_toy(folder, full(1))
    shutil.copy(folder / "P00.MR.A.npz", folder / "P00.MR.B.npz")
    with pytest.raises(UserError, match="listed twice: P00/MR"):
        prepare_toy(folder, tmp_path / "cache")


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
    write_volume(folder, "P00", "CT", np.zeros((1, 8, 8, 2)), np.ones((8, 8, 2), np.int64), (1.0, 1.0, 4.0))
    case = load(prepare_toy(folder, tmp_path / "cache")).cases[0]
    assert case.label.dtype == np.uint8 and (case.label == 1).all()


def test_the_second_time_nothing_is_read(toy, tmp_path):
    first = prepare_toy(toy, tmp_path / "cache")
    assert reads(toy) == 9
    assert prepare_toy(toy, tmp_path / "cache") == first
    assert reads(toy) == 9


def test_another_file_code_or_grid_is_another_store(toy, tmp_path):
    cache = tmp_path / "cache"
    folders = [prepare_toy(toy, cache), prepare_toy(toy, cache, "v2"), prepare(Toy(toy), "v1", cache, (2.0, 2.0, 4.0))]
    before = load(folders[0])
    write_volume(toy, "P00", "CT", np.ones((1, 8, 8, 3)), np.ones((8, 8, 3), np.uint8), (1.0, 1.0, 4.0))
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


def test_after_an_error_nothing_is_left_and_the_next_call_succeeds(toy, tmp_path):
    cache = tmp_path / "cache"
    (toy / "fault").write_text("raise P01.MR")
    with pytest.raises(RuntimeError, match=r"P01\.MR"):
        prepare_toy(toy, cache)
    assert reads(toy) == 5 and leftovers(cache) == []
    (toy / "fault").unlink()
    assert len(load(prepare_toy(toy, cache)).cases) == 9


def test_after_a_kill_the_next_call_succeeds_and_sweeps_up(toy, tmp_path):
    cache = tmp_path / "cache"
    (toy / "fault").write_text("kill P01.MR")
    process = multiprocessing.get_context("spawn").Process(target=prepare_toy, args=(toy, cache))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert list(cache.rglob("manifest.json")) == []
    (toy / "fault").unlink()
    folder = prepare_toy(toy, cache)
    assert len(load(folder).cases) == 9
    assert leftovers(cache) == [folder.name]


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
        from fedbench.preparation import load
        from tests.toys import prepare_toy
        print(load(prepare_toy(Path({str(toy)!r}), Path({str(tmp_path / "other")!r}))).content)
    """
    assert in_another_process(code) == prepared.content


def test_the_manifest_lists_the_checksums_of_the_sources(toy, tmp_path):
    folder = prepare_toy(toy, tmp_path / "cache")
    sources = json.loads((folder / "manifest.json").read_text())["sources"]
    assert set(sources) == {str(file) for file in toy.glob("*.npz")}
