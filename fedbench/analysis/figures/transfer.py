"""How well each client's model does on each modality."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedbench.analysis.figures import style
from fedbench.analysis.figures.lettering import LETTER, TEXT_LINE, fold, lines_of
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.statistics.scores import score_matrix
from fedbench.errors import UserError

COLOURS = "cividis"  # readable with every colour vision, and in grey
CELL = (0.36, 0.2)  # inches
NARROWEST = 1.1  # inches of a panel
BAR = 0.1  # inches: width of the colour bar
DIGITS = 2
MIDDLE = 0.18  # luminance on which black and white text are equally easy to read


def draw(scene: Scene) -> Sketch:
    """Draw a heat map of Dice per algorithm: rows are clients (whose model), columns are tested modalities."""
    scene.analyses.get(scene.condition)  # what may not be compared is refused
    found = transfers(scene)
    if not found:
        raise Skipped("no client and modality with two patients or more")
    first = next(iter(found.values()))
    names = [scene.modality_name(m) for m in first.columns]
    margin = LETTER * max(map(len, map(str, first.index))) + 0.15
    wide = max(len(names) * CELL[0], NARROWEST)
    titles = [fold(style.display_name(label), wide) for label in found]
    head = 0.19 + TEXT_LINE * lines_of(titles)
    across = max(1, min(len(found), int((style.PAGE - margin - 0.5) / (wide + 0.12))))
    down = -(-len(found) // across)
    turn = 90 if LETTER * max(map(len, names)) > CELL[0] else 0
    foot = 0.1 + (LETTER * max(map(len, names)) if turn else 0.12)
    size = (margin + across * (wide + 0.12) + 0.55, down * (len(first) * CELL[1] + head) + foot)
    figure = Figure(figsize=(max(size[0], style.COLUMN), size[1]))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    values = np.concatenate([table.to_numpy().ravel() for table in found.values()])
    ends = (np.floor(np.nanmin(values) * 20) / 20, np.ceil(np.nanmax(values) * 20) / 20)
    for panel in panels.flat[len(found) :]:
        panel.set_axis_off()
        for x, name in enumerate(names):  # of the columns of the panel above
            text = panel.text(
                x + 0.5, 1.1, name, transform=panel.get_xaxis_transform(), rotation=turn, ha="center", va="top",
                fontsize=style.SMALLEST + 0.5,
            )  # fmt: skip
            text.set_in_layout(False)
    for i, (panel, title, table) in enumerate(zip(panels.flat, titles, found.values(), strict=False)):
        _draw_table(panel, table, ends, scene)
        panel.set_title(title)
        panel.tick_params(length=0, labelbottom=i // across == down - 1, labelleft=i % across == 0)
        panel.set_xticks(np.arange(len(names)) + 0.5, names, rotation=turn)
        panel.set_yticks(np.arange(len(first)) + 0.5, list(first.index), rotation=0)
    tall = (size[1] - foot) / BAR
    figure.colorbar(panels[0, 0].collections[0], ax=panels, label="Dice", aspect=tall, pad=0.01)
    return Sketch(
        figure,
        sentences(
            "Mean Dice of every client's model (rows, by the client's name) on every modality (columns); framed: the "
            "client's own modality. Where all clients use one model the rows are alike.",
            scene.about([scene.analyses.get(scene.condition)]),
            scene.footnote(list(found)),
        ),
    )


def transfers(scene: Scene) -> dict[str, pd.DataFrame]:
    """Return per algorithm the mean over patients of Dice: index client, columns modality.

    Each number is made as in every comparison: seeds averaged within a patient, what is missing dealt with as the user
    says. NaN with fewer than two patients. Folds count together, whatever the modality is to the client in each: one
    that it holds in some folds only is its own there and foreign elsewhere.
    """
    choices = scene.analyses.choices
    clients = sorted(scene.cases["client"].unique())
    empty = pd.DataFrame(np.nan, pd.Index(clients, name="client"), pd.Index(scene.modalities, name="modality"))
    found = {label: empty.copy() for label in scene.labels}
    endpoint = Endpoint("cross", "dice", scene.condition.unseen)
    for (client, modality), cases in scene.cases.groupby(["client", "modality"], observed=True):
        alike = cases.assign(relation=endpoint.relation)
        try:
            matrix = score_matrix(alike, scene.condition.dataset, endpoint, choices.selection, choices.missing)
        except UserError:
            continue
        for label, mean in matrix.values.mean().items():
            found[str(label)].loc[client, modality] = mean
    return {label: table for label, table in found.items() if table.notna().any(axis=None)}


def _draw_table(panel: Axes, table: pd.DataFrame, ends: tuple[float, float], scene: Scene) -> None:
    sns.heatmap(
        table, ax=panel, vmin=ends[0], vmax=ends[1], cmap=COLOURS, annot=True, fmt=f".{DIGITS}f", cbar=False,
        annot_kws={"fontsize": style.SMALLEST}, linewidths=0.5, linecolor="white",
    )  # fmt: skip
    panel.set(xlabel="", ylabel="")
    colours = np.atleast_2d(panel.collections[0].get_facecolor())[table.notna().to_numpy().ravel()]
    for text, colour in zip(panel.texts, colours, strict=True):  # no text in an empty cell
        text.set_color("black" if style.luminance(colour) > MIDDLE else "white")
    own = scene.cases.drop_duplicates("client").set_index("client")["client_modality"]
    for row, client in enumerate(table.index):
        if own[client] in table.columns:
            at = (list(table.columns).index(own[client]), row)
            panel.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor="black", linewidth=1.0, clip_on=False))
