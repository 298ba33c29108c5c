"""Every file is a real DICOM file written by pydicom, or one damaged on purpose."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from nibabel.affines import apply_affine, voxel_sizes
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from fedbench.data.dicom import read_series
from fedbench.data.imaging import to_ras
from fedbench.errors import UserError

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:pydicom")  # pytest sets aside what importing set
AXIAL = (1, 0, 0, 0, 1, 0)
SERIES = "1.2.826.0.1.3680043.8.498.1"


def write_slice(path, pixels, position=(0, 0, 0), axes=AXIAL, spacing=(1, 1), syntax=ExplicitVRLittleEndian, **more):
    """Write one slice ``(rows, columns)``; ``more`` are further attributes, None takes one away."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    file = Dataset()
    file.file_meta, file.preamble = meta, b"\0" * 128
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    pixels = np.asarray(pixels)
    values = {
        "SeriesInstanceUID": SERIES, "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagePositionPatient": list(position), "ImageOrientationPatient": list(axes), "PixelSpacing": list(spacing),
        "PixelData": pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes(),
    } | more  # fmt: skip
    for name, value in values.items():
        if value is not None:
            setattr(file, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def change(path, **attributes):
    """Give a slice on disk other attributes; None takes one away."""
    file = dcmread(path)
    for name, value in attributes.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path)


@pytest.fixture
def stack(tmp_path):
    """Three axial slices of 3 rows and 4 columns, 5 mm apart; names and numbers say otherwise."""
    rng = np.random.default_rng(0)
    files = []
    for k, name in enumerate(("b.dcm", "c.dcm", "a.dcm")):
        pixels = rng.integers(-1000, 3000, (3, 4)).astype(np.int16)
        place = {"position": (-10, -20, 30 + 5 * k), "spacing": (2, 3)}
        files.append(write_slice(tmp_path / name, pixels, **place, InstanceNumber=7 - k, SliceThickness=9))
    return files


def refused(files, message, *named):
    with pytest.raises(UserError, match=message) as caught:
        read_series(files)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    assert all(str(path) in text for path in named), text


# ------------------------------------------------------------------------------------------------ what is read


def test_a_voxel_of_known_place(tmp_path):
    """Row 1, column 2 of the slice at z = 35 is 2 x 3 mm to the left of the first pixel and 1 x 2 mm behind it: at
    L -10 + 6, P -20 + 2, S 35, in RAS 4, 18, 35. It holds 1064 - 1024 = 40 HU."""
    files = []
    for k in range(3):
        pixels = np.zeros((3, 4), np.int16)
        pixels[1, 2] = 1064 if k == 1 else 0
        place = {"position": (-10, -20, 30 + 5 * k), "spacing": (2, 3)}
        files.append(write_slice(tmp_path / f"{k}.dcm", pixels, **place, RescaleSlope=1, RescaleIntercept=-1024))
    series = read_series(files)
    assert series.array.shape == (4, 3, 3) and series.array.dtype == np.float32 and series.affine.dtype == np.float64
    assert series.array[2, 1, 1] == 40 and (series.array == -1024).sum() == 4 * 3 * 3 - 1
    np.testing.assert_allclose(apply_affine(series.affine, [2, 1, 1]), [4, 18, 35])
    np.testing.assert_allclose(voxel_sizes(series.affine), [3, 2, 5])
    array, affine = to_ras(series.array, series.affine)  # columns ran to the left and rows to the back: both turn round
    assert array[4 - 1 - 2, 3 - 1 - 1, 1] == 40
    np.testing.assert_allclose(affine[:3, :3], np.diag([3, 2, 5]))
    np.testing.assert_allclose(apply_affine(affine, [1, 1, 1]), [4, 18, 35])


def test_order_is_that_of_positions(stack):
    series = read_series(stack)
    assert series.files == tuple(stack)
    for k, path in enumerate(stack):
        np.testing.assert_array_equal(series.array[:, :, k].T, dcmread(path).pixel_array)
    for files in (stack[::-1], [stack[1], stack[2], stack[0]], sorted(stack), [str(path) for path in stack]):
        again = read_series(files)
        assert again.files == series.files
        np.testing.assert_array_equal(again.array, series.array)
        np.testing.assert_array_equal(again.affine, series.affine)


