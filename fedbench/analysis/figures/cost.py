"""What a Dice costs: bytes sent and seconds computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.figures import style
from fedbench.analysis.figures.curves import VALIDATION
from fedbench.analysis.figures.lettering import legend_columns, write_legend
from fedbench.analysis.figures.scene import KEYS, Scene, Sketch, Skipped, sentences, trials
from fedbench.analysis.statistics.protocol import Analysis

TRAFFIC = ("bytes up", "bytes down")
SECONDS = "seconds"
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
BOUNDS = ["mean", "low", "high"]
TALL = 2.0  # inches of a panel
BESIDE = 5.0  # points between algorithms of the same cost


def draw(scene: Scene) -> Sketch:
    """Draw validation Dice against bytes and against seconds, and the final primary score against bytes per run."""
    spent = costs(scene.rounds)
    if spent.empty:
        raise Skipped("no validation Dice was measured during training")
    analysis = scene.analyses.get(scene.condition)
    factor, unit = next((f, u) for f, u in UNITS if spent["bytes"].max() >= f or f == 1.0)
    columns = legend_columns([style.display_name(label) for label in scene.labels], style.PAGE)
    figure = Figure(figsize=(style.PAGE, TALL + 0.17 * -(-len(scene.labels) // columns)))
    panels = figure.subplots(1, 3)
    for setting in scene.settings:
        curve, look = progress(spent[spent["setting"] == setting]), scene.look(setting)
        apart = is_reference_point(setting)
        every = max(1, len(curve) // 5)
        for panel, cost in ((panels[0], curve["bytes"] / factor), (panels[1], curve["seconds"])):
            if apart and panel is panels[0]:
                panel.axhline(curve["dice"].iloc[-1], color=look.colour, linestyle=look.line, label=setting)
                continue
            panel.plot(
                cost, curve["dice"], color=look.colour, linestyle=look.line, marker=look.marker, markevery=every,
                markersize=look.size(3.5), markeredgewidth=0, label=setting,
            )  # fmt: skip
    total = spent.groupby(KEYS)["bytes"].max().groupby("setting").mean() / factor
    _draw_final(figure, panels[2], scene, analysis, total)
    name = analysis.matrix.endpoint.name.partition(",")[0]
    panels[0].set(xlabel=f"sent so far ({unit})", ylabel="best validation Dice so far")
    panels[1].set(xlabel="computed so far (s)")
    panels[2].set(xlabel=f"sent per run ({unit})", ylabel=f"final {name}")
    for panel in panels:
        panel.grid(axis="y")
    heights = [end for panel in panels[:2] for end in panel.get_ylim()]
    for panel in panels[:2]:
        panel.set(xlim=(0, panel.get_xlim()[1]), ylim=(min(heights), max(heights)))
    write_legend(figure, scene.labels, scene.known, lines=True, loc="outside lower center", ncols=columns)
    return Sketch(
        figure,
        sentences(
            "Left and middle: the highest validation Dice so far (mean over clients and seeds) against bytes sent in "
            "both directions by all clients and against seconds of local training, summed over clients. Right: final "
            f"{name} with 95% interval over patients against bytes per run (side by side where they are the same). "
            "Local and centralised training exchange no weights with others; where the axis is bytes they are lines, "
            "or named at the edge if beyond it.",
            scene.about([analysis]),
            scene.footnote(),
        ),
    )


def costs(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run and round: ``dice`` (mean over clients), ``bytes`` and ``seconds`` spent until then."""
    dice = trials(rounds, VALIDATION).rename(columns={"value": "dice"})
    traffic = rounds[rounds["metric"].isin(TRAFFIC)].assign(metric="bytes")
    for name, kept in (("bytes", traffic), (SECONDS, rounds)):
        sums = trials(kept, name, "sum")
        sums[name] = sums.groupby(KEYS)["value"].cumsum()
        dice = dice.merge(sums[[*KEYS, "round", name]], how="left", on=[*KEYS, "round"])
    return dice.fillna({"bytes": 0.0, SECONDS: 0.0})


def progress(spent: pd.DataFrame) -> pd.DataFrame:
    """Return means over runs of one algorithm by round; ``dice`` is the highest of the means so far."""
    means = spent.groupby("round")[["dice", "bytes", "seconds"]].mean()
    return means.assign(dice=means["dice"].cummax())


def _draw_final(figure: Figure, panel: Axes, scene: Scene, analysis: Analysis, total: pd.Series) -> None:
    federated = [label for label in analysis.matrix.algorithms if not is_reference_point(label)]
    cost = {label: float(total[scene.deployments[label][0]]) for label in federated}
    rows = analysis.means[BOUNDS].astype(float).to_numpy().tolist()
    means = dict(zip(analysis.means.index, rows, strict=True))
    for label, shift in _shifts(cost).items():
        look, (mean, low, high), at = scene.look(label), means[label], cost[label]
        bars = np.nan_to_num([[mean - low], [high - mean]])
        beside = ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
        panel.errorbar(
            at, mean, bars, fmt=look.marker, color=look.colour, markersize=look.size(4.5), elinewidth=0.8,
            markeredgewidth=0, label=label, transform=panel.transData + beside,
        )  # fmt: skip
    shown = np.array([means[label] for label in federated or means])
    panel.update_datalim([(x, y) for x in cost.values() for y in (np.nanmin(shown), np.nanmax(shown))])
    panel.margins(x=0.2, y=0.15)
    panel.autoscale_view()
    bottom, top = panel.get_ylim() if federated else (-np.inf, np.inf)
    beyond = {True: "", False: ""}  # by whether it is below
    for label in analysis.matrix.algorithms:
        if label in federated:
            continue
        look, value = scene.look(label), means[label][0]
        if bottom <= value <= top:
            panel.axhline(value, color=look.colour, linestyle=look.line, label=label)
        else:
            beyond[value < bottom] += f"\n{style.display_name(label)} {value:.2f} {'↓' if value < bottom else '↑'}"
    for below, text in beyond.items():
        panel.text(
            0.98, 0.02 if below else 0.98, text.strip(), transform=panel.transAxes, ha="right",
            va="bottom" if below else "top", fontsize=style.SMALLEST, color="0.35",
        )  # fmt: skip


def _shifts(cost: dict[str, float]) -> dict[str, float]:
    """Return how far to the side each is drawn, in points, so that those of about the same cost stand side by side."""
    near = 0.03 * (max(cost.values()) - min(cost.values())) if cost else 0.0
    groups: list[list[str]] = []
    start = -np.inf
    for label, value in sorted(cost.items(), key=lambda item: item[1]):
        if value - start > near:
            groups, start = [*groups, []], value
        groups[-1].append(label)
    return {label: BESIDE * (i - (len(group) - 1) / 2) for group in groups for i, label in enumerate(group)}
