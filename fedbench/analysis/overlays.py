"""``overlays.png``: what the algorithms drew, over the images, for a few test patients chosen by a fixed rule.

Row i shows modality number i (modulo their number) of the next test patient, sorted by name, who has it; the model is
that of the client with the next modality, so a row is a cross-modality view. Nothing is chosen by how it looks.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fedbench import store
from fedbench.config import DataConfig
from fedbench.errors import UserError
from fedbench.federation import ClientData, Federation, partition
from fedbench.files import write_atomic
from fedbench.inference import truth
from fedbench.prepared import PreparedCase, PreparedDataset, load
from fedbench.runner import show_slice
from fedbench.suite import Cell

COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")  # Okabe and Ito, no black
PANEL = 1.75  # inches
MARGIN, RIGHT, GAP = 0.16, 0.06, 0.05  # inches: at the left beside the names of the rows, at the right, between panels
LINE, ROW_LINE = 0.125, 0.155  # inches: a line of small print, and of a row's name
SMALL, MEDIUM, LARGE = 6.5, 8.0, 9.0  # points
TINT = 0.22  # opacity of a predicted structure's inside
INSIDE = 0.8  # level of a contour in a 0-1 mask: just inside the border, so that neighbours do not hide each other
RESOLUTIONS = (150, 120, 90, 60)  # dots per inch; the first whose file is small enough
MOST_BYTES = 2_000_000
SLICES = "Shown: the slice with the most truth; the patient's right is on the left. "


class View(NamedTuple):
    """One row: the case, and the client whose deployed model is shown on it."""

    case: PreparedCase
    client: ClientData


class Drawing(NamedTuple):
    """What one run predicted on one case: the shown slice, and the Dice of the whole case, mean over classes."""

    kind: str
    labels: np.ndarray
    dice: float


def draw_overlays(cells: Sequence[Cell], root: Path, dataset: str, target: Path, patients: int = 3) -> Path | None:
    """Draw patients (rows) x algorithms (columns) for ``dataset`` and its first partition, from the last round.

    Args:
        root: the results folder; runs that are not finished get an empty panel.
        target: the PNG to write; the same input gives the same bytes.

    Returns:
        ``target``, or None if there is no run to draw.

    Raises:
        UserError: the prepared data is no longer what the runs were planned on.
    """
    own = [cell for cell in cells if cell.identity["dataset"] == dataset]
    own = [cell for cell in own if cell.identity["partition"] == own[0].identity["partition"]]
    folders = {cell.label: root / cell.id for cell in own}
    finished = {label: folder for label, folder in folders.items() if _finished(folder)}
    if not finished:
        return None
    prepared = load(Path(own[0].prepared))
    federation = partition(prepared, DataConfig(**own[0].identity["data"]), own[0].identity["seed"])
    for cell in own:
        if cell.identity["partition"] != federation.digest:
            raise UserError(f"run {cell.id}: the prepared data in {cell.prepared} changed since the run was planned.")
    views = choose_views(federation, prepared.modalities, max(patients, len(prepared.modalities)))
    columns = {label: _read(finished[label], views) if label in finished else None for label in folders}
    with matplotlib.style.context("default"):
        png = _png(_figure(views, columns, prepared, own[0].identity["seed"]))

    def write(part: Path) -> None:
        part.write_bytes(png)

    write_atomic(target, write)
    return target


def _finished(folder: Path) -> bool:
    return (folder / store.DONE).exists() and store.broken(folder) is None


def choose_views(federation: Federation, modalities: Sequence[str], patients: int) -> list[View]:
    """Apply the rule of this module; a modality that no further test patient has is passed over."""
    left = sorted(federation.test, key=lambda case: case.patient)
    clients = {client.modality: client for client in federation.clients}
    views: list[View] = []
    turn = 0
    while left and len(views) < patients:
        wanted = modalities[turn % len(modalities)]
        case = next((c for c in left if c.modality == wanted), None)
        if case is not None:
            following = [modalities[(turn + 1 + i) % len(modalities)] for i in range(len(modalities))]
            views.append(View(case, next(clients[m] for m in following if m in clients)))
            left = [c for c in left if c.patient != case.patient]
        turn += 1
    return views


def _read(folder: Path, views: Sequence[View]) -> list[Drawing]:
    cases = pd.read_parquet(folder / store.CASES, columns=["client", "deployment", "selection", "case", "dice"])
    cases = cases[cases["selection"] == "last"]
    drawings = []
    with np.load(folder / store.CONTOURS, allow_pickle=False) as contours:
        for case, client in views:
            kind, key = _key_of_deployed(contours.files, client.name, case.id)
            scores = cases[
                (cases["client"] == client.name) & (cases["deployment"] == kind) & (cases["case"] == case.id)
            ]
            drawings.append(Drawing(kind, contours[key], float(scores["dice"].mean())))
    return drawings


def _key_of_deployed(keys: Sequence[str], client: str, case: str) -> tuple[str, str]:
    """Find the model that ``client`` uses: its own where it has one, otherwise the first that everybody has."""
    parts = [(key, *key.split("|", 2)) for key in keys]
    for owner in (client, ""):
        for key, kind, of_client, of_case in parts:
            if of_client == owner and of_case == case:
                return kind, key
    raise ValueError(f"no predicted slice of case {case} for client {client}")


# -- drawing -------------------------------------------------------------------------------------------------------


def _figure(
    views: Sequence[View], columns: dict[str, list[Drawing] | None], prepared: PreparedDataset, seed: int
) -> Figure:
    heights = [PANEL * _extent(view.case)[1] / _extent(view.case)[0] for view in views]
    names = [_row_name(view, height) for view, height in zip(views, heights, strict=True)]
    left = MARGIN + ROW_LINE * max(len(name.splitlines()) for name in names)
    across = len(columns) + 1
    width = left + across * PANEL + (across - 1) * GAP + RIGHT
    titles = [_title(label, drawings) for label, drawings in columns.items()]
    head = 0.26 + LINE * max(len(lines) for _, lines in titles)
    shown = "" if any(_is_picture(view.case) for view in views) else SLICES
    remark = textwrap.wrap(
        f"{prepared.name}, seed {seed}, last round. {shown}Dice: mean over classes of the whole case.",
        int((width - left - RIGHT) * 72 / (0.55 * SMALL)),
    )
    entry = 0.45 + 0.6 * MEDIUM / 72 * max(len(name) for name in (*prepared.classes, "truth"))
    legend_columns = max(1, int((width - left) / entry))
    legend_height = 0.17 * -(-(len(prepared.classes) + 1) // legend_columns)
    foot = 0.14 + legend_height + LINE * len(remark)
    height = head + sum(heights) + (len(views) - 1) * GAP + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    top = height - head
    for row, view in enumerate(views):
        top -= heights[row]
        panels = [
            figure.add_axes(((left + i * (PANEL + GAP)) / width, top / height, PANEL / width, heights[row] / height))
            for i in range(across)
        ]
        top -= GAP
        panels[0].set_ylabel(names[row], fontsize=MEDIUM)
        _draw_row(panels, view, [None if drawings is None else drawings[row] for drawings in columns.values()])
    for i, (name, lines) in enumerate([("image and truth", []), *titles]):
        middle = (left + i * (PANEL + GAP) + PANEL / 2) / width
        figure.text(middle, 1 - 0.05 / height, name, fontsize=LARGE, ha="center", va="top")
        for j, line in enumerate(lines):
            y = 1 - (0.22 + LINE * j) / height
            figure.text(middle, y, line, fontsize=SMALL, color="0.3", ha="center", va="top")
    _legend(figure, prepared.classes, legend_columns, (left / width, (foot - 0.06) / height))
    figure.text(left / width, 0.05 / height, "\n".join(remark), fontsize=SMALL, color="0.3", va="bottom")
    return figure


def _title(label: str, drawings: list[Drawing] | None) -> tuple[str, list[str]]:
    """Return an algorithm's name and the small print below it: its parameters and the kind of model."""
    name, bracket, rest = label.partition("[")
    lines = textwrap.wrap(bracket + rest, int(PANEL * 72 / (0.6 * SMALL)))
    return name, lines + ([f"{drawings[0].kind} model"] if drawings else [])


