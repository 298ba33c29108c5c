"""Every file is a real NIfTI written by nibabel, or one damaged on purpose."""

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from fedbench.data.imaging import read_nifti, read_pair
from fedbench.errors import UserError

SHAPE = (5, 6, 7)
SPACING = (0.977, 1.5, 3.27)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = -12.5, 40.0, 7.25


@pytest.fixture
def voxels():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def mask():
    return (np.random.default_rng(1).random(SHAPE) > 0.7).astype(np.uint8)


def save(path, array, affine=AFFINE, kind=nib.Nifti1Image):
    nib.save(kind(array, affine), path)
    return path


def stored_as(array, affine, order, flips):
    """The same image in mm, with its axes stored in another order and direction."""
    change = np.zeros((4, 4))
    change[3, 3] = 1.0
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        change[old, new] = -1.0 if flip else 1.0
        change[old, 3] = array.shape[old] - 1.0 if flip else 0.0
    turned = np.transpose(array, order)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)], affine @ change


def oblique(degrees=20.0):
    turn = np.radians(degrees)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return rotation @ AFFINE


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_reads_what_was_written(tmp_path, voxels, suffix, kind):
    array, affine = read_nifti(save(tmp_path / f"image{suffix}", voxels, kind=kind))
    np.testing.assert_array_equal(array, voxels)
    np.testing.assert_allclose(affine, AFFINE, rtol=1e-6)
    assert array.dtype == np.float32 and affine.dtype == np.float64


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_storage_order_gives_the_same_volume(tmp_path, voxels, mask, order):
    for flips in product((False, True), repeat=3):
        image_path = save(tmp_path / "image.nii", *stored_as(voxels, AFFINE, order, flips))
        volume = read_pair(image_path, save(tmp_path / "mask.nii", *stored_as(mask, AFFINE, order, flips)), [1])
        np.testing.assert_array_equal(volume.image, voxels[None])
        np.testing.assert_array_equal(volume.label, mask)
        assert volume.spacing == pytest.approx(SPACING, rel=1e-6)
        assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
        assert volume.image.flags.c_contiguous and volume.label.flags.c_contiguous


def test_image_and_mask_may_be_stored_differently(tmp_path, voxels, mask):
    image_path = save(tmp_path / "image.nii.gz", *stored_as(voxels, AFFINE, (2, 0, 1), (True, False, True)))
    volume = read_pair(image_path, save(tmp_path / "mask.nii.gz", mask), [1])
    np.testing.assert_array_equal(volume.image[0], voxels)
    np.testing.assert_array_equal(volume.label, mask)


@pytest.mark.parametrize("degrees", [20.0, 100.0, 200.0, -44.0])
def test_oblique_images_keep_their_grid(tmp_path, voxels, degrees):
    path = save(tmp_path / "image.nii", voxels, oblique(degrees))
    array, affine = read_nifti(path)
    np.testing.assert_array_equal(array, nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32))
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    # The brightest voxel is at the same place in the scanner.
    before = apply_affine(oblique(degrees), np.unravel_index(voxels.argmax(), voxels.shape))
    np.testing.assert_allclose(apply_affine(affine, np.unravel_index(array.argmax(), array.shape)), before, atol=1e-4)


def test_spacing_follows_the_axes(tmp_path, voxels, mask):
    """Turned by 100 degrees the first axis of the file runs along y: spacings and sizes swap."""
    paths = save(tmp_path / "i.nii", voxels, oblique(100.0)), save(tmp_path / "m.nii", mask, oblique(100.0))
    volume = read_pair(*paths, [1])
    assert volume.spacing == pytest.approx((1.5, 0.977, 3.27), rel=1e-6)
    assert volume.image.shape == (1, 6, 5, 7)


