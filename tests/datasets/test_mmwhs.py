"""A miniature of MM-WHS 2017 as it is downloaded: axial CT, oblique sagittal MR, labels in the hundreds."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from fedbench.dataset import Case
from fedbench.datasets.mmwhs import WholeHeart
from fedbench.errors import UserError

PATIENTS = range(1001, 1009)
SHAPE = (9, 8, 7)  # in RAS
SPACING = {"ct": (0.4, 0.4, 0.625), "mr": (1.1, 0.9, 1.4)}  # in RAS
STORED = {"ct": "LPS", "mr": "PIR"}
TILT = {"ct": 0.0, "mr": 14.0}  # degrees
MARKS = {  # value in the file -> where in RAS
    205: (1, 2, 3), 420: (2, 6, 1), 500: (3, 1, 5), 820: (4, 5, 2), 600: (5, 3, 6), 550: (6, 7, 0), 850: (7, 4, 4),
}  # fmt: skip
COMMON = {205: 1, 420: 2, 500: 3, 820: 4}
ALL = {205: 1, 420: 2, 500: 3, 820: 4, 600: 5, 550: 6, 850: 7}


def save(path: Path, ras: np.ndarray, spacing: tuple[float, ...], stored: str = "RAS", tilt: float = 0.0) -> None:
    """Write an array given in RAS, stored along other axes (such as "LPS"), turned by ``tilt`` degrees."""
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    affine = np.diag([*spacing, 1.0])
    affine[:3, :3] = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]] @ affine[:3, :3]
    affine[:3, :3] = [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ affine[:3, :3]
    affine[:3, 3] = (-31.0, 12.5, 80.0)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(stored))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(ras, affine).as_reoriented(turn), path)


def picture(number: int) -> np.ndarray:
    """No two voxels alike, so that a flipped axis shows."""
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) - 300 + number % 1000).astype(np.int16)


def mask(number: int) -> np.ndarray:
    array = np.zeros(SHAPE, np.int16)
    for value, place in MARKS.items():
        array[place] = value
    if number == 1003:
        array[2, 6, 2] = 421
    return array


def write_mmwhs(folder: Path) -> Path:
    """Eight patients in CT and eight others in MR, under ``MM-WHS 2017 Dataset``."""
    root = folder / "MM-WHS 2017 Dataset"
    for kind in ("ct", "mr"):
        for number in PATIENTS:
            stem, grid = root / f"{kind}_train" / f"{kind}_train_{number}", (SPACING[kind], STORED[kind], TILT[kind])
            save(Path(f"{stem}_image.nii.gz"), picture(number), *grid)
            save(Path(f"{stem}_label.nii.gz"), mask(number), *grid)
        save(root / f"{kind}_test" / f"{kind}_test_2001_image.nii.gz", picture(2001), SPACING[kind])
    (root / ".DS_Store").touch()
    (root / "ct_train" / "._ct_train_1001_image.nii.gz").touch()
    clutter = folder / "__MACOSX" / "ct_train" / "ct_train_1001_image.nii.gz"
    clutter.parent.mkdir(parents=True)
    clutter.touch()
    return folder


@pytest.fixture
def root(tmp_path):
    return write_mmwhs(tmp_path / "Herz und Gefäße") / "MM-WHS 2017 Dataset"


def listed(root: Path, **params) -> dict[str, Case]:
    found = list(WholeHeart(root, **params).cases())
    assert [str(case) for case in found if isinstance(case, UserError)] == []
    return {case.id: case for case in found}


def problems(root: Path) -> list[str]:
    return [str(found) for found in WholeHeart(root).cases() if isinstance(found, UserError)]


EVERYBODY = [f"{kind}-{number}/{kind.upper()}" for kind in ("ct", "mr") for number in PATIENTS]


def test_lists_ct_then_mr_as_different_people(root):
    cases = listed(root)
    assert list(cases) == EVERYBODY
    assert len({case.patient for case in cases.values()}) == 16
    image = root / "mr_train" / "mr_train_1002_image.nii.gz"
    assert cases["mr-1002/MR"].sources == (image, image.with_name("mr_train_1002_label.nii.gz"))


def test_the_folder_above_and_a_folder_unpacked_twice(root):
    assert list(listed(root.parent)) == EVERYBODY
    twice = root / "ct_train" / "ct_train"
    twice.mkdir()
    for path in (root / "ct_train").glob("ct_train_*.nii.gz"):
        path.rename(twice / path.name)
    cases = listed(root.parent)
    assert list(cases) == EVERYBODY
    assert cases["ct-1001/CT"].sources[0] == twice / "ct_train_1001_image.nii.gz"


@pytest.mark.parametrize(("kind", "number"), [("ct", 1001), ("mr", 1008)])
@pytest.mark.parametrize(("structures", "labels"), [("common", COMMON), ("all", ALL)])
def test_reads_in_ras(root, kind, number, structures, labels):
    path = root / f"{kind}_train" / f"{kind}_train_{number}_image.nii.gz"
    assert "".join(nib.aff2axcodes(nib.load(path).affine)) == STORED[kind]
    volume = listed(root, structures=structures)[f"{kind}-{number}/{kind.upper()}"].read()
    assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
    np.testing.assert_array_equal(volume.image[0], picture(number))
    assert volume.spacing == pytest.approx(SPACING[kind], rel=1e-5)
    assert {value: volume.label[place] for value, place in MARKS.items()} == {
        value: labels.get(value, 0) for value in MARKS
    }
    assert np.count_nonzero(volume.label) == len(labels)


def test_classes_follow_the_structures(root):
    common, everything = WholeHeart(root), WholeHeart(root, structures="all")
    assert common.classes == ("myocardium", "left-atrium", "left-ventricle", "ascending-aorta")
    assert everything.classes == (*common.classes, "right-ventricle", "right-atrium", "pulmonary-artery")
    assert WholeHeart.classes == common.classes
    with pytest.raises(UserError, match="'structures' = 'four' is refused"):
        WholeHeart(root, structures="four")


def test_421_is_left_atrium(root):
    label = listed(root)["mr-1003/MR"].read().label
    assert label[2, 6, 1] == label[2, 6, 2] == 2


def test_another_value_is_refused(root):
    array = mask(1001)
    array[0, 0, 0] = 700
    save(root / "ct_train" / "ct_train_1001_label.nii.gz", array, SPACING["ct"], STORED["ct"])
    with pytest.raises(UserError, match=r"ct_train_1001_label\.nii\.gz: it holds 700, only 0, 205, 420, 421"):
        listed(root)["ct-1001/CT"].read()


def test_unpacked_files(root):
    packed = root / "mr_train" / "mr_train_1004_image.nii.gz"
    nib.save(nib.load(packed), packed.with_suffix(""))
    assert problems(root) == [f"{packed.with_suffix('')}: the same image lies in {packed} too; keep one of the two."]
    packed.unlink()
    case = listed(root)["mr-1004/MR"]
    assert case.sources[0].name == "mr_train_1004_image.nii"
    np.testing.assert_array_equal(case.read().image[0], picture(1004))


def test_cases_reads_no_image_and_can_be_sent_to_another_process(root):
    expected = pickle.loads(pickle.dumps(listed(root)["ct-1001/CT"])).read()
    np.testing.assert_array_equal(expected.image[0], picture(1001))
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"")
    assert list(listed(root)) == EVERYBODY


def test_all_problems_at_once(root):
    (root / "ct_train" / "ct_train_1002_label.nii.gz").unlink()
    (root / "mr_train" / "mr_train_1005_image.nii.gz").unlink()
    shutil.copy(root / "mr_train" / "mr_train_1001_image.nii.gz", root)
    no_mask, twice, no_image = problems(root)
    assert "ct_train_1002_image.nii.gz: this image has no mask; add" in no_mask
    assert "mr_train_1001_image.nii.gz: the same image lies in" in twice
    assert "mr_train_1005_label.nii.gz: this mask has no image; add" in no_image


def test_derived_files_are_ignored(root):
    folder = root / "ct_train"
    shutil.copy(folder / "ct_train_1001_label.nii.gz", folder / "ct_train_1001_label_predicted.nii.gz")
    shutil.copy(folder / "ct_train_1001_label.nii.gz", folder / "ct_train_1001_label.txt")
    cases = listed(root)
    assert list(cases) == EVERYBODY
    assert cases["ct-1001/CT"].sources[1] == folder / "ct_train_1001_label.nii.gz"


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_a_modality_is_missing(root, kind):
    shutil.rmtree(root / f"{kind}_train")
    with pytest.raises(UserError, match=f"no {kind}_train_.* give the folder that holds both ct_train and mr_train"):
        list(WholeHeart(root).cases())


def test_another_folder(root, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", root / "ct_test"):
        with pytest.raises(UserError, match=r"no ct_train_\*_image\.nii\.gz"):
            list(WholeHeart(folder).cases())
    with pytest.raises(UserError, match=r"no mr_train_\*_image\.nii\.gz"):
        list(WholeHeart(root / "ct_train").cases())
    with pytest.raises(UserError, match="needs its folder"):
        WholeHeart()
