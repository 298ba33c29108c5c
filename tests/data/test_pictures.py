"""Pictures written with pillow and read back: what a pixel is, where it ends up, and what is refused."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fedbench.data.pictures import read_mask, read_masked, read_picture
from fedbench.errors import UserError

GREY = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)  # two rows, three columns
UPWARDS = np.array([[4, 1], [5, 2], [6, 3]])  # (X, Y): the lower row comes first


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def save(path, pixels, **options):
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def palette(indices, colours):
    picture = Image.fromarray(indices, "L").copy()
    picture.putpalette(np.ravel(colours).tolist())
    return picture


@pytest.mark.parametrize("ending", ["png", "PNG", "bmp", "tif"])
def test_grey_has_one_channel_and_y_points_upwards(tmp_path, ending):
    read = read_picture(save(tmp_path / f"grey.{ending}", GREY))
    assert read.shape == (1, 3, 2) and read.dtype == np.uint8 and read.flags.c_contiguous
    np.testing.assert_array_equal(read[0], UPWARDS)


def test_rgb_has_three_channels_even_where_they_are_equal(tmp_path):
    rgb = np.stack([GREY, GREY + 10, GREY + 20], axis=-1)
    read = read_picture(save(tmp_path / "rgb.png", rgb))
    assert read.shape == (3, 3, 2) and read.dtype == np.uint8
    np.testing.assert_array_equal(read, [UPWARDS, UPWARDS + 10, UPWARDS + 20])
    np.testing.assert_array_equal(read_picture(save(tmp_path / "same.png", np.dstack([GREY] * 3))), [UPWARDS] * 3)


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([GREY, GREY + 10, GREY + 20, GREY * 40])
    np.testing.assert_array_equal(
        read_picture(save(tmp_path / "rgba.png", rgba)), [UPWARDS, UPWARDS + 10, UPWARDS + 20]
    )
    np.testing.assert_array_equal(read_picture(save(tmp_path / "la.png", np.dstack([GREY, GREY * 40])))[0], UPWARDS)


def test_palette_is_looked_up(tmp_path):
    picture = palette(GREY % 3, [(0, 0, 0), (200, 10, 20), (7, 8, 9)])
    for path in (
        save(tmp_path / "palette.png", picture),
        save(tmp_path / "transparent.png", picture, transparency=b"\x00\x80\xff"),
    ):
        read = read_picture(path)
        assert read.shape == (3, 3, 2)
        assert read[:, 0, 1].tolist() == [200, 10, 20] and read[:, 1, 1].tolist() == [7, 8, 9]  # of 1 and 2


def test_bilevel_is_0_and_255(tmp_path):
    read = read_picture(save(tmp_path / "bilevel.png", Image.fromarray(GREY > 2)))
    np.testing.assert_array_equal(read[0], np.where(UPWARDS > 2, 255, 0))
    assert read.dtype == np.uint8


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_kept(tmp_path, ending):
    read = read_picture(save(tmp_path / f"deep.{ending}", GREY.astype(np.uint16) * 10_000))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[0], UPWARDS * 10_000)


def test_big_endian_16_bits(tmp_path):
    picture = Image.frombytes("I;16B", (3, 2), (GREY * np.uint16(10_000)).astype(">u2").tobytes())
    np.testing.assert_array_equal(read_picture(save(tmp_path / "deep.tif", picture))[0], UPWARDS * 10_000)


@pytest.mark.parametrize(("kind", "said"), [(np.float32, "kind 'F'"), (np.int32, "grey values 100000 to 600000")])
def test_other_pixels_are_refused(tmp_path, kind, said):
    path = save(tmp_path / "odd.tif", GREY.astype(kind) * 100_000)
    for read in (read_picture, read_mask):
        with pytest.raises(UserError, match=rf"odd\.tif: .*{said}"):
            read(path)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    read = read_picture(save(tmp_path / "cmyk.jpg", cmyk, quality=100))
    assert read.shape == (3, 16, 16) and read[0].min() > 240 and read[1:].max() < 15


@pytest.mark.parametrize(
    ("orientation", "corner"),  # where the white corner, stored in the first row and column, belongs
    [(1, (0, -1)), (2, (-1, -1)), (3, (-1, 0)), (4, (0, 0)), (5, (0, -1)), (6, (-1, -1)), (7, (-1, 0)), (8, (0, 0))],
)
def test_jpeg_is_turned_upright(tmp_path, orientation, corner):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_picture(save(tmp_path / "turned.jpg", pixels, exif=exif))[0]
    assert read.shape == ((32, 16) if orientation < 5 else (16, 32))
    assert read[corner] > 200 and sum(read[x, y] > 200 for x in (0, -1) for y in (0, -1)) == 1


def test_unreadable_exif_does_not_matter(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG")
    content = buffer.getvalue()
    block = b"Exif\0\0II*\0" + b"\xff" * 40
    (tmp_path / "a.jpg").write_bytes(
        content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_picture(tmp_path / "a.jpg").shape == (1, 3, 2)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[read_picture, read_mask], ids=["picture", "mask"])
def read(request):
    return request.param


def refusal(read, path):
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_missing_empty_and_unreadable_files(tmp_path, read):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    assert refusal(read, tmp_path / "none.png") == "no such file."
    assert refusal(read, tmp_path / "empty.png").startswith("the file is empty")
    assert refusal(read, tmp_path / "folder.png").startswith("cannot be read: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path, read):
    path = save(tmp_path / "mine.png", GREY)
    path.chmod(0)
    assert refusal(read, path).startswith("cannot be read: Permission denied")


@pytest.mark.parametrize(
    "content",
    [b"<html>Sign in to download</html>", b"\x1f\x8b\x08\x00", b"version https://git-lfs.github.com/spec/v1\n"],
)
def test_no_picture(tmp_path, read, content):
    (tmp_path / "a.png").write_bytes(content)
    assert refusal(read, tmp_path / "a.png").startswith("no picture")


def test_postscript_is_not_executed(tmp_path, read):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")
    assert refusal(read, tmp_path / "a.png").startswith("no picture")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp", "gif"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_cut_short(tmp_path, read, ending, part):
    noise = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    path = save(tmp_path / f"a.{ending}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refusal(read, path).startswith(("cut short or damaged (", "no picture, or its beginning is damaged"))


def test_png_without_its_end(tmp_path, read):
    path = save(tmp_path / "a.png", GREY)
    path.write_bytes(path.read_bytes()[:-12])
    assert refusal(read, path).startswith("cut short or damaged (")


def test_every_flipped_bit_of_the_pixels_is_noticed(tmp_path):
    path = save(tmp_path / "a.png", GREY)
    content = path.read_bytes()
    start, end = content.index(b"IDAT") + 4, content.index(b"IEND") - 4
    for position in range(start, end):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert refusal(read_picture, path).startswith("cut short or damaged (")


@pytest.mark.parametrize("ending", ["png", "gif", "tif"])
def test_several_pictures(tmp_path, read, ending):
    frames = [Image.fromarray(GREY + 50 * i) for i in range(3)]
    path = save(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    assert refusal(read, path).startswith("it holds 3 pictures")


def test_too_large(tmp_path, read):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    assert refusal(read, tmp_path / "a.png").startswith("too large")


# -- masks -------------------------------------------------------------------------------------------------------------

SHAPE = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
MASK = np.array([[0, 0], [0, 1], [1, 1]])  # the same, (X, Y)
RED = np.array([128, 0, 0], np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        SHAPE,
        SHAPE * 255,
        SHAPE.astype(np.uint16) * 65535,
        SHAPE.astype(np.uint16) * 256,  # 0 in the lower byte
        Image.fromarray(SHAPE > 0),
        np.dstack([SHAPE * 255] * 3),
        np.dstack([SHAPE * 255] * 3 + [np.full_like(SHAPE, 255)]),
        SHAPE[..., None] * RED,
        np.dstack([np.full_like(SHAPE, 255)] * 3 + [SHAPE * 255]),  # white, transparent where there is nothing
        np.dstack([SHAPE * 255, np.full_like(SHAPE, 255)]),
        palette(SHAPE, [(0, 0, 0), (128, 0, 0)]),
        palette(1 - SHAPE, [(255, 255, 255), (0, 0, 0)]),  # black counts, not index 0
    ],
)
def test_masks_of_two_values(tmp_path, pixels):
    mask = read_mask(save(tmp_path / "mask.png", pixels))
    assert mask.dtype == np.uint8 and mask.flags.c_contiguous
    np.testing.assert_array_equal(mask, MASK)


def test_masks_of_one_value(tmp_path):
    assert read_mask(save(tmp_path / "nothing.png", SHAPE * 0)).tolist() == [[0, 0]] * 3
    assert read_mask(save(tmp_path / "all.png", np.full_like(SHAPE, 255))).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("pixels", "named"),
    [
        (np.array([[0, 128, 255]], np.uint8), "0, 128, 255;"),
        (np.array([[1, 2, 2]], np.uint8), "1, 2;"),  # which of the two is the object?
        (np.arange(30, dtype=np.uint8)[None], "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more;"),
        (np.array([[0, 1, 65535]], np.uint16), "0, 1, 65535;"),
        (np.array([[[0, 0, 0], [128, 0, 0], [0, 128, 0]]], np.uint8), "#000000, #008000, #800000;"),
        (
            np.array([[[0, 0, 0, 255], [9, 9, 9, 128], [9, 9, 9, 255]]], np.uint8),
            "#000000, #090909 of opacity 128, #090909;",
        ),
        (palette(np.array([[0, 1, 2]], np.uint8), [(0, 0, 0), (1, 1, 1), (2, 2, 2)]), "#000000, #010101, #020202;"),
    ],
)
def test_masks_of_more_values_are_refused_and_named(tmp_path, pixels, named):
    assert f"this one holds {named}" in refusal(read_mask, save(tmp_path / "mask.png", pixels)) + ";"


def test_mask_saved_as_jpeg_is_refused(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[5:20, 9:23] = 255
    assert "was it saved as JPEG" in refusal(read_mask, save(tmp_path / "mask.jpg", mask))


def test_palette_that_hides_the_mask_is_refused(tmp_path):
    path = save(tmp_path / "mask.png", palette(SHAPE, [(0, 0, 0), (0, 0, 0)]))
    assert "several values in the same colour" in refusal(read_mask, path)


# -- a picture with its masks ------------------------------------------------------------------------------------------


def test_masks_are_united(tmp_path):
    image = save(tmp_path / "image.png", np.dstack([GREY] * 3))
    masks = [save(tmp_path / f"{i}.png", np.where(i == GREY, 255, 0).astype(np.uint8)) for i in (1, 6)]
    volume = read_masked(image, masks)
    assert volume.image.dtype == np.float32 and volume.image.shape == (3, 3, 2) and volume.spacing == (1.0, 1.0)
    assert volume.label.dtype == np.uint8
    np.testing.assert_array_equal(volume.label, (UPWARDS == 1) | (UPWARDS == 6))
    np.testing.assert_array_equal(volume.image, [UPWARDS] * 3)


def test_mask_of_another_size(tmp_path):
    image, mask = save(tmp_path / "image.png", GREY), save(tmp_path / "mask.png", SHAPE.T.copy())
    with pytest.raises(UserError, match=r"mask\.png: the mask is 2x3 pixels, its image .*image\.png 3x2"):
        read_masked(image, [mask])


def test_in_threads_and_under_any_name(tmp_path):
    folder = tmp_path / "Bilder für Öl 图"
    folder.mkdir()
    paths = [save(folder / f"{i}.png", np.full((40, 50), i, np.uint8)) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert [int(read.max()) for read in pool.map(read_picture, paths)] == list(range(40))
