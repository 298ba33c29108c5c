"""From the rows of the store to the matrix that is tested: one score per patient and algorithm.

The unit is the patient. A patient's score is the mean over seeds of the mean over the patient's cells (client, case,
class). All algorithms must have been scored on the same cells; what is missing is refused, or dealt with as the caller
says and noted.

Empty masks (policy of :mod:`fedbench.metrics`). Whether the truth of a cell is empty is the same for all algorithms.
A cell with truth has a score for everybody (a missed structure scores 0). A cell without truth has none where the
prediction is empty too, and Dice 0, NSD 0, HD95 = image diagonal where it is not (a false alarm). The rule: an
algorithm's patient score is the mean over the cells in which *it* has a score. So the cells with truth are shared, and
the others enter only as that algorithm's own false alarms: a false alarm can only worsen Dice and NSD, silence never
changes a score, and no score depends on which algorithms it is compared with. (Leaving such a cell out for all as soon
as one algorithm is silent would make false alarms free; counting silence as 1 would contradict the policy.) Patients
without truth in any cell have no score that all algorithms share: they are left out for all alike, and noted.

One exception, for HD95 where a patient's images differ in size: the diagonal of a small image can be less than the mean
of that algorithm's other distances. A structure missed in an image of 500 mm and a false alarm in one of 90 mm give
(500 + 90) / 2 = 295 mm, silence in the second 500 mm. Distances are taken as they were measured all the same.

Without false alarms it is the same to average each cell over seeds first. With them it is not: a false alarm in one
seed of five would then weigh like five, and scores would fall as seeds are added. Averaging seeds last keeps the
meaning of a score, what one training run gives, for any number of seeds, and equal to what is split into patients and
seeds in :mod:`fedbench.analysis.statistics.variance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from fedbench.analysis.statistics import rows as rowwise
from fedbench.analysis.statistics.grid import Grid, Missing, complete, lay_out, places
from fedbench.analysis.statistics.rows import DISTANCES, Endpoint
from fedbench.errors import UserError
from fedbench.wording import counted, listed

COUNTED = ("missed", "false-alarm", "both-empty")


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of one dataset, endpoint and selection, complete: no NaN in ``values``.

    Attributes:
        unit: of the values: ``""`` for Dice and NSD, else ``mm`` or ``px``.
        values: index patient, one column per algorithm (its label), both sorted by name.
        by_seed: index (patient, seed), columns as ``values``: means over the patient's cells in each seed; NaN where a
            patient was not tested with a seed. ``values`` is their mean over seeds.
        counts: index algorithm; ``scores``, how many of them are ``missed``, ``false-alarm``, ``both-empty``, and how
            many more are ``missing``. One per seed, client, case and class: a shared model counts once per client.
        folds: the fold in whose test set each patient is; -1 without folds.
        notes: what was done to the rows and a reader of the numbers must know.
    """

    dataset: str
    endpoint: Endpoint
    selection: str
    unit: str
    values: pd.DataFrame
    by_seed: pd.DataFrame
    counts: pd.DataFrame
    folds: pd.Series
    notes: tuple[str, ...] = ()

    @property
    def algorithms(self) -> list[str]:
        """The labels."""
        return list(self.values.columns)

    @property
    def seeds(self) -> list[int]:
        """The seeds that were averaged."""
        return list(self.by_seed.index.unique("seed"))

    @property
    def cube(self) -> np.ndarray:
        """``by_seed`` as an array ``(patients, seeds, algorithms)``."""
        return self.by_seed.to_numpy().reshape(len(self.values), len(self.seeds), len(self.algorithms))


