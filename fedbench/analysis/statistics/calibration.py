"""Does the protocol keep its promises? Measured on simulated scores: false positives, coverage, power.

In an A/A comparison no algorithm differs from another, so a test at 0.05 should find a difference in one of twenty.
The situations: the trained models are given and only patients vary (what tests over patients are about); runs differ
by luck as well (what a claim about *algorithms* is about), by as much for all algorithms, or by more for some than for
others; one algorithm is better. Beside them the analysis that takes
slices for samples: neighbouring slices of a patient agree, so it counts the same evidence many times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fedbench.analysis.statistics.intervals import (
    RESAMPLES,
    Intervals,
    bootstrap_means,
    stream,
)
from fedbench.analysis.statistics.paired import friedman, holm, median_interval, wilcoxon
from fedbench.analysis.statistics.protocol import ALPHA, declared_pairs
from fedbench.analysis.statistics.scores import over_cells, over_seeds
from fedbench.analysis.statistics.simulation import FOCUS, Design, Simulated, simulate, slices
from fedbench.analysis.statistics.variance import Luck, OverRuns, common_luck, over_runs

CONFIDENCE = 0.99  # of a rate's interval; high, because many rates are judged at once
VALUES_AT_ONCE = 2_000_000  # bounds the memory
GIVEN, LUCK = "A/A, models given", "A/A, runs differ by luck"
UNEQUAL = "A/A, some differ more by luck"
SPREAD = 0.7  # of the logarithm of luck there: that of one algorithm in six is more than twice the usual
BOTH = "both tests with Holm, any of the family"
OWN_SCATTER = "mean difference (quasi-F, own scatter alone)"
BETTER, BETTER_LUCK = "one algorithm better", "one algorithm better, runs differ by luck"


@dataclass(frozen=True)
class Scores:
    """The scores of all simulations, as the protocol sees them.

    Attributes:
        by_seed: ``(simulations, algorithms, seeds, patients)``.
        slice_p: of Wilcoxon's test on slices, algorithm 1 against 0, ``(simulations,)``.
        focus: how many algorithms, the last ones, are under study.
    """

    by_seed: np.ndarray
    slice_p: np.ndarray
    focus: int = FOCUS

    @cached_property
    def values(self) -> np.ndarray:
        """Means over seeds, ``(simulations, patients, algorithms)``."""
        return over_seeds(self.by_seed).swapaxes(1, 2)

    def cube(self, algorithm: int, other: int | None = None) -> np.ndarray:
        """Scores of an algorithm, or its differences to another, ``(patients, seeds, simulations)``."""
        scores = self.by_seed[:, algorithm] if other is None else self.by_seed[:, algorithm] - self.by_seed[:, other]
        return scores.transpose(2, 1, 0)

    def over_runs(self, algorithm: int, other: int) -> OverRuns:
        """Compare two algorithms as the protocol does, in every simulation."""
        return over_runs(self.cube(algorithm, other), self.luck)

    @cached_property
    def luck(self) -> Luck:
        """What training runs differ by in each simulation."""
        return common_luck(self.by_seed.transpose(3, 2, 1, 0))

    @property
    def differences(self) -> np.ndarray:
        """Of algorithm 1 to algorithm 0, ``(patients, simulations)``."""
        return (self.values[..., 1] - self.values[..., 0]).T


def calibrate(
    simulations: int = 1000,
    patients: int = 100,
    algorithms: int = 8,
    seeds: int = 5,
    difference: float = 0.02,
    run_luck: float = 0.005,
    resamples: int = RESAMPLES,
    focus: int = FOCUS,
) -> pd.DataFrame:
    """Measure the error rates of the protocol's own functions; the same arguments give the same numbers.

    Args:
        algorithms: at least four.
        seeds: at least two.
        difference: by which one algorithm is better, in Dice, for the power.
        run_luck: standard deviation between trainings of what a seed does to one algorithm and not to all alike, in
            Dice (:func:`.variance.own_deviation`).
        resamples: of each bootstrap.
        focus: how many of the algorithms are under study: compared with all others, not with the reference alone.

    Returns:
        one row per check: ``situation``, ``check``, ``kind`` (``false positives``, ``coverage``, ``power``),
        ``promised`` rate (NaN for power), ``n`` simulations, measured ``rate`` with its 99% Clopper-Pearson interval
        ``low`` and ``high``, and ``verdict``: ``kept``, ``broken``, ``kept, conservative``, or ``""`` for power.
    """
    design = Design(patients=patients, algorithms=algorithms, seeds=seeds, focus=focus)
    given = score(design, simulations, GIVEN)
    luck = score(replace(design, run_luck=run_luck), simulations, LUCK)
    unequal = score(replace(design, run_luck=run_luck, luck_spread=SPREAD), simulations, UNEQUAL)
    rows = [
        *_tests(GIVEN, given),
        _row(GIVEN, "Wilcoxon, slices as samples", "false positives", given.slice_p < ALPHA),
        *_intervals(GIVEN, given, resamples),
        *_tests(LUCK, luck),
        *_over_runs(LUCK, luck, resamples),
        *_both_tests(UNEQUAL, unequal),
    ]
    better = power(simulations, patients, algorithms, seeds, difference, focus=focus)
    return pd.concat([pd.DataFrame(rows), better]).reset_index(drop=True)


def family_errors(
    simulations: int, patients: int, algorithms: int, seeds: int, run_luck: float, focus: int = FOCUS
) -> pd.DataFrame:
    """Measure how often both tests find a difference where there is none; arguments and rows as for ``calibrate``."""
    design = Design(patients=patients, algorithms=algorithms, seeds=seeds, focus=focus)
    lucky = replace(design, run_luck=run_luck)
    designs = {GIVEN: design, LUCK: lucky, UNEQUAL: replace(lucky, luck_spread=SPREAD)}
    return pd.DataFrame([
        row for name, each in designs.items() for row in _both_tests(name, score(each, simulations, name))
    ])  # fmt: skip


def power(
    simulations: int = 1000,
    patients: int = 100,
    algorithms: int = 8,
    seeds: int = 5,
    difference: float = 0.02,
    run_luck: float = 0.0,
    focus: int = FOCUS,
) -> pd.DataFrame:
    """Measure how often the tests find that one algorithm is better; arguments and rows are those of ``calibrate``."""
    design = Design(patients, algorithms, seeds, difference=difference, run_luck=run_luck, focus=focus)
    situation = BETTER_LUCK if run_luck else BETTER
    better = score(design, simulations, situation)
    found = {
        f"Wilcoxon with Holm, +{difference:g} Dice": _holm(better)[:, 0] < ALPHA,
        f"patients and runs, +{difference:g} Dice": better.over_runs(1, 0).p < ALPHA,
        f"both tests with Holm, +{difference:g} Dice": named(better)[:, 0] > 0,
    }
    return pd.DataFrame([_row(situation, check, "power", hit) for check, hit in found.items()])


def score(design: Design, simulations: int, name: str) -> Scores:
    """Simulate studies; the same arguments give the same scores."""
    parts = list(_parts(design, simulations, name))
    by_seed, slice_p = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scores(by_seed, slice_p, design.focus)


def _parts(design: Design, simulations: int, name: str) -> Iterator[tuple[np.ndarray, ...]]:
    random = stream("calibration", name)
    size = design.algorithms * design.seeds * design.patients * design.cases * design.classes
    step = max(1, VALUES_AT_ONCE // size)
    for start in range(0, simulations, step):
        drawn = simulate(design, min(step, simulations - start), random)
        by_seed = over_cells(drawn.cells, design.starts)  # (simulations, algorithms, seeds, patients)
        naive = _slices_as_samples(design, drawn, random) if name == GIVEN else np.empty(0)
        yield by_seed, naive


def _slices_as_samples(design: Design, drawn: Simulated, random: np.random.RandomState) -> np.ndarray:
    """The analysis to avoid: Wilcoxon's test over all slices of all patients, one seed."""
    cells = drawn.cells[:, :2, 0]
    both = slices(cells, design.slices, random).reshape(*cells.shape[:2], -1)
    differences = both[:, 1] - both[:, 0]
    return np.array([wilcoxon(d[~np.isnan(d), None]).p[0] for d in differences])


