"""A miniature in the layout of the real set: DICOM slices and PNG pictures, paired by name, ordered by position."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from fedbench.datasets.chaos import Chaos
from fedbench.errors import UserError
from tests.data.test_dicom import change, write_slice

CT = (1, 2, 5, 6, 8, 10, 14, 21, 30)
MR = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)  # other people than in CT
FEW = (1, 2, 3, 5, 8, 31)  # of MR, where a test needs a copy
OBLIQUE = (1, 0, 0, 0, np.cos(0.1), np.sin(0.1))
SCANS = {  # folder of slices: shape (rows, columns, slices), (between rows, between columns, between slices) in mm
    "CT": ((10, 8, 5), (3.7, 3.75, 2.0)),
    "T1DUAL": ((9, 12, 4), (4.9, 4.5, 5.5)),
    "T2SPIR": ((12, 9, 3), (4.4, 4.6, 9.0)),
}


def liver(shape, name):
    """Rows and columns of the liver in the ``name``-th slice: at the right (first columns), in front (first rows)."""
    mask = np.zeros(shape, bool)
    mask[1:3, 1 : 3 + name] = True
    return mask


def write_series(folder, names, scan, grey, *, down, signed=False, axes=(1, 0, 0, 0, 1, 0), **attributes):
    """Write a slice per name. The liver of the ``name``-th is ``grey`` + ``name``, around it is 10.

    ``down``: names run from head to feet.
    """
    shape, (row, column, step) = SCANS[scan]
    normal = np.cross(axes[:3], axes[3:])
    for number, name in enumerate(names):
        pixels = np.where(liver(shape[:2], number), grey + number, 10)
        pixels = pixels.astype(np.int16 if signed else np.uint16)
        place = np.array([-50, -40, 100]) + normal * step * number * (-1 if down else 1)
        write_slice(folder / name, pixels, [f"{mm:.4f}" for mm in place], axes, (row, column), **attributes)


def write_ground(folder, names, scan, level, others=(), mode="L"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        shape = SCANS[scan][0][:2]
        picture = np.where(liver(shape, number), level, 0).astype(np.uint8)
        for row, other in enumerate(others, start=4):
            picture[row, 5:7] = other
        image = Image.fromarray(picture)
        (image if mode == "L" else image.point(bool, mode)).save(folder / name)


def write_chaos(folder: Path) -> Path:
    """Write 9 patients in CT and 20 others in MR; return the folder that holds ``Train_Sets``."""
    root = folder / "Train_Sets"
    for number in CT:
        patient, slices = root / "CT" / str(number), SCANS["CT"][0][2]
        names = [f"i{k:04d},0000b.dcm" if number < 20 else f"IMG-0002-{k + 1:05d}.dcm" for k in range(slices)]
        intercept = {1: -1024, 2: -1000, 5: -1200}.get(number, 0)
        values = {"RescaleSlope": 1, "RescaleIntercept": intercept, "SliceThickness": 3.2}
        way = {"down": number != 6, "signed": intercept == 0}
        write_series(patient / "DICOM_anon", names, "CT", 100 - intercept, **way, **values)
        masks = [f"liver_GT_{k:03d}.png" for k in range(slices)]
        # One bit per pixel, or bytes of 255, or of 1.
        write_ground(patient / "Ground", masks, "CT", 1 if number == 8 else 255, mode="1" if number < 5 else "L")
    for number in MR:
        patient, axes = root / "MR" / str(number), OBLIQUE if number % 2 else (1, 0, 0, 0, 1, 0)
        first = 1 if number < 30 else 9
        numbers = range(first, first + 2 * SCANS["T1DUAL"][0][2])
        dual = [f"IMG-0004-{k:05d}" for k in numbers]
        for phase, names, grey in (("OutPhase", dual[::2], 300), ("InPhase", dual[1::2], 500)):
            below = patient / "T1DUAL" / "DICOM_anon" / phase
            write_series(below, [f"{name}.dcm" for name in names], "T1DUAL", grey, down=False, axes=axes)
        organs = (126, 189, 252)  # right kidney, left kidney, spleen
        write_ground(patient / "T1DUAL" / "Ground", [f"{name}.png" for name in dual[1::2]], "T1DUAL", 63, organs)
        names = [f"IMG-0003-{k + 1:05d}" for k in range(SCANS["T2SPIR"][0][2])]
        below = patient / "T2SPIR" / "DICOM_anon"
        write_series(below, [f"{name}.dcm" for name in names], "T2SPIR", 700, down=number == 3, axes=axes)
        level = {1: 55, 2: 70}.get(number, 63)
        write_ground(patient / "T2SPIR" / "Ground", [f"{name}.png" for name in names], "T2SPIR", level, organs)
    for clutter in ("CT/.DS_Store", "CT/1/DICOM_anon/._i0000,0000b.dcm", "CT/1/Ground/Thumbs.db", "MR/readme.txt"):
        (root / clutter).touch()
    (root / "CT" / "__MACOSX").mkdir()
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_chaos(tmp_path_factory.mktemp("chaos") / "Übung mit Leerzeichen")


@pytest.fixture
def root(written, tmp_path):
    """A copy to break, with a few patients."""

    def others(folder, names):
        return set(names) - set(map(str, FEW)) if Path(folder).name == "MR" else ()

    return Path(shutil.copytree(written, tmp_path / "Übung mit Leerzeichen", ignore=others))


def case(root, id):
    (found,) = [c for c in Chaos(root).cases() if not isinstance(c, UserError) and c.id == id]
    return found


def problems(root):
    return [str(found) for found in Chaos(root).cases() if isinstance(found, UserError)]


def refused(root, id, message):
    with pytest.raises(UserError, match=message) as caught:
        case(root, id).read()
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ what is listed


def ids(mr):
    return [f"CT-{n}/CT" for n in CT] + [f"MR-{n}/{sequence}" for n in mr for sequence in ("T1-in", "T1-out", "T2")]


def test_lists_patients_by_number(written):
    cases = list(Chaos(written).cases())
    assert [case.id for case in cases] == ids(MR)
    assert {(case.site, case.part) for case in cases} == {("", "")}
    files = {str(path.relative_to(written / "Train_Sets")) for path in case(written, "MR-2/T1-out").sources}
    assert files == {f"MR/2/T1DUAL/DICOM_anon/OutPhase/IMG-0004-{k:05d}.dcm" for k in (1, 3, 5, 7)} | {
        f"MR/2/T1DUAL/Ground/IMG-0004-{k:05d}.png" for k in (2, 4, 6, 8)
    }
    assert {path.suffix for path in cases[0].sources} == {".dcm", ".png"} and len(cases[0].sources) == 10


@pytest.mark.parametrize("given", [".", "Train_Sets", "Train_Sets/CT", "Train_Sets/MR"])
def test_folders_that_may_be_given(written, given):
    dataset = Chaos(written / given)
    assert [case.id for case in dataset.cases()] == ids(MR)
    assert all(path.is_relative_to(dataset.path) for case in dataset.cases() for path in case.sources)


def test_as_some_programs_unpack_it(root):
    (root / "CHAOS_Train_Sets").mkdir()
    (root / "Train_Sets").rename(root / "CHAOS_Train_Sets" / "Train_Sets")
    for given in (root, root / "CHAOS_Train_Sets"):
        assert [case.id for case in Chaos(given).cases()] == ids(FEW)


def test_cases_reads_no_image(root):
    for path in root.rglob("*/1/**/*.*"):
        path.write_bytes(b"")
    assert [case.id for case in Chaos(root).cases()] == ids(FEW)


# -------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("id", ids(FEW))
def test_every_liver_is_where_its_slice_is_bright(written, id):
    """The n-th slice by name has a liver of 2 x (2 + n) pixels, n brighter than the first: no pair is mixed up."""
    volume = pickle.loads(pickle.dumps(case(written, id))).read()
    scanner, modality = id.split("-")[0], id.split("/")[1]
    scan = {"CT": "CT", "T2": "T2SPIR"}.get(modality, "T1DUAL")
    (rows, columns, slices), (row, column, step) = SCANS[scan]
    assert volume.image.shape == (1, columns, rows, slices) and volume.label.shape == (columns, rows, slices)
    assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
    assert volume.spacing == pytest.approx((column, row, step), rel=1e-4)
    grey = {"CT": 100, "T1-in": 500, "T1-out": 300, "T2": 700}[modality]
    down = id in {f"CT-{n}/CT" for n in CT if n != 6} | {"MR-3/T2"}
    for z in range(slices):
        number = slices - 1 - z if down else z
        inside = volume.label[:, :, z] == 1
        assert inside.sum() == 2 * (2 + number)
        assert (volume.image[0, :, :, z][inside] == grey + number).all()
        # At the patient's right and in front: at the end of X, and of Y.
        assert inside[columns - 3 - number : columns - 1, rows - 3 : rows - 1].all()
    around = volume.image[0][volume.label == 0]
    assert (around == 10 + {1: -1024, 2: -1000, 5: -1200}.get(int(id[3:].split("/")[0]) * (scanner == "CT"), 0)).all()
    assert set(np.unique(volume.label)) == {0, 1}


def test_numbers_in_names_count_as_numbers(root):
    """Sorted as text, slice 10 would come before slice 9, and so would another picture than its own."""
    folder = root / "Train_Sets" / "MR" / "31" / "T1DUAL"
    for path in [*folder.rglob("*.dcm"), *folder.rglob("*.png")]:
        path.rename(path.with_name(path.name.replace("-000", "-").replace("-0", "-")))
    names = [path.name for path in case(root, "MR-31/T1-in").sources]
    assert names == [f"IMG-4-{k}.{ending}" for ending in ("dcm", "png") for k in (10, 12, 14, 16)]
    names = [path.name for path in case(root, "MR-31/T1-out").sources]
    assert names[:4] == [f"IMG-4-{k}.dcm" for k in (9, 11, 13, 15)]
    test_every_liver_is_where_its_slice_is_bright(root, "MR-31/T1-out")


@pytest.mark.parametrize("level", [55, 63, 70])
def test_levels_of_the_liver_in_mr(root, level):
    path = root / "Train_Sets" / "MR" / "5" / "T2SPIR" / "Ground" / "IMG-0003-00001.png"
    Image.fromarray(np.full((12, 9), level, np.uint8)).save(path)
    assert (case(root, "MR-5/T2").read().label[:, :, 0] == 1).all()


@pytest.mark.parametrize("level", [110, 135, 175, 200, 240, 255])
def test_other_organs_in_mr_are_background(root, level):
    path = root / "Train_Sets" / "MR" / "5" / "T2SPIR" / "Ground" / "IMG-0003-00001.png"
    Image.fromarray(np.full((12, 9), level, np.uint8)).save(path)
    assert (case(root, "MR-5/T2").read().label[:, :, 0] == 0).all()


def test_pictures_with_a_palette(root):
    for path in (root / "Train_Sets" / "MR" / "5" / "T2SPIR" / "Ground").glob("*.png"):
        Image.open(path).convert("P").save(path)
        assert Image.open(path).mode == "P"
    test_every_liver_is_where_its_slice_is_bright(root, "MR-5/T2")


# ----------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_missing_modality(root, modality):
    shutil.rmtree(root / "Train_Sets" / modality)
    with pytest.raises(UserError, match=f"no patients in .*Train_Sets/{modality}; give the folder Train_Sets"):
        list(Chaos(root).cases())


def test_wrong_folders(tmp_path):
    with pytest.raises(UserError, match=r"no patients in .*CT; give the folder Train_Sets"):
        list(Chaos(tmp_path).cases())
    with pytest.raises(UserError, match="no such folder"):
        Chaos(tmp_path / "none")
    with pytest.raises(UserError, match=r"needs its folder.*Zenodo"):
        Chaos()


def test_the_test_set(root):
    (root / "Train_Sets").rename(root / "Test_Sets")
    for ground in list(root.rglob("Ground")):
        shutil.rmtree(ground)
    with pytest.raises(UserError, match=r"Test_Sets has a folder Ground; give Train_Sets, since .* not public"):
        list(Chaos(root / "Test_Sets").cases())


def test_every_problem_is_listed(root):
    sets = root / "Train_Sets"
    (sets / "CT" / "5" / "Ground" / "liver_GT_003.png").unlink()
    (sets / "CT" / "14" / "DICOM_anon" / "i0000,0000b.dcm").unlink()
    shutil.rmtree(sets / "CT" / "21" / "Ground")
    shutil.rmtree(sets / "MR" / "1" / "T2SPIR")
    shutil.rmtree(sets / "MR" / "2" / "T1DUAL" / "DICOM_anon" / "OutPhase")
    (sets / "CT" / "2").rename(sets / "CT" / "1 copy")
    found = problems(root)
    for expected in (
        "CT/5/Ground: 4 pictures (.png) for the 5 slices (.dcm) in ",
        "CT/14/Ground: 5 pictures (.png) for the 4 slices (.dcm) in ",
        "CT/21/Ground: no ground truth (.png)",
        "MR/1/T2SPIR/DICOM_anon: no slices (.dcm)",
        "MR/2/T1DUAL/DICOM_anon/OutPhase: no slices (.dcm)",
        "CT/1 copy: not a patient",
    ):
        assert len([problem for problem in found if f"{sets}/{expected}" in problem]) == 1
    assert len(found) == 6 and not any("\n" in problem for problem in found)
    listed = {case.id for case in Chaos(root).cases() if not isinstance(case, UserError)}
    assert set(ids(FEW)) - listed == {"CT-2/CT", "CT-5/CT", "CT-14/CT", "CT-21/CT", "MR-1/T2", "MR-2/T1-out"}


@pytest.mark.parametrize(
    ("patient", "id", "level", "allowed"),
    [
        ("CT/6", "CT-6/CT", 128, "0, 1, 255"),
        ("MR/8/T2SPIR", "MR-8/T2", 40, "0, 55-70, 110-135, 175-200, 240-255"),
        ("MR/8/T1DUAL", "MR-8/T1-out", 1, "0, 55-70, 110-135, 175-200, 240-255"),
        ("MR/8/T2SPIR", "MR-8/T2", 71, "0, 55-70"),
    ],
)
def test_unknown_levels(root, patient, id, level, allowed):
    path = sorted((root / "Train_Sets" / patient / "Ground").glob("*.png"))[1]
    picture = np.array(Image.open(path))
    picture[5, 5], picture[5, 6] = level, 72
    Image.fromarray(picture).save(path)
    levels = ", ".join(map(str, sorted((level, 72))))
    refused(root, id, rf"{path.name}: it holds the grey levels {levels}; only {allowed}")


def test_one_bit_pictures_in_mr(root):
    for path in (root / "Train_Sets" / "MR" / "8" / "T2SPIR" / "Ground").glob("*.png"):
        Image.open(path).point(bool, "1").save(path)
    refused(root, "MR-8/T2", "it holds the grey levels 1; only 0, 55-70")


def test_no_liver(root):
    """As where a copy of the set made all organs 255."""
    for path in (root / "Train_Sets" / "MR" / "8" / "T2SPIR" / "Ground").glob("*.png"):
        Image.open(path).point(lambda level: 255 * bool(level)).save(path)
    refused(root, "MR-8/T2", "MR/8/T2SPIR/Ground: no liver in any of its pictures")


@pytest.mark.parametrize("mode", ["RGB", "LA", "I;16"])
def test_pictures_of_other_modes(root, mode):
    path = root / "Train_Sets" / "CT" / "10" / "Ground" / "liver_GT_002.png"
    picture = Image.open(path)
    (Image.fromarray(np.array(picture, np.uint16)) if mode == "I;16" else picture.convert(mode)).save(path)
    refused(root, "CT-10/CT", rf"liver_GT_002\.png: a picture of mode {mode}; ground truth is 8-bit grey")


def test_a_picture_of_another_size(root):
    path = root / "Train_Sets" / "CT" / "10" / "Ground" / "liver_GT_002.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    refused(root, "CT-10/CT", r"liver_GT_002\.png: 10x8 pixels, its slice .*i0002,0000b\.dcm 8x10")


def test_damaged_pictures(root):
    path = root / "Train_Sets" / "CT" / "10" / "Ground" / "liver_GT_002.png"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"IDAT") + 8] ^= 4
    for content in (b"", b"no picture", whole[:30], whole[: len(whole) // 2], whole[:-12], bytes(flipped)):
        path.write_bytes(content)
        refused(root, "CT-10/CT", r"liver_GT_002\.png: .*damaged.*; copy or download it again")
    path.unlink()
    listed = Chaos(root).cases()
    assert any("CT/10/Ground: 4 pictures" in str(found) for found in listed)


def test_a_picture_that_vanishes(written, root):
    found = case(root, "CT-10/CT")
    (root / "Train_Sets" / "CT" / "10" / "Ground" / "liver_GT_002.png").unlink()
    with pytest.raises(UserError, match=r"liver_GT_002\.png: cannot be read \(No such file"):
        found.read()


def test_a_slice_of_another_series(root):
    folder = root / "Train_Sets" / "CT"
    shutil.copy(folder / "10" / "DICOM_anon" / "i0001,0000b.dcm", folder / "10" / "DICOM_anon" / "i0002,0000b.dcm")
    refused(root, "CT-10/CT", r"i000[12],0000b\.dcm and .*i000[12],0000b\.dcm lie at the same position")


@pytest.mark.parametrize("degrees", [0.8, 1.2, 15.0])
def test_a_tilted_gantry(root, degrees):
    """Each slice lies a little behind the one below it: a grid that voxel sizes do not describe, from 1 degree on."""
    folder = root / "Train_Sets" / "CT" / "10" / "DICOM_anon"
    for path in folder.glob("[!.]*.dcm"):
        x, y, z = map(float, dcmread(path).ImagePositionPatient)
        change(path, ImagePositionPatient=[x, f"{y + (z - 100) * np.tan(np.deg2rad(degrees)):.6f}", z])
    if degrees < 1:
        assert case(root, "CT-10/CT").read().spacing == pytest.approx((3.75, 3.7, 2.0), rel=1e-3)
    else:
        refused(
            root, "CT-10/CT", rf"{folder}: its axes are .* {degrees:.1f} degrees off \(a tilted gantry\?\); resample"
        )