def test_integers_stay_and_scaling_is_applied(tmp_path):
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    assert read_nifti(save(tmp_path / "plain.nii", values))[0].dtype == np.int16
    scaled = nib.Nifti1Image(values, AFFINE)
    scaled.header.set_slope_inter(2.0, -1024.0)
    nib.save(scaled, tmp_path / "scaled.nii")
    stored = nib.load(tmp_path / "scaled.nii")
    expected = np.asarray(stored.dataobj)
    array, _ = read_nifti(tmp_path / "scaled.nii")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_a_trailing_axis_of_one_is_dropped(tmp_path, voxels):
    array, _ = read_nifti(save(tmp_path / "image.nii", voxels[..., None]))
    np.testing.assert_array_equal(array, voxels)
    assert read_nifti(save(tmp_path / "slice.nii", voxels[..., :1]))[0].shape == (5, 6, 1)


@pytest.mark.parametrize("axis", range(3))
def test_a_single_slice_is_two_dimensional(tmp_path, voxels, mask, axis):
    """Sagittal, coronal, axial; stored in any order. Its thickness, said to be 999 mm or another, means nothing."""
    cut = tuple(slice(2, 3) if other == axis else slice(None) for other in range(3))
    left = [other for other in range(3) if other != axis]
    thick, thin = AFFINE.copy(), AFFINE.copy()
    thick[axis, axis] = 999.0
    for order in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            image_path = save(tmp_path / "image.nii", *stored_as(voxels[cut], thick, order, flips))
            volume = read_pair(image_path, save(tmp_path / "mask.nii", mask[cut], thin), [1])
            np.testing.assert_array_equal(volume.image[0], voxels[cut].squeeze())
            np.testing.assert_array_equal(volume.label, mask[cut].squeeze())
            assert volume.spacing == pytest.approx([SPACING[other] for other in left], rel=1e-6)


def test_an_image_of_two_axes(tmp_path, voxels, mask):
    """It may have a mask of three. Where its header gives no thickness, none is needed."""
    volume = read_pair(save(tmp_path / "i.nii", voxels[..., 2]), save(tmp_path / "m.nii", mask[..., 2:3]), [1])
    np.testing.assert_array_equal(volume.image[0], voxels[..., 2])
    np.testing.assert_array_equal(volume.label, mask[..., 2])
    assert volume.spacing == pytest.approx(SPACING[:2], rel=1e-6)
    path = save(tmp_path / "m.nii", mask[..., 2])
    content = bytearray(path.read_bytes())
    for offset in (288, 304, 320):  # the third column of the sform
        content[offset : offset + 4] = bytes(4)
    path.write_bytes(content)
    assert not nib.load(path).affine[:, 2].any()
    volume = read_pair(path, path, [1])
    np.testing.assert_array_equal(volume.label, mask[..., 2])
    assert volume.spacing == pytest.approx(SPACING[:2], rel=1e-6)


def test_labels_in_order_or_mapped(tmp_path, voxels):
    image_path = save(tmp_path / "image.nii", voxels)
    stored = np.zeros(SHAPE, np.int16)
    stored[0], stored[1], stored[2] = 420, 500, 421
    mask_path = save(tmp_path / "mask.nii", stored)
    label = read_pair(image_path, mask_path, [500, 420, 421, 820]).label
    assert [label[i, 0, 0] for i in range(4)] == [2, 1, 3, 0]
    label = read_pair(image_path, mask_path, {500: 1, 420: 2, 421: 2}).label
    assert [label[i, 0, 0] for i in range(4)] == [2, 1, 2, 0]
    whole = save(tmp_path / "float.nii", stored.astype(np.float64))
    np.testing.assert_array_equal(read_pair(image_path, whole, {500: 1, 420: 2, 421: 2}).label, label)