@pytest.mark.parametrize(
    ("axes", "step", "marker", "spacing"),
    [
        (AXIAL, (0, 0, 4), (-6, -3, 4), (2, 3, 4)),
        (AXIAL, (0, 0, -4), (-6, -3, -4), (2, 3, 4)),  # written from head to feet
        ((-1, 0, 0, 0, 1, 0), (0, 0, 4), (6, -3, 4), (2, 3, 4)),  # columns run to the right: the normal points down
        ((1, 0, 0, 0, 0, -1), (0, 4, 0), (-6, -4, -3), (2, 4, 3)),  # coronal
        ((0, 1, 0, 0, 0, -1), (4, 0, 0), (-4, -6, -3), (4, 2, 3)),  # sagittal
        ((1, 0, 0, 0, 0.8, 0.6), (0, -2.4, 3.2), (-6, 0, 5), (2, 3, 4)),  # oblique: y 0.8 x 3 - 2.4, z 0.6 x 3 + 3.2
    ],
)
def test_orientations(tmp_path, axes, step, marker, spacing):
    """Columns 2 mm apart, rows 3 mm, slices 4 mm. The marker is one slice, one row and three columns away from 0, 0, 0:
    axial at L 6, P 3, S 4, in RAS -6, -3, 4."""
    files = []
    for k in range(3):
        pixels = np.zeros((3, 5), np.uint16)
        pixels[1, 3] = 99 if k == 1 else 0
        place = {"position": [k * mm for mm in step], "axes": axes, "spacing": (3, 2)}
        files.append(write_slice(tmp_path / f"{k}.dcm", pixels, **place))
    series = read_series(files)
    array, affine = to_ras(series.array, series.affine)
    (found,) = np.argwhere(array == 99)
    np.testing.assert_allclose(apply_affine(affine, found), marker, atol=1e-9)
    np.testing.assert_allclose(voxel_sizes(affine), spacing)
    assert (np.diag(affine)[:3] > 0).all()
    np.testing.assert_allclose(apply_affine(series.affine, np.argwhere(series.array == 99)[0]), marker, atol=1e-9)


def test_header_encodings(tmp_path, stack):
    expected = read_series(stack)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        files = []
        for path in stack:
            old = dcmread(path)
            place = {"position": old.ImagePositionPatient, "spacing": old.PixelSpacing}
            files.append(write_slice(tmp_path / syntax / path.name, old.pixel_array, **place, syntax=syntax))
        np.testing.assert_array_equal(read_series(files).array, expected.array)


def test_unsigned_without_rescale(tmp_path):
    pixels = np.array([[0, 1], [40000, 65535]], np.uint16)
    series = read_series([write_slice(tmp_path / "mr.dcm", pixels, SliceThickness=5)])
    np.testing.assert_array_equal(series.array[:, :, 0].T, pixels)


def test_twelve_of_sixteen_bits(tmp_path):
    """-3 in 12 bits is 0xFFD; the four bits above it mean nothing."""
    pixels = np.array([[0x0FFD, 0x7FFD], [0x0005, 0x7005]], np.int16)
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": 10}
    series = read_series([write_slice(tmp_path / "ct.dcm", pixels, SliceThickness=5, **bits)])
    assert series.array[:, :, 0].T.tolist() == [[4, 4], [20, 20]]


def test_each_slice_has_its_own_rescale(stack):
    """As in PET, where each slice uses all bits."""
    stored = [dcmread(path).pixel_array.T for path in stack]
    for k, path in enumerate(stack):
        change(path, RescaleSlope=0.5 * (k + 1), RescaleIntercept=k)
    array = read_series(stack).array
    for k in range(3):
        np.testing.assert_allclose(array[:, :, k], stored[k] * 0.5 * (k + 1) + k, rtol=1e-6)


