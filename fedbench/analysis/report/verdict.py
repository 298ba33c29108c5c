"""What can be said about a condition, in sentences made from the numbers and no further than they go.

A difference is called significant only if Wilcoxon's test over patients is, after Holm's correction, and its signed
ranks favour the same algorithm as the means; whether training anew would show it again is said apart (the test over
runs). Local and centralised training are reference points: they are named, and win nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedbench.analysis.analyses import Analyses, is_reconstruction, is_reference_point
from fedbench.analysis.evidence import Condition
from fedbench.analysis.kinds import federated_alike
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.statistics.ranking import Consensus, consensus, shared
from fedbench.analysis.tables.best import standing
from fedbench.wording import counted

INDISTINCT = "not distinguishable"
ONE_SEED, UNTESTED = "one seed", "not tested"  # why there is no test over runs


class Mark(NamedTuple):
    """One algorithm in a verdict.

    Attributes:
        mean, low, high: of the endpoint, with its 95% interval over patients (NaN where there is none).
        difference: to the reference, written out with its interval; empty for the reference itself.
        outcome: over patients, against the reference: ``better``, ``worse`` or ``not distinguishable``; ``reference``.
        p: of that, written out.
        over_runs: as ``outcome``, over training runs; nothing is claimed there that does not stand over patients.
        runs_p: of that; ``one seed`` or ``not tested`` (with every seed, but for one patient at most) if there is none.
    """

    algorithm: str
    mean: float
    low: float
    high: float
    difference: str
    outcome: str
    p: str
    over_runs: str
    runs_p: str

    @property
    def reconstruction(self) -> bool:
        """Whether it is our reconstruction of a published method."""
        return is_reconstruction(self.algorithm)


class Verdict(NamedTuple):
    """What a condition showed: the first sentence is the headline, the others qualify it."""

    condition: Condition
    headline: str
    sentences: tuple[str, ...]
    marks: tuple[Mark, ...]
    endpoint: str
    reference: str
    notes: tuple[str, ...]

    @property
    def scale(self) -> tuple[float, float]:
        """The ends of an axis on which all means and intervals fit, multiples of 0.05."""
        ends = [value for m in self.marks for value in (m.mean, m.low, m.high) if not np.isnan(value)]
        low, high = np.floor(min(ends) * 20) / 20, np.ceil(max(ends) * 20) / 20
        return float(low), float(max(high, low + 0.05))


def verdict(condition: Condition, analysis: Analysis, order: Sequence[str]) -> Verdict:
    """Put an analysis into words.

    Args:
        order: the algorithms, in the order of tables.
    """
    contenders = [a for a in analysis.order if not is_reference_point(a)] or analysis.order
    best = contenders[0]
    sentences = [_against_reference(analysis, best, contenders), _runner_up(analysis, contenders)]
    sentences += [_reconstruction(analysis, a) for a in contenders if is_reconstruction(a) and a != best]
    sentences += [_orientation(analysis)]
    return Verdict(
        condition,
        _headline(analysis, best),
        tuple(s for s in sentences if s),
        tuple(_mark(analysis, a) for a in order if a in analysis.matrix.algorithms),
        analysis.matrix.endpoint.name,
        analysis.reference,
        analysis.notes,
    )


def across(analyses: Analyses) -> Consensus | None:
    """Return the ranking of the federated algorithms across datasets with nothing left out.

    None for one dataset, or one algorithm in all. What was tuned to other numbers on each is one algorithm.
    """
    whole = [c for c in analyses.conditions if c.whole and analyses.primary(c) == analyses.declared]
    matrices = federated_alike([analyses.get(c).matrix for c in whole])
    return consensus(matrices) if len(matrices) > 1 and len(shared(matrices)) > 1 else None


def named(algorithm: str) -> str:
    """Return the label as prose has it: a reconstruction says that it is one."""
    return f"{algorithm} (our reconstruction)" if is_reconstruction(algorithm) else algorithm


def p_value(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``, not broken between lines."""
    text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return text.replace(" ", "\u00a0")


