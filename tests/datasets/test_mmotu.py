"""A miniature in the layout of the public download."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedbench.datasets.mmotu import OvarianTumour
from fedbench.errors import UserError

IMAGES = {"OTU_2d": 11, "OTU_3d": 8}


def shape_of(number: int) -> tuple[int, int]:
    """Rows and columns: no two images have the same size."""
    return 48 + number, 64 + 3 * number


def write_half(folder: Path, count: int) -> None:
    """The tumour is a bright patch in the upper left corner; masks are stored in the ways that have been seen."""
    for place in ("images", "annotations"):
        (folder / place).mkdir(parents=True)
    for number in range(1, count + 1):
        mask = np.zeros(shape_of(number), np.uint8)
        mask[4:12, 2 : 12 + number] = 1
        rng = np.random.default_rng(number)
        grey = (rng.integers(10, 90, mask.shape) + 140 * mask).astype(np.uint8)
        picture = Image.fromarray(grey) if number == 5 else Image.fromarray(np.dstack([grey] * 3))
        picture.save(folder / "images" / f"{number}.{'jpg' if number == 3 else 'JPG'}", "JPEG", quality=95)
        ways = (
            Image.fromarray(mask),
            Image.fromarray(mask * 255),
            Image.fromarray(np.dstack([mask * 255] * 3)),
            Image.fromarray(mask),
        )
        binary = ways[number % 4]
        if number % 4 == 3:
            binary.putpalette([0, 0, 0, 128, 0, 0])
        binary.save(folder / "annotations" / f"{number}_binary.{'png' if number == 4 else 'PNG'}", "PNG")
        Image.fromarray(mask * 255).save(folder / "annotations" / f"{number}_binary_binary.PNG")
        kind = np.array([(64, 0, 0), (0, 64, 0), (64, 64, 64)][number % 3], np.uint8)
        Image.fromarray(mask[..., None] * kind).save(folder / "annotations" / f"{number}.PNG")
    numbers = range(1, count + 1)
    for name, half in (("train", list(numbers)[: count // 2]), ("val", list(numbers)[count // 2 :])):
        (folder / f"{name}.txt").write_text("".join(f"{n}\n" for n in half))
        (folder / f"{name}_cls.txt").write_text("".join(f"{n}.JPG  {n % 8}\n" for n in half))


def write_mmotu(folder: Path) -> Path:
    """11 images in US and 8 in CEUS."""
    for name, count in IMAGES.items():
        write_half(folder / name, count)
    return folder


@pytest.fixture
def root(tmp_path):
    return write_mmotu(tmp_path / "Ovaire échographie 卵巢" / "MMOTU")


def problems(folder: Path) -> list[str]:
    return [str(found) for found in OvarianTumour(folder).cases() if isinstance(found, UserError)]


@pytest.mark.parametrize("above", [".", "..", "../.."])
def test_lists_us_then_ceus(root, above):
    cases = list(OvarianTumour(root / above).cases())
    assert [case.modality for case in cases] == ["US"] * 11 + ["CEUS"] * 8
    numbers = {half: sorted(map(str, range(1, count + 1))) for half, count in IMAGES.items()}
    assert [case.patient for case in cases] == [f"US-{n}" for n in numbers["OTU_2d"]] + [
        f"CEUS-{n}" for n in numbers["OTU_3d"]
    ]
    assert not any(case.part for case in cases)
    for case in cases:
        image, mask = case.sources
        number = case.patient.split("-")[1]
        assert image.stem == number and image.parent.name == "images"
        assert mask.stem == f"{number}_binary" and mask.parent.name == "annotations"
        assert image.parent.parent.name == mask.parent.parent.name == {"US": "OTU_2d", "CEUS": "OTU_3d"}[case.modality]


@pytest.mark.parametrize("name", ["OTU_CEUS", "otu_ceus", "OTU_3D"])
def test_other_names_of_the_folders(root, name):
    before = [case.id for case in OvarianTumour(root).cases()]
    (root / "OTU_3d").rename(root / name)
    (root / "OTU_2d").rename(root / "OTU_2D")
    assert [case.id for case in OvarianTumour(root).cases()] == before


def test_unpacked_into_folders_of_their_own(root):
    before = [case.id for case in OvarianTumour(root).cases()]
    for name in IMAGES:
        (root / name).rename(root / "inner")
        (root / name).mkdir()
        (root / "inner").rename(root / name / name)
    assert [case.id for case in OvarianTumour(root).cases()] == before


def test_reads_upright(root):
    for case in OvarianTumour(root).cases():
        number = int(case.patient.split("-")[1])
        rows, columns = shape_of(number)
        volume = pickle.loads(pickle.dumps(case.read))()
        assert volume.image.shape == (1 if number == 5 else 3, columns, rows) and volume.image.dtype == np.float32
        assert volume.label.shape == (columns, rows) and volume.label.dtype == np.uint8
        assert volume.spacing == (1.0, 1.0)
        expected = np.zeros((columns, rows))
        expected[2 : 12 + number, rows - 12 : rows - 4] = 1  # upper left: low X, high Y
        np.testing.assert_array_equal(volume.label, expected)
        inside, outside = volume.image[0][expected == 1], volume.image[0][expected == 0]
        assert inside.mean() > 170 and outside.mean() < 70


def test_declares_both_modalities(root):
    dataset = OvarianTumour(root)
    assert set(dataset.intensity) == set(dataset.modalities) == {case.modality for case in dataset.cases()}


def test_hidden_files_are_ignored(root):
    before = [case.id for case in OvarianTumour(root).cases()]
    for path in ("OTU_2d/images/._1.JPG", "OTU_2d/images/Thumbs.db", "OTU_3d/annotations/._9_binary.PNG"):
        (root / path).write_bytes(b"x")
    shutil.copytree(root / "OTU_2d", root / "__MACOSX" / "OTU_2d")
    assert [case.id for case in OvarianTumour(root).cases()] == before


def test_image_without_mask_and_mask_without_image(root):
    (root / "OTU_2d" / "annotations" / "7_binary.PNG").unlink()
    (root / "OTU_3d" / "images" / "2.JPG").unlink()
    found = problems(root)
    assert len(found) == 2 and "OTU_2d/images/7.JPG: this image has no mask" in found[0]
    assert "OTU_3d/annotations/2_binary.PNG: this mask has no image" in found[1]
    assert len(list(OvarianTumour(root).cases())) == 11 + 8


@pytest.mark.parametrize(("given", "copy"), [("images/6.JPG", "images/6.png"), ("annotations/6_binary.PNG",) * 2])
def test_image_or_mask_that_is_there_twice(root, given, copy):
    copy = copy if copy != given else "annotations/6_binary.png"
    if (root / "OTU_2d" / copy).exists():
        pytest.skip("this file system does not tell .PNG from .png")
    shutil.copy(root / "OTU_2d" / given, root / "OTU_2d" / copy)
    assert len(found := problems(root)) == 1 and given in found[0] and copy in found[0]


def test_mask_of_another_size(root):
    shutil.copy(root / "OTU_2d/annotations/5_binary.PNG", root / "OTU_2d/annotations/2_binary.PNG")
    case = next(case for case in OvarianTumour(root).cases() if case.patient == "US-2")
    with pytest.raises(UserError, match=r"2_binary\.PNG: the mask is 79x53 pixels, its image .*2\.JPG 70x50"):
        case.read()


def test_mask_of_kinds_in_place_of_the_binary_one(root):
    mask = np.zeros((*shape_of(2), 3), np.uint8)
    mask[:9, :9], mask[20:, 20:] = (64, 0, 0), (0, 64, 0)
    Image.fromarray(mask).save(root / "OTU_2d/annotations/2_binary.PNG")
    case = next(case for case in OvarianTumour(root).cases() if case.patient == "US-2")
    with pytest.raises(UserError, match=r"2_binary\.PNG: .* this one holds #000000, #004000, #400000"):
        case.read()


def test_cases_reads_no_image(root):
    for path in (*root.rglob("*.JPG"), *root.rglob("*.PNG")):
        path.write_bytes(b"")
    cases = list(OvarianTumour(root).cases())
    assert len(cases) == 19
    with pytest.raises(UserError, match=r"1\.JPG: the file is empty"):
        cases[0].read()


@pytest.mark.parametrize(("half", "named"), [("OTU_2d", "OTU_2d"), ("OTU_3d", "OTU_3d/images or OTU_CEUS")])
def test_missing_or_empty_half(root, half, named):
    for path in (root / half / "images").iterdir():
        path.unlink()
    for _ in range(2):
        with pytest.raises(UserError, match=rf"no pictures {named}/images.* give the folder that holds both"):
            list(OvarianTumour(root).cases())
        shutil.rmtree(root / half, ignore_errors=True)


def test_one_half_given_alone(root):
    with pytest.raises(UserError, match=r"no pictures OTU_3d.* give the folder that holds both OTU_2d and OTU_3d"):
        list(OvarianTumour(root / "OTU_2d").cases())


def test_half_that_is_there_twice(root):
    shutil.copytree(root / "OTU_3d", root / "OTU_CEUS")
    with pytest.raises(UserError, match=r"OTU_3d: the CEUS images lie in .*OTU_CEUS too"):
        list(OvarianTumour(root).cases())


def test_wrong_folder(tmp_path):
    with pytest.raises(UserError, match=r"no pictures OTU_2d/images.*MMOTU_DS2Net on GitHub"):
        list(OvarianTumour(tmp_path).cases())
    with pytest.raises(UserError, match="no such folder"):
        OvarianTumour(tmp_path / "none")
    with pytest.raises(UserError, match="needs its folder"):
        OvarianTumour()
