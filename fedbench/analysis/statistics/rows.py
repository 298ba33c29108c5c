"""Which rows of the store are compared with each other, and whether they can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fedbench.analysis.comparable import conflicts
from fedbench.errors import UserError
from fedbench.wording import listed

METRICS = {"dice": "Dice", "nsd": "NSD", "hd95": "HD95"}
DISTANCES = ("hd95",)  # lower is better, in the dataset's unit of length
DEFAULTS: dict[str, Any] = {"fold": -1, "unseen": "", "unit": "mm"}  # of columns that older results lack
CELL = ["patient", "case", "class", "client"]
TEXTS = ("run_id", "dataset", "setting", "partition", "deployment", "selection", "relation", "flag", *CELL)
NEEDED = ("seed", *TEXTS)
NO_TRUTH = ("both-empty", "false-alarm")
LONE = ("missed", "false-alarm")  # exactly one mask is empty
KEEP = (
    "Keep one: --suite FILE takes the runs of one suite; or move the folders of the others away; or, in Python, name "
    "the runs: load_results(..., run_ids)."
)
DAMAGED = "The file was changed or damaged: repeat the run, or take the published table again."


@dataclass(frozen=True)
class Endpoint:
    """What is compared.

    Attributes:
        relation: of the client to the scored modality: ``in``, ``cross``, ``unseen`` or ``minor``.
        metric: ``dice``, ``nsd`` or ``hd95``.
        unseen: the modality left out of training, ``""`` for none. Different conditions are never mixed.
    """

    relation: str = "cross"
    metric: str = "dice"
    unseen: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"unknown metric '{self.metric}'; known: {', '.join(METRICS)}.")

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is a better one."""
        return self.metric not in DISTANCES

    @property
    def name(self) -> str:
        """As in a table: ``cross-modality Dice``."""
        without = f", {self.unseen} left out" if self.unseen else ""
        return f"{self.relation}-modality {METRICS[self.metric]}{without}"