def signed(value: float) -> str:
    """``+0.012``, with a true minus sign."""
    return f"{value:+.3f}".replace("-", "−")


def _headline(analysis: Analysis, best: str) -> str:
    mean, low, high = _mean(analysis, best)
    patients, seeds = counted(len(analysis.matrix.values), "patient"), counted(len(analysis.matrix.seeds), "seed")
    interval = "" if np.isnan(low) else f"95% interval {low:.3f} to {high:.3f}; "
    name = analysis.matrix.endpoint.name.partition(",")[0]  # without the modality left out, which the title says
    federated = "" if is_reference_point(best) else " of the federated algorithms"
    first = "highest" if analysis.matrix.endpoint.higher_is_better else "lowest"
    size = f"{mean:.3f} {analysis.matrix.unit}".strip()
    return f"{named(best)} has the {first} mean {name}{federated}: {size} ({interval}{patients}, {seeds})."


def _mean(analysis: Analysis, algorithm: str) -> tuple[float, float, float]:
    """Return mean and interval of an algorithm."""
    mean, low, high = analysis.means.loc[[algorithm], ["mean", "low", "high"]].to_numpy(dtype=float)[0].tolist()
    return mean, low, high


def _against_reference(analysis: Analysis, best: str, contenders: Sequence[str]) -> str:
    reference = analysis.reference
    if best != reference:
        row, mean = analysis.comparison(best, reference), _mean(analysis, reference)[0]
        return f"Against {reference} ({mean:.3f}): {_difference(row)}; {_claim(analysis, row)}."
    others = [a for a in contenders if a != reference]
    worse = [a for a in others if _outcome(analysis, analysis.comparison(a, reference)) == "worse"]
    if not others:
        return "It is the reference; there is nothing to compare it with but reference points."
    if not worse:
        least = _least(analysis, others)
        return f"It is the reference; no other federated algorithm is distinguishable from it ({least})."
    rest = [a for a in others if a not in worse]
    text = f"It is the reference; significantly worse over patients: {_all(worse)}"
    return f"{text}; {INDISTINCT} from it: {_all(rest)}." if rest else f"{text}."


def _least(analysis: Analysis, others: Sequence[str]) -> str:
    smallest = min(float(analysis.comparison(a, analysis.reference)["p_holm"]) for a in others)
    return f"smallest Holm-corrected {p_value(smallest)}"


def _difference(row: pd.Series) -> str:
    interval = (
        "" if np.isnan(row["mean_low"]) else f" (95% interval {signed(row['mean_low'])} to {signed(row['mean_high'])})"
    )
    return f"mean difference {signed(row['mean'])}{interval}"


def _claim(analysis: Analysis, row: pd.Series) -> str:
    """Say what the tests over patients and over runs allow to be said about a pair."""
    over_patients, over_runs = p_value(row["p_holm"]), p_value(row["runs_p_holm"])
    outcome, again = _outcome(analysis, row), _over_runs(analysis, row)
    if outcome == INDISTINCT:
        runs = "" if again in (ONE_SEED, UNTESTED) else f", {over_runs} over training runs"
        return f"{INDISTINCT} (Holm-corrected {over_patients} over patients{runs})"
    significant = f"significantly {outcome} over patients (Holm-corrected {over_patients})"
    if again == ONE_SEED:
        return f"{significant}; with one seed nothing can be said about training anew"
    if again == UNTESTED:
        return f"{significant}; nothing can be said about training anew, for want of patients tested with every seed"
    if again == outcome:
        return f"{significant} and over training runs ({over_runs})"
    if _contradicts(row):
        tested = f"the {counted(row['runs_p_patients'], 'patient')} tested with every seed"
        return f"{significant}, but not over training runs: {tested} differ the other way"
    return f"{significant}, but {INDISTINCT} over training runs ({over_runs}): training anew might not show it again"


