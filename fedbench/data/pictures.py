"""Reading pictures (PNG, JPEG, TIFF, BMP, GIF) and masks kept as pictures; every problem a message naming the file.

A picture has no voxel size: its unit is the pixel. Arrays are ``(X, Y)`` with X to the right and Y upwards, whereas
files store rows from the top: ``array[x, y]`` is the pixel in row ``height - 1 - y`` and column ``x``.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fedbench.data.folders import content_of
from fedbench.dataset import Volume
from fedbench.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")  # not every format pillow knows: some start other programs
GREY, DEEP_GREY = ("1", "L", "LA"), ("I;16", "I;16L", "I;16B", "I")  # pillow's modes; DEEP_GREY is 16 bits per pixel
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
PIXELS = (1.0, 1.0)
SHOWN = 10  # values in one message


def read_picture(path: Path | str) -> np.ndarray:
    """Read a picture as its file describes it; whether a coloured picture looks grey is not examined.

    A JPEG or TIFF that says it was taken with the camera turned is turned upright. Alpha is dropped.

    Returns:
        ``(1, X, Y)`` of a grey picture, uint8, or uint16 if the file holds 16 bits per pixel; bilevel is 0 and 255.
        ``(3, X, Y)`` uint8, red, green and blue, of any other, with colours looked up in the palette; 16 bits per
        colour are read as 8.

    Raises:
        UserError: the file is missing, damaged, no picture, too large, or holds several pictures or other pixels.
    """
    path = Path(path)
    image = _open(path)
    if image.mode in GREY:
        return _upwards(np.asarray(image.convert("L")))[None]
    if image.mode in DEEP_GREY:
        return _upwards(_deep(image, path))[None]
    colours = np.asarray(_supported(image, path).convert("RGBA"))
    return np.stack([_upwards(colours[..., channel]) for channel in range(3)])


def read_mask(path: Path | str) -> np.ndarray:
    """Read a mask of one class: black (or transparent) is background, one other value or colour is foreground.

    So 0 and 1, 0 and 255, a bilevel file or a palette of black and red all mean the same. More values mean that the
    mask was saved as JPEG, smoothed or resized, or holds several classes: then where the object ends is a guess.

    Returns:
        uint8 ``(X, Y)``, 1 in the foreground.

    Raises:
        UserError: as :func:`read_picture`; or the mask holds more values, or shows two indices in the same colour.
    """
    path = Path(path)
    image = _open(path)
    if image.mode in ("1", "L"):
        values = np.asarray(image.convert("L"))
    elif image.mode in DEEP_GREY:
        values = _deep(image, path)
    else:
        values = _codes(_supported(image, path))
        if image.mode == "P" and len(np.unique(np.asarray(image))) > len(np.unique(values)):
            raise UserError(f"{path}: its palette shows several values in the same colour; save the mask as grey PNG.")
    foreground = values != 0
    if (foreground & (values != values.max())).any():
        held = [f"{value:g}" if values.dtype != np.uint32 else _colour(value) for value in np.unique(values)]
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        raise UserError(
            f"{path}: a mask holds black and one other value, this one holds {', '.join(held[:SHOWN])}{more}; "
            "was it saved as JPEG, smoothed or resized? Save a mask of two values as PNG."
        )
    return _upwards(foreground.astype(np.uint8))


def read_masked(image_path: Path | str, mask_paths: Iterable[Path | str]) -> Volume:
    """Read a picture and the masks of one class that belong to it, for instance one per object.

    Returns:
        Image float32 ``(channels, X, Y)`` with the values of :func:`read_picture`; label uint8 ``(X, Y)``, 1 where any
        of the masks is foreground; spacing 1 px.

    Raises:
        UserError: a file cannot be read (:func:`read_picture`, :func:`read_mask`), or a mask has another size.
    """
    image = read_picture(image_path)
    label = np.zeros(image.shape[1:], np.uint8)
    for path in mask_paths:
        mask = read_mask(path)
        if mask.shape != label.shape:
            raise UserError(
                f"{path}: the mask is {_by(mask)} pixels, its image {image_path} {_by(label)}: "
                "give the mask that belongs to the image, in its size."
            )
        label |= mask
    return Volume(image.astype(np.float32), label, PIXELS)


def _open(path: Path) -> Image.Image:
    content = content_of(path)
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            image.verify()  # compares the checksums of a PNG, which reading it does not do
        image = Image.open(BytesIO(content), formats=FORMATS)
        frames = getattr(image, "n_frames", 1)
        upright = ImageOps.exif_transpose(image) if frames == 1 else image
        upright.load()
    except UnidentifiedImageError:
        raise UserError(f"{path}: no picture, or its beginning is damaged; give PNG, JPEG, TIFF, BMP or GIF.") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large to be what it should ({_line(error)}); cut it into parts.") from None
    except Exception as error:  # pillow answers damaged files with many types: OSError, SyntaxError, ValueError...
        raise UserError(f"{path}: cut short or damaged ({_line(error)}); copy or download it again.") from None
    if frames > 1:
        raise UserError(f"{path}: it holds {frames} pictures (frames or pages); save the one that is meant alone.")
    return upright


def _supported(image: Image.Image, path: Path) -> Image.Image:
    if image.mode not in (*GREY, *COLOUR):
        raise UserError(f"{path}: pixels of kind '{image.mode}' are not supported; save it as PNG, grey or RGB.")
    return image


def _deep(image: Image.Image, path: Path) -> np.ndarray:
    """Grey values uint16 ``(rows, columns)``; pillow may keep them in more bits than the file."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise UserError(f"{path}: grey values {values.min()} to {values.max()}; save it with 8 or 16 bits per pixel.")
    return values.astype(np.uint16)


def _codes(image: Image.Image) -> np.ndarray:
    """One uint32 per pixel, ``(rows, columns)``, different for different colours and 0 for black and transparent."""
    red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")).astype(np.uint32), -1, 0)
    code = red << 16 | green << 8 | blue
    return np.where((code == 0) | (alpha == 0), 0, alpha << 24 | code).astype(np.uint32)


def _colour(code: int) -> str:
    return f"#{code & 0xFFFFFF:06x}" + (f" of opacity {code >> 24}" if 0 < code >> 24 < 255 else "")


def _upwards(pixels: np.ndarray) -> np.ndarray:
    """Turn ``(rows from the top, columns)`` into ``(X, Y)``."""
    return np.ascontiguousarray(pixels[::-1].T)


def _by(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
