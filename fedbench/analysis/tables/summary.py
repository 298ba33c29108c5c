"""The table at the end of ``run``: one row per algorithm and kind of deployed model, means with confidence intervals.

The unit is the patient: scores are averaged within the patient and over the seeds; the interval is a bootstrap over
patients (BCa, Efron, JASA 1987). Empty-versus-empty scores are left out of the means and counted instead; patients
without truth in any score of a relation are left out for all algorithms alike, as in
:mod:`fedbench.analysis.statistics.scores`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fedbench.analysis.comparable import conflicts
from fedbench.analysis.statistics.rows import KEEP, NO_TRUTH, budgets
from fedbench.errors import UserError
from fedbench.store import Results
from fedbench.wording import counted, listed

RELATIONS = {"in": "in-modality", "minor": "minor-modality", "cross": "cross-modality", "unseen": "unseen-modality"}
METRICS = {"dice": "Dice", "hd95": "HD95"}  # lengths are in mm, or in px: the column says which
COUNTS = {"missed": "missed", "false-alarm": "false-alarm", "both-empty": "not applicable"}  # flag -> column
KINDS = ("global", "personal")  # listed first, in this order
NO_RUN = "none"  # the deployment of an algorithm without a finished run
RESAMPLES = 2000
FEWEST_PATIENTS = 3  # for an interval


def summarise(
    results: Results, dataset: str, selection: str = "last", order: Sequence[str] | None = None, unseen: str = ""
) -> pd.DataFrame:
    """Return one row per (setting, deployment) of ``dataset``. Folds are pooled: a patient is tested in one of them.

    Args:
        unseen: the runs that left this modality out; empty: the runs that left none out.
        selection: which models' scores, ``last`` or ``best-validation``.
        order: settings in the order of the rows; one without a finished run gets a row without numbers.

    Returns:
        setting (the algorithm as written, with its parameters) and deployment; per relation and metric the mean
        (``in-modality Dice``) and its 95% interval (the same name with `` low`` and `` high``); counts of flagged
        scores and of all ``scores``; patients that enter a mean, seeds, bytes per round, seconds per run. ``attrs``
        holds dataset, selection and ``notes``: what a reader of the numbers must know.

    Raises:
        UserError: nothing to summarise, or runs that cannot be compared.
    """
    runs, cases, rounds = (_of_dataset(frame, dataset, unseen) for frame in results)
    if runs.empty:
        raise UserError(f"no finished run of dataset '{dataset}'{_without(unseen)} in these results.")
    if "selection" not in cases:
        raise UserError(
            f"dataset '{dataset}': these are trials of `fedbench tune`, which have no scores; read trials.md."
        )
    cases = cases[cases["selection"] == selection]
    if cases.empty:
        raise UserError(f"dataset '{dataset}': no scores of selection '{selection}'; known: last, best-validation.")
    unit = _one_unit(cases, dataset)
    for problem in conflicts(runs.assign(label=runs["setting"]), f"dataset '{dataset}'"):
        raise UserError(f"{problem} {KEEP}")
    relations = [r for r in RELATIONS if r in set(cases["relation"])]
    truth = ~cases["flag"].isin(NO_TRUTH)
    cases = cases.assign(enters=truth.groupby([cases["relation"], cases["patient"]], observed=True).transform("any"))
    rows: list[dict[str, Any]] = []
    for setting in dict.fromkeys([*(order or ()), *runs["setting"]]):
        own_runs, own_rounds = runs[runs["setting"] == setting], rounds[rounds["setting"] == setting]
        own = cases[cases["setting"] == setting]
        cost = _cost(own_runs, own_rounds)
        for deployment in sorted(own["deployment"].unique(), key=_kind_order) or [NO_RUN]:
            scores = own[own["deployment"] == deployment]
            own_row = _score(scores, deployment, relations, unit)
            rows.append({"setting": setting, "deployment": deployment} | own_row | cost)
    frame = pd.DataFrame(rows)
    frame.attrs = {"dataset": dataset, "selection": selection, "unit": unit, "notes": _notes(runs, frame)}
    frame.attrs["notes"] += _without_truth(cases[~cases["enters"]], relations)
    return frame


def conditions(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (dataset, modality left out) pairs that have runs: each gets a table of its own."""
    return sorted(set(zip(runs["dataset"], runs["unseen"], strict=True)))


def heading(dataset: str, unseen: str) -> str:
    """Return how a condition is called: ``sts``, ``sts without PET``."""
    return dataset + _without(unseen)


def _of_dataset(frame: pd.DataFrame, dataset: str, unseen: str) -> pd.DataFrame:
    return frame[(frame["dataset"] == dataset) & (frame["unseen"] == unseen)] if "dataset" in frame else frame


def _without(unseen: str) -> str:
    return f" without {unseen}" if unseen else ""


def _one_unit(cases: pd.DataFrame, dataset: str) -> str:
    units = sorted(set(cases["unit"]))
    if len(units) > 1:
        raise UserError(f"dataset '{dataset}': distances in {' and '.join(units)} cannot be averaged.")
    return units[0]


