"""A slice as radiologists look at it, a picture as it is, in colour where it has colours."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedbench.analysis.figures.panels import draw_image, outline
from fedbench.views import CaseView


def view(image: np.ndarray, *, picture: bool = False, truth: np.ndarray | None = None) -> CaseView:
    truth = np.zeros(image.shape[:2], np.uint8) if truth is None else truth
    return CaseView("A", "CT", image[None], truth[None], (0,), 0, (1.0, 1.0), "px" if picture else "mm", picture)


def drawn(shown: CaseView, labels: np.ndarray | None = None) -> np.ndarray:
    """The panel, ``(rows, columns, RGB)`` from the top left."""
    figure = Figure(figsize=(0.8, 0.6), dpi=100)
    panel = figure.add_axes((0, 0, 1, 1))
    draw_image(panel, shown)
    if labels is not None:
        outline(panel, labels, shown, ("red",))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_patients_right_is_on_the_left_and_anterior_is_up():
    """In a picture, X runs to the right instead."""
    image = np.zeros((8, 6, 1), np.uint8)
    image[7, 5] = 255  # X and Y at their highest: of a patient right (+x) and anterior (+y)
    for picture in (False, True):
        pixels = drawn(view(image, picture=picture))[..., 0]
        row, column = np.unravel_index(pixels.argmax(), pixels.shape)
        assert row < pixels.shape[0] / 4
        assert (column < pixels.shape[1] / 4) != picture


def test_colour_is_drawn_in_colour():
    image = np.zeros((8, 6, 3), np.uint8)
    image[:4, :, 0], image[4:, :, 2] = 255, 255  # red on the left, blue on the right
    pixels = drawn(view(image, picture=True))
    assert (pixels[:, 20, 0] > pixels[:, 20, 2] + 100).all() and (pixels[:, 60, 2] > pixels[:, 60, 0] + 100).all()


def test_the_outline_lies_around_its_label():
    labels = np.zeros((8, 6), np.uint8)
    labels[5:, 4:] = 1  # at the patient's right front: at the top left
    pixels = drawn(view(np.zeros((8, 6, 1), np.uint8)), labels)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 100)
    rows, columns = np.nonzero(red)
    assert len(rows) and rows.max() < 30 and columns.max() < 40
