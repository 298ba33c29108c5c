"""The figures of a study: each drawn from the evidence alone, with its caption beside it, not in it.

``overlays`` and ``partitions`` are drawn from prepared data, before there is evidence.

draw_all(evidence, analyses, Path("figures"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedbench.analysis.analyses import Analyses, in_order
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import (
    alignment,
    cost,
    curves,
    discriminators,
    distributions,
    forest,
    gallery,
    qualitative,
    ranks,
    style,
    transfer,
)
from fedbench.analysis.figures.scene import Scene, Sketch, Skipped
from fedbench.files import write_text


class Figure(NamedTuple):
    """One kind of figure.

    Attributes:
        draw: draws it for a condition, or raises :class:`Skipped`.
        of_scores: whether it is about scores alone, and so different where trained models are scored again.
    """

    title: str
    draw: Callable[[Scene], Sketch]
    of_scores: bool = False


FIGURES: dict[str, Figure] = {
    "gallery": Figure("What the modalities look like", gallery.draw),
    "curves": Figure("Validation during training", curves.draw),
    "distributions": Figure("Scores of patients", distributions.draw, of_scores=True),
    "transfer": Figure("From one modality to another", transfer.draw, of_scores=True),
    "forest": Figure("Differences to the reference", forest.draw, of_scores=True),
    "ranks": Figure("Mean ranks", ranks.draw_differences, of_scores=True),
    "stability": Figure("How firm the ranking is", ranks.draw_stability, of_scores=True),
    "qualitative": Figure("What the algorithms drew", qualitative.draw),
    "alignment": Figure("Features by modality", alignment.draw),
    "cost": Figure("What a Dice costs", cost.draw),
    "discriminators": Figure("Health of the discriminators", discriminators.draw),
}


@dataclass(frozen=True)
class Drawn:
    """A figure of a condition.

    Attributes:
        name: its key in :data:`FIGURES`, if it is of one condition.
        condition: what it shows; of several the first.
        caption: plain text; names from data in it are not escaped.
        files: the PDF, and the PNG where there is one; none where the figure was skipped.
        size: width and height, in inches.
        reason: why it was skipped; empty where it was not.
    """

    name: str
    title: str
    condition: Condition
    caption: str = ""
    files: tuple[Path, ...] = ()
    reason: str = ""
    size: tuple[float, float] = (0.0, 0.0)


def draw_all(
    evidence: Evidence,
    analyses: Analyses,
    target: Path,
    names: Sequence[str] | None = None,
    watch: Callable[[Drawn], None] = lambda _: None,
    save: style.Save = style.save,
) -> list[Drawn]:
    """Draw every figure of every condition as ``<condition>.<name>.pdf`` and ``.png`` in ``target``.

    Args:
        names: only these of :data:`FIGURES`; None takes all.
        watch: called after each figure.
        save: writes other files than these two.

    Returns:
        one per condition and figure, in this order; those that a condition cannot have with the reason.
    """
    known = known_labels(analyses)
    drawn = []
    for condition in analyses.conditions:
        scene = Scene(analyses, condition, known)
        for name in names or FIGURES:
            drawn.append(draw_one(scene, name, target, save))
            watch(drawn[-1])
    return drawn


def draw_one(scene: Scene, name: str, target: Path, save: style.Save = style.save) -> Drawn:
    """Draw one figure of one condition and ``save`` it in ``target``."""
    figure = FIGURES[name]
    if scene.condition.reestimated and not figure.of_scores:
        return Drawn(name, figure.title, scene.condition, reason=f"It is that of {scene.condition.trained.title}.")
    try:
        with style.apply_style():
            sketch = figure.draw(scene)
            files = save(sketch.figure, target / f"{scene.condition.name}.{name}")
    except Skipped as reason:
        return Drawn(name, figure.title, scene.condition, reason=str(reason))
    width, height = map(float, sketch.figure.get_size_inches())
    return Drawn(name, figure.title, scene.condition, sketch.caption, tuple(files), size=(width, height))


def write_captions(drawn: Sequence[Drawn], target: Path) -> Path:
    """Write ``captions.txt``: per figure its files and caption, or why there is none."""
    texts = []
    for one in drawn:
        names = " · ".join(file.name for file in one.files)
        texts.append(f"{one.condition.title}: {one.title}\n{names or 'not drawn'}\n{one.caption or one.reason}\n")
    file = target / "captions.txt"
    write_text(file, "\n".join(texts))
    return file


def known_labels(analyses: Analyses) -> tuple[str, ...]:
    """Return the labels of all conditions: what colours and markers depend on."""
    return tuple(in_order(label for condition in analyses.conditions for label in analyses.algorithms(condition)))
