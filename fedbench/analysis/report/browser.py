"""What the case browser shows: image, truth and every algorithm's prediction of a few patients of each condition.

Which patients, by rule: they are ranked by their mean score over all algorithms; the worst, the best and the median
come first, then those halfway between, and so on, in turn for each group of patients with the same modalities, until
the page's share is used up. Everything is of one seed (the first) and of the last round, of which slices are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedbench.analysis.analyses import Analyses, is_reconstruction
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures.gallery import structure_names
from fedbench.analysis.figures.panels import COLOURS
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.report.encoding import (
    image_uri,
    reduced_image,
    reduced_labels,
    reduction,
    runs_of,
    upright,
)  # fmt: skip
from fedbench.analysis.statistics.rows import labels
from fedbench.views import CaseView, array_key

SELECTION = "last"  # of which predictions are kept
RULE = (
    "Patients are ranked by their mean score over all algorithms; the worst, the best and the median come first, then "
    "those halfway between, until this page's share of {share:.1f} MB is used."
)


class Cases(NamedTuple):
    """The browser's data of one condition, ready to become JSON, and how it was chosen, for the reader."""

    data: dict[str, Any]
    text: str


class _Shown(NamedTuple):
    """The runs that are shown.

    Attributes:
        rows: scores of their last round.
        predictions: kind of deployment and slices, by label.
        scores: (class, Dice or None where not applicable, flag) in the order of the classes, by case, label, client.
        relations: of the client to the scored modality, by case and client.
    """

    rows: pd.DataFrame
    predictions: dict[str, tuple[str, Mapping[str, np.ndarray]]]
    scores: dict[tuple[str, str, str], list[tuple[str, float | None, str]]]
    relations: dict[tuple[str, str], str]


def browse(analyses: Analyses, condition: Condition, colours: Mapping[str, str], budget: int) -> Cases | None:
    """Return the cases of a condition in at most ``budget`` bytes of JSON; None if no slices were kept.

    Args:
        colours: of the algorithms, by label.
    """
    evidence = analyses.evidence
    views, shown = evidence.views(condition), _shown(evidence, condition)
    if not views or not shown.predictions:
        return None
    algorithms = [a for a in analyses.algorithms(condition) if a in shown.predictions]
    clients = sorted(shown.rows["client"].unique())
    chosen: dict[str, list[dict[str, Any]]] = {}
    left, patients = budget, _patients(views)
    for patient in _in_turn(analyses, condition, patients, views):
        cases = [_case(case, views[case], shown, algorithms, clients) for case in patients[patient]]
        size = len(json.dumps(cases))
        if chosen and size > left:
            break
        chosen[patient] = cases
        left -= size
    data = {
        "algorithms": [
            {"name": a, "colour": colours[a], "reconstruction": is_reconstruction(a)} for a in algorithms
        ],
        "clients": clients,
        "colours": list(COLOURS),
        "classes": structure_names(Scene(analyses, condition, ())),
        "cases": [case for patient in sorted(chosen) for case in chosen[patient]],
    }  # fmt: skip
    return Cases(data, _text(shown.rows, len(chosen), len(patients), budget))


def _text(rows: pd.DataFrame, chosen: int, patients: int, budget: int) -> str:
    seed, fold = rows["seed"].iloc[0], rows["fold"].iloc[0]
    trial = f"Seed {seed}" + (f", fold {fold}" if fold >= 0 else "")
    some = "All" if chosen == patients else f"{chosen} of"
    rule = "" if chosen == patients else " " + RULE.format(share=budget / 1e6)
    return (
        f"{trial}, models of the last round. {some} {patients} patients whose slices were kept.{rule} "
        "Dice is that of the whole case, not of the slice shown."
    )


