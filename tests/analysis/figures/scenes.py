"""Evidence with slices, features and rounds, and its figures before they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import FIGURES, known_labels, style
from fedbench.analysis.figures.scene import Scene
from fedbench.views import CaseView, array_key
from tests.analysis.evidence_rows import evidence

ALGORITHMS = ("local", "centralised", "fedavg", "fedbn", "fedda-joint")
ROUNDS = 3
SIDE = 24
CHANNELS = 6
DAMAGE = {"local": 4, "fedbn": 2, "fedda-joint": 1}  # rows of pixels by which a prediction is moved


def full_evidence(
    conditions: Sequence[Condition] = (Condition("toy"),), algorithms: Sequence[str] = ALGORITHMS,
    picture: bool = False, **other: Any,
) -> Evidence:  # fmt: skip
    """Return evidence that has every figure if an algorithm begins with ``fedda``."""
    found = evidence(conditions, algorithms, **({"patients": 6} | other))

    def views(condition: Condition) -> dict[str, CaseView]:
        cases = found.of(condition).cases.drop_duplicates("case")
        return {row.case: view_of(i, row.patient, row.modality, picture) for i, row in enumerate(cases.itertuples())}

    def arrays(run_id: str, make: Any) -> dict[str, np.ndarray]:
        own = found.cases[found.cases["run_id"] == run_id].drop_duplicates(["client", "case"])
        kept = {}
        for i, row in enumerate(own.itertuples()):
            client = None if row.deployment == "global" else row.client
            kept.setdefault(array_key(row.deployment, client, row.case), make(i, row))
        return kept

    def predictions(run_id: str) -> dict[str, np.ndarray]:
        return arrays(run_id, lambda _, row: np.roll(truth(picture), DAMAGE.get(row.setting, 0), axis=1))

    def features(run_id: str) -> dict[str, np.ndarray]:
        return arrays(run_id, lambda i, row: np.random.default_rng(i).normal(size=(4, CHANNELS)).astype(np.float32))

    rounds = pd.DataFrame([row for run in found.runs.to_dict("records") for row in rounds_of(run)])
    return replace(found, rounds=rounds, _views=views, _predictions=predictions, _features=features)


def truth(picture: bool = False) -> np.ndarray:
    """Two structures, ``(slices, X, Y)``."""
    labels = np.zeros((1 if picture else 2, SIDE, SIDE), np.uint8)
    labels[-1, 8:14, 6:12], labels[-1, 8:14, 12:16] = 1, 2
    return labels


def view_of(number: int, patient: str, modality: str, picture: bool) -> CaseView:
    """Return a noisy case whose last slice has the most truth."""
    labels = truth(picture)
    shape = (*labels.shape, 3 if picture else 1)
    image = np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8)
    slices, unit = ((0,), "px") if picture else ((2, 5), "mm")
    return CaseView(patient, modality, image, labels, slices, len(labels) - 1, (1.0, 1.0), unit, picture)


def rounds_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a run logs: validation Dice grows by 0.1 a round and by 0.01 a seed; 3 MB and 2 s per client."""
    keys = {k: run[k] for k in ("run_id", "dataset", "algorithm", "seed", "partition", "setting", "fold", "unseen")}
    rows = []
    for number in range(ROUNDS):
        dice = 0.1 * (number + 1) + 0.01 * run["seed"]
        for client, more in (("CT", 0.0), ("MR", 0.02)):
            logged = {"validation dice": dice + more, "bytes up": 1e6, "bytes down": 2e6, "seconds": 2.0}
            if run["setting"].startswith("fedda"):
                logged |= {"discriminator": 0.7 - more, "discriminator_accuracy": 0.5 + 0.01 * run["seed"]}
            rows += [{"round": number, "client": client, "metric": m, "value": v} | keys for m, v in logged.items()]
    return rows


def scene_of(found: Evidence, number: int = 0, **choices: Any) -> Scene:
    """Return a condition, ready to be drawn."""
    analyses = Analyses(found, Choices(**choices))
    return Scene(analyses, analyses.conditions[number], known_labels(analyses))


def drawn(scene: Scene, name: str) -> Figure:
    """Return a figure, laid out."""
    with style.apply_style():
        figure = FIGURES[name].draw(scene).figure
        if (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
    return figure


def panel(figure: Figure, title: str) -> Axes:
    """Return the axes with this title (without the mark of a reconstruction, folded lines joined)."""
    titles = {axes.get_title().replace("\n", "").replace("†", ""): axes for axes in figure.axes}
    return titles[title]


def named(axes: Axes, label: str) -> Any:
    """Return the one artist of an algorithm, modality or client."""
    (artist,) = [a for a in (*axes.lines, *axes.collections, *axes.containers) if a.get_label() == label]
    return artist
