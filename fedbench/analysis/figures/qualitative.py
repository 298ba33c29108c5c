"""What the algorithms drew on the cases that a rule chooses: best, median and worst for the algorithm in focus."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedbench.analysis.figures import choice, style
from fedbench.analysis.figures.choice import Shown
from fedbench.analysis.figures.gallery import structure_names, write_key
from fedbench.analysis.figures.lettering import LETTER, fold, lines_of
from fedbench.analysis.figures.panels import (
    ON_IMAGE,
    draw_image,
    extent,
    outline,
    outline_truth,
    tint,
    write,
    write_directions,
)  # fmt: skip
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.views import CaseView, array_key

MOST_ACROSS = 7
TALLEST = 7.6  # inches of all panels
LINE, GAP, BETWEEN, FOOT = 0.125, 0.03, 0.1, 0.24  # inches
AROUND = 1.25  # side of the window, in sides of what is shown
LEAST = 0.25  # side of the window, in sides of the image
PIXELS = 2.5  # zorder below which a panel is one picture in a PDF: image and outlines of many points, not its text
BARS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # lengths of a scale bar


class Window(NamedTuple):
    """What of a slice is shown, in the case's unit: a square of side ``side`` from ``(x, y)``."""

    x: float
    y: float
    side: float


def draw(scene: Scene) -> Sketch:
    """Draw truth and every algorithm's prediction for each chosen case, in the same slice and window."""
    analysis = scene.analyses.get(scene.condition)
    shown, among = _chosen(scene)
    if not shown:
        raise Skipped("no slices of the test cases were kept")
    names = scene.labels
    lines = -(-(len(names) + 1) // MOST_ACROSS)
    across = -(-(len(names) + 1) // lines)
    down = lines * len(shown)
    widest = (style.PAGE - 3 * LINE - 0.1) / across - GAP
    titles = [fold(style.display_name(label), widest) for label in ("truth", *names)]
    head = 0.04 + 0.1 * lines_of(titles)
    edge = max(min(widest, TALLEST / down - head), 0.5)
    texts = [_row_text(row, scene, lines * (edge + head)) for row in shown]
    left = LINE * max(map(len, texts)) + 0.1
    size = (left + across * (edge + GAP), down * (edge + head) + len(shown) * BETWEEN + FOOT)
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    top = size[1]
    for row, text in zip(shown, texts, strict=True):
        height = lines * (edge + head)
        figure.text(0.03 / size[0], (top - height / 2) / size[1], "\n".join(text), rotation=90, va="center")
        panels = []
        for i in range(len(names) + 1):
            x, y = left + (i % across) * (edge + GAP), top - (i // across + 1) * (edge + head)
            panels.append(figure.add_axes((x / size[0], y / size[1], edge / size[0], edge / size[1])))
        _draw_case(panels, titles, scene, row)
        top -= height + BETWEEN
    write_key(figure, structure_names(scene), truth=True)
    view = scene.views[shown[0].case]
    return Sketch(
        figure,
        sentences(
            f"{scene.condition.title}, {scene.shown_trial}, models of the last round. "
            f"{choice.rule(analysis, among)} Beside a row: the difference of the two models shown on the case shown, "
            "the patient, the case's modality, and whose models are shown. Dice: mean over classes of the whole case.",
            _of_all_patients(scene, analysis),
            "" if view.picture else "Shown: the slice with the most truth, the patient's right on the left.",
            "The window is the same within a row, and holds truth and all predictions.",
            scene.footnote(),
        ),
    )


def _of_all_patients(scene: Scene, analysis: Analysis) -> str:
    """Return how the seed that is shown compares with all of them; empty where there is one."""
    endpoint = Endpoint(analysis.matrix.endpoint.relation, "dice", analysis.matrix.endpoint.unseen)
    matrix, focus = scene.analyses.get(scene.condition, endpoint).matrix, choice.in_focus(analysis)
    if len(matrix.seeds) < 2:
        return ""
    seed = scene.runs.sort_values(["seed", "fold"])["seed"].iloc[0]
    own = matrix.by_seed.xs(seed, level="seed")
    here, overall = (float((scores[focus] - scores[analysis.reference]).mean()) for scores in (own, matrix.values))
    return (
        f"Over all patients the mean difference is {here:+.3f} with this seed and {overall:+.3f} over all seeds."
    ).replace("-", "−")


def _chosen(scene: Scene) -> tuple[list[Shown], int | None]:
    """Return what is shown, and of how many patients it was chosen if not of all.

    What was published may hold pictures of other cases than the rule would choose; then it chooses among those.
    """
    shown = choice.qualitative(scene.analyses, scene.condition)
    if all(row.case in scene.views for row in shown):
        return shown, None
    kept, every = choice.patients_to_choose_from(scene.analyses, scene.condition, scene.views)
    return choice.qualitative(scene.analyses, scene.condition, scene.views), kept if kept < every else None


def dice_of(scene: Scene, row: Shown) -> pd.Series:
    """Return by label the Dice of the shown runs' models on the case: mean over classes, NaN where none applies."""
    cases = scene.shown_scores
    own = cases[(cases["case"] == row.case) & (cases["client"] == row.client)]
    return own.groupby("label")["dice"].mean()


def prediction_of(scene: Scene, label: str, row: Shown) -> np.ndarray | None:
    """Return what the model of ``label`` that the row's client uses drew, ``(slices, X, Y)``; None if not kept."""
    setting, kind = scene.deployments[label]
    run = scene.shown_runs.get(setting)
    kept = {} if run is None else scene.evidence.predictions(run)
    keys = (array_key(kind, owner, row.case) for owner in (row.client, None))
    return next((kept[key] for key in keys if key in kept), None)


def window(view: CaseView, masks: Sequence[np.ndarray]) -> Window:
    """Return the square around everything in ``masks`` (X, Y), within the image where it fits."""
    any_mask = np.any([mask > 0 for mask in masks], axis=0)
    size = extent(view)
    low, high = [0.0, 0.0], list(size)
    for axis in (0, 1):
        if len(found := np.flatnonzero(any_mask.any(axis=1 - axis))):
            low[axis], high[axis] = found[0] * view.spacing[axis], (found[-1] + 1) * view.spacing[axis]
    side = AROUND * max(end - start for start, end in zip(low, high, strict=True))
    side = min(max(side, LEAST * max(size)), max(size))
    starts = []
    for axis in (0, 1):
        start = (low[axis] + high[axis] - side) / 2
        room = size[axis] - side
        starts.append(min(max(start, 0.0), room) if room > 0 else room / 2)
    return Window(starts[0], starts[1], side)


def _draw_case(panels: Sequence[Axes], titles: Sequence[str], scene: Scene, row: Shown) -> None:
    view = scene.views[row.case]
    truth = view.truth[view.best]
    drawn = {label: prediction_of(scene, label, row) for label in scene.labels}
    masks = {label: None if maps is None else maps[view.best] for label, maps in drawn.items()}
    seen = window(view, [truth, *(mask for mask in masks.values() if mask is not None)])
    dice = dice_of(scene, row)
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=style.SMALLEST + 0.5, pad=2, linespacing=1.0)
    _draw_panel(panels[0], view, seen, truth)
    _draw_scale(panels[0], view, seen)
    write_directions(panels[0], view)
    for panel, (label, mask) in zip(panels[1:], masks.items(), strict=True):
        if mask is None:
            panel.set(xticks=[], yticks=[], facecolor="0.93")
            write(panel, 0.5, 0.5, "not kept", color="0.4", ha="center", va="center", fontsize=style.SMALLEST)
            continue
        _draw_panel(panel, view, seen, mask)
        outline_truth(panel, truth, view)
        score = dice.get(label, np.nan)
        text = "Dice –" if np.isnan(score) else f"Dice {score:.2f}"
        write(panel, 0.03, 0.03, text, fontsize=style.SMALLEST + 0.5, **ON_IMAGE)


def _draw_panel(panel: Axes, view: CaseView, seen: Window, mask: np.ndarray) -> None:
    panel.set_rasterization_zorder(PIXELS)
    draw_image(panel, view)
    tint(panel, mask, view)
    outline(panel, mask, view, width=0.9)
    across = (seen.x, seen.x + seen.side)
    panel.set(xlim=across if view.picture else across[::-1], ylim=(seen.y, seen.y + seen.side), facecolor="black")


def _draw_scale(panel: Axes, view: CaseView, seen: Window) -> None:
    """Draw the longest bar of a round length that is at most a third of the window."""
    length = max((bar for bar in BARS if bar <= seen.side / 3), default=BARS[0])
    share = length / seen.side
    panel.plot([0.95 - share, 0.95], [0.05, 0.05], transform=panel.transAxes, linewidth=1.5, **ON_IMAGE)
    write(panel, 0.95, 0.08, f"{length} {view.unit}", ha="right", fontsize=style.SMALLEST, **ON_IMAGE)


def _row_text(row: Shown, scene: Scene, height: float) -> list[str]:
    modality = scene.modality_name(scene.views[row.case].modality)
    sign = f"{row.difference:+.3f}".replace("-", "−")
    texts = (f"{row.role} (mean {sign})", f"{row.patient}, {modality}", f"models of {row.client}")
    return [line for text in texts for line in textwrap.wrap(text, max(8, int(height / LETTER)))]
