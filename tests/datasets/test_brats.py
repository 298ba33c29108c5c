"""Miniatures of BraTS 2021 and BraTS 2023 GLI as they are downloaded: four sequences, one mask, no skull."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedbench.data.inspection import inventory
from fedbench.dataset import Case
from fedbench.datasets.brats import BrainTumours
from fedbench.errors import UserError

SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")
SHAPE = (12, 14, 6)  # 240 x 240 x 155 in the real sets
AFFINE = np.array([[-1, 0, 0, 0], [0, -1, 0, 13], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # stored as left, posterior, superior
NAMES = {
    2021: ("BraTS2021_{:05d}", "_", ("t1", "t1ce", "t2", "flair"), 4),
    2023: ("BraTS-GLI-{:05d}-{:03d}", "-", ("t1n", "t1c", "t2w", "t2f"), 3),
}
PATIENTS = tuple(number for number in range(36) if number % 3 != 1)  # enough for four clients that share none
AGAIN = 5  # in 2023 this patient was scanned twice
FOLDERS = {2021: "BraTS2021_Training_Data", 2023: "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"}
VALIDATION = {
    2021: "RSNA_ASNR_MICCAI_BraTS2021_ValidationData",
    2023: "ASNR-MICCAI-BraTS2023-GLI-Challenge-ValidationData",
}
both = pytest.mark.parametrize("edition", [2021, 2023])


def picture(number: int, sequence: int) -> np.ndarray:
    """As stored: zero around the brain, and in the brain no two voxels alike, so that a flipped axis shows."""
    array = np.zeros(SHAPE, np.int16)
    brain = array[2:-2, 2:-2, 1:]
    brain[:] = 100 + 1000 * sequence + number + np.arange(brain.size).reshape(brain.shape)
    return array


def mask(enhancing: int) -> np.ndarray:
    """As stored."""
    array = np.zeros(SHAPE, np.uint8)
    array[3:6, 4:7, 2:4] = 2
    array[4, 5, 2] = 1
    array[3, 4:6, 3] = enhancing
    return array


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def write_patient(folder: Path, edition: int, number: int, time: int = 0, *, labelled: bool = True) -> Path:
    pattern, joint, sequences, enhancing = NAMES[edition]
    name = pattern.format(number, time)
    for i, sequence in enumerate(sequences):
        save(picture(number, i), folder / name / f"{name}{joint}{sequence}.nii.gz")
    if labelled:
        save(mask(enhancing), folder / name / f"{name}{joint}seg.nii.gz")
    return folder / name


def write_brats(folder: Path, edition: int = 2021) -> Path:
    """24 patients, besides a validation set without masks; in 2023 one of the patients at two times."""
    for number in PATIENTS:
        write_patient(folder / FOLDERS[edition], edition, number)
    if edition == 2023:
        write_patient(folder / FOLDERS[edition], edition, AGAIN, 1)
    write_patient(folder / VALIDATION[edition], edition, 1, labelled=False)
    (folder / FOLDERS[edition] / ".DS_Store").touch()
    clutter = write_patient(folder / "__MACOSX", edition, 0)
    (clutter / "._x.nii.gz").touch()
    return folder


def write_2021(folder: Path) -> Path:
    return write_brats(folder / "Köpfe und Tumoren", 2021)


def write_2023(folder: Path) -> Path:
    return write_brats(folder / "Köpfe und Tumoren", 2023)


@pytest.fixture
def root(tmp_path, edition):
    return {2021: write_2021, 2023: write_2023}[edition](tmp_path)


def listed(root: Path) -> dict[str, Case]:
    found = list(BrainTumours(root).cases())
    assert [str(case) for case in found if isinstance(case, UserError)] == []
    return {case.id: case for case in found}


def problems(root: Path) -> list[str]:
    return [str(found) for found in BrainTumours(root).cases() if isinstance(found, UserError)]


def ids(edition: int) -> list[str]:
    if edition == 2021:
        return [f"BraTS2021_{number:05d}/{sequence}" for number in PATIENTS for sequence in SEQUENCES]
    scans = sorted([(number, 0) for number in PATIENTS] + [(AGAIN, 1)])
    return [f"BraTS-GLI-{number:05d}/{sequence}/{time:03d}" for number, time in scans for sequence in SEQUENCES]


def file(root: Path, edition: int, number: int, sequence: str) -> Path:
    """A file of a training patient; ``sequence`` as it is called in 2021."""
    pattern, joint, sequences, _ = NAMES[edition]
    name = pattern.format(number, 0)
    called = dict(zip(NAMES[2021][2], sequences, strict=True)).get(sequence, sequence)
    return root / FOLDERS[edition] / name / f"{name}{joint}{called}.nii.gz"


@both
def test_lists_four_sequences_of_every_scan(root, edition):
    cases = listed(root / FOLDERS[edition])
    assert list(cases) == ids(edition)
    assert len({case.patient for case in cases.values()}) == len(PATIENTS)
    flair = cases[ids(edition)[3]]
    assert flair.sources == (file(root, edition, 0, "flair"), file(root, edition, 0, "seg"))


@both
def test_folders_above_without_the_validation_set(root, edition):
    assert list(listed(root)) == ids(edition)
    if edition == 2021:
        assert list(listed(root.parent)) == ids(edition)


@both
def test_reads_in_ras_with_labels_1_to_3(root, edition):
    for case, sequence in zip(listed(root).values(), range(4), strict=False):
        assert case.modality == SEQUENCES[sequence]
        volume = case.read()
        assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
        np.testing.assert_array_equal(volume.image[0], picture(0, sequence)[::-1, ::-1])
        np.testing.assert_array_equal(volume.label, mask(3)[::-1, ::-1])
        assert volume.spacing == (1.0, 1.0, 1.0)
        core, oedema, enhancing = (np.count_nonzero(volume.label == label) for label in (1, 2, 3))
        assert (core, oedema, enhancing) == (1, 15, 2)


@pytest.mark.parametrize(("edition", "foreign"), [(2021, 3), (2023, 4)])
def test_labels_of_another_edition_are_refused(root, edition, foreign):
    path = file(root, edition, 2, "seg")
    save(mask(foreign), path)
    with pytest.raises(UserError, match=f"{path.name}: it holds {foreign}, only 0, 1, 2, {NAMES[edition][3]} "):
        listed(root)[ids(edition)[4]].read()


def test_two_editions_in_one_folder_are_refused(tmp_path):
    write_brats(tmp_path, 2021)
    write_patient(tmp_path / "more", 2023, 7)
    with pytest.raises(UserError, match=r"mixes editions, such as .*BraTS2021_00000 and .*BraTS-GLI-00007-000"):
        list(BrainTumours(tmp_path).cases())


@both
def test_all_problems_at_once(root, edition):
    file(root, edition, 0, "t1ce").unlink()
    file(root, edition, 2, "seg").unlink()
    shutil.rmtree(file(root, edition, 3, "seg").parent)
    file(root, edition, 3, "seg").parent.mkdir()
    save(picture(6, 2), file(root, edition, 6, "t2").with_suffix(""))
    no_sequence, no_mask, empty, twice = problems(root)
    assert f"{file(root, edition, 0, 't1ce')} is missing; add it, or remove" in no_sequence
    assert f"{file(root, edition, 2, 'seg')} is missing; add it, or remove" in no_mask
    assert f"{file(root, edition, 3, 'seg')} is missing" in empty
    assert f"{file(root, edition, 6, 't2')} too; keep one of the two" in twice
    found = [case for case in BrainTumours(root).cases() if isinstance(case, Case)]
    assert len(found) == len(ids(edition)) - 1 - 4 - 4


@both
def test_a_scan_that_lies_in_two_folders(root, edition):
    scan = file(root, edition, 0, "seg").parent
    shutil.copytree(scan, root / "copy" / scan.name)
    assert problems(root) == [f"{root / 'copy' / scan.name}: the same scan lies in {scan} too; keep one of the two."]


@both
def test_unpacked_files(root, edition):
    for sequence in ("flair", "seg"):
        packed = file(root, edition, 0, sequence)
        nib.save(nib.load(packed), packed.with_suffix(""))
        packed.unlink()
    volume = listed(root)[ids(edition)[3]].read()
    np.testing.assert_array_equal(volume.image[0], picture(0, 3)[::-1, ::-1])
    np.testing.assert_array_equal(volume.label, mask(3)[::-1, ::-1])


@both
def test_the_brain_keeps_its_contrast(root, edition):
    """Zeros around the brain make most of the volume; scaling must not clip the brain at its lower end."""
    volume = listed(root)[ids(edition)[0]].read()
    scaled = BrainTumours.intensity["T1"](volume.image)[0]
    brain = volume.image[0] > 0
    assert scaled[brain].min() > scaled[~brain].max()
    assert len(np.unique(scaled[brain])) >= 0.99 * np.count_nonzero(brain)


@both
def test_the_validation_set_alone_is_refused(root, edition):
    with pytest.raises(UserError, match=r"none of the 1 patients .* has a mask .*; give the training set"):
        list(BrainTumours(root / VALIDATION[edition]).cases())


@both
def test_cases_reads_no_image_and_can_be_sent_to_another_process(root, edition):
    volume = pickle.loads(pickle.dumps(listed(root)[ids(edition)[0]])).read()
    np.testing.assert_array_equal(volume.image[0], picture(0, 0)[::-1, ::-1])
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"")
    assert list(listed(root)) == ids(edition)


def test_another_folder(tmp_path):
    for name in ("empty", "BraTS-MEN-00004-000", "BraTS20_Training_001", "BraTS2021_00000.tar"):
        (tmp_path / name).mkdir()
    for folder in (tmp_path, tmp_path / "empty"):
        with pytest.raises(UserError, match="no patient folders BraTS2021_NNNNN or BraTS-GLI-NNNNN-NNN"):
            list(BrainTumours(folder).cases())


def test_each_scan_in_a_folder_of_its_name(tmp_path):
    """As in a copy of BraTS 2021 on Kaggle. A folder with another number of images in it is told as what it is."""
    root = write_2021(tmp_path)
    for path in [path for path in (root / FOLDERS[2021]).rglob("*.nii.gz") if not path.name.startswith(".")]:
        folder = path.with_name(path.name.removesuffix(".gz"))
        folder.mkdir()
        path.rename(folder / "00000057_brain_scan.nii.gz")
    cases = listed(root)
    assert list(cases) == ids(2021)
    image = file(root, 2021, 0, "flair").with_suffix("") / "00000057_brain_scan.nii.gz"
    assert cases["BraTS2021_00000/FLAIR"].sources[0] == image
    np.testing.assert_array_equal(cases["BraTS2021_00000/FLAIR"].read().label, mask(3)[::-1, ::-1])
    image.with_name("more.nii").write_bytes(image.read_bytes())
    (empty := file(root, 2021, 2, "seg").with_suffix("") / image.name).unlink()
    dataset = BrainTumours(root)
    assert [found for found in dataset.cases() if isinstance(found, UserError)] == []
    two, none = inventory(dataset).problems
    assert f"{image.parent} is a folder with 2 NIfTI files in it" in two and "leave exactly one" in two
    assert f"{empty.parent} is a folder with 0 NIfTI files in it" in none
