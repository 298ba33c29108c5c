"""The ranking of a condition: which mean ranks differ, and how firm the ranking is when other patients are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from scipy import stats

from fedbench.analysis.figures import style
from fedbench.analysis.figures.lettering import LETTER, TEXT_LINE, fold, lines_of
from fedbench.analysis.figures.scene import Scene, Sketch, sentences
from fedbench.analysis.statistics.intervals import DIGITS
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.statistics.ranking import METHODS, RESAMPLES

LINE = 0.15  # inches between names
BAR = 0.085  # inches between bars
HEAD = 0.36  # inches of the scale and its numbers
STUB = 0.12  # inches from the end of the scale to a name
MOST_LETTERS = 34  # in a line of a name beside the diagram
NUMBER = 22.0  # points of a mean rank before a name
FEWEST = 0.2  # inches between numbers of the scale
LONGEST = 1.0  # inches of a line of a name below the axis
LARGEST = 9.0  # points: diameter of the blob of a certain rank


def draw_differences(scene: Scene) -> Sketch:
    """Draw a critical-difference diagram of the primary endpoint."""
    analysis = scene.analyses.get(scene.condition)
    ranks = mean_ranks(analysis)
    groups = cliques(analysis, list(ranks.index))
    half = -(-len(ranks) // 2)
    bars = HEAD + BAR * (len(groups) + 0.5)
    names = {str(label): _beside(style.display_name(str(label))) for label in ranks.index}
    line = max(LINE, TEXT_LINE * lines_of(names.values()) + 0.03)
    tall = bars + line * (half + 0.3)
    side = STUB + 0.45 + LETTER * max(len(part) for name in names.values() for part in name.splitlines())
    figure = Figure(figsize=(style.PAGE, tall))
    figure.set_layout_engine("none")
    panel = figure.add_axes((side / style.PAGE, 0, 1 - 2 * side / style.PAGE, 1))
    panel.set(xlim=(1, len(ranks)), ylim=(tall, 0))
    panel.set_axis_off()
    _draw_scale(panel, len(ranks), style.PAGE - 2 * side)
    for level, members in enumerate(groups):
        y = HEAD + BAR * (level + 0.5)
        at = ranks[list(members)]
        panel.plot([at.min(), at.max()], [y, y], color="0.25", linewidth=1.6, clip_on=False, gid="clique")
        panel.plot(at, [y] * len(at), "o", color="0.25", markersize=3, clip_on=False)
    for place, (label, rank) in enumerate(ranks.items()):
        left = place < half
        y = bars + line * ((place if left else len(ranks) - 1 - place) + 0.5)
        _draw_name(panel, scene, str(label), names[str(label)], float(rank), y, left)
    endpoint, friedman = analysis.matrix.endpoint, analysis.friedman
    return Sketch(
        figure,
        sentences(
            f"Mean ranks over patients by {endpoint.name} (1 is best). A bar joins algorithms (dots) of which no two "
            f"differ: Wilcoxon's p >= {ALPHA:g} after Holm's correction over all pairs. Friedman's test (Iman and "
            f"Davenport): F({friedman.df[0]}, {friedman.df[1]}) = {friedman.f:.2f}, {p_text(float(friedman.p))}.",
            scene.about([analysis]),
            scene.footnote(list(ranks.index)),
        ),
    )


def mean_ranks(analysis: Analysis) -> pd.Series:
    """Return each algorithm's mean over patients of its rank within the patient, best (lowest) first."""
    values = analysis.matrix.values
    cost = values.to_numpy().round(DIGITS) * (-1 if analysis.matrix.endpoint.higher_is_better else 1)
    return pd.Series(stats.rankdata(cost, axis=1).mean(axis=0), values.columns).sort_values(kind="stable")


