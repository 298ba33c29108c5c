"""What tables, figures, report and paper are made from: finished runs, their scores, and the pictures of a few cases.

:mod:`fedbench.analysis.loading` reads it from a results folder or from published tables, which give the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.errors import UserError
from fedbench.names import safe
from fedbench.views import CaseView, read_key

REESTIMATED = "reestimated"  # how a deployment ends whose BatchNorm statistics were taken anew


@dataclass(frozen=True)
class Condition:
    """What one table is about; scores of different conditions are never compared.

    Attributes:
        unseen: the modality left out of training, ``""`` for none.
        reestimated: whether the trained models are scored with BatchNorm statistics taken anew from the scored
            modality's training images, and not as they were trained.
    """

    dataset: str
    unseen: str = ""
    reestimated: bool = False

    @property
    def title(self) -> str:
        """``sts``, ``sts without PET``, ``sts, statistics re-estimated``."""
        return self._without + (", statistics re-estimated" if self.reestimated else "")

    @property
    def name(self) -> str:
        """As in a file name."""
        return safe(self._without + (" reestimated" if self.reestimated else ""))

    @property
    def trained(self) -> Condition:
        """The condition whose trainings these are."""
        return replace(self, reestimated=False)

    @property
    def whole(self) -> bool:
        """Whether nothing is left out of training, and models are scored as trained."""
        return not self.unseen and not self.reestimated

    @property
    def _without(self) -> str:
        return self.dataset + (f" without {self.unseen}" if self.unseen else "")


@dataclass(frozen=True)
class Evidence:
    """Tidy frames over all runs, and the slices and features of some.

    Attributes:
        runs: one row per run: run_id, dataset, unseen, setting, algorithm, seed, fold, partition, seconds, steps,
            parameters, started, ended, clients_at_once (publications from before it was kept lack it), views,
            peak_memory_bytes, best_round, identity, declared, provenance (JSON).
        cases: one row per client's model, case and class (:func:`fedbench.engine.evaluation.evaluate`), with the run's
            keys.
        rounds: one row per round, client and metric, with the run's keys.
        source: where it was read from.
        distances: how far apart modalities are to each run's models
            (:func:`fedbench.analysis.figures.separation.every_distance`), of the runs of which that was published.
    """

    runs: pd.DataFrame
    cases: pd.DataFrame
    rounds: pd.DataFrame
    source: Path
    _views: Callable[[Condition], Mapping[str, CaseView]] = field(repr=False)
    _predictions: Callable[[str], Mapping[str, np.ndarray]] = field(repr=False)
    _features: Callable[[str], Mapping[str, np.ndarray]] = field(repr=False)
    distances: pd.DataFrame | None = None

    @cached_property
    def trained(self) -> list[Condition]:
        """Every condition that has runs, by name; models as they were trained."""
        return [Condition(*pair) for pair in sorted(set(zip(self.runs["dataset"], self.runs["unseen"], strict=True)))]

    @cached_property
    def conditions(self) -> list[Condition]:
        """Every condition that has scores, by name; one with statistics taken anew follows the one as trained."""
        anew = self.cases[_anew(self.cases)]
        found = {*self.trained, *(Condition(*pair, True) for pair in zip(anew["dataset"], anew["unseen"], strict=True))}
        return sorted(found, key=lambda c: (c.dataset, c.unseen, c.reestimated))

    @cached_property
    def declared(self) -> dict[str, Any]:
        """What the suites declared, of what all runs agree on: selection, relation, metric, reference."""
        return declared_by(self.runs)

    @cached_property
    def settings(self) -> list[str]:
        """The algorithms as written: the reference points ``local`` and ``centralised`` first, then by name."""
        ends = {"local": 0, "centralised": 1}
        return sorted(self.runs["setting"].unique(), key=lambda s: (ends.get(s, 2), s))

    def of(self, condition: Condition) -> store.Results:
        """Return the frames of one condition; the deployments of what has statistics taken anew are called as trained.

        Runs none of whose models were scored with statistics taken anew are not part of that condition.
        """
        frames = (self.runs, self.cases, self.rounds)
        runs, cases, rounds = (
            f[(f["dataset"] == condition.dataset) & (f["unseen"] == condition.unseen)] for f in frames
        )
        cases = cases[_anew(cases) == condition.reestimated]
        if condition.reestimated:
            kinds = cases["deployment"].astype(str).replace(REESTIMATED, "global").str.removesuffix(f", {REESTIMATED}")
            cases = cases.assign(deployment=kinds)
            runs, rounds = (f[f["run_id"].isin(set(cases["run_id"]))] for f in (runs, rounds))
        return store.Results(runs, cases, rounds)

    def shown_run(self, condition: Condition, setting: str) -> str | None:
        """Return the run whose pictures figures show: the first seed and fold of all settings together."""
        runs = self.of(condition).runs
        if runs.empty:
            return None
        first = runs.sort_values(["seed", "fold"]).iloc[0]
        own = runs[(runs["setting"] == setting) & (runs["seed"] == first["seed"]) & (runs["fold"] == first["fold"])]
        return None if own.empty else str(own["run_id"].iloc[0])

    def views(self, condition: Condition) -> Mapping[str, CaseView]:
        """Return image and truth of the test cases of the first seed (published: of some), by case."""
        return self._views(condition.trained)

    def predictions(self, run_id: str) -> Mapping[str, np.ndarray]:
        """Return predicted slices uint8 ``(S, X, Y)`` by :func:`fedbench.views.array_key`; empty if not kept."""
        return self._predictions(run_id)

    def features(self, run_id: str) -> Mapping[str, np.ndarray]:
        """Return pooled bottleneck features float32 ``(S, C')`` by key; empty if not kept."""
        return self._features(run_id)

    def prediction(self, run_id: str, client: str, case: str) -> tuple[str, np.ndarray] | None:
        """Return (deployment, slices) of the model ``client`` uses: its own where it has one, else the shared one."""
        kept = self.predictions(run_id)
        for owner in (client, ""):
            for key in kept:
                kind, of_client, of_case = read_key(key)
                if of_client == owner and of_case == case:
                    return kind, kept[key]
        return None


def declared_by(runs: pd.DataFrame) -> dict[str, Any]:
    """Return what the suites of ``runs`` declared, of what all agree on: selection, relation, metric, reference."""
    texts = set(runs["declared"]) if "declared" in runs else set()
    found = [json.loads(text) for text in sorted(texts)]
    keys = set.intersection(*(set(d) for d in found)) if found else set()
    return {key: found[0][key] for key in sorted(keys) if all(d[key] == found[0][key] for d in found)}


def declarations(runs: pd.DataFrame, key: str) -> dict[str, int]:
    """Return how many of ``runs`` were declared with each value of ``key``, such as ``selection``."""
    values = (json.loads(text).get(key) for text in runs.get("declared", ()))
    return dict(sorted(Counter(str(value) for value in values if value is not None).items()))


def _anew(cases: pd.DataFrame) -> pd.Series:
    """Say of each row whether its model had BatchNorm statistics taken anew."""
    return cases["deployment"].astype(str).str.endswith(REESTIMATED)


def merge(parts: Sequence[Evidence]) -> Evidence:
    """Return several sources as one; their conditions must differ.

    Raises:
        UserError: two sources hold the same condition.
    """
    owners: dict[Condition, Evidence] = {}
    for part in parts:
        for condition in part.conditions:
            if condition in owners:
                both = f"{owners[condition].source} and {part.source}"
                raise UserError(f"{both} both hold runs of {condition.title}; give one of them.")
            owners[condition] = part
    of_run = {run_id: part for part in parts for run_id in part.runs["run_id"]}
    runs, cases, rounds = (
        pd.concat([getattr(p, name) for p in parts], ignore_index=True) for name in ("runs", "cases", "rounds")
    )
    distances = [part.distances for part in parts if part.distances is not None]
    return Evidence(
        runs, cases, rounds, parts[0].source.parent,
        lambda condition: owners[condition].views(condition),
        lambda run_id: of_run[run_id].predictions(run_id),
        lambda run_id: of_run[run_id].features(run_id),
        pd.concat(distances, ignore_index=True) if distances else None,
    )  # fmt: skip