def labels(cases: pd.DataFrame) -> pd.Series:
    """Return the identity of each row's algorithm: its setting, and its deployment unless that goes without saying.

    The global model is the setting itself, whatever else was derived from it; so are personal models that stand alone.
    """
    (setting, settings), (deployment, deployments) = (
        pd.factorize(cases[column], use_na_sentinel=False) for column in ("setting", "deployment")
    )
    kinds, place = np.unique(setting * len(deployments) + deployment, return_inverse=True)
    pairs = [(settings[kind // len(deployments)], deployments[kind % len(deployments)]) for kind in kinds]
    often = Counter(setting for setting, _ in pairs)
    found = [
        str(setting) if kind == "global" or (kind == "personal" and often[setting] == 1) else f"{setting} ({kind})"
        for setting, kind in pairs
    ]
    return pd.Series(pd.array(found, dtype="str").take(place), cases.index, name="label")


def base_name(label: str) -> str:
    """``fedprox[mu=0.1] (personal)`` -> ``fedprox``."""
    return label.partition(" (")[0].partition("[")[0]


def of_dataset(cases: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return what is compared of a dataset's rows: the columns of ``NEEDED`` and ``DEFAULTS``, scores and ``label``.

    Texts are categories in the order of their names. Labels look at all datasets of ``cases``, so that an algorithm has
    one name in all of them.

    Raises:
        UserError: no rows, no such dataset, a column is missing.
    """
    if cases.empty:
        raise UserError("no scores: these results hold no finished run.")
    if lacking := [c for c in NEEDED if c not in cases]:
        raise UserError(f"the table of cases has no column {listed(lacking)}; it was not written by fedbench.")
    here = (cases["dataset"] == dataset).to_numpy()
    if not here.any():
        raise UserError(f"no scores of dataset '{dataset}'; there are: {listed(sorted(cases['dataset'].unique()))}.")
    rows = pd.DataFrame({"label": _by_name(labels(cases)[here])})
    gaps = {"flag": ""} | DEFAULTS
    for name in (*TEXTS, *DEFAULTS):
        column = cases[name][here] if name in cases else pd.Series(gaps[name], rows.index)
        rows[name] = column.fillna(gaps[name]) if name == "fold" else _by_name(column, gaps.get(name))
    for name in ("seed", *METRICS):
        if name in cases:
            rows[name] = cases[name][here]
    return rows


def _by_name(column: pd.Series, gaps: str | None = None) -> pd.Series:
    """Return texts as categories sorted by name, so that to group and to compare them is to count; fill the gaps."""
    number, found = pd.factorize(column)
    known = np.append(np.asarray(found, dtype=object), [] if gaps is None else [gaps]).astype(str)
    names, place = np.unique(known, return_inverse=True)
    place = np.append(place[: len(found)], -1 if gaps is None else place[-1])  # a gap is -1: the last one
    return pd.Series(pd.Categorical.from_codes(place[number], pd.Index(names)), column.index)


def codes(rows: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return one number for what rows of :func:`of_dataset` hold in ``columns``, ascending as their names are."""
    found = np.zeros(len(rows), dtype=np.int64)
    for name in columns:
        found = found * len(rows[name].cat.categories) + rows[name].cat.codes.to_numpy()
    return found


def of_endpoint(rows: pd.DataFrame, endpoint: Endpoint, selection: str) -> tuple[pd.DataFrame, Endpoint]:
    """Return the rows of an endpoint; the endpoint says which modality was left out where that need not be asked.

    Raises:
        UserError: no such rows; several modalities were left out and none is named.
    """
    where = f"dataset '{rows['dataset'].iloc[0]}'"
    if endpoint.metric not in rows:
        raise UserError(f"the table of cases has no column {endpoint.metric}; it was not written by fedbench.")
    for column, wanted in (("selection", selection), ("relation", endpoint.relation)):
        there = sorted(rows[column].unique())
        if wanted not in there:
            raise UserError(f"{where}: no scores of {column} '{wanted}'; there are: {listed(there)}.")
        rows = rows[rows[column] == wanted]
    conditions = sorted(rows["unseen"].unique())
    if endpoint.relation == "unseen" and not endpoint.unseen and len(conditions) == 1:
        endpoint = replace(endpoint, unseen=conditions[0])
    if endpoint.unseen not in conditions:
        raise UserError(
            f"{where}: no {endpoint.relation}-modality scores with {endpoint.unseen or 'nothing'} left out, but with "
            f"{listed(c or 'nothing' for c in conditions)}. Name one: Endpoint(..., unseen=...)."
        )
    return rows[rows["unseen"] == endpoint.unseen], endpoint


def check_comparable(rows: pd.DataFrame, where: str) -> None:
    """Refuse rows of different partitions, of repeated runs, in different units, with and without folds."""
    if len(units := sorted(rows["unit"].unique())) > 1:
        raise UserError(f"{where}: distances in {listed(units)} are mixed. {KEEP}")
    check_runs(rows[["run_id", "label", "seed", "fold", "partition"]].drop_duplicates(), where)


def check_runs(runs: pd.DataFrame, where: str) -> None:
    """Refuse runs that cannot stand in one table (:func:`fedbench.analysis.comparable.conflicts`)."""
    for problem in conflicts(runs, where):
        raise UserError(f"{problem} {KEEP}")


def check_values(rows: pd.DataFrame, metric: str) -> None:
    """Refuse what :mod:`fedbench.metrics` cannot have measured, naming run and column."""
    for column in ("setting", "deployment", *CELL):
        if (nameless := rows[column].isna()).any():
            raise UserError(f"run {rows.loc[nameless, 'run_id'].iloc[0]}, column '{column}': has gaps. {DAMAGED}")
    if not pd.api.types.is_numeric_dtype(rows[metric]):
        raise UserError(f"run {rows['run_id'].iloc[0]}, column '{metric}': does not hold numbers. {DAMAGED}")
    values, flags = rows[metric].to_numpy(dtype=float), rows["flag"]
    empty, lone = (flags == "both-empty").to_numpy(), flags.isin(LONE).to_numpy()
    distance = metric in DISTANCES
    impossible = np.isinf(values) | (values < 0) | (values > (np.inf if distance else 1.0))
    problems = [
        ("flag", "an unknown flag", ~(empty | lone | (flags == "").to_numpy())),
        (metric, "no number, without the flag 'both-empty'", np.isnan(values) & ~empty),
        (metric, "a number, with the flag 'both-empty'", ~np.isnan(values) & empty),
        (metric, "an impossible value", impossible),
        (metric, "a value that its flag excludes", lone & (values != 0) & (not distance)),
    ]
    for column, problem, found in problems:
        if found.any():
            row = rows[found].iloc[0]
            raise UserError(
                f"run {row['run_id']}, column '{column}': {problem} ({row[metric]}, flag '{row['flag']}'; "
                f"case {row['case']}, class {row['class']}). {DAMAGED}"
            )


def budgets(runs: pd.DataFrame) -> list[str]:
    """Say whether optimiser steps differ between algorithms, or only between seeds and folds: they train on others."""
    if len(set(runs["steps"])) == 1:
        return []
    ends = runs.groupby("setting")["steps"].agg(["min", "max"])
    if all(len(set(own)) == 1 for _, own in runs.groupby(["seed", "fold"])["steps"]):
        least, most = runs["steps"].min(), runs["steps"].max()
        of, between = ("seed and fold", "folds") if len(set(runs["fold"])) > 1 else ("seed", "seeds")
        return [
            f"Training steps per run are the same for all algorithms of a {of}; between {between} they differ ({least} "
            f"to {most}) as the numbers of training images do."
        ]
    told: dict[str, list[str]] = {}
    for name, low, high in ends.itertuples():
        told.setdefault(str(low) if low == high else f"{low} to {high}", []).append(str(name))
    each = "; ".join(f"{steps}: {listed(names)}" for steps, names in told.items())
    return [f"Training steps per run differ between algorithms ({each}): the budgets are not equal."]
