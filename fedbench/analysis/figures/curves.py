"""How validation Dice grows over the rounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.analysis.figures import style
from fedbench.analysis.figures.lettering import TEXT_LINE, fold, lines_of
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, number_of_seeds, sentences, trials

VALIDATION = "validation dice"
ACROSS = 4
TALL = 1.25  # inches of a panel
OTHERS = "#C8C8C8"
BAND = 0.25  # opacity
FLAT, ABOVE = 0.7, 0.04  # of the highest value: how little curves rise, and the room for half a marker


def draw(scene: Scene) -> Sketch:
    """Draw one panel per algorithm: its mean and range over seeds, the others' means behind it in grey."""
    curves = trials(scene.rounds, VALIDATION)
    if curves.empty:
        raise Skipped("no validation Dice was measured during training")
    bands = {setting: band(curves[curves["setting"] == setting]) for setting in scene.settings}
    across = min(ACROSS, len(bands))
    down = -(-len(bands) // across)
    titles = [fold(style.display_name(setting), style.PAGE / ACROSS - 0.1) for setting in bands]
    tall = TALL + TEXT_LINE * (lines_of(titles) - 1)
    figure = Figure(figsize=(style.PAGE * across / ACROSS, tall * down + 0.25))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(bands) :]:
        panel.set_axis_off()
    for panel, title, (setting, own) in zip(panels.flat, titles, bands.items(), strict=False):
        for other in bands.values():
            if other is not own:
                panel.plot(other.index + 1, other["mean"], color=OTHERS, linewidth=0.6, zorder=1)
        _draw_band(panel, own, scene, setting)
        panel.set_title(title)
    for i in range(across):
        last = panels.flat[max(n for n in range(len(bands)) if n % across == i)]
        last.xaxis.set_tick_params(labelbottom=True)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[0, 0].set_ylim(bottom=0)
    lowest, highest = min(own["min"].min() for own in bands.values()), max(own["max"].max() for own in bands.values())
    if lowest > FLAT * highest:  # the margin is a share of what curves span, too little for markers here
        panels[0, 0].set_ylim(top=highest * (1 + ABOVE))
    figure.supxlabel("round", fontsize=style.NORMAL)
    figure.supylabel("validation Dice", fontsize=style.NORMAL)
    seeds, steps = number_of_seeds(curves), measured_every(curves)
    when = "each round" if steps == 1 else f"every {ordinal(steps)} round" if steps else "some of the rounds"
    return Sketch(
        figure,
        sentences(
            f"Dice on the clients' own validation cases after {when} ({scene.condition.title}): mean over clients "
            f"of the model that each would use; line: mean over {seeds}, band: from the lowest to the highest of them; "
            "grey: the other algorithms.",
            scene.footnote(list(bands)),
        ),
    )


def measured_every(curves: pd.DataFrame) -> int:
    """Return how many rounds lie between two measurements; 0 where that differs but for the first and the last."""
    rounds = np.sort(curves["round"].unique())
    steps = set(np.diff(rounds[:-1] if len(rounds) > 2 else rounds).tolist()) or {1}
    return int(steps.pop()) if len(steps) == 1 else 0


def ordinal(number: int) -> str:
    """``2nd``, ``4th``, ``11th``."""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def band(curves: pd.DataFrame) -> pd.DataFrame:
    """Return mean, ``min`` and ``max`` over runs of ``value``, by round."""
    return curves.groupby("round")["value"].agg(["mean", "min", "max"])


def _draw_band(panel: Axes, own: pd.DataFrame, scene: Scene, setting: str) -> None:
    look = scene.look(setting)
    rounds = own.index + 1
    every = max(1, int(np.ceil(len(rounds) / 6)))
    panel.fill_between(rounds, own["min"], own["max"], color=look.colour, alpha=BAND, linewidth=0, zorder=2)
    panel.plot(
        rounds, own["mean"], color=look.colour, marker=look.marker, linestyle=look.line, markevery=every,
        markersize=look.size(3.5), markeredgewidth=0, zorder=3, label=setting,
    )  # fmt: skip
    panel.grid(axis="y")
