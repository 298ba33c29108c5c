"""What every figure is drawn from and what it gives back: one condition of the evidence, a picture and its caption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from fedbench.analysis.analyses import Analyses, in_order
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import style
from fedbench.analysis.figures.style import Look
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.tables import captions
from fedbench.views import CaseView
from fedbench.wording import counted, listed

KEYS = ["run_id", "setting", "seed", "fold"]


class Skipped(Exception):
    """A condition cannot have this figure; the message says why."""


class Sketch(NamedTuple):
    """A figure that is not saved yet."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Scene:
    """One condition of the evidence.

    Attributes:
        known: the labels of all conditions, which determine colours.
    """

    analyses: Analyses
    condition: Condition
    known: tuple[str, ...]

    @property
    def evidence(self) -> Evidence:
        """Where slices and features come from."""
        return self.analyses.evidence

    @cached_property
    def labels(self) -> list[str]:
        """The algorithms here, in the order of tables."""
        return self.analyses.algorithms(self.condition)

    @cached_property
    def settings(self) -> list[str]:
        """The algorithms that were trained here; one of them may deploy several kinds of models."""
        return in_order(self.rounds["setting"].unique())

    @cached_property
    def deployments(self) -> dict[str, tuple[str, str]]:
        """Setting and kind of deployed model behind each label."""
        kinds = self.cases[["label", "setting", "deployment"]].drop_duplicates()
        return {label: (setting, kind) for label, setting, kind in kinds.itertuples(index=False)}

    @cached_property
    def shown_runs(self) -> dict[str, str]:
        """The run of each setting whose slices and features figures show; settings without one are left out."""
        found = {setting: self.evidence.shown_run(self.condition, setting) for setting in self.settings}
        return {setting: run for setting, run in found.items() if run is not None}

    @cached_property
    def shown_scores(self) -> pd.DataFrame:
        """Scores of the shown runs in the last round, of which slices were kept, with a column ``label``."""
        cases = self.evidence.cases
        cases = cases[cases["run_id"].isin(self.shown_runs.values()) & (cases["selection"] == "last")]
        names = {kind: label for label, kind in self.deployments.items()}
        kinds = zip(cases["setting"], cases["deployment"], strict=True)
        return cases.assign(label=[names.get(kind, "") for kind in kinds])

    @cached_property
    def shown_trial(self) -> str:
        """Seed and fold of the shown runs: ``seed 0``."""
        first = self.runs.sort_values(["seed", "fold"]).iloc[0]
        return f"seed {first['seed']}" + (f", fold {first['fold']}" if first["fold"] >= 0 else "")

    @property
    def cases(self) -> pd.DataFrame:
        """Scores of the chosen selection, with a column ``label``."""
        return self.analyses.results(self.condition).cases

    @property
    def rounds(self) -> pd.DataFrame:
        """Measurements during training."""
        return self.analyses.results(self.condition).rounds

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        return self.analyses.results(self.condition).runs

    @cached_property
    def views(self) -> Mapping[str, CaseView]:
        """Image and truth of test cases, by case."""
        return self.evidence.views(self.condition)

    @cached_property
    def modalities(self) -> list[str]:
        """Those tested, by name; one that was left out of training is the last."""
        return sorted(self.cases["modality"].unique(), key=lambda m: (m == self.condition.unseen, m))

    def modality_name(self, modality: str) -> str:
        """Return it as a figure writes it."""
        return f"{modality} (unseen)" if modality == self.condition.unseen else modality

    def look(self, label: str) -> Look:
        """Return colour, marker and line of an algorithm."""
        return style.look_of(label, self.known)

    def endpoints(self, *metrics: str) -> list[Endpoint]:
        """Return the endpoints of these metrics that exist here, in the order of tables."""
        return [e for metric in metrics for e in self.analyses.endpoints(self.condition) if e.metric == metric]

    def axis_name(self, endpoint: Endpoint) -> str:
        """``Dice``, ``HD95 (mm)``."""
        unit = self.analyses.unit(self.condition)
        return {"dice": "Dice", "nsd": "NSD", "hd95": f"HD95 ({unit})"}[endpoint.metric]

    def about(self, made: Sequence[Analysis] = ()) -> str:
        """Return the end of a caption: what the numbers rest on, and what a reader must know of them."""
        if not made:
            return f"{self.condition.title}. {captions.selected(self.analyses)}"
        return sentences(f"{self.condition.title}: {captions.about(self.analyses, made)}", *captions.notes_of(made))

    def footnote(self, labels: Iterable[str] | None = None) -> str:
        """Return what the caption says of reconstructed methods."""
        return style.footnote(self.labels if labels is None else labels)


def sentences(*parts: str) -> str:
    """Join what is not empty."""
    return " ".join(part for part in parts if part)


def trials(rounds: pd.DataFrame, metric: str, how: str = "mean") -> pd.DataFrame:
    """Return one row per run and round: ``value``, the mean (or sum) over clients of ``metric``."""
    chosen = rounds[rounds["metric"] == metric]
    grouped = chosen.groupby([*KEYS, "round"], observed=True)["value"]
    return grouped.agg(how).reset_index()


def number_of_seeds(rounds: pd.DataFrame) -> str:
    """``3 seeds``; of runs with folds ``15 runs (seeds x folds)``; what differs between algorithms is said."""
    runs = rounds[KEYS].drop_duplicates()
    counts = runs.groupby("setting", observed=True).size()
    noun = "seed" if (runs["fold"] < 0).all() else "run"
    if len(set(counts)) == 1:
        return counted(int(counts.iloc[0]), noun)
    few = counts[counts < counts.max()]
    fewer = listed(f"{name}: {n}" for name, n in few.items())
    return f"{counted(int(counts.max()), noun)} ({fewer})"