def test_a_mask_with_a_scale_factor(tmp_path, voxels, mask):
    """255 times 1 / 255, 10 and 30 times 0.1, with factors of 32 bits: nearly 1, 1 and 3."""
    image_path = save(tmp_path / "image.nii", voxels)
    for number, (stored, slope) in enumerate(((255 * mask, 1 / 255), (10 * mask, 0.1), (30 * mask, 0.1))):
        scaled = nib.Nifti1Image(stored.astype(np.int16), AFFINE)
        scaled.header.set_slope_inter(slope, 0.0)
        nib.save(scaled, tmp_path / f"{number}.nii")
        path = tmp_path / f"{number}.nii"
        raw = np.asarray(nib.load(path).dataobj)
        assert (raw != np.rint(raw)).any() and raw.max() == pytest.approx(3 if number == 2 else 1)
        np.testing.assert_array_equal(read_pair(image_path, path, {3: 1} if number == 2 else [1]).label, mask)
    path = save(tmp_path / "near.nii", (mask * (1 + 0.009 * np.sign(voxels))).astype(np.float32))  # 0.991 and 1.009
    np.testing.assert_array_equal(read_pair(image_path, path, [1]).label, mask)


def test_affines_may_differ_by_rounding(tmp_path, voxels, mask):
    nearly = AFFINE.copy()
    nearly[:3, 3] += 0.05
    image = save(tmp_path / "image.nii", voxels)
    shifted, exact = (
        read_pair(image, save(tmp_path / f"{name}.nii", mask, affine), [1])
        for name, affine in (("nearly", nearly), ("exact", AFFINE))
    )
    np.testing.assert_array_equal(shifted.label, exact.label)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_grid_at_45_degrees(tmp_path, voxels, mask, order):
    """Image and mask differ by a rounding that sends the axes of each to others; the image says which."""
    for image_side, mask_side in ((1e-4, -1e-4), (-1e-4, 1e-4)):
        ways = [nib.aff2axcodes(oblique(45 + side)) for side in (image_side, mask_side)]
        assert ways[0] != ways[1]
        image_path = save(tmp_path / "image.nii", voxels, oblique(45 + image_side))
        flips = (True, False, True)
        mask_path = save(tmp_path / "mask.nii", *stored_as(mask, oblique(45 + mask_side), order, flips))
        volume, as_image = read_pair(image_path, mask_path, [1]), read_nifti(image_path)[0]
        np.testing.assert_array_equal(volume.image[0], as_image)
        alone = read_nifti(save(tmp_path / "alone.nii", mask, oblique(45 + image_side)))[0]
        np.testing.assert_array_equal(volume.label, alone)


# ------------------------------------------------------------------------------------------------ what is refused


def refused(path, *parts, read=read_nifti):
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert all(part in message for part in parts), message


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "none.nii.gz", "no such file")
    refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("name", ["empty.nii", "empty.nii.gz"])
def test_zero_bytes(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, "empty")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_truncated(tmp_path, voxels, suffix, share):
    path = save(tmp_path / f"image{suffix}", voxels)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "again")


def test_a_flipped_bit_in_compressed_voxels(tmp_path):
    """Stored without compression, so that only the checksum can tell."""
    path = save(tmp_path / "image.nii", np.zeros(SHAPE, np.float32))
    content = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))
    content[-100] ^= 1
    path = tmp_path / "image.nii.gz"
    path.write_bytes(content)
    refused(path, "damaged", "CRC")


@pytest.mark.parametrize("content", [b"x", b"\x89PNG\r\n\x1a\n" + bytes(500), b"<!DOCTYPE html>" * 40])
def test_not_a_nifti(tmp_path, content):
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "not a NIfTI")


def test_damaged_headers(tmp_path, voxels):
    path = save(tmp_path / "image.nii", voxels)
    good = path.read_bytes()
    for offset in (40, 42, 44, 70, 109, 344):  # dim, datatype, vox_offset, magic
        bad = bytearray(good)
        bad[offset : offset + 2] = b"\xff\xff"
        path.write_bytes(bad)
        refused(path)