def _row_name(view: View, height: float) -> str:
    """Return what stands beside a row of ``height`` inches, broken into lines that fit."""
    room = int(height * 72 / (0.55 * MEDIUM))
    texts = (f"{view.case.patient}, {view.case.modality}", f"model of client {view.client.name}")
    return "\n".join(line for text in texts for line in textwrap.wrap(text, room))


def _draw_row(panels: Sequence[Axes], view: View, drawings: Sequence[Drawing | None]) -> None:
    case, true = view.case, truth(view.case)
    shown = show_slice(true, true)
    image = np.stack([_channel(case, true, c) for c in range(case.image.shape[1])], axis=-1)
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for panel, drawing in zip(panels, (Drawing("", shown, np.nan), *drawings), strict=True):
        if drawing is None:
            panel.set_facecolor("0.93")
            _write(panel, 0.5, 0.5, "not finished", color="0.4", ha="center", va="center")
            continue
        _draw_image(panel, image, case)
        if panel is not panels[0]:
            _outline(panel, shown, case, ("white",), 0.7, 0.5)
            dice = "–" if np.isnan(drawing.dice) else f"{drawing.dice:.2f}"
            _write(panel, 0.03, 0.03, f"Dice {dice}", **ON_IMAGE)
        _tint(panel, drawing.labels, case)
        _outline(panel, drawing.labels, case, COLOURS, 1.1, INSIDE)
    if not _is_picture(case):
        _write(panels[0], 0.03, 0.5, "R", va="center", **ON_IMAGE)
        _write(panels[0], 0.5, 0.97, "A", ha="center", va="top", **ON_IMAGE)