def over_cells(scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Average within each patient what is applicable (not NaN).

    Args:
        scores: ``(..., cells)``; the cells of a patient are neighbours.
        starts: the position of each patient's first cell, ascending, ``(patients,)``.

    Returns:
        ``(..., patients)``, NaN for a patient without a single score.
    """
    known = ~np.isnan(scores)
    sums = np.add.reduceat(np.where(known, scores, 0.0), starts, axis=-1)
    return _divide(sums, np.add.reduceat(known.astype(int), starts, axis=-1))


def over_seeds(scores: np.ndarray) -> np.ndarray:
    """Average ``(..., seeds, patients)`` over the seeds with which a patient was tested: ``(..., patients)``."""
    known = ~np.isnan(scores)
    return _divide(np.where(known, scores, 0.0).sum(axis=-2), known.sum(axis=-2))


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def score_matrix(
    cases: pd.DataFrame, dataset: str, endpoint: Endpoint, selection: str = "last", missing: Missing = "refuse"
) -> ScoreMatrix:
    """Return one score per patient and algorithm.

    Args:
        cases: as from :func:`fedbench.store.load_results`; a part of it (one modality, one class) will do.
        selection: which models' scores, ``last`` or ``best-validation``.
        missing: what to do where one algorithm lacks scores that another has: ``refuse``; ``worst`` fills in the worst
            possible value (Dice and NSD 0; HD95 the largest of the dataset with this selection and left-out modality);
            ``complete-cases`` leaves the seed and cell out for all, and an algorithm without any score out altogether.

    Raises:
        UserError: nothing to compare, rows that are not comparable, missing scores, impossible values.
    """
    return matrix_of(rowwise.of_dataset(cases, dataset), endpoint, selection, missing)


def matrix_of(
    everything: pd.DataFrame, endpoint: Endpoint, selection: str = "last", missing: Missing = "refuse"
) -> ScoreMatrix:
    """Return the same as :func:`score_matrix`, of rows that ``rows.of_dataset`` gave."""
    if everything.empty:
        raise UserError("no scores: nothing is left to compare.")
    if missing not in get_args(Missing):
        raise UserError(f"unknown way '{missing}' with missing scores; known: {', '.join(get_args(Missing))}.")
    dataset = str(everything["dataset"].iloc[0])
    rows, endpoint = rowwise.of_endpoint(everything, endpoint, selection)
    where = f"dataset '{dataset}', {endpoint.name}"
    rowwise.check_comparable(rows, where)
    rowwise.check_values(rows, endpoint.metric)
    alike = everything.loc[
        (everything["unseen"] == endpoint.unseen) & (everything["selection"] == selection), ["label", endpoint.metric]
    ]
    algorithms = list(alike["label"].cat.remove_unused_categories().cat.categories)
    full = lay_out(rows, algorithms, endpoint.metric, where)
    counts = _counts(rows, full)
    known = alike.loc[np.isfinite(alike[endpoint.metric]), endpoint.metric]
    worst = known.max() if endpoint.metric in DISTANCES else 0.0
    grid, notes = complete(full, missing, worst, where)
    if len(grid.algorithms) < 2:
        raise UserError(f"{where}: only one algorithm ({listed(grid.algorithms)}); a comparison needs two.")
    names, starts = np.unique(grid.cells["patient"].to_numpy(dtype=object), return_index=True)
    truth = np.logical_or.reduceat(grid.cells["truth"].to_numpy(), starts)
    if not truth.all():
        notes.append(
            f"Left out, no structure in the truth: {counted((~truth).sum(), 'patient')} ({listed(names[~truth])})."
        )
    if truth.sum() < 2:
        raise UserError(
            f"{where}: {counted(truth.sum(), 'patient')} with scores. Patients are the unit; a comparison needs two."
        )
    patients, columns = pd.Index(names[truth], name="patient"), pd.Index(grid.algorithms, name="algorithm")
    index = pd.MultiIndex.from_product([patients, grid.seeds], names=["patient", "seed"])
    by_seed = over_cells(grid.scores, starts)[..., truth]  # (algorithms, seeds, patients)
    return ScoreMatrix(
        dataset=dataset,
        endpoint=endpoint,
        selection=selection,
        unit=rows["unit"].iloc[0] if endpoint.metric in DISTANCES else "",
        values=pd.DataFrame(over_seeds(by_seed).T, patients, columns),
        by_seed=pd.DataFrame(by_seed.T.reshape(len(index), len(columns)), index, columns),
        counts=counts,
        folds=pd.Series(grid.cells["fold"].to_numpy()[starts][truth], patients, name="fold"),
        notes=tuple(notes),
    )


def _counts(rows: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    algorithm, flags = places(rows["label"], grid.algorithms), rows["flag"]
    counts = {"scores": grid.present.sum(axis=(1, 2))}
    for flag in COUNTED:
        counts[flag] = np.bincount(algorithm[(flags == flag).to_numpy()], minlength=len(grid.algorithms))
    counts["missing"] = (grid.present.any(axis=0) & ~grid.present).sum(axis=(1, 2))
    return pd.DataFrame(counts, pd.Index(grid.algorithms, name="algorithm"))