def test_a_single_slice_has_the_depth_of_its_header(tmp_path):
    path = write_slice(tmp_path / "1.dcm", np.ones((2, 2), np.uint16), SliceThickness=3, SpacingBetweenSlices=4)
    assert voxel_sizes(read_series([path]).affine).tolist() == [1, 1, 4]
    change(path, SpacingBetweenSlices=None)
    assert voxel_sizes(read_series([path]).affine).tolist() == [1, 1, 3]
    for nothing in (0, None):
        change(path, SliceThickness=nothing)
        refused([path], "a single slice without SpacingBetweenSlices or SliceThickness; add", path)


def test_positions_may_be_rounded(tmp_path):
    """Every 3.25 mm, written with one decimal."""
    heights = [0, 3.2, 6.5, 9.8, 13.0]
    files = [write_slice(tmp_path / f"{z}.dcm", np.ones((2, 2), np.uint16), (0, 0, z)) for z in heights]
    np.testing.assert_allclose(voxel_sizes(read_series(files).affine), [1, 1, 3.25])


def test_a_tilted_gantry_is_a_shear_and_refused(tmp_path):
    files = [write_slice(tmp_path / f"{k}.dcm", np.ones((2, 2), np.uint16), (0, k, 3 * k)) for k in range(4)]
    series = read_series(files)
    np.testing.assert_allclose(series.affine[:3, 2], [0, -1, 3])
    with pytest.raises(UserError, match=r"^the folder: its axes are not at right angles but 18\.4 degrees off"):
        to_ras(series.array, series.affine, "the folder")


def test_losslessly_compressed(stack):
    expected = read_series(stack).array
    for path in stack:
        file = dcmread(path)
        file.compress(RLELossless)
        file.save_as(path)
    np.testing.assert_array_equal(read_series(stack).array, expected)


def test_padding_is_passed_over(stack):
    expected = read_series(stack).array
    change(stack[1], PixelData=dcmread(stack[1]).PixelData + b"\0\0")
    np.testing.assert_array_equal(read_series(stack).array, expected)


def test_several_threads(stack):
    expected = read_series(stack)
    with ThreadPoolExecutor(4) as pool:
        for series in pool.map(read_series, [stack, stack[::-1]] * 10):
            assert series.files == expected.files
            np.testing.assert_array_equal(series.array, expected.array)


def test_odd_headers_are_read_in_silence(stack):
    for path in stack:
        content = path.read_bytes()
        path.write_bytes(content.replace(SERIES.encode(), b"x" * len(SERIES)))  # no valid UID
    code = "import logging, sys; from fedbench.data.dicom import read_series; logging.basicConfig(); "
    code += "print(read_series(sys.argv[1:]).array.shape)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, stack)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["(4, 3, 3)", ""] and done.stderr == ""


# ----------------------------------------------------------------------------------------------- what is refused


def test_not_there(tmp_path):
    refused([tmp_path / "none.dcm"], r"none\.dcm: no such file")
    refused([tmp_path], "cannot be read", tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        read_series([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 500, "not a DICOM file"),
        (b"\0" * 128 + b"DICM", "no PixelData"),
    ],
)
def test_other_content(stack, content, message):
    stack[1].write_bytes(content)
    refused(stack, message, stack[1])


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_short_anywhere(tmp_path, compressed):
    path = write_slice(tmp_path / "1.dcm", np.arange(300, dtype=np.uint16).reshape(15, 20), SliceThickness=5)
    if compressed:
        file = dcmread(path)
        file.compress(RLELossless)
        file.save_as(path)
    whole = path.read_bytes()
    assert read_series([path]).array.shape == (20, 15, 1)
    for size in {*range(1, len(whole) - 16, 7), len(whole) - 17, *([] if compressed else [len(whole) - 1])}:
        path.write_bytes(whole[:size])
        refused([path], "cut short|damaged|not a DICOM file|missing", path)


def test_pixels_cut_short(stack):
    stack[1].write_bytes(stack[1].read_bytes()[:-6])
    refused(stack, "cut short: 18 of 24 bytes of pixels; copy", stack[1])