def _channel(case: PreparedCase, true: np.ndarray, channel: int) -> np.ndarray:
    if _is_picture(case):
        return case.image[0, channel]
    return show_slice(np.moveaxis(case.image[:, channel], 0, -1), true)


def _is_picture(case: PreparedCase) -> bool:
    return len(case.shape) == 2


ON_IMAGE: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")]}


def _write(panel: Axes, x: float, y: float, text: str, **style: Any) -> None:
    panel.text(x, y, text, transform=panel.transAxes, fontsize=MEDIUM, **style)


def _extent(case: PreparedCase) -> tuple[float, float]:
    """Width and height of a slice in the case's unit."""
    return case.shape[0] * case.spacing[0], case.shape[1] * case.spacing[1]


def _draw_image(panel: Axes, image: np.ndarray, case: PreparedCase) -> None:
    """Draw ``(X, Y, channels)``: a slice as radiologists look at it, a picture as it is."""
    width, height = _extent(case)
    low, high = np.percentile(image, (0.5, 99.5))
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    colours = scaled if image.shape[-1] == 3 else np.repeat(scaled, 3, axis=-1)
    panel.imshow(
        colours.swapaxes(0, 1), origin="lower", extent=(0, width, 0, height), interpolation="bilinear", aspect="auto"
    )
    _turn(panel, case)


def _turn(panel: Axes, case: PreparedCase) -> None:
    """Anterior up and the patient's right on the left; a picture is not mirrored."""
    width, height = _extent(case)
    panel.set(xlim=(0, width) if _is_picture(case) else (width, 0), ylim=(0, height))


def _tint(panel: Axes, labels: np.ndarray, case: PreparedCase) -> None:
    """Colour the inside of every label lightly, which tells it from the outside."""
    palette = np.array([(0, 0, 0, 0), *((*to_rgb(colour), TINT) for colour in COLOURS)])
    index = np.where(labels > 0, (labels.astype(int) - 1) % len(COLOURS) + 1, 0)
    width, height = _extent(case)
    panel.imshow(palette[index.T], origin="lower", extent=(0, width, 0, height), interpolation="nearest", aspect="auto")
    _turn(panel, case)


def _outline(
    panel: Axes, labels: np.ndarray, case: PreparedCase, colours: Sequence[str], width: float, level: float
) -> None:
    """Draw the border of every label; masks are padded so that one at the image's edge is closed there."""
    x, y = ((np.arange(-1, n + 1) + 0.5) * mm for n, mm in zip(case.shape[:2], case.spacing[:2], strict=True))
    for label in np.unique(labels[labels > 0]).tolist():
        mask = np.pad(labels == label, 1).astype(float)
        colour = colours[(label - 1) % len(colours)]
        lines = panel.contour(x, y, mask.T, levels=[level], colors=[colour], linewidths=width)
        lines.set_path_effects([withStroke(linewidth=width + 0.7, foreground="black", alpha=0.5)])


def _legend(figure: Figure, classes: Sequence[str], columns: int, corner: tuple[float, float]) -> None:
    stroke = [withStroke(linewidth=2.6, foreground="black", alpha=0.6)]
    colours = [*(COLOURS[i % len(COLOURS)] for i in range(len(classes))), "white"]
    handles = [
        Line2D([], [], color=colour, linewidth=1.6, path_effects=stroke, label=name)
        for colour, name in zip(colours, [*classes, "truth"], strict=True)
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, fontsize=MEDIUM, frameon=False,
        borderaxespad=0, borderpad=0, handlelength=1.6, columnspacing=1.4, labelspacing=0.3,
    )  # fmt: skip


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    for resolution in RESOLUTIONS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=resolution, metadata={"Software": None})
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()