def _differences(scores: Scores) -> np.ndarray:
    """Return the differences of the declared pairs, ``(simulations, patients, pairs)``; first algorithm 1 against 0."""
    return np.stack([scores.values[..., a] - scores.values[..., b] for a, b in declared(scores)], axis=-1)


def declared(scores: Scores) -> list[tuple[int, int]]:
    """Return the pairs that the protocol would declare if the last algorithms were those under study."""
    k = scores.by_seed.shape[1]
    names = [f"focus-{i}" if i >= k - scores.focus else f"other {i}" for i in range(k)]
    return [(names.index(a), names.index(b)) for a, b in declared_pairs(names, names[0], "focus")]


def _holm(scores: Scores) -> np.ndarray:
    """Return corrected p-values over patients, ``(simulations, pairs)``."""
    return holm(np.stack([wilcoxon(pair.T).p for pair in np.moveaxis(_differences(scores), -1, 0)], axis=-1))


def named(scores: Scores) -> np.ndarray:
    """Return what both tests together say of the declared pairs, ``(simulations, pairs)``: 1 better, -1 worse, 0.

    A difference is named if both corrected tests find it, and mean, ranks and the mean that is tested over runs point
    the same way.
    """
    differences, over_both = _differences(scores), [scores.over_runs(*pair) for pair in declared(scores)]
    means = np.sign(differences.mean(axis=1))
    ranks = np.stack([np.sign(wilcoxon(pair.T).rank_biserial) for pair in np.moveaxis(differences, -1, 0)], axis=-1)
    runs = holm(np.stack([found.p for found in over_both], axis=-1))
    tested = np.sign(np.stack([found.mean for found in over_both], axis=-1))
    return np.where((_holm(scores) < ALPHA) & (runs < ALPHA) & (means == ranks) & (means == tested), means, 0)


