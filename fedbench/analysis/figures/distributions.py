"""How the scores of patients are distributed: a box and a point per patient, in the own and in other modalities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fedbench.analysis.analyses import RELATIONS
from fedbench.analysis.figures import style
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint

METRICS = ("dice", "hd95")
SHOWN = ("in", "cross", "unseen")
ROW = 0.17  # inches of an algorithm
BOX, CLOUD = 0.62, 0.5  # heights in rows: of a box; over which its points are spread
GOLDEN = (5**0.5 - 1) / 2


def draw(scene: Scene) -> Sketch:
    """Draw Dice above HD95, one column per relation of the client to the scored modality."""
    endpoints = [e for e in scene.endpoints(*METRICS) if e.relation in SHOWN]
    columns = list(dict.fromkeys(e.relation for e in endpoints))
    if not columns:
        raise Skipped("no scores in a client's own, another or an unseen modality")
    found = {(e.metric, e.relation): scene.analyses.get(scene.condition, e) for e in endpoints}
    rows = in_figure_order(scene, [a.matrix.algorithms for a in found.values()])
    figure = Figure(figsize=(style.PAGE, 2 * (ROW * len(rows) + 0.42)))
    panels = figure.subplots(len(METRICS), len(columns), sharey=True, squeeze=False)
    for across, endpoint in zip(panels, METRICS, strict=True):
        for panel, relation in zip(across, columns, strict=True):
            _draw_panel(panel, found[endpoint, relation], scene, rows)
            panel.set_xlabel(scene.axis_name(Endpoint(relation, endpoint)))
        low, high = (f(p.get_xlim()[i] for p in across) for i, f in ((0, min), (1, max)))
        for panel in across:
            panel.set_xlim(low, high)
    for panel, relation in zip(panels[0], columns, strict=True):
        panel.set_title(relation_title(scene, relation))
    return Sketch(
        figure,
        sentences(
            "Scores of patients: a point is one patient, the mean over cases, classes, clients and seeds; box: "
            "quartiles and median; whiskers: to the farthest patient within 1.5 times the box; marker: mean.",
            "Higher Dice and lower HD95 are better.",
            scene.about(list(found.values())),
            scene.footnote(rows),
        ),
    )


def in_figure_order(scene: Scene, present: Sequence[Sequence[str]]) -> list[str]:
    """Return the algorithms that any of the analyses has, in the order of tables."""
    return [label for label in scene.labels if any(label in names for names in present)]


def relation_title(scene: Scene, relation: str) -> str:
    """Return what stands above a column."""
    return f"{scene.condition.unseen} (unseen)" if relation == "unseen" else RELATIONS[relation]


def name_rows(panel: Axes, rows: Sequence[str]) -> None:
    """Name the rows of a panel after algorithms, the first on top."""
    panel.set_yticks(range(len(rows)), [style.display_name(label) for label in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)


def spread(number: int) -> np.ndarray:
    """Return offsets in [-0.5, 0.5) that fill it evenly, the same every time: multiples of the golden ratio."""
    return (np.arange(number) * GOLDEN) % 1 - 0.5


def _draw_panel(panel: Axes, analysis: Analysis, scene: Scene, rows: Sequence[str]) -> None:
    values = analysis.matrix.values
    for row, label in enumerate(rows):
        if label not in values:
            continue
        look, scores = scene.look(label), values[label].to_numpy()
        panel.boxplot(
            [scores], positions=[row], orientation="horizontal", widths=BOX, showfliers=False, patch_artist=True,
            manage_ticks=False, boxprops={"facecolor": (*to_rgb(look.colour), 0.25), "edgecolor": look.colour},
            medianprops={"color": look.colour, "linewidth": 1.4}, whiskerprops={"color": look.colour},
            capprops={"color": look.colour},
        )  # fmt: skip
        panel.scatter(
            scores, row + CLOUD * spread(len(scores)), s=3, color=look.colour, alpha=0.6, linewidths=0, zorder=3,
            label=label,
        )  # fmt: skip
        panel.plot(
            scores.mean(), row, marker=look.marker, color=look.colour, markersize=look.size(5), markeredgecolor="white",
            markeredgewidth=0.6, zorder=4,
        )  # fmt: skip
    name_rows(panel, rows)
    panel.grid(axis="x")
