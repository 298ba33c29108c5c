"""Figures as data URIs that together fit into a share of the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fedbench.analysis.figures import Drawn
from fedbench.analysis.report.encoding import data_uri

WIDE = 1000  # pixels; a wider figure scrolls in its frame on a narrow screen
LEAST_VISIBLE = 0.7  # mean error of a pixel, of 255
SMALLER = ((1.0, 90), (1.0, 80), (0.8, 80), (0.6, 80), (0.45, 75))  # size and JPEG quality, until a figure fits


class Picture(NamedTuple):
    """A figure on the page; ``width`` and ``height`` in pixels."""

    title: str
    caption: str
    uri: str
    width: int
    height: int
    wide: bool


def pictures(drawn: Sequence[Drawn], share: int) -> dict[Drawn, Picture]:
    """Return the figures that have a PNG; together about ``share`` bytes of it at most."""
    files = {one: file for one in drawn if (file := _png(one)) is not None}
    most = fair_share([file.stat().st_size for file in files.values()], share)
    return {one: _picture(one, file, most) for one, file in files.items()}


def fair_share(sizes: Sequence[int], total: int) -> int:
    """Return the largest size to which all must be cut so that they fit into ``total``; small ones leave room."""
    left, waiting = total, sorted(sizes)
    while waiting and waiting[0] <= left // len(waiting):
        left -= waiting.pop(0)
    return left // len(waiting) if waiting else total


def _png(drawn: Drawn) -> Path | None:
    return next((file for file in drawn.files if file.suffix == ".png"), None)


def _picture(drawn: Drawn, file: Path, most: int) -> Picture:
    content, kind = file.read_bytes(), "image/png"
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        colours = image.convert("RGB")
    if len(content) > most:
        content = _few_colours(colours) or content
    for factor, quality in SMALLER:
        if len(content) <= most:
            break
        content, kind = _jpeg(colours, factor, quality), "image/jpeg"
    return Picture(drawn.title, drawn.caption, data_uri(content, kind), width, height, width > WIDE)


def _few_colours(image: Image.Image) -> bytes | None:
    """Write with 256 colours if nobody can see the difference, as in most plots."""
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - np.asarray(image, dtype=np.int16))
    if error.mean() > LEAST_VISIBLE:
        return None
    stream = io.BytesIO()
    few.save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def _jpeg(image: Image.Image, factor: float, quality: int) -> bytes:
    """Write ``factor`` of the size; the page draws it as large as before."""
    size = (round(image.width * factor), round(image.height * factor))
    scaled = image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    scaled.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