def _tests(situation: str, scores: Scores) -> list[dict[str, Any]]:
    found = {
        "Friedman (Iman-Davenport)": friedman(scores.values).p < ALPHA,
        "Wilcoxon, one pair": wilcoxon(scores.differences).p < ALPHA,
        "Wilcoxon with Holm, any of the family": (_holm(scores) < ALPHA).any(axis=1),
    }
    rows = [_row(situation, check, "false positives", hit) for check, hit in found.items()]
    return [*rows, *_both_tests(situation, scores)]


def _both_tests(situation: str, scores: Scores) -> list[dict[str, Any]]:
    found = {
        "patients and runs (quasi-F), one pair": scores.over_runs(1, 0).p < ALPHA,
        BOTH: (named(scores) != 0).any(axis=1),
    }
    return [_row(situation, check, "false positives", hit) for check, hit in found.items()]


def _intervals(situation: str, scores: Scores, resamples: int) -> list[dict[str, Any]]:
    own = scores.values[..., 0].T
    truth = float(scores.values.mean())  # of very many patients; no algorithm differs
    median = median_interval(scores.differences)
    found = {
        "mean (BCa over patients)": _covers(bootstrap_means(own, resamples=resamples), truth),
        "mean difference (BCa over patients)": _covers(bootstrap_means(scores.differences, resamples=resamples), 0.0),
        "median difference (order statistics)": (median.low <= 0) & (median.high >= 0),
    }
    return [_row(situation, check, "coverage", hit) for check, hit in found.items()]


def _over_runs(situation: str, scores: Scores, resamples: int) -> list[dict[str, Any]]:
    found: dict[str, Intervals | OverRuns] = {
        "mean difference (BCa over patients)": bootstrap_means(scores.differences, resamples=resamples),
        "mean difference (quasi-F)": scores.over_runs(1, 0),
        OWN_SCATTER: over_runs(scores.cube(1, 0)),
    }
    return [_row(situation, check, "coverage", _covers(interval, 0.0)) for check, interval in found.items()]


def _covers(interval: Intervals | OverRuns, truth: float) -> np.ndarray:
    return (interval.low <= truth) & (interval.high >= truth)


def _row(situation: str, check: str, kind: str, found: Any) -> dict[str, Any]:
    hits = np.asarray(found, dtype=bool)
    ends = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(CONFIDENCE, method="exact")
    promised = {"false positives": ALPHA, "coverage": 1 - ALPHA, "power": np.nan}[kind]
    above, below = ends.low > promised, ends.high < promised
    verdict = {"false positives": (above, below), "coverage": (below, above), "power": (False, False)}[kind]
    text = "broken" if verdict[0] else "kept, conservative" if verdict[1] else "kept"
    return {
        "situation": situation,
        "check": check,
        "kind": kind,
        "promised": promised,
        "n": len(hits),
        "rate": float(hits.mean()),
        "low": float(ends.low),
        "high": float(ends.high),
        "verdict": "" if kind == "power" else text,
    }
