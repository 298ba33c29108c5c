"""What FedDA costs: bytes that travel, and time to train, within a condition and against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fedbench.analysis.paper.effects import ends
from fedbench.analysis.paper.numbers import Numbers, number
from fedbench.analysis.paper.readings import READINGS, reading
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.paper.training import Pace, Training
from fedbench.analysis.verdicts import focus

UNKNOWN = "The cost of FedDA against the reference was not measured."


def cost(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say how many times the reference's bytes and training time the variants need."""
    sent, paces = _factors(measured)
    if not sent or not paces:
        return UNKNOWN
    pairs = ends(numbers, ("cost", "time", "pair"), _ordered([end for pace in paces for end in (pace.low, pace.high)]))
    return (
        f"A run of FedDA sent {_bytes(numbers, sent)}. A round of its training took {_median(numbers, paces)} times "
        "the reference's time: the median over conditions and variants, whose own medians are "
        f"{_medians(numbers, paces)} (single pairs of runs with the same seed and fold: {pairs}). Runs "
        "shared a machine whose load was not always the same, so that neither a factor below one nor one as far above "
        "it can be put down to the algorithm; bytes can."
    )


def cost_short(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """The same in one sentence; empty where it was not measured."""
    sent, paces = _factors(measured)
    if not sent or not paces:
        return ""
    every = ends(numbers, ("cost", "bytes"), _ordered([factor for own in sent.values() for factor in own]))
    return (
        f"FedDA sent {every} times the reference's bytes, and training took {_median(numbers, paces)} times as long "
        f"(medians of variants: {_medians(numbers, paces)}; runs shared a machine whose load was not always the same)."
    )


def bytes_short(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """The bytes alone, which no load of a machine changes; empty where they were not measured."""
    sent, _ = _factors(measured)
    every = _ordered([factor for own in sent.values() for factor in own])
    return f"FedDA sent {ends(numbers, ('cost', 'bytes', 'all'), every)} times the reference's bytes." if every else ""


def _factors(measured: Iterable[tuple[Part, Training]]) -> tuple[dict[str, list[float]], list[Pace]]:
    """How many times the reference's bytes, by reading, and time; the same runs in two studies once."""
    sent: dict[str, list[float]] = {}
    paces: dict[Models, Pace] = {}
    for part, training in measured:
        reference = part.primary.reference
        for label in focus(part.labels):
            models = part.models(label)
            if label == reference or models in paces or label not in training.paces:
                continue
            paces[models] = training.paces[label]
            if training.sent.get(reference, 0.0) > 0 and label in training.sent:
                factor = training.sent[label] / training.sent[reference]
                sent.setdefault(reading(part, label), []).append(factor)
    return sent, list(paces.values())


def _median(numbers: Numbers, paces: Iterable[Pace]) -> str:
    return numbers.put("cost", "time", "median", text=number(float(np.median([pace.median for pace in paces])), 2))


def _medians(numbers: Numbers, paces: Iterable[Pace]) -> str:
    return ends(numbers, ("cost", "time"), _ordered([pace.median for pace in paces]))


def _bytes(numbers: Numbers, sent: Mapping[str, Sequence[float]]) -> str:
    told = [
        f"{ends(numbers, ('cost', 'bytes', kind), _ordered(sent[kind]))} times the reference's bytes{READINGS[kind]}"
        for kind in READINGS
        if kind in sent
    ]
    return " and ".join(told)


def _ordered(values: Sequence[float]) -> list[str]:
    return [number(value, 2) for value in sorted(values)]
