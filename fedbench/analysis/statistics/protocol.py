"""The analysis of one dataset and endpoint, declared in the suite; tables, figures and report take their numbers here.

The family of comparisons is declared here, not chosen by the data: every algorithm against the reference, and every
algorithm against each one in focus. Holm's correction is over this family; the corrected p-values over all pairs, which
comparing the best with the runner-up needs because both are chosen by the data, stand beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from fedbench.analysis.statistics.intervals import (
    DIGITS,
    FEWEST_PATIENTS,
    LEVEL,
    bootstrap_means,
)
from fedbench.analysis.statistics.paired import Friedman, fold_test, friedman, holm, median_interval, wilcoxon
from fedbench.analysis.statistics.ranking import RankStability, rank_stability
from fedbench.analysis.statistics.rows import Endpoint, base_name
from fedbench.analysis.statistics.scores import Missing, ScoreMatrix, score_matrix
from fedbench.analysis.statistics.variance import common_luck, over_runs, variance_split
from fedbench.errors import UserError, nearest
from fedbench.store import Results
from fedbench.wording import counted

PRIMARY = Endpoint("cross", "dice")
REFERENCE = "fedavg"
FOCUS = "fedda"  # the algorithm under study, and its variants fedda-...: they are compared with all others
ALPHA = 0.05
ENOUGH_PATIENTS = 50  # for bootstrap intervals that cover what they promise, as calibration shows
NAMED_PAIRS = 3  # in a note
TEXT = (
    "The unit is the patient; scores are averaged over a patient's cases and classes and over seeds before any "
    "test. Friedman's test in the form of Iman and Davenport; Wilcoxon's signed-rank test (Pratt) with Holm's "
    "correction over the comparisons with the reference and with the algorithms in focus; median difference with "
    "order-statistic interval; matched-pairs rank-biserial correlation; means with 95% bootstrap intervals (BCa) "
    "over patients. Tests over patients are about the models that were trained; whether training anew would show the "
    "difference again is the question of the test over runs (quasi-F over patients and seeds; a pair's mean square of "
    "seeds is moderated by that of all algorithms, Smyth 2004), which also gives the 95% intervals of mean differences "
    "over patients and seeds."
)
MIRRORED = {"low": "high", "high": "low"}  # ends of an interval that change places with the sign


@dataclass(frozen=True)
class Analysis:
    """Everything the protocol gives for one dataset and endpoint; what few ask for is computed when asked for.

    Attributes:
        matrix: the scores, one per patient and algorithm.
        reference: its label.
        pairwise: one row per pair, see :func:`compare`.
        notes: what a reader of the numbers must know.
    """

    matrix: ScoreMatrix
    reference: str
    pairwise: pd.DataFrame
    notes: tuple[str, ...]

    @cached_property
    def means(self) -> pd.DataFrame:
        """Index algorithm: ``mean``, ``low``, ``high`` (95% over patients; ``method`` says which bootstrap), and more.

        ``patients``, ``seeds``, and the counts of :attr:`ScoreMatrix.counts`.
        """
        return _means(self.matrix)

    @cached_property
    def friedman(self) -> Friedman:
        """The omnibus test; needs no correction."""
        return friedman(self.matrix.values.to_numpy())

    @cached_property
    def ranks(self) -> RankStability:
        """Stability of the ranking over patients."""
        return rank_stability(self.matrix.values, self.matrix.endpoint.higher_is_better)

    @cached_property
    def variance(self) -> pd.DataFrame:
        """See :func:`fedbench.analysis.statistics.variance.variance_split`."""
        return variance_split(self.matrix, self.reference)

    @cached_property
    def order(self) -> list[str]:
        """The algorithms by their mean, best first; by name where means are equal."""
        ascending = not self.matrix.endpoint.higher_is_better
        return list(self.means.sort_values("mean", ascending=ascending, kind="stable").index)

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], int]:
        pairs = zip(self.pairwise["algorithm"], self.pairwise["reference"], strict=True)
        return {pair: place for place, pair in enumerate(pairs)}

    def comparison(self, algorithm: str, reference: str) -> pd.Series:
        """Return the row of :attr:`pairwise` for ``algorithm`` minus ``reference``, whichever way round it stands.

        Raises:
            KeyError: there is no such pair.
        """
        if (algorithm, reference) in self._pairs:
            return self.pairwise.iloc[self._pairs[algorithm, reference]]
        if (reference, algorithm) not in self._pairs:
            raise KeyError(f"no pair of {algorithm} and {reference}")
        row = self.pairwise.iloc[self._pairs[reference, algorithm]]
        turned = row.copy()
        for name in ("mean", "median", "runs"):
            for end, other in MIRRORED.items():
                turned[f"{name}_{end}"] = -row[f"{name}_{other}"]
        signed = ["mean", "median", "rank_biserial", "runs_p_mean"]
        turned[signed] = -row[signed]
        turned[["algorithm", "reference"]] = algorithm, reference
        return turned


def analyse(
    results: Results,
    dataset: str,
    endpoint: Endpoint = PRIMARY,
    reference: str = REFERENCE,
    selection: str = "last",
    missing: Missing = "refuse",
    focus: str = FOCUS,
) -> Analysis:
    """Analyse one dataset and endpoint by the protocol. The same rows in any order give the same numbers.

    Raises:
        UserError: as :func:`score_matrix`, or the reference has no scores.
    """
    return analyse_matrix(
        score_matrix(results.cases, dataset, endpoint, selection, missing), results.runs, reference, focus
    )


def analyse_matrix(
    matrix: ScoreMatrix, runs: pd.DataFrame, reference: str = REFERENCE, focus: str = FOCUS, origin: str = ""
) -> Analysis:
    """Return the same as :func:`analyse`, of scores that are at hand; ``runs`` say how many folds were planned.

    Args:
        origin: who named the reference, if not the user: see :func:`find`.
    """
    label = find(reference, matrix.algorithms, origin)
    planned = _planned_folds(runs, matrix.dataset)
    pairwise = compare(matrix, declared_pairs(matrix.algorithms, label, focus), planned)
    return Analysis(matrix, label, pairwise, notes=(*matrix.notes, *_notes(matrix, pairwise, planned)))


def _planned_folds(runs: pd.DataFrame, dataset: str) -> int | None:
    """Return the number of folds that the runs of ``dataset`` were planned with; None if they do not say."""
    if "identity" not in runs:
        return None
    identities = map(json.loads, runs.loc[runs["dataset"] == dataset, "identity"])
    return max((identity["data"].get("folds") or 0 for identity in identities), default=0) or None


def find(name: str, algorithms: list[str], origin: str = "") -> str:
    """Return the label of algorithm ``name``: itself, or the only one with parameters or a deployment behind it.

    Args:
        origin: who named it, if not the user, who is then told how to choose another.

    Raises:
        UserError: there is none, or there are several.
    """
    found = candidates(name, algorithms)
    if len(found) == 1:
        return found[0]
    way_out = f" It is {origin}; choose another with --reference NAME." if origin else ""
    if found:
        raise UserError(
            f"reference '{name}' may be any of {', '.join(found)}; name one as it is written here.{way_out}"
        )
    raise UserError(f"no scores of the reference algorithm '{name}'{nearest(name, algorithms)}{way_out}")


def candidates(name: str, algorithms: list[str]) -> list[str]:
    """Return the labels that ``name`` may mean: itself, else all with parameters or a deployment behind it."""
    if name in algorithms:
        return [name]
    return [label for label in algorithms if label.startswith((f"{name}[", f"{name} ("))]


def is_variant(label: str, of: str = FOCUS) -> bool:
    """Say whether ``label`` is ``of`` or one of its variants: ``fedda`` and ``fedda-joint[lam=1]``, not ``feddar``."""
    name = base_name(label)
    return name == of or name.startswith(f"{of}-")


def declared_pairs(algorithms: list[str], reference: str, focus: str = FOCUS) -> list[tuple[str, str]]:
    """Return the family of comparisons (algorithm, against), each pair once.

    All against the reference; then every other against each algorithm that is ``focus`` or a variant of it.
    """
    against = [reference, *(a for a in algorithms if is_variant(a, focus) and a != reference)]
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for other in against:
        for algorithm in algorithms:
            if algorithm != other:
                pairs.setdefault(frozenset((algorithm, other)), (algorithm, other))
    return list(pairs.values())


def compare(matrix: ScoreMatrix, declared: list[tuple[str, str]], planned_folds: int | None = None) -> pd.DataFrame:
    """Compare all pairs of algorithms; differences are ``algorithm`` minus ``reference``, in the unit of the scores.

    Args:
        planned_folds: how many there will be; None takes those that there are.

    Returns:
        one row per pair, the declared first. ``algorithm``, ``reference``, ``declared``, ``patients``, ``ties``
        (differences of zero); ``mean`` with ``mean_low``, ``mean_high`` (95% bootstrap over patients) and
        ``mean_method``; ``median`` with ``median_low``, ``median_high``; ``rank_biserial``; ``favours`` (the algorithm
        that is better by the signed ranks, ``""`` for neither); ``p`` (Wilcoxon), ``p_holm`` (over the declared family,
        NaN outside), ``p_holm_all`` (over all pairs); ``runs_p`` (over patients and runs, see
        :func:`.variance.over_runs`; NaN with one seed, or fewer than two patients tested with every seed) with the mean
        that it tests ``runs_p_mean``, that mean's 95% interval ``runs_low``, ``runs_high``, and how many patients it is
        of, ``runs_p_patients``; ``runs_p_holm`` and ``runs_p_holm_all`` as for ``p``; ``folds_p`` (corrected t over
        folds, NaN without folds; not corrected for the number of comparisons).
    """
    known = {frozenset(pair) for pair in declared}
    pairs = [*declared, *(p for p in combinations(matrix.algorithms, 2) if frozenset(p) not in known)]
    at = {algorithm: i for i, algorithm in enumerate(matrix.algorithms)}
    first, second = [at[a] for a, _ in pairs], [at[b] for _, b in pairs]
    values, cube = matrix.values.to_numpy(), matrix.cube
    differences = values[:, first] - values[:, second]
    cubes = cube[:, :, first] - cube[:, :, second]
    mean, median, test = bootstrap_means(differences), median_interval(differences), wilcoxon(differences)
    tested = over_runs(cubes, common_luck(cube))
    runs_p = tested.p
    outside = np.full(len(pairs) - len(declared), np.nan)
    better = np.sign(test.rank_biserial) * (1 if matrix.endpoint.higher_is_better else -1)
    table = pd.DataFrame(pairs, columns=["algorithm", "reference"])
    return table.assign(
        declared=np.arange(len(pairs)) < len(declared),
        patients=len(values),
        ties=(differences.round(DIGITS) == 0).sum(axis=0),
        mean=differences.mean(axis=0),
        mean_low=mean.low,
        mean_high=mean.high,
        mean_method=mean.method,
        median=median.median,
        median_low=median.low,
        median_high=median.high,
        rank_biserial=test.rank_biserial,
        favours=np.where(better > 0, table["algorithm"], np.where(better < 0, table["reference"], "")),
        p=test.p,
        p_holm=np.r_[holm(test.p[: len(declared)]), outside],
        p_holm_all=holm(test.p),
        runs_low=tested.low,
        runs_high=tested.high,
        runs_p=runs_p,
        runs_p_mean=tested.mean,
        runs_p_patients=tested.patients,
        runs_p_holm=np.r_[holm(runs_p[: len(declared)]), outside],
        runs_p_holm_all=holm(runs_p),
        folds_p=fold_test(differences, matrix.folds.to_numpy(), planned_folds),
    )


def _means(matrix: ScoreMatrix) -> pd.DataFrame:
    values = matrix.values.to_numpy()
    found = bootstrap_means(values)
    table = pd.DataFrame(
        {"mean": values.mean(axis=0), "low": found.low, "high": found.high, "method": found.method}
        | {"patients": len(values), "seeds": len(matrix.seeds)},
        matrix.values.columns,
    )
    return table.join(matrix.counts)


def _notes(matrix: ScoreMatrix, pairwise: pd.DataFrame, planned_folds: int | None) -> list[str]:
    notes = []
    patients, family = len(matrix.values), int(pairwise["declared"].sum())
    if (smallest := 2.0 ** (1 - patients)) * family > ALPHA:
        notes.append(
            f"With {patients} patients Wilcoxon's p is at least {smallest:.2g}; after Holm's correction over "
            f"{counted(family, 'comparison')} none can be below {ALPHA:g}, however large the difference."
        )
    if patients < FEWEST_PATIENTS:
        notes.append(f"No interval of a mean with fewer than {FEWEST_PATIENTS} patients.")
    elif patients < ENOUGH_PATIENTS:
        notes.append(f"With {patients} patients bootstrap intervals of means are too narrow, as calibration shows.")
    if pairwise["median_low"].isna().any():
        notes.append(f"No {LEVEL:.0%} interval of a median with {patients} patients; it needs six.")
    if len(matrix.seeds) < 2:
        notes.append("One seed: nothing here tells an algorithm from the luck of its training run.")
    elif (tested := int(pairwise["runs_p_patients"].iloc[0])) < patients:
        few = "" if tested > 1 else "; none with fewer than two"
        whose = f"{tested} of {counted(patients, 'patient')}"
        notes.append(f"Test and interval over runs: {whose}, those tested with every seed{few}.")
    folds = matrix.folds[matrix.folds >= 0].nunique()
    if folds and planned_folds and folds < planned_folds:
        notes.append(f"{folds} of {planned_folds} folds have scores; the test over folds takes account of the others.")
    if (tied := pairwise["ties"] == patients).any():
        pairs = [f"{a} and {b}" for a, b in pairwise.loc[tied, ["algorithm", "reference"]].itertuples(index=False)]
        more = f"; and {len(pairs) - NAMED_PAIRS} more" if len(pairs) > NAMED_PAIRS else ""
        named = "; ".join(pairs[:NAMED_PAIRS])
        notes.append(f"{counted(len(pairs), 'pair')} with the same scores in every patient ({named}{more}): p = 1.")
    return notes
