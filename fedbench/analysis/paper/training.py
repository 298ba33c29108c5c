"""What training cost and what became of the features: bytes, seconds, proxy A-distance, discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fedbench.analysis.figures.cost import TRAFFIC
from fedbench.analysis.figures.discriminators import ACCURACY, LOSS
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.figures.separation import separation
from fedbench.analysis.paper.convergence import Ending, endings
from fedbench.analysis.paper.numbers import number
from fedbench.analysis.paper.teller import Teller
from fedbench.analysis.tables.cells import human_bytes, minutes
from fedbench.analysis.verdicts import focus
from fedbench.wording import counted

SECONDS = "seconds"  # of a client's training in a round
LATE = 0.75  # of the rounds; discriminators are judged after it


@dataclass(frozen=True)
class Pace:
    """How many times the reference's time a round of training takes, over pairs of runs of the same seed and fold.

    A run's time is the median over its rounds of the clients' seconds of training together: scoring is not in it, and
    what ran beside it on the machine now and then weighs little.
    """

    median: float
    low: float
    high: float
    pairs: int


def paces(rounds: pd.DataFrame, reference: str) -> dict[str, Pace]:
    """Return the pace of every setting but the reference's; none where seconds were not logged.

    Args:
        rounds: of one condition (as :attr:`fedbench.store.Results.rounds`).
        reference: its setting.
    """
    logged = rounds[rounds["metric"] == SECONDS]
    by_round = logged.groupby(["setting", "seed", "fold", "round"], observed=True)["value"].sum()
    by_run = by_round.groupby(["setting", "seed", "fold"], observed=True).median().reset_index()
    times = by_run.pivot_table("value", ["seed", "fold"], "setting", observed=True)
    if reference not in times:
        return {}
    ratios = times.div(times[reference], axis=0).replace([np.inf, -np.inf], np.nan).drop(columns=reference)
    return {
        str(setting): Pace(float(own.median()), float(own.min()), float(own.max()), len(own))
        for setting, own in ((name, column.dropna()) for name, column in ratios.items())
        if len(own)
    }


@dataclass(frozen=True)
class Training:
    """Measurements of one condition; all by label or setting, NaN left out.

    Attributes:
        sent: bytes per round, both ways, all clients.
        seconds: per run.
        paces: time of training against the reference's.
        distances: proxy A-distance, mean over pairs of the modalities that were trained on, and over training runs.
        spans: the lowest and the highest of the runs', and their number.
        accuracy: of discriminators on patches, mean over clients, seeds and the last quarter of the rounds.
        loss: of discriminators, likewise.
        endings: how validation Dice moved at the end.
    """

    sent: Mapping[str, float]
    seconds: Mapping[str, float]
    paces: Mapping[str, Pace]
    distances: Mapping[str, float]
    spans: Mapping[str, tuple[float, float, int]]
    accuracy: Mapping[str, float]
    loss: Mapping[str, float]
    endings: Mapping[str, Ending]


def measure(scene: Scene) -> Training:
    """Collect the measurements of a condition."""
    results = scene.analyses.results(scene.condition)
    rounds = results.rounds
    traffic = rounds[rounds["metric"].isin(TRAFFIC)]
    per_round = traffic.groupby(["setting", "run_id", "round"], observed=True)["value"].sum()
    apart = separation(scene)
    reference = scene.analyses.get(scene.condition).reference
    setting = scene.deployments[reference][0]

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        """By setting; of the reference also by its label, which says the deployment where there are several."""
        return {**values, **({reference: values[setting]} if setting in values else {})}

    late = rounds[rounds["round"] >= LATE * (rounds.groupby("run_id")["round"].transform("max") + 1)]
    return Training(
        named(_known(per_round.groupby("setting").mean())),
        named(_known(results.runs.groupby("setting")["seconds"].mean())),
        paces(rounds, setting),
        _known(apart["mean"]),
        {str(label): (low, high, int(n)) for label, _, low, high, n in apart.itertuples()},
        _known(late[late["metric"] == ACCURACY].groupby("setting", observed=True)["value"].mean()),
        _known(late[late["metric"] == LOSS].groupby("setting", observed=True)["value"].mean()),
        named(endings(rounds)),
    )


def tell_training(teller: Teller, training: Training) -> str:
    """Return the paragraph on cost, features and discriminators, in LaTeX."""
    reference = teller.part.primary.reference
    sentences = [_cost(teller, training, reference), _aligned(teller, training, reference), _judged(teller, training)]
    return "\\paragraph{Cost and features.} " + "\n".join(s for s in sentences if s)


def _cost(teller: Teller, training: Training, reference: str) -> str:
    if reference not in training.sent or reference not in training.seconds:
        return ""
    put = teller.put
    sent = put("sent", reference, text=human_bytes(training.sent[reference]).replace(" ", "\\,"))
    time = put("time", reference, text=minutes(training.seconds[reference]))
    text = (
        f"{teller.name(reference)} sent {sent} per round, both ways and over all clients, and a run took {time} "
        "(minutes:seconds)"
    )
    others = [
        f"{teller.name(label)} {put('sent', label, 'factor', text=factor(training.sent, label, reference))} times the "
        f"bytes{_pace(teller, label, training.paces.get(label))}"
        for label in focus(training.sent)
        if label != reference
    ]
    if not others:
        return f"{text}."
    return (
        f"{text}; {'; '.join(others)} (times of a round of training: median and range over pairs of runs with the same "
        "seed and fold, on a shared machine)."
    )


def _pace(teller: Teller, label: str, pace: Pace | None) -> str:
    if pace is None:
        return ""
    median = teller.put("time", label, "factor", text=number(pace.median, 2))
    span = teller.put("time", label, "span", text=f"{number(pace.low, 2)} to {number(pace.high, 2)}")
    return f" and {median} times the time ({span})"


def factor(values: Mapping[str, float], label: str, reference: str) -> str:
    """Return how many times the reference's value it is, as text."""
    return number(values[label] / values[reference], 2) if values[reference] > 0 else "--"


def _aligned(teller: Teller, training: Training, reference: str) -> str:
    shown = [label for label in (reference, *focus(training.distances)) if label in training.distances]
    if not shown:
        return ""
    each = []
    for label in dict.fromkeys(shown):
        low, high, runs = training.spans[label]
        ends = f"{number(low, 2)} to {number(high, 2)}, {counted(runs, 'run')}" if runs > 1 else "one run"
        mean = teller.put("distance", label, text=number(training.distances[label], 2))
        each.append(f"{teller.name(label)} {mean} ({teller.put('distance', label, 'runs', text=ends)})")
    return (
        "Proxy $\\mathcal{A}$-distance between the modalities' bottleneck features (zero: a linear classifier cannot "
        "tell them apart; two: it always can), mean over training runs with the lowest and the highest: "
        f"{'; '.join(each)}."
    )


def _judged(teller: Teller, training: Training) -> str:
    each = []
    for setting in sorted(training.accuracy):
        accuracy = teller.put("discriminator accuracy", setting, text=number(training.accuracy[setting], 2))
        loss = teller.put("discriminator loss", setting, text=number(training.loss.get(setting, np.nan), 2))
        each.append(f"{teller.name(setting)} accuracy {accuracy}, loss {loss}")
    if not each:
        return ""
    return (
        f"Discriminators in the last quarter of the rounds (accuracy one half and loss $\\ln 2$: undecided; accuracy "
        f"one: they have won): {'; '.join(each)}."
    )


def _known(values: Mapping[str, float] | pd.Series) -> dict[str, float]:
    return {str(k): float(v) for k, v in values.items() if np.isfinite(v)}
