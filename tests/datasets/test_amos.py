"""A miniature of AMOS 2022 as it is downloaded: numbers tell the modality, dataset.json has its spelling mistake."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedbench.dataset import Case
from fedbench.datasets.amos import AbdominalOrgans
from fedbench.errors import UserError
from tests.datasets.test_mmwhs import save

ORGANS = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "arota",
    "postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip
TRAINING = {"CT": (1, 4, 5, 7, 9, 410, 500), "MR": (501, 507, 508, 510, 514, 517, 600)}
VALIDATION = {"CT": (8, 13), "MR": (518, 522)}
TEST = (2, 580)
GRIDS = {  # in RAS, and the axes along which it is stored
    "CT": ((17, 6, 5), (0.7, 0.7, 5.0), "LPS"),
    "MR": ((19, 5, 8), (1.2, 3.0, 1.2), "LIP"),  # coronal
}


def modality(number: int) -> str:
    return "CT" if number <= 500 else "MR"


def picture(number: int) -> np.ndarray:
    """No two voxels alike, so that a flipped axis shows."""
    shape = GRIDS[modality(number)][0]
    return np.arange(np.prod(shape)).reshape(shape).astype(np.float32) - number


def mask(number: int) -> np.ndarray:
    """Label i at X = i, all of them but the bladder and below in even numbers."""
    array = np.zeros(GRIDS[modality(number)][0], np.uint8)
    for label in range(1, 14 if number % 2 == 0 else 16):
        array[label, 1, 2] = label
    return array


def write_amos(folder: Path) -> Path:
    """Nine patients in CT, nine others in MR, and two without labels, in ``amos22``."""
    root = folder / "amos22"
    numbers = {"Tr": sum(TRAINING.values(), ()), "Va": sum(VALIDATION.values(), ()), "Ts": TEST}
    for part, chosen in numbers.items():
        for number in chosen:
            _, spacing, stored = GRIDS[modality(number)]
            save(root / f"images{part}" / f"amos_{number:04d}.nii.gz", picture(number), spacing, stored, tilt=3.0)
            if part != "Ts":
                save(root / f"labels{part}" / f"amos_{number:04d}.nii.gz", mask(number), spacing, stored, tilt=3.0)
    write_json(root, {str(number): organ for number, organ in enumerate(ORGANS)})
    (root / "readme.md").touch()
    (root / "imagesTr" / "._amos_0001.nii.gz").touch()
    clutter = folder / "__MACOSX" / "imagesTr" / "amos_0001.nii.gz"
    clutter.parent.mkdir(parents=True)
    clutter.touch()
    return folder


def write_json(root: Path, labels: object) -> None:
    content = {"name": "AMOS", "modality": {"0": "CT"}, "labels": labels, "numTraining": 240}
    (root / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    return write_amos(tmp_path / "Bauch mit Ärger") / "amos22"


def listed(root: Path) -> dict[str, Case]:
    found = list(AbdominalOrgans(root).cases())
    assert [str(case) for case in found if isinstance(case, UserError)] == []
    return {case.id: case for case in found}


def problems(root: Path) -> list[str]:
    return [str(found) for found in AbdominalOrgans(root).cases() if isinstance(found, UserError)]


def ids(*parts: dict[str, tuple[int, ...]]) -> list[str]:
    numbers = sorted(number for part in parts for chosen in part.values() for number in chosen)
    return [f"amos_{number:04d}/{modality(number)}" for number in numbers]


def test_lists_training_and_validation_by_number(root):
    cases = listed(root)
    assert list(cases) == ids(TRAINING, VALIDATION)
    assert {"amos_0500/CT", "amos_0501/MR"} <= set(cases)
    assert cases["amos_0008/CT"].sources == (
        root / "imagesVa" / "amos_0008.nii.gz", root / "labelsVa" / "amos_0008.nii.gz",
    )  # fmt: skip
    assert list(listed(root.parent)) == list(cases)


def test_validation_without_labels_is_ignored(root):
    shutil.rmtree(root / "labelsVa")
    assert list(listed(root)) == ids(TRAINING)


@pytest.mark.parametrize("number", [1, 4, 507, 510])
def test_reads_in_ras(root, number):
    _, spacing, stored = GRIDS[modality(number)]
    path = root / "imagesTr" / f"amos_{number:04d}.nii.gz"
    assert "".join(nib.aff2axcodes(nib.load(path).affine)) == stored
    volume = listed(root)[f"amos_{number:04d}/{modality(number)}"].read()
    np.testing.assert_array_equal(volume.image[0], picture(number))
    np.testing.assert_array_equal(volume.label, mask(number))
    assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
    assert volume.spacing == pytest.approx(spacing, rel=1e-5)


def test_labels_are_the_classes(root):
    """Left and right are told apart, so a mirrored image is not plausible."""
    classes = AbdominalOrgans.classes
    assert [classes[label - 1] for label in (1, 2, 3, 8, 15)] == [
        "spleen", "right-kidney", "left-kidney", "aorta", "prostate-uterus",
    ]  # fmt: skip
    assert len(classes) == 15 and AbdominalOrgans.mirror_axes == ()


def test_an_unknown_label_is_refused(root):
    array = mask(507)
    array[0, 0, 0] = 16
    save(root / "labelsTr" / "amos_0507.nii.gz", array, *GRIDS["MR"][1:], tilt=3.0)
    with pytest.raises(UserError, match=r"labelsTr/amos_0507\.nii\.gz: it holds 16, only"):
        listed(root)["amos_0507/MR"].read()


@pytest.mark.parametrize(
    "labels",
    [
        {str(number): organ.replace("arota", "Aorta") for number, organ in enumerate(ORGANS)},
        {organ.replace(" ", "_"): number for number, organ in enumerate(ORGANS)},
    ],
)
def test_other_spellings_of_the_labels(root, labels):
    write_json(root, labels)
    assert list(listed(root)) == ids(TRAINING, VALIDATION)


def test_without_dataset_json(root):
    (root / "dataset.json").unlink()
    assert list(listed(root)) == ids(TRAINING, VALIDATION)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2": "left kidney", "3": "right kidney"}, "label 2 is 'left kidney', of AMOS 2022 it is 'right-kidney'"),
        ({"16": "tumour"}, "label 16 is 'tumour', of AMOS 2022 it is 'missing'"),
        ({"15": None}, "label 15 is 'missing', of AMOS 2022 it is 'prostate-uterus'"),
    ],
)
def test_labels_coded_in_another_way_are_refused(root, change, message):
    labels = {str(number): organ for number, organ in enumerate(ORGANS)} | change
    write_json(root, {number: organ for number, organ in labels.items() if organ})
    with pytest.raises(UserError, match=message) as caught:
        list(AbdominalOrgans(root).cases())
    assert str(root / "dataset.json") in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"labels": ["spleen"]}', b'{"labels": {"one": "x"}}'])
def test_a_damaged_dataset_json_is_a_problem(root, content):
    (root / "dataset.json").write_bytes(content)
    assert len(problems(root)) == 1 and "dataset.json: cannot be read" in problems(root)[0]


def test_all_problems_at_once(root):
    (root / "labelsTr" / "amos_0004.nii.gz").unlink()
    (root / "imagesVa" / "amos_0518.nii.gz").unlink()
    shutil.copy(root / "imagesTr" / "amos_0005.nii.gz", root / "imagesVa")
    for kind in ("images", "labels"):
        shutil.copy(root / f"{kind}Tr" / "amos_0001.nii.gz", root / f"{kind}Tr" / "amos_5001.nii.gz")
    twice, no_mask, no_image, unknown = problems(root)
    assert "imagesTr/amos_0005.nii.gz: the same image lies in" in twice
    assert "imagesTr/amos_0004.nii.gz: this image has no mask; add" in no_mask
    assert "labelsVa/amos_0518.nii.gz: this mask has no image; add" in no_image
    assert "imagesTr/amos_5001.nii.gz: numbers above 600" in unknown


def test_unpacked_files(root):
    packed = root / "imagesTr" / "amos_0001.nii.gz"
    nib.save(nib.load(packed), packed.with_suffix(""))
    packed.unlink()
    np.testing.assert_array_equal(listed(root)["amos_0001/CT"].read().image[0], picture(1))


def test_cases_reads_no_image_and_can_be_sent_to_another_process(root):
    volume = pickle.loads(pickle.dumps(listed(root)["amos_0001/CT"])).read()
    np.testing.assert_array_equal(volume.image[0], picture(1))
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"")
    assert list(listed(root)) == ids(TRAINING, VALIDATION)


@pytest.mark.parametrize(("gone", "message"), [("0", "no CT .numbers up to 500"), ("5", "no MR .numbers 501 to 600")])
def test_a_modality_is_missing(root, gone, message):
    mr = gone == "5"
    for path in root.glob("*/amos_*"):
        if (int(path.name[5:9]) > 500) == mr:
            path.unlink()
    with pytest.raises(UserError, match=message):
        list(AbdominalOrgans(root).cases())


def test_another_folder(root, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", root / "imagesTr"):
        with pytest.raises(UserError, match=r"no imagesTr/amos_NNNN.* give the folder that holds imagesTr"):
            list(AbdominalOrgans(folder).cases())
    shutil.copytree(root, root.parent / "copy")
    with pytest.raises(UserError, match="both hold scans; give one of them"):
        list(AbdominalOrgans(root.parent).cases())
    shutil.rmtree(root / "labelsTr")
    with pytest.raises(UserError, match=r"the folder .*labelsTr is missing"):
        list(AbdominalOrgans(root).cases())
