"""What the modalities look like: test cases with their truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fedbench.analysis.figures import style
from fedbench.analysis.figures.choice import gallery
from fedbench.analysis.figures.lettering import legend_columns, name_handles
from fedbench.analysis.figures.panels import COLOURS, draw_image, extent, outline, tint, write_directions
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.views import CaseView

MOST_PER_ROW = 4
WIDEST = 1.7  # inches of a panel
HEAD, KEY = 0.2, 0.3  # inches: a title; the legend and the line below the panels


def draw(scene: Scene) -> Sketch:
    """Draw one test case per modality, below it the same slice with the contours of the truth."""
    cases = gallery(scene.evidence, scene.condition)
    chosen = {m: scene.views[cases[m]] for m in scene.modalities if cases.get(m) in scene.views}
    if not chosen:
        raise Skipped("no images of test cases were kept")
    across = min(len(chosen), MOST_PER_ROW)
    width = min(style.PAGE / across, WIDEST)
    tall = width * max(extent(view)[1] / extent(view)[0] for view in chosen.values())
    blocks = -(-len(chosen) // across)
    figure = Figure(figsize=(across * width, blocks * (2 * tall + HEAD) + KEY))
    panels = figure.subplots(2 * blocks, across, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for i, (modality, view) in enumerate(chosen.items()):
        plain, marked = panels[2 * (i // across), i % across], panels[2 * (i // across) + 1, i % across]
        plain.set_title(scene.modality_name(modality))
        for panel in (plain, marked):
            draw_image(panel, view)
        tint(marked, view.truth[view.best], view)
        outline(marked, view.truth[view.best], view)
        for panel in (plain, marked):
            panel.set(aspect="equal", anchor="N")
        write_directions(plain, view)
    write_key(figure, structure_names(scene))
    of = "; ".join(f"{modality}: {view.patient}" for modality, view in chosen.items())
    patients = {view.patient for view in chosen.values()}
    which = f"patient {patients.pop()}" if len(patients) == 1 else f"patients {of}"
    return Sketch(
        figure,
        sentences(
            f"Test cases of {scene.condition.title}, below with the truth: {which}, of each modality the first by name "
            "in whom there is something to segment.",
            convention(chosen),
        ),
    )


def convention(views: Mapping[str, CaseView]) -> str:
    """Return how slices are shown; nothing of pictures."""
    if all(view.picture for view in views.values()):
        return ""
    return "Shown: the slice with the most truth, the patient's right on the left (R), the front above (A)."


def structure_names(scene: Scene) -> list[str]:
    """Return what the labels 1, 2, ... of a truth are called where the runs say it, else ``label 1``.

    Scored structures may be unions of labels (a whole tumour holds its core), so that only a single one names a label.
    """
    facts = json.loads(scene.runs["provenance"].iloc[0])
    largest = max((int(view.truth.max()) for view in scene.views.values()), default=0)
    scored = list(scene.cases["class"].unique())
    names = [str(name) for name in facts.get("classes", ())] or (scored if largest == len(scored) == 1 else [])
    return [names[i] if i < len(names) else f"label {i + 1}" for i in range(max(largest, len(names)))]


def write_key(target: Figure, names: Sequence[str], truth: bool = False) -> None:
    """Write what the contours' colours mean below the panels."""
    stroke = [withStroke(linewidth=4.0, foreground="0.25")]  # as on a dark image: white is seen
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))] + ["white"] * truth
    handles = [Line2D([], [], color=colour, linewidth=1.4, path_effects=stroke) for colour in colours]
    every = [*names, *["truth"] * truth]
    columns = legend_columns(every, target.get_figwidth())
    name_handles(target, handles, every, loc="outside lower center", ncols=columns)
