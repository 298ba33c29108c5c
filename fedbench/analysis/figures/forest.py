"""Paired differences of all algorithms to the reference, with both kinds of intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.figures import style
from fedbench.analysis.figures.distributions import METRICS, SHOWN, in_figure_order, name_rows, relation_title
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.verdicts import Comparison, Verdict, judge

ROW = 0.17  # inches of an algorithm
BOUNDS = ["mean", "mean_low", "mean_high", "runs_low", "runs_high"]
ROOM = 0.06  # of the width, left free at both ends
HOW_TO_READ = (
    "with 95% intervals, not corrected: bootstrap over patients (thick), and that of the test over patients and seeds "
    "(thin); filled marker: better or worse by both tests, over patients and over patients and seeds (p < "
    f"{ALPHA:g} after Holm's correction over the declared comparisons); half filled: by Wilcoxon's test over patients "
    "alone. An arrow: on beyond the axis, which is made for the federated algorithms, with the mean difference if that "
    "lies there."
)


def draw(scene: Scene) -> Sketch:
    """Draw Dice above HD95, one column per relation of the client to the scored modality."""
    endpoints = [e for e in scene.endpoints(*METRICS) if e.relation in SHOWN]
    if not endpoints:
        raise Skipped("no scores in a client's own, another or an unseen modality")
    columns = list(dict.fromkeys(e.relation for e in endpoints))
    found = {(e.metric, e.relation): scene.analyses.get(scene.condition, e) for e in endpoints}
    reference = found["dice", columns[0]].reference
    rows = [r for r in in_figure_order(scene, [a.matrix.algorithms for a in found.values()]) if r != reference]
    figure = Figure(figsize=(style.PAGE, 2 * (ROW * len(rows) + 0.42)))
    panels = figure.subplots(len(METRICS), len(columns), sharey=True, squeeze=False)
    for across, metric in zip(panels, METRICS, strict=True):
        for panel, relation in zip(across, columns, strict=True):
            analysis = found[metric, relation]
            draw_differences(panel, analysis, rows, scene.look)
            better = ">" if analysis.matrix.endpoint.higher_is_better else "<"
            panel.xaxis.set_major_locator(MaxNLocator(6 if len(columns) < 3 else 4))
            panel.set_xlabel(f"Δ {scene.axis_name(analysis.matrix.endpoint)}   ({better} 0: better)")
    for panel, relation in zip(panels[0], columns, strict=True):
        panel.set_title(relation_title(scene, relation))
    return Sketch(
        figure,
        sentences(
            f"Mean paired difference to {style.display_name(reference)} {HOW_TO_READ}",
            scene.about(list(found.values())),
            scene.footnote([*rows, reference]),
        ),
    )


def differences(analysis: Analysis, rows: Sequence[str]) -> pd.DataFrame:
    """Return one row of :func:`fedbench.analysis.statistics.protocol.compare` per algorithm: minus the reference."""
    own = [label for label in rows if label in analysis.matrix.algorithms]
    return pd.DataFrame([analysis.comparison(label, analysis.reference) for label in own], index=own)


def limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis: all intervals of federated algorithms, and zero.

    Local and centralised training are often so far off that nothing else could be seen.
    """
    federated = table[[not is_reference_point(label) for label in table.index]]
    bounds = (table if federated.empty else federated)[BOUNDS].to_numpy()
    low, high = min(0.0, np.nanmin(bounds)), max(0.0, np.nanmax(bounds))
    room = ROOM * (high - low or 1.0)
    return low - 2 * room, high + 2 * room


def draw_differences(
    panel: Axes, analysis: Analysis, rows: Sequence[str], look_of: Callable[[str], style.Look],
    ends: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    """Draw one row per algorithm: its mean difference to the reference, with both intervals.

    Args:
        look_of: the look of an algorithm.
        ends: of the axis; by default those of :func:`limits`.
    """
    table = differences(analysis, rows)
    low, high = ends or limits(table)
    edge = ROOM * (high - low)
    panel.axvline(0, color="0.35", linewidth=0.8, zorder=1)
    digits = 3 if analysis.matrix.unit == "" else 1
    for row, label in enumerate(rows):
        if label not in table.index:
            continue
        found, look = table.loc[label], look_of(label)
        if not low + edge / 2 <= found["mean"] <= high - edge / 2:
            _point_beyond(panel, row, bool(found["mean"] < low + edge), look.colour, f"{found['mean']:+.{digits}f}")
            continue
        for name, width in (("runs", 0.8), ("mean", 2.4)):
            bounds = [found[f"{name}_low"], found[f"{name}_high"]]
            panel.plot(bounds, [row, row], color=look.colour, linewidth=width, solid_capstyle="butt", zorder=2)
        if found[BOUNDS].min() < low:
            _point_beyond(panel, row, True, look.colour)
        if found[BOUNDS].max() > high:
            _point_beyond(panel, row, False, look.colour)
        panel.plot(
            found["mean"], row, marker=look.marker, color=look.colour, markersize=look.size(5), linestyle="none",
            zorder=3, fillstyle=filled(judge(analysis, label, analysis.reference)), markerfacecoloralt="white",
            markeredgewidth=0.9, label=label,
        )  # fmt: skip
    name_rows(panel, rows)
    panel.set_xlim(low, high)
    panel.grid(axis="x")


def filled(found: Comparison) -> Literal["full", "left", "none"]:
    """Return how much of a marker is filled: all if a difference is named, half if only patients' tests find it."""
    if found.verdict is not Verdict.SAME:
        return "full"
    return "left" if found.patients_only else "none"


def _point_beyond(panel: Axes, row: int, left: bool, colour: str, number: str = "") -> None:
    """Point to what lies outside the axis, and write its mean."""
    text = (f"◀ {number}" if left else f"{number} ▶").strip().replace("-", "−")
    panel.annotate(
        text, (0.0 if left else 1.0, row), (1 if left else -1, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="left" if left else "right", va="center", fontsize=style.SMALLEST,
        color=colour, zorder=4,
    )  # fmt: skip