def test_affine_without_voxel_size(tmp_path, voxels):
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header["srow_x"] = 0.0
    image.header["qform_code"] = 0
    path = tmp_path / "image.nii"
    path.write_bytes(bytes(image.header.binaryblock) + bytes(4) + voxels.tobytes(order="F"))
    content = bytearray(path.read_bytes())
    content[344:348] = b"n+1\0"
    content[108:112] = np.float32(352).tobytes()
    path.write_bytes(content)
    refused(path, "affine")


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0)])
def test_lengths_are_in_mm_whatever_the_header_counts_in(tmp_path, voxels, mask, unit, mm):
    paths = []
    for name, array in (("image", voxels), ("mask", mask)):
        scaled = AFFINE.copy()
        scaled[:3] /= mm
        image = nib.Nifti1Image(array, scaled)
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / f"{name}.nii")
        paths.append(tmp_path / f"{name}.nii")
    assert read_pair(*paths, [1]).spacing == pytest.approx(SPACING, rel=1e-6)
    np.testing.assert_allclose(read_nifti(paths[0])[1], AFFINE, rtol=1e-6)


def test_two_voxel_sizes_in_one_header(tmp_path, voxels):
    image = nib.Nifti1Image(voxels, AFFINE)
    image.set_qform(np.diag([0.5, 0.5, 2.0, 1.0]), 1)
    image.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "image.nii")
    refused(tmp_path / "image.nii", "two voxel sizes, 0.5 x 0.5 x 2 (qform) and 0.977 x 1.5 x 3.27 (sform)")
    image.set_qform(np.diag([0.5, 0.5, 2.0, 1.0]), 0)
    nib.save(image, tmp_path / "image.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "image.nii")[1], AFFINE, rtol=1e-6)


def test_a_name_that_says_other_than_the_content(tmp_path, voxels):
    """Other programs go by the name: a grid that one measures would not be that of what another reads."""
    content = save(tmp_path / "image.nii", voxels).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(content)
    refused(tmp_path / "a.nii.gz", "its name says that it is compressed, its content is uncompressed", "rename")
    (tmp_path / "b.nii").write_bytes(gzip.compress(content))
    refused(tmp_path / "b.nii", "its name says that it is uncompressed, its content is compressed", "rename")


def test_a_file_that_unpacks_to_more_than_its_header_says(tmp_path, voxels):
    """64 MiB of zeros behind an image of 840 bytes; a few bytes behind it are as good as none."""
    content = save(tmp_path / "image.nii", voxels).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content + bytes(2**26)))
    refused(tmp_path / "bomb.nii.gz", "unpacks to more than its header says")
    (tmp_path / "padded.nii.gz").write_bytes(gzip.compress(content + bytes(64)))
    np.testing.assert_array_equal(read_nifti(tmp_path / "padded.nii.gz")[0], voxels)


def with_pixdim(path, number, size, code=0, q=1):
    """Write ``size`` to pixdim of a file as it is stored; the code of the sform, and that of the qform."""
    content = bytearray(path.read_bytes())
    content[76 + 4 * number : 80 + 4 * number] = np.float32(size).tobytes()
    content[252:256] = np.array([q, code], np.int16).tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0.0, np.nan, np.inf, -1.5])
@pytest.mark.parametrize("q", [0, 1])
def test_a_voxel_size_that_is_none(tmp_path, voxels, size, q, caplog):
    for number in (1, 2, 3):
        path = with_pixdim(save(tmp_path / "image.nii", voxels), number, size, q=q)
        refused(path, f"{size:g} mm wide along axis {number} (pixdim[{number}])", "write the true voxel size")
    assert not caplog.records  # of a repair that is not made


def test_a_voxel_size_that_nothing_follows(tmp_path, voxels, mask):
    """An sform says it; and a slice has no thickness."""
    path = with_pixdim(save(tmp_path / "image.nii", voxels), 3, 0.0, code=1)
    assert read_pair(path, save(tmp_path / "mask.nii", mask), [1]).spacing == pytest.approx(SPACING)
    for cut in (np.s_[..., 2], np.s_[..., 2:3]):
        paths = [save(tmp_path / f"{name}.nii", array[cut]) for name, array in (("i", voxels), ("m", mask))]
        volume = read_pair(*(with_pixdim(path, 3, 0.0) for path in paths), [1])
        assert volume.spacing == pytest.approx(SPACING[:2])