def cliques(analysis: Analysis, order: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the largest groups in which no two algorithms differ, those with the best ranks first.

    Not only neighbours in the ranking: by Wilcoxon's test the first and the third may be alike though the second
    differs from both, so a bar has a dot for each member.
    """
    alike: dict[str, set[str]] = {label: set() for label in order}
    for one, other in combinations(order, 2):
        if not analysis.comparison(one, other)["p_holm_all"] < ALPHA:
            alike[one].add(other)
            alike[other].add(one)
    place = {label: i for i, label in enumerate(order)}
    groups = [tuple(sorted(group, key=place.__getitem__)) for group in _maximal(set(), set(order), set(), alike)]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: [place[label] for label in g])


def _maximal(chosen: set[str], left: set[str], done: set[str], alike: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """Bron and Kerbosch, Communications of the ACM 16:575-577 (1973), with Tomita's pivot."""
    if not left and not done:
        return [frozenset(chosen)]
    pivot = max(sorted(left | done), key=lambda v: len(alike[v] & left))
    found = []
    for label in sorted(left - alike[pivot]):
        found += _maximal(chosen | {label}, left & alike[label], done & alike[label], alike)
        left = left - {label}
        done = done | {label}
    return found


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _draw_scale(panel: Axes, number: int, inches: float) -> None:
    y = HEAD - 0.06
    step = int(np.ceil(FEWEST * (number - 1) / inches))
    panel.plot([1, number], [y, y], color="black", linewidth=0.8, clip_on=False)
    for rank in range(1, number + 1):
        panel.plot([rank, rank], [y - 0.06, y], color="black", linewidth=0.8, clip_on=False)
        if (rank - 1) % step == 0:
            panel.text(rank, y - 0.08, str(rank), ha="center", va="bottom", fontsize=style.NORMAL)


def _beside(name: str) -> str:
    """Return a name in lines that fit beside the diagram; of a word that does not, both ends."""
    lines = fold(name, LETTER * MOST_LETTERS).splitlines()
    half = MOST_LETTERS // 2
    return "\n".join(line if len(line) <= MOST_LETTERS else f"{line[: half - 1]}…{line[-half:]}" for line in lines)


def _draw_name(panel: Axes, scene: Scene, label: str, name: str, rank: float, y: float, left: bool) -> None:
    look = scene.look(label)
    ends = panel.get_xlim()
    stub = STUB * (ends[1] - ends[0]) / (panel.get_position().width * style.PAGE)
    end = ends[0] - stub if left else ends[1] + stub
    panel.plot([rank, rank, end], [HEAD - 0.06, y, y], color=look.colour, linewidth=0.9, clip_on=False, zorder=1)
    panel.plot(
        rank, HEAD - 0.06, marker=look.marker, color=look.colour, markersize=look.size(4.5), markeredgecolor="white",
        markeredgewidth=0.4, clip_on=False, zorder=3, label=label,
    )  # fmt: skip
    side: Any = {"ha": "right" if left else "left", "va": "center", "annotation_clip": False}
    at, words = ("offset points", f"{rank:.2f}")
    panel.annotate(words, (end, y), (-3 if left else 3, 0), textcoords=at, fontsize=style.NORMAL, **side)
    panel.annotate(
        name, (end, y), (-3 - NUMBER if left else 3 + NUMBER, 0), textcoords=at, fontsize=style.NORMAL,
        multialignment=side["ha"], linespacing=1.0, **side,
    )  # fmt: skip


# -- stability -----------------------------------------------------------------------------------------------------


def draw_stability(scene: Scene) -> Sketch:
    """Draw how often each algorithm takes each rank when patients are drawn anew, for both ways of ranking."""
    analysis = scene.analyses.get(scene.condition)
    ranks = analysis.ranks
    number = len(analysis.matrix.algorithms)
    names = _names_below(analysis.matrix.algorithms)
    longest = max(len(line) for name in names.values() for line in name.splitlines())
    figure = Figure(figsize=(style.PAGE, 0.17 * number + 0.55 + LETTER * longest))
    panels = figure.subplots(1, len(METHODS), sharey=True)
    for panel, method in zip(panels, METHODS, strict=True):
        table = ranks.summary[ranks.summary["method"] == method].set_index("algorithm")
        table = table.sort_values("rank", kind="stable")
        shares = ranks.distribution[ranks.distribution["method"] == method]
        _draw_blobs(panel, table, shares, scene, names)
        tau = ranks.tau[method]
        panel.set_title(f"{method.replace('-', ' ')}: mean Kendall's τ {tau.mean():.2f}")
        panel.set_ylim(number + 0.6, 0.4)
        panel.yaxis.set_major_locator(MultipleLocator(1))
    panels[0].set_ylabel("rank")
    return Sketch(
        figure,
        sentences(
            f"Ranks by {analysis.matrix.endpoint.name} in {RESAMPLES} bootstrap samples of the patients: the area of a "
            "circle is the share of samples with this rank; cross: rank in the data; line: 95% of the samples; below "
            "the names the probability of rank 1. Left: means are ranked; right: mean ranks within patients. Kendall's "
            "τ compares each sample's ranking with that of the data (1: the same).",
            scene.about([analysis]),
            scene.footnote(analysis.matrix.algorithms),
        ),
    )


def _names_below(algorithms: Sequence[str]) -> dict[str, str]:
    """Return the names as they stand below an axis, ending with room for a probability."""
    lines = int((style.PAGE / 2 - 0.4) / len(algorithms) / TEXT_LINE)  # that do not run into each other
    names = [style.display_name(label) for label in algorithms]
    folded = [fold(name, LONGEST) for name in names]
    kept = folded if lines_of(folded) < lines else names
    return {label: name + ("\n" if lines > 1 else "  ") for label, name in zip(algorithms, kept, strict=True)}


def _draw_blobs(panel: Axes, table: pd.DataFrame, shares: pd.DataFrame, scene: Scene, names: Mapping[str, str]) -> None:
    for x, (label, row) in enumerate(table.iterrows()):
        look = scene.look(str(label))
        own = shares[(shares["algorithm"] == label) & (shares["probability"] > 0)]
        panel.plot([x, x], [row["low"], row["high"]], color=look.colour, linewidth=0.8, zorder=1)
        panel.scatter(
            np.full(len(own), x), own["rank"], s=own["probability"] * LARGEST**2, color=look.colour, alpha=0.75,
            linewidths=0, zorder=2, label=label,
        )  # fmt: skip
        panel.plot(x, row["rank"], marker="x", color="black", markersize=3, markeredgewidth=0.7, zorder=3)
    below = [f"{names[str(label)]}P = {share:.2f}" for label, share in table["p_first"].items()]
    panel.set_xticks(range(len(table)), below, rotation=90)
    panel.set_xlim(-0.6, len(table) - 0.4)
    panel.grid(axis="y")