def _outcome(analysis: Analysis, row: pd.Series) -> str:
    """``better``, ``worse`` or not distinguishable; the signed ranks and the mean must point the same way."""
    sides = {row["algorithm"]: 1, row["reference"]: -1}
    side = sides.get(row["favours"], 0)
    if not row["p_holm"] < ALPHA or side != _side(analysis, row):
        return INDISTINCT
    return "better" if side > 0 else "worse"


def _over_runs(analysis: Analysis, row: pd.Series) -> str:
    """The same over training runs, or why there is no test; the mean that it tests and that of all must agree."""
    if len(analysis.matrix.seeds) < 2:
        return ONE_SEED
    if np.isnan(row["runs_p_holm"]):
        return UNTESTED
    side = _side(analysis, row)
    if row["runs_p_holm"] >= ALPHA or side == 0 or np.sign(row["runs_p_mean"]) != np.sign(row["mean"]):
        return INDISTINCT
    return "better" if side > 0 else "worse"


def _side(analysis: Analysis, row: pd.Series) -> int:
    """Return 1 where the first of a pair has the better mean, -1 where the other has, 0 where they are equal."""
    return int(np.sign(row["mean"])) * (1 if analysis.matrix.endpoint.higher_is_better else -1)


def _contradicts(row: pd.Series) -> bool:
    """Say whether the test over runs finds the opposite, in the patients who were tested with every seed."""
    return bool(row["runs_p_holm"] < ALPHA) and row["runs_p_mean"] * row["mean"] < 0


def _runner_up(analysis: Analysis, contenders: Sequence[str]) -> str:
    found = standing(analysis)
    if not found.tied and not found.significant:
        return ""
    if found.tied:
        return f"Over patients it is {INDISTINCT} from {_all(found.tied[1:])} (Holm over all pairs)."
    one_seed = len(analysis.matrix.seeds) < 2
    again = " and over training runs" if found.agrees else "" if one_seed else f", but {INDISTINCT} over training runs"
    return f"Its runner-up, {named(contenders[1])}, is significantly worse over patients{again} (Holm over all pairs)."


def _reconstruction(analysis: Analysis, algorithm: str) -> str:
    mean = f"{named(algorithm)} reaches {_mean(analysis, algorithm)[0]:.3f}"
    if algorithm == analysis.reference:
        return f"{mean}; it is the reference."
    row = analysis.comparison(algorithm, analysis.reference)
    return f"{mean}; against {analysis.reference}: {_difference(row)}; {_claim(analysis, row)}."


def _orientation(analysis: Analysis) -> str:
    points = [a for a in analysis.means.index if is_reference_point(a)]
    values = ", ".join(f"{a} {_mean(analysis, a)[0]:.3f}" for a in points)
    return f"Reference points, not federated: {values}." if points else ""


def _all(algorithms: Sequence[str]) -> str:
    return ", ".join(named(a) for a in algorithms)


def _mark(analysis: Analysis, algorithm: str) -> Mark:
    score = (algorithm, *_mean(analysis, algorithm))
    if algorithm == analysis.reference:
        return Mark(*score, "", "reference", "reference", "", "")
    row = analysis.comparison(algorithm, analysis.reference)
    interval = "" if np.isnan(row["mean_low"]) else f" [{signed(row['mean_low'])}, {signed(row['mean_high'])}]"
    outcome, over_runs = _outcome(analysis, row), _over_runs(analysis, row)
    runs_p = over_runs if over_runs in (ONE_SEED, UNTESTED) else p_value(row["runs_p_holm"])
    return Mark(
        *score, signed(row["mean"]) + interval, outcome, p_value(row["p_holm"]),
        over_runs if over_runs == outcome else INDISTINCT,
        f"{runs_p}, the other way" if _contradicts(row) else runs_p,
    )  # fmt: skip