@pytest.mark.parametrize("shape", [(5,), (5, 6, 7, 2), (5, 6, 7, 1, 3)])
def test_neither_two_nor_three_dimensional(tmp_path, shape):
    refused(save(tmp_path / "image.nii", np.zeros(shape, np.float32)), "3-D", "x".join(map(str, shape)))


def test_colour(tmp_path):
    colour = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refused(save(tmp_path / "image.nii", colour), "one number per voxel")


def test_nan_and_infinite_voxels_are_counted(tmp_path, voxels):
    voxels[0, 0, :2] = np.nan
    voxels[1, 1, 1] = -np.inf
    refused(save(tmp_path / "image.nii", voxels), "3 of 210")
    refused(save(tmp_path / "large.nii", np.full(SHAPE, 1e300)), "210 of 210")


@pytest.mark.parametrize("axis", range(3))
def test_a_sheared_grid(tmp_path, voxels, mask, axis):
    """Along ``axis`` 12 degrees off the next one; less than a degree is taken for rounding."""
    for degrees in (0.9, 12.0):
        sheared = oblique()
        turn = np.radians(degrees)
        sheared[:3, axis] = SPACING[axis] * (
            np.cos(turn) * oblique()[:3, axis] / SPACING[axis]
            + np.sin(turn) * oblique()[:3, (axis + 1) % 3] / SPACING[(axis + 1) % 3]
        )
        path = save(tmp_path / "image.nii", voxels, sheared)
        if degrees < 1:
            assert read_pair(path, save(tmp_path / "mask.nii", mask, sheared), [1]).spacing == pytest.approx(SPACING)
        else:
            refused(path, "its axes are not at right angles but 12.0 degrees off (a tilted gantry?); resample it")
            refused(path, "right angles", read=lambda path: read_pair(tmp_path / "mask.nii", path, [1]))


@pytest.fixture
def pair(tmp_path, voxels):
    image_path = save(tmp_path / "image.nii", voxels)

    def refuses(mask, *parts, affine=AFFINE, labels=(1,)):
        mask_path = save(tmp_path / "mask.nii", mask, affine)
        refused(mask_path, *parts, read=lambda path: read_pair(image_path, path, labels))

    return refuses


def test_mask_of_another_shape(pair, mask):
    pair(mask[:, :, 1:], "5x6x6", "5x6x7", "image.nii")


def test_mask_on_another_grid(pair, mask):
    moved, grown, flipped = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    moved[2, 3] += 5.0
    grown[0, 0] *= 1.1
    flipped[0, 0] *= -1.0
    pair(mask, "5 mm", "affine", affine=moved)
    pair(mask, "affine", affine=grown)
    pair(mask, "affine", affine=flipped)


def test_mask_with_other_values(pair, mask):
    mask[0, 0, :3] = 1, 2, 7
    pair(mask, "2, 7", "0, 1")
    mask[:] = np.arange(210).reshape(SHAPE)
    pair(mask, "and 198 more", "0, 1", labels=(1,))


def test_mask_of_fractions(pair, mask):
    pair(np.where(mask == 1, 0.5, 0.0), "whole numbers", "0.5")
    pair(np.where(mask == 1, 1.011, 0.0), "also 1.011; was it interpolated")


def test_labels_that_make_no_sense(tmp_path, voxels, mask):
    paths = save(tmp_path / "image.nii", voxels), save(tmp_path / "mask.nii", mask)
    for labels in ([1, 1], [0, 1], {1: 256}, {1: -1}):
        with pytest.raises(ValueError, match="label"):
            read_pair(*paths, labels)