def _kind_order(kind: str) -> tuple[int, str]:
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), kind)


def _score(scores: pd.DataFrame, deployment: str, relations: Iterable[str], unit: str) -> dict[str, Any]:
    """Return means of what ``enters``, the scores of patients with truth; counts are of all scores."""
    entering = scores[scores["enters"]]
    row: dict[str, Any] = {}
    for relation in relations:
        related = entering[entering["relation"] == relation]
        for metric in METRICS:
            name = column_of(relation, metric, unit)
            values = patient_means(related, metric)
            row[name] = values.mean() if len(values) else np.nan
            row[f"{name} low"], row[f"{name} high"] = interval(values)
    distinct = _distinct(scores, deployment)
    row |= {column: int((distinct["flag"] == flag).sum()) for flag, column in COUNTS.items()}
    return row | {"scores": len(distinct), "patients": entering["patient"].nunique()}


def column_of(relation: str, metric: str, unit: str) -> str:
    """Return what the column of a mean is called: ``in-modality Dice``."""
    return f"{RELATIONS[relation]} {METRICS[metric]}" + (f" ({unit})" if metric == "hd95" else "")


def patient_means(scores: pd.DataFrame, metric: str) -> np.ndarray:
    """Return one mean per patient (sorted by name): of each seed over the patient's scores, then over the seeds.

    With complete results the order does not matter but for false alarms: one in one of five seeds counts a fifth.
    """
    of_seeds = scores.groupby(["patient", "seed"])[metric].mean()
    return of_seeds.groupby("patient").mean().dropna().to_numpy()


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean: BCa, percentile where BCa does not exist, NaN for few patients."""
    if len(values) < FEWEST_PATIENTS:
        return np.nan, np.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    for method in ("BCa", "percentile"):
        stream = np.random.default_rng(0)  # the same patients are drawn for every algorithm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate BCa warns and gives NaN
            found = stats.bootstrap(
                (values,), np.mean, method=method, n_resamples=RESAMPLES, vectorized=True, random_state=stream
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)


def _distinct(scores: pd.DataFrame, deployment: str) -> pd.DataFrame:
    """Drop repetitions: a model that all clients share is listed once per client, but was scored once.

    A variant of another name may be one model per client too, which shows in scores that differ between clients.
    """
    score = ["seed", "case", "class"]
    variety = scores.groupby(score)[["dice", "hd95", "flag"]].nunique(dropna=False)
    if deployment == "personal" or (variety > 1).any(axis=None):
        return scores
    return scores.drop_duplicates(score)


def _cost(runs: pd.DataFrame, rounds: pd.DataFrame) -> dict[str, Any]:
    traffic = rounds[rounds["metric"].isin(("bytes up", "bytes down"))]
    per_round = traffic.groupby(["run_id", "round"])["value"].sum()
    return {
        "seeds": runs["seed"].nunique(),
        "bytes per round": per_round.mean() if len(per_round) else np.nan,
        "seconds per run": runs["seconds"].mean() if len(runs) else np.nan,
    }


def _trials(runs: pd.DataFrame) -> set[str]:
    """Seeds, each with its fold where there are folds."""
    pairs = zip(runs["seed"], runs["fold"], strict=True)
    return {f"{seed}" if fold < 0 else f"{seed} (fold {fold})" for seed, fold in pairs}


def _notes(runs: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    notes = []
    seeds = {setting: _trials(group) for setting, group in runs.groupby("setting")}
    every = set().union(*seeds.values())
    for setting in dict.fromkeys(frame["setting"]):
        if setting not in seeds:
            notes.append(f"{setting}: no finished run.")
        elif missing := sorted(every - seeds[setting]):
            lost, all_seeds = "seed" if len(missing) == 1 else "seeds", counted(len(every), "seed")
            notes.append(
                f"{setting}: {lost} {_list(missing)} missing or not finished; its means are over "
                f"{len(seeds[setting])} of {all_seeds}, not comparable with the others."
            )
    notes += budgets(runs)
    few = frame[(frame["patients"] < FEWEST_PATIENTS) & (frame["deployment"] != NO_RUN)]
    if len(few):
        notes.append(f"No interval with fewer than {FEWEST_PATIENTS} patients.")
    return notes


def _without_truth(cases: pd.DataFrame, relations: Iterable[str]) -> list[str]:
    """Name the patients of ``cases``, who are left out, once for the relations in which they are the same."""
    found: dict[tuple[str, ...], list[str]] = {}
    for relation in relations:
        patients = tuple(sorted(cases.loc[cases["relation"] == relation, "patient"].unique()))
        found.setdefault(patients, []).append(RELATIONS[relation])
    return [
        f"{_list(of)}: {counted(len(names), 'patient')} not in the means, no structure in the truth ({listed(names)})."
        for names, of in found.items()
        if names
    ]


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(v) for v in dict.fromkeys(values))
