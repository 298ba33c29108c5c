"""Drawing one slice or picture with its contours on matplotlib axes; every figure that shows images uses this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from fedbench.views import CaseView

COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")  # Okabe and Ito, no black
MEDIUM = 8.0  # points
TINT = 0.22  # opacity of a structure's inside
INSIDE = 0.8  # level of a contour in a 0-1 mask: just inside the border, so that neighbours do not hide each other
ON_IMAGE: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")]}


def extent(view: CaseView) -> tuple[float, float]:
    """Return width and height of a slice in the case's unit."""
    return view.truth.shape[1] * view.spacing[0], view.truth.shape[2] * view.spacing[1]


def draw_image(panel: Axes, view: CaseView, number: int | None = None) -> None:
    """Draw a slice of the image (the one with most truth unless ``number`` says another); ticks are removed."""
    image = view.image[view.best if number is None else number]
    width, height = extent(view)
    colours = image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)
    panel.imshow(
        colours.swapaxes(0, 1), origin="lower", extent=(0, width, 0, height), interpolation="bilinear", aspect="auto"
    )
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    _turn(panel, view)


def tint(panel: Axes, labels: np.ndarray, view: CaseView) -> None:
    """Colour the inside of every label ``(X, Y)`` lightly, which tells it from the outside."""
    palette = np.array([(0, 0, 0, 0), *((*to_rgb(colour), TINT) for colour in COLOURS)])
    index = np.where(labels > 0, (labels.astype(int) - 1) % len(COLOURS) + 1, 0)
    width, height = extent(view)
    panel.imshow(palette[index.T], origin="lower", extent=(0, width, 0, height), interpolation="nearest", aspect="auto")
    _turn(panel, view)


def outline(
    panel: Axes, labels: np.ndarray, view: CaseView, colours: Sequence[str] = COLOURS, width: float = 1.1,
    level: float = INSIDE,
) -> None:  # fmt: skip
    """Draw the border of every label; masks are padded so that one at the image's edge is closed there."""
    x, y = ((np.arange(-1, n + 1) + 0.5) * mm for n, mm in zip(labels.shape, view.spacing, strict=True))
    for label in np.unique(labels[labels > 0]).tolist():
        mask = np.pad(labels == label, 1).astype(float)
        colour = colours[(label - 1) % len(colours)]
        lines = panel.contour(x, y, mask.T, levels=[level], colors=[colour], linewidths=width)
        lines.set_path_effects([withStroke(linewidth=width + 0.7, foreground="black", alpha=0.5)])


def outline_truth(panel: Axes, labels: np.ndarray, view: CaseView) -> None:
    """Draw the truth's borders in white, thinner than a prediction's."""
    outline(panel, labels, view, ("white",), 0.7, 0.5)


def write(panel: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write on a panel; ``x`` and ``y`` from 0 to 1."""
    panel.text(x, y, text, transform=panel.transAxes, **{"fontsize": MEDIUM} | style)


def write_directions(panel: Axes, view: CaseView) -> None:
    """Mark the patient's right and front; nothing on a picture."""
    if not view.picture:
        write(panel, 0.03, 0.5, "R", va="center", **ON_IMAGE)
        write(panel, 0.5, 0.97, "A", ha="center", va="top", **ON_IMAGE)


def _turn(panel: Axes, view: CaseView) -> None:
    """Anterior up and the patient's right on the left, as radiologists look at it; a picture is not mirrored."""
    width, height = extent(view)
    panel.set(xlim=(0, width) if view.picture else (width, 0), ylim=(0, height))
