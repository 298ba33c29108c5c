"""Whether the modalities look alike to the network: its bottleneck features, by modality."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fedbench.analysis.figures import style
from fedbench.analysis.figures.lettering import TEXT_LINE, fold, handle_of, legend_columns, lines_of, name_handles
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped, sentences
from fedbench.analysis.figures.separation import gather, separation
from fedbench.analysis.statistics.distance import COMPONENTS, Samples, principal_components

ACROSS = 5
EDGE = 1.25  # inches of a panel
MARKER = 9.0  # points squared


def draw(scene: Scene) -> Sketch:
    """Draw the first two principal components of the features of test images, one panel per algorithm."""
    found = {label: samples for label in scene.labels if (samples := gather(scene, label)) is not None}
    if not found:
        raise Skipped("no features of test images were kept")
    across = min(ACROSS, len(found))
    down = -(-len(found) // across)
    titles = [fold(style.display_name(label), EDGE) for label in found]
    tall = EDGE + 0.31 + TEXT_LINE * lines_of(titles)
    figure = Figure(figsize=(max(style.COLUMN, style.PAGE * across / ACROSS), down * tall + 0.2))
    panels = figure.subplots(down, across, squeeze=False)
    for panel in panels.flat[len(found) :]:
        panel.set_axis_off()
    distances = {str(label): f"{mean:.2f}" for label, mean in separation(scene)["mean"].items()}
    for panel, title, (label, samples) in zip(panels.flat, titles, found.items(), strict=False):
        components = principal_components(samples.features)
        points = components.points[:, :2]
        for modality in scene.modalities:
            own, look = samples.modality == modality, style.look_of_group(modality, scene.modalities)
            panel.scatter(
                *points[own].T, s=MARKER, marker=look.marker, color=look.colour, alpha=0.55, linewidths=0,
                rasterized=True, label=modality,
            )  # fmt: skip
        panel.set_title(f"{title}\nA-distance {distances.get(label, '–')}")
        panel.set_xlabel(f"PC1 {components.shares[0]:.0%}, PC2 {components.shares[1]:.0%}", fontsize=style.SMALLEST)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(True)
        panel.margins(0.08)
    names = [scene.modality_name(m) for m in scene.modalities]
    looks = [style.look_of_group(m, scene.modalities) for m in scene.modalities]
    handles = [handle_of(look) for look in looks]
    columns = legend_columns(names, figure.get_figwidth())
    name_handles(figure, handles, names, loc="outside lower center", ncols=columns)
    return Sketch(figure, sentences(*_caption(scene, found), scene.footnote(list(found))))


def _caption(scene: Scene, found: Mapping[str, Samples]) -> list[str]:
    numbers = {int((samples.modality == m).sum()) for samples in found.values() for m in scene.modalities} - {0}
    images = f"{min(numbers)} to {max(numbers)}" if len(numbers) > 1 else f"{max(numbers)}"
    return [
        f"Bottleneck features of test images ({scene.condition.title}, {scene.shown_trial}, models of the last round), "
        "averaged over space: first two principal components of the standardised features, each algorithm for itself, "
        f"with their share of the variance. A point is a slice or a picture, {images} of a modality. Where every "
        "client has its own model, each modality is seen by its own client's; where they share one, by that.",
        "A-distance: proxy of Ben-David et al., 2 (1 - 2 e) with the error e of a ridge classifier of two modalities "
        f"on {COMPONENTS} components, cross-validated over patients; mean over pairs of training modalities and over "
        "the training runs whose features are known. 0: not to be told apart, 2: perfectly.",
    ]
