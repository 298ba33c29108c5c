"""Images and label maps as text that a page can hold: PNG data URIs, and runs of equal labels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fedbench.views import CaseView

LARGEST = 384  # pixels along the longer side; larger slices are reduced
LONGEST = 255  # of a run; a longer one is written as several


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return ``data:image/png;base64,...``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def upright(array: np.ndarray, view: CaseView) -> np.ndarray:
    """Turn ``(X, Y, ...)`` into rows and columns as a viewer shows them: anterior up, the patient's right on the left.

    A picture is not mirrored.
    """
    rows = np.swapaxes(array, 0, 1)[::-1]
    return np.ascontiguousarray(rows if view.picture else rows[:, ::-1])


def reduction(shape: Sequence[int]) -> int:
    """Return by how much a slice must be reduced to be shown: 1 for most."""
    return -(-max(shape[:2]) // LARGEST)


def reduced_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of ``factor`` x ``factor`` pixels of ``(rows, columns, channels)`` uint8."""
    rows, columns = (n // factor for n in image.shape[:2])
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, -1)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def reduced_labels(labels: np.ndarray, factor: int) -> np.ndarray:
    """Take the middle of each block of ``(rows, columns)``."""
    rows, columns = (n // factor for n in labels.shape)
    return labels[: rows * factor, : columns * factor][factor // 2 :: factor, factor // 2 :: factor]


def image_uri(image: np.ndarray) -> str:
    """Return ``(rows, columns, channels)`` uint8 as PNG: grey of one channel, colours of three, else the first."""
    pixels = image if image.shape[-1] == 3 else image[..., 0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=9)
    return data_uri(stream.getvalue())


def runs_of(labels: np.ndarray) -> str:
    """Return a label map as base64 of pairs of bytes (label, length), row after row."""
    flat = labels.ravel()
    starts = np.r_[0, np.flatnonzero(np.diff(flat)) + 1]
    lengths = np.diff(np.r_[starts, flat.size])
    pieces = -(-lengths // LONGEST)
    values = np.repeat(flat[starts], pieces)
    sizes = np.full(len(values), LONGEST)
    last = np.cumsum(pieces) - 1
    sizes[last] = lengths - (pieces - 1) * LONGEST
    pairs = np.stack([values, sizes], axis=1).astype(np.uint8)
    return base64.b64encode(pairs.tobytes()).decode("ascii")
