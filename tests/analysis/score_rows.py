"""Rows of the store for tests, a few patients of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedbench.store import Results

NAN = float("nan")


def row(patient: str, dice: float, setting: str = "fedavg", seed: int = 0, **other: Any) -> dict[str, Any]:
    """One score: cross-modality, of the client CT, unless said otherwise."""
    row = {
        "run_id": f"toy.{setting}.s{seed}", "dataset": "toy", "algorithm": setting.split("[")[0], "setting": setting,
        "seed": seed, "partition": f"p{seed}", "client": "CT", "client_modality": "CT", "deployment": "global",
        "selection": "last", "relation": "cross", "modality": "MR", "patient": patient, "case": f"{patient}/MR",
        "class": "organ", "dice": dice, "hd95": 10 * dice, "nsd": dice, "flag": "",
    } | other  # fmt: skip
    if row["flag"] == "both-empty":
        row["hd95"] = row["nsd"] = NAN
    return row


def both_empty(patient: str, setting: str = "fedavg", **other: Any) -> dict[str, Any]:
    """A case without structure in which none was found."""
    return row(patient, NAN, setting, flag="both-empty", **other)


def false_alarm(patient: str, setting: str = "fedavg", **other: Any) -> dict[str, Any]:
    """A case without structure in which one was found; the image diagonal is 90 mm."""
    return row(patient, 0.0, setting, flag="false-alarm", **({"hd95": 90.0} | other))


def table(scores: Mapping[str, Sequence[float]], seeds: Sequence[int] = (0,), **other: Any) -> pd.DataFrame:
    """One score per patient, the same for every seed: ``{"fedavg": [0.5, 0.6], ...}``."""
    rows = [
        row(f"P{i:03}", dice, setting, seed, **other)
        for setting, values in scores.items()
        for seed in seeds
        for i, dice in enumerate(values)
    ]
    return pd.DataFrame(rows)


def unfinished_grid(settled: bool = True) -> pd.DataFrame:
    """Fold 0 with three seeds: 10 patients, moon about +0.1; fold 1 with seed 0 alone: 30 patients, moon about -0.1.

    Over all patients moon is at -0.05; over those tested with every seed at +0.1, and no seed differs from another.

    Args:
        settled: if not, fold 0 has seed 0 alone as well, and fold 1 seed 1 alone.
    """
    frames = []
    for fold, patients, gain, seeds in ((0, 10, 0.1, (0, 1, 2) if settled else (0,)), (1, 30, -0.1, (0,))):
        base = np.linspace(0.4, 0.7, patients)
        moon = base + gain + np.linspace(-0.005, 0.005, patients)
        for seed in seeds if settled or fold == 0 else (1,):
            one = table({"fedavg": base, "moon": moon}, [seed], fold=fold)
            names = {"patient": f"F{fold}" + one["patient"], "case": f"F{fold}" + one["case"]}
            frames.append(one.assign(partition=f"f{fold}s{seed}", run_id=one["run_id"] + f".f{fold}", **names))
    return pd.concat(frames, ignore_index=True)


def random_table(
    algorithms: Sequence[str], patients: int, seeds: int = 1, random: int = 0, **other: Any
) -> pd.DataFrame:
    """Independent scores without ties."""
    stream = np.random.default_rng(random)
    frames = [
        table({a: stream.beta(8, 2, patients) for a in algorithms}, [seed], **other) for seed in range(seeds)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def results(cases: pd.DataFrame) -> Results:
    """Results without anything that the analysis does not read."""
    return Results(pd.DataFrame(), cases, pd.DataFrame())
