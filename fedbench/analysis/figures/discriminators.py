"""Whether an adversarial algorithm's discriminators neither win nor lose: their loss and accuracy over the rounds."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.analysis.figures import style
from fedbench.analysis.figures.curves import BAND, band
from fedbench.analysis.figures.lettering import fold, handle_of, legend_columns, name_handles
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, number_of_seeds, sentences

PREFIX = "discriminator"  # of the names of what an algorithm logs
LOSS, ACCURACY = "discriminator", "discriminator_accuracy"
NAMES = {LOSS: "loss", ACCURACY: "accuracy"}
UNDECIDED = {LOSS: math.log(2), ACCURACY: 0.5}  # of a discriminator that cannot tell source from target
ROW = 1.35  # inches


def draw(scene: Scene) -> Sketch:
    """Draw one column per algorithm that trains discriminators, a line per client."""
    rounds = scene.rounds[scene.rounds["metric"].str.startswith(PREFIX)]
    if rounds.empty:
        raise Skipped("no algorithm here trains a discriminator")
    settings = [s for s in scene.settings if s in set(rounds["setting"])]
    metrics = sorted(rounds["metric"].unique())
    clients = sorted(rounds["client"].unique())
    wide = style.COLUMN if len(settings) == 1 else style.PAGE
    figure = Figure(figsize=(wide, ROW * len(metrics) + 0.3))
    panels = figure.subplots(len(metrics), len(settings), sharex=True, sharey="row", squeeze=False)
    for across, metric in zip(panels, metrics, strict=True):
        for panel, setting in zip(across, settings, strict=True):
            own = rounds[(rounds["metric"] == metric) & (rounds["setting"] == setting)]
            if metric in UNDECIDED:
                panel.axhline(UNDECIDED[metric], color="0.35", linewidth=0.8, linestyle=(0, (1, 1.5)))
            for client in clients:
                curve, look = band(own[own["client"] == client]), style.look_of_group(client, clients)
                panel.fill_between(curve.index + 1, curve["min"], curve["max"], color=look.colour, alpha=BAND, lw=0)
                panel.plot(
                    curve.index + 1, curve["mean"], color=look.colour, marker=look.marker, linestyle=look.line,
                    markersize=look.size(3), markevery=max(1, len(curve) // 6), markeredgewidth=0, label=client,
                )  # fmt: skip
            panel.grid(axis="y")
        across[0].set_ylabel(NAMES.get(metric, metric.removeprefix(PREFIX).strip("_ ")))
    for panel, setting in zip(panels[0], settings, strict=True):
        panel.set_title(fold(style.display_name(setting), wide / len(settings) - 0.3))
    for panel in panels[-1]:
        panel.set_xlabel("round")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.align_ylabels(panels[:, 0])
    handles = [handle_of(style.look_of_group(client, clients), lines=True) for client in clients]
    columns = legend_columns(clients, wide)
    name_handles(figure, handles, clients, loc="outside lower center", ncols=columns)
    return Sketch(
        figure,
        sentences(
            f"The clients' discriminators during training ({scene.condition.title}): line: mean over "
            f"{number_of_seeds(rounds)}, band: from the lowest to the highest of them; dotted: a discriminator that "
            "cannot tell its own features from the others'. A discriminator that stays there gives the encoder nothing "
            "to go by; at accuracy 1 and loss 0 it has won, and there is no game either.",
            scene.footnote(settings),
        ),
    )
