"""Differences to the reference in many conditions at once: what a paper's answer rests on, in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.analysis.analyses import POOLED, in_order, is_personal, is_reference_point
from fedbench.analysis.figures import style
from fedbench.analysis.figures.forest import HOW_TO_READ, ROW, differences, draw_differences, limits
from fedbench.analysis.figures.scene import Sketch, sentences
from fedbench.analysis.kinds import by_kind
from fedbench.analysis.statistics.protocol import Analysis

TITLE = "Differences to the reference with every modality in training"
HEAD, FOOT = 0.24, 0.3  # inches: of a panel's title and ticks, of an axis's name
SIDE_BY_SIDE = 3  # columns that a page has room for


class Panel(NamedTuple):
    """One condition: its title, and the analysis of the endpoint that is shown."""

    title: str
    analysis: Analysis

    @property
    def rows(self) -> dict[str, str]:
        """The algorithms whose models are common to all clients, and pooled training, by their kinds; in order."""
        every, reference = self.analysis.matrix.algorithms, self.analysis.reference
        kept = [label for label in every if label == POOLED or not (is_reference_point(label) or is_personal(label))]
        found = by_kind([label for label in kept if label != reference])
        return {kind: found[kind] for kind in in_order(found)}


def draw(columns: Sequence[Sequence[Panel]], about: str) -> Sketch:
    """Draw a column of panels, which share an axis, for each dataset.

    Args:
        columns: the panels of each dataset; with more datasets than a page has room for they are dealt to two columns.
        about: what the caption says besides: sentences.
    """
    if len(columns) > SIDE_BY_SIDE:
        every = [panel for column in columns for panel in column]
        half = (len(every) + 1) // 2
        columns = [every[:half], every[half:]]
    heights = [[ROW * len(panel.rows) + HEAD for panel in column] for column in columns]
    figure = Figure(figsize=(style.PAGE, max(map(sum, heights)) + FOOT), layout="constrained")
    kinds = in_order(kind for column in columns for panel in column for kind in panel.rows)
    sides = figure.subfigures(1, len(columns), squeeze=False)[0]
    for side, column, own in zip(sides, columns, heights, strict=True):
        spare = max(map(sum, heights)) - sum(own)
        grid = side.subplots(len(column) + 1, 1, squeeze=False, height_ratios=[*own, spare + 1e-3])[:, 0]
        grid[-1].set_axis_off()
        _draw_column(grid[:-1], column, kinds)
    shown = columns[0][0].analysis
    what = f"{shown.matrix.endpoint.name} to {style.display_name(shown.reference)}"
    return Sketch(
        figure,
        sentences(
            f"Mean paired difference in {what} {HOW_TO_READ}",
            "Local training and models that clients keep to themselves are left out, which are far off and answer "
            "another question.",
            about,
            style.footnote([*kinds, shown.reference]),
        ),
    )


def _draw_column(panels: Sequence[Axes], column: Sequence[Panel], kinds: Sequence[str]) -> None:
    ends = [limits(differences(panel.analysis, [*panel.rows.values()])) for panel in column]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    for axes, panel in zip(panels, column, strict=True):
        looks = {label: style.look_of(kind, kinds) for kind, label in panel.rows.items()}
        draw_differences(axes, panel.analysis, [*panel.rows.values()], looks.__getitem__, (low, high))
        axes.set_yticks(range(len(panel.rows)), [*map(style.display_name, panel.rows)])
        axes.set_title(panel.title, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    panels[-1].set_xlabel(f"Δ {column[0].analysis.matrix.endpoint.name} (> 0: better)")
