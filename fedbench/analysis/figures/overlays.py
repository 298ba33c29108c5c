"""``overlays.png``: what the algorithms drew, over the images, for a few test patients chosen by a fixed rule.

Row i shows modality number i (modulo their number) of the next test patient, sorted by name, who has it; the model is
that of the client with the next modality, so a row is a cross-modality view. Nothing is chosen by how it looks.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fedbench import store
from fedbench.analysis.figures.panels import (
    COLOURS,
    MEDIUM,
    ON_IMAGE,
    draw_image,
    extent,
    outline,
    outline_truth,
    tint,
    write,
    write_directions,
)  # fmt: skip
from fedbench.config import DataConfig, section_of
from fedbench.data.prepared import PreparedCase, PreparedDataset, load
from fedbench.errors import UserError
from fedbench.federation import ClientData, Federation, partition
from fedbench.files import write_atomic
from fedbench.reading import read_arrays, read_table
from fedbench.suite import Cell
from fedbench.views import CaseView, read_key, view_of

PANEL = 1.75  # inches
MARGIN, RIGHT, GAP = 0.16, 0.06, 0.05  # inches: at the left beside the names of the rows, at the right, between panels
LINE, ROW_LINE = 0.125, 0.155  # inches: a line of small print, and of a row's name
SMALL, LARGE = 6.5, 9.0  # points
RESOLUTIONS = (150, 120, 90, 60)  # dots per inch; the first whose file is small enough
MOST_BYTES = 2_000_000
SLICES = "Shown: the slice with the most truth; the patient's right is on the left. "


class View(NamedTuple):
    """One row: the case, and the client whose deployed model is shown on it."""

    case: PreparedCase
    client: ClientData


class Drawing(NamedTuple):
    """What one run predicted on one case: the shown slices, and the Dice of the whole case, mean over classes."""

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
    federation = partition(prepared, DataConfig(**section_of(own[0].identity, "data")), own[0].identity["seed"])
    for cell in own:
        if cell.identity["partition"] != federation.digest:
            raise UserError(f"run {cell.id}: the prepared data in {cell.prepared} changed since the run was planned.")
    views = choose_views(federation, prepared.modalities, max(patients, len(prepared.modalities)))
    columns = {label: _read(finished[label], views) if label in finished else None for label in folders}
    with matplotlib.style.context("default"):
        png = _png(_figure(views, columns, prepared, own[0].identity["seed"]))

    def save(part: Path) -> None:
        part.write_bytes(png)

    write_atomic(target, save)
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
    cases = read_table(folder / store.CASES)
    cases = cases[cases["selection"] == "last"]
    drawings = []
    predictions = read_arrays(folder / store.PREDICTIONS)
    for case, client in views:
        kind, key = _key_of_deployed(list(predictions), client.name, case.id)
        scores = cases[(cases["client"] == client.name) & (cases["deployment"] == kind) & (cases["case"] == case.id)]
        drawings.append(Drawing(kind, predictions[key], float(scores["dice"].mean())))
    return drawings


def _key_of_deployed(keys: Sequence[str], client: str, case: str) -> tuple[str, str]:
    """Find the model that ``client`` uses: its own where it has one, otherwise the first that everybody has."""
    parts = [(key, *read_key(key)) for key in keys]
    for owner in (client, ""):
        for key, kind, of_client, of_case in parts:
            if of_client == owner and of_case == case:
                return kind, key
    raise ValueError(f"no predicted slice of case {case} for client {client}")


# -- drawing -------------------------------------------------------------------------------------------------------


def _figure(
    views: Sequence[View], columns: dict[str, list[Drawing] | None], prepared: PreparedDataset, seed: int
) -> Figure:
    shown = [view_of(view.case) for view in views]
    heights = [PANEL * extent(view)[1] / extent(view)[0] for view in shown]
    names = [_row_name(view, height) for view, height in zip(views, heights, strict=True)]
    left = MARGIN + ROW_LINE * max(len(name.splitlines()) for name in names)
    across = len(columns) + 1
    width = left + across * PANEL + (across - 1) * GAP + RIGHT
    titles = [_title(label, drawings) for label, drawings in columns.items()]
    head = 0.26 + LINE * max(len(lines) for _, lines in titles)
    slices = "" if any(view.picture for view in shown) else SLICES
    remark = textwrap.wrap(
        f"{prepared.name}, seed {seed}, last round. {slices}Dice: mean over classes of the whole case.",
        int((width - left - RIGHT) * 72 / (0.55 * SMALL)),
    )
    entry = 0.45 + 0.6 * MEDIUM / 72 * max(len(name) for name in (*prepared.classes, "truth"))
    legend_columns = max(1, int((width - left) / entry))
    legend_height = 0.17 * -(-(len(prepared.classes) + 1) // legend_columns)
    foot = 0.14 + legend_height + LINE * len(remark)
    height = head + sum(heights) + (len(views) - 1) * GAP + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    top = height - head
    for row in range(len(views)):
        top -= heights[row]
        panels = [
            figure.add_axes(((left + i * (PANEL + GAP)) / width, top / height, PANEL / width, heights[row] / height))
            for i in range(across)
        ]
        top -= GAP
        panels[0].set_ylabel(names[row], fontsize=MEDIUM)
        _draw_row(panels, shown[row], [None if drawings is None else drawings[row] for drawings in columns.values()])
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


def _draw_row(panels: Sequence[Axes], view: CaseView, drawings: Sequence[Drawing | None]) -> None:
    shown = view.truth[view.best]
    for panel, drawing in zip(panels, (Drawing("", view.truth, np.nan), *drawings), strict=True):
        if drawing is None:
            panel.set(xticks=[], yticks=[], facecolor="0.93")
            panel.spines[:].set_visible(False)
            write(panel, 0.5, 0.5, "not finished", color="0.4", ha="center", va="center")
            continue
        draw_image(panel, view)
        if panel is not panels[0]:
            outline_truth(panel, shown, view)
            dice = "–" if np.isnan(drawing.dice) else f"{drawing.dice:.2f}"
            write(panel, 0.03, 0.03, f"Dice {dice}", **ON_IMAGE)
        tint(panel, drawing.labels[view.best], view)
        outline(panel, drawing.labels[view.best], view)
    write_directions(panels[0], view)


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
