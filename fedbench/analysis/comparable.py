"""Runs that cannot stand in one table, what their identities say differs, and which computed the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from fedbench.config import EARLIER, DataConfig, EvaluationConfig, ModelConfig, TrainingConfig, section_of
from fedbench.differing import flat, short
from fedbench.wording import listed

ABSENT = "absent"
SECTIONS = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "evaluation": EvaluationConfig}
CODE = ("fedbench", "harness", "algorithm_code", "dataset_code")  # of a run's identity: what it was computed by


def conflicts(runs: pd.DataFrame, where: str) -> Iterator[str]:
    """Yield, one sentence each, why runs of one dataset and modality left out cannot be compared; nothing if they can.

    Args:
        runs: ``run_id``, ``label`` (of the algorithm), ``seed``, ``fold``, ``partition``; ``identity`` (JSON) if known.
        where: how a sentence begins.
    """
    folds = set(runs["fold"].unique())
    if -1 in folds and len(folds) > 1:
        yield f"{where}: runs with and without folds are mixed."
    for (seed, fold), group in runs.groupby(["seed", "fold"]):
        at = f"{where}, seed {seed}" + ("" if fold == -1 else f", fold {fold}")
        if len(group["partition"].unique()) > 1:
            held = "; ".join(f"{str(d)[:12]}: {listed(g['label'])}" for d, g in group.groupby("partition"))
            yield f"{at}: the partitions differ ({held}), so the runs cannot be compared."
        if (again := group["label"].duplicated()).any():
            label = min(group["label"][again])
            same = group[group["label"] == label]
            yield (
                f"{at}: '{label}' ran more than once, with another budget or source "
                f"({listed(same['run_id'])}){_what_differs(same)}."
            )


def _what_differs(runs: pd.DataFrame) -> str:
    """Say what differs between the identities of the first two of ``runs``, where these are known."""
    if "identity" not in runs:
        return ""
    first, second = (json.loads(text) for text in runs["identity"].iloc[:2])
    if not (found := differing(first, second)):
        return ""
    order = "in this order" if len(runs) == 2 else "of the first two, in this order"
    return f": {order}, {listed(found)}; `fedbench diff {' '.join(runs['run_id'].iloc[:2])}` shows all"


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return what differs between two runs' identities, such as ``training.lr 0.01 and 0.02``."""
    a, b = (dict(flat({**one, **{name: section_of(one, name) for name in EARLIER}})) for one in (first, second))
    pairs = {key: (short(a.get(key, ABSENT)), short(b.get(key, ABSENT))) for key in sorted(a.keys() | b.keys())}
    return [f"{key} {one} and {other}" for key, (one, other) in pairs.items() if one != other]


def computed(identity: Mapping[str, Any]) -> str:
    """Return what a run computes, as text, without the code; keys that older runs lack say what those did."""
    kept = {key: value for key, value in identity.items() if key not in CODE}
    for section, config in SECTIONS.items():
        with contextlib.suppress(ValueError):  # of keys that are no more; they are as they were
            kept[section] = config(**section_of(identity, section)).model_dump()
    return json.dumps(kept, sort_keys=True)