def test_broken_bytes_are_read_or_refused_but_never_crash(tmp_path):
    path = write_slice(tmp_path / "1.dcm", np.arange(12, dtype=np.uint16).reshape(3, 4), SliceThickness=5)
    whole, rng, refusals = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(132, len(whole), 3):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            assert np.isfinite(read_series([path]).array).all()
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refusals += 1
    assert 50 < refusals < 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PixelData": None}, "no PixelData"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing or damaged"),
        ({"ImagePositionPatient": [0, 0]}, "ImagePositionPatient is missing or damaged"),
        ({"ImagePositionPatient": ""}, "ImagePositionPatient is missing or damaged"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient is missing or damaged"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not two perpendicular directions"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "not two perpendicular directions"),
        ({"PixelSpacing": None}, "PixelSpacing is missing or damaged"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing is not positive"),
        ({"NumberOfFrames": 2, "PixelData": b"\0" * 48}, r"multi-frame image \(2 frames\)"),
        ({"PixelData": b"\0" * 48}, "48 bytes of pixels, its header says 24"),
        ({"Rows": 2}, "24 bytes of pixels, its header says 16"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "a colour image"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a colour image"),
        ({"Rows": None}, "damaged DICOM .*Rows"),
        ({"BitsAllocated": None}, "damaged DICOM .*BitsAllocated"),
        ({"RescaleSlope": 1e39, "RescaleIntercept": 0}, "NaN or infinite"),
        ({"RescaleSlope": 2}, "it lacks RescaleIntercept"),
        ({"RescaleIntercept": -1024}, "it lacks RescaleSlope"),
        ({"SeriesInstanceUID": SERIES + ".2"}, "belongs to another series"),
        ({"Rows": 4, "PixelData": b"\0" * 32}, r"its size \(rows, columns\) is 4\\4, that of .* 3\\4"),
        ({"PixelSpacing": [2, 3.1]}, r"its PixelSpacing is 2\\3\.1, that of .* 2\\3;"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]}, "its ImageOrientationPatient is"),
        ({"ImagePositionPatient": [-10, -20, 40]}, "lie at the same position"),
        ({"ImagePositionPatient": [-10, -20, 36]}, "6 mm apart, other slices 4 mm: a slice is missing"),
        ({"ImagePositionPatient": [-10, -17, 35]}, "3 mm off the line"),
    ],
)
def test_attributes(stack, changes, message):
    change(stack[1], **changes)
    refused(stack, message, stack[1])


def test_a_copy(tmp_path, stack):
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(stack[0].read_bytes())
    refused([*stack, copy], "lie at the same position: one is a copy", copy, stack[0])


def test_a_missing_slice(tmp_path):
    files = [write_slice(tmp_path / f"{k}.dcm", np.ones((2, 2), np.uint16), (0, 0, 3.2 * k)) for k in range(40)]
    assert read_series([*files[1:]]).array.shape == (2, 2, 39)
    refused(files[:20] + files[21:], "6.4 mm apart, other slices 3.2 mm", files[19], files[21])
    refused([files[0], *files[2:]], "6.4 mm apart", files[0], files[2])
    refused([files[0], files[2], files[3]], "6.4 mm apart, other slices 3.2 mm", files[0], files[2])


@pytest.mark.skipif(get_decoder(JPEGLosslessSV1).is_available, reason="a decoder of lossless JPEG is installed")
def test_no_decoder(stack):
    file = dcmread(stack[1])
    file.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    file["PixelData"].VR, file.file_meta.TransferSyntaxUID = "OB", JPEGLosslessSV1
    file.save_as(stack[1])
    refused(stack, r"compressed as JPEG Lossless.*install pylibjpeg>=2\.0 and pylibjpeg-libjpeg", stack[1])


def test_more_frames_than_the_header_says(stack):
    file = dcmread(stack[1])
    file.compress(RLELossless)
    frame = next(generate_frames(file.PixelData, number_of_frames=1))
    file.PixelData = encapsulate([frame, frame])
    file.save_as(stack[1])
    refused(stack, r"its pixels are \(2, 3, 4\), its header says \(3, 4\)", stack[1])


def test_a_video(stack):
    file = dcmread(stack[1])
    file.PixelData = encapsulate([b"\0\0\1\xb3"])
    file["PixelData"].VR, file.file_meta.TransferSyntaxUID = "OB", MPEG2MPML
    file.save_as(stack[1])
    refused(stack, "stored as 'MPEG2 .*', which cannot be read", stack[1])