def _shown(evidence: Evidence, condition: Condition) -> _Shown:
    cases = evidence.of(condition).cases
    cases = cases[cases["selection"] == SELECTION]
    cases = cases.assign(number=cases["label"], label=labels(cases))
    runs = {setting: evidence.shown_run(condition, setting) for setting in cases["setting"].unique()}
    rows = cases[cases["run_id"].isin([run for run in runs.values() if run])]
    predictions: dict[str, tuple[str, Mapping[str, np.ndarray]]] = {}
    for label, run_id, kind in rows[["label", "run_id", "deployment"]].drop_duplicates().itertuples(index=False):
        if kept := evidence.predictions(str(run_id)):
            predictions[str(label)] = (str(kind), kept)
    scores: dict[tuple[str, str, str], list[tuple[str, float | None, str]]] = {}
    relations: dict[tuple[str, str], str] = {}
    columns = ["case", "label", "client", "class", "dice", "flag", "relation"]
    ordered = rows.sort_values(["number", "class"], kind="stable")
    for case, label, client, name, dice, flag, relation in zip(*(ordered[c] for c in columns), strict=True):
        known = None if np.isnan(dice) else round(float(dice), 4)
        scores.setdefault((case, label, client), []).append((str(name), known, flag or ""))
        relations[case, client] = relation
    return _Shown(rows, predictions, scores, relations)


def _patients(views: Mapping[str, CaseView]) -> dict[str, list[str]]:
    patients: dict[str, list[str]] = {}
    for case in sorted(views):
        patients.setdefault(views[case].patient, []).append(case)
    return patients


def _in_turn(
    analyses: Analyses, condition: Condition, patients: Mapping[str, list[str]], views: Mapping[str, CaseView]
) -> Iterator[str]:
    """Yield every patient in the order of this module's rule; those without a score last."""
    scores = analyses.get(condition).matrix.values.mean(axis=1)
    ranked = sorted(patients, key=lambda p: (scores.get(p, np.inf), p))
    groups: dict[tuple[str, ...], list[str]] = {}
    for patient in ranked:
        groups.setdefault(tuple(sorted(views[case].modality for case in patients[patient])), []).append(patient)
    turns = [[group[i] for i in spread(len(group))] for _, group in sorted(groups.items())]
    return (patient for turn in zip_longest(*turns) for patient in turn if patient is not None)


def spread(number: int) -> list[int]:
    """Return 0 .. number - 1 from coarse to fine: first, last, middle, quarters, eighths ...; ``5 -> 0 4 2 1 3``."""
    order = dict.fromkeys([0, number - 1])
    parts = 2
    while len(order) < number:
        order |= dict.fromkeys(round(i * (number - 1) / parts) for i in range(1, parts, 2))
        parts *= 2
    return list(order)


def _case(
    case: str, view: CaseView, shown: _Shown, algorithms: Sequence[str], clients: Sequence[str]
) -> dict[str, Any]:
    factor = reduction(view.truth.shape[1:])

    def runs(maps: np.ndarray) -> list[str]:
        return [runs_of(reduced_labels(upright(one, view), factor)) for one in maps]

    maps: list[list[str]] = []
    which: dict[tuple[str, str], int] = {}
    models = []
    for algorithm in algorithms:
        kind, kept = shown.predictions[algorithm]
        of_clients: list[dict[str, Any] | None] = []
        for client in clients:
            key = _key(kept, kind, client, case)
            if key is None:
                of_clients.append(None)
                continue
            if (algorithm, key) not in which:
                which[algorithm, key] = len(maps)
                maps.append(runs(kept[key]))
            of_clients.append({"map": which[algorithm, key], "scores": shown.scores.get((case, algorithm, client), [])})
        models.append(of_clients)
    images = [reduced_image(upright(one, view), factor) for one in view.image]
    height, width = images[0].shape[:2]
    return {
        "id": case,
        "patient": view.patient,
        "modality": view.modality,
        "width": width,
        "height": height,
        "aspect": round(width * view.spacing[0] / (height * view.spacing[1]), 4),
        "reduced": factor,
        "picture": view.picture,
        "slices": list(view.slices),
        "best": view.best,
        "images": [image_uri(image) for image in images],
        "truth": runs(view.truth),
        "maps": maps,
        "models": models,
        "relations": [shown.relations.get((case, client), "") for client in clients],
    }


def _key(kept: Mapping[str, np.ndarray], kind: str, client: str, case: str) -> str | None:
    return next((key for owner in (client, "") if (key := array_key(kind, owner, case)) in kept), None)
