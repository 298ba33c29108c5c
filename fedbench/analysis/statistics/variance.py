"""How much of a score is the patient, how much the luck of a training run.

Patients and seeds are crossed: every seed's model is tested on the same patients, with one mean per cell. With folds, a
seed's model is one for each fold, and each patient is tested with one of them: what is called the luck of a seed is
then that of all its folds together, which is less than that of one training. Components by
the method of moments from the two-way table of mean squares without replication (Searle, Casella & McCulloch, "Variance
Components", 1992, section 4.3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from fedbench.analysis.statistics.intervals import DIGITS, LEVEL
from fedbench.analysis.statistics.scores import ScoreMatrix

TINY = 1e-6  # a variance is not taken for less than this part of the mean one
NEWTON = 20  # steps; a handful is enough
PARTS = ("patient", "seed", "residual")
ONE_SEED = "one seed: seed and residual cannot be told apart"


class MeanSquares(NamedTuple):
    """Mean squares of two-way tables, ``(columns,)`` each, in squared units of the scores."""

    mean: np.ndarray
    patient: np.ndarray
    seed: np.ndarray
    residual: np.ndarray


class OverRuns(NamedTuple):
    """Results of :func:`over_runs`, one per column.

    Attributes:
        low, high: bound the mean, in the unit of the scores.
        mean: that was tested: of the patients who were tested with every seed.
        patients: how many these are.
    """

    p: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    patients: int


def mean_squares(cube: np.ndarray) -> MeanSquares:
    """Return the analysis of variance of ``cube`` (patients, seeds, columns), at least 2 x 2 and without NaN."""
    patients, seeds, _ = cube.shape
    mean = cube.mean(axis=(0, 1))
    by_patient, by_seed = cube.mean(axis=1), cube.mean(axis=0)
    rest = cube - by_patient[:, None] - by_seed[None] + mean
    return MeanSquares(
        mean,
        seeds * np.sum((by_patient - mean) ** 2, axis=0) / (patients - 1),
        patients * np.sum((by_seed - mean) ** 2, axis=0) / (seeds - 1),
        np.sum(rest**2, axis=(0, 1)) / ((patients - 1) * (seeds - 1)),
    )


def components(cube: np.ndarray) -> np.ndarray:
    """Return the variance components, ``(3, columns)``: patient, seed and residual; an estimate may be negative."""
    patients, seeds, _ = cube.shape
    squares = mean_squares(cube)
    patient = (squares.patient - squares.residual) / seeds
    return np.stack([patient, (squares.seed - squares.residual) / patients, squares.residual])


class Luck(NamedTuple):
    """What training anew changes, estimated from all algorithms together.

    Attributes:
        mean_square: of seeds, for the difference of two algorithms; in squared units of the scores.
        df: the degrees of freedom that it is worth where the luck of one pair is asked for: all that the others give if
            algorithms are alike in luck, few if some are much luckier than others, none if there are no others.
    """

    mean_square: np.ndarray
    df: np.ndarray


def common_luck(cube: np.ndarray) -> Luck:
    """Estimate the luck of training runs from all algorithms, and how far it tells of a single one.

    The degrees of freedom are those of the prior in Smyth ("Linear models and empirical Bayes methods for assessing
    differential expression", Stat. Appl. Genet. Mol. Biol. 3:3, 2004, section 6.2): the algorithms' own mean squares
    scatter more than chance lets them scatter, the more their luck differs.

    Args:
        cube: scores, ``(patients, seeds, algorithms, ...)``; a patient with a NaN is left out.

    Returns:
        both of shape ``(...)``. The mean square is twice that of the interaction of algorithm and seed in the table of
        means over patients, which is what the mean square of seeds of a difference is without interaction of all three
        (Searle, Casella & McCulloch, 1992, chapter 4). NaN with one seed or one algorithm, or no complete patient.
    """
    cube = _complete(cube)
    patients, seeds, algorithms = cube.shape[:3]
    if seeds == 1 or algorithms == 1 or patients == 0:
        return Luck(*np.full((2, *cube.shape[3:]), np.nan))
    means = cube.round(DIGITS).mean(axis=0)
    by_seed, by_algorithm = means.mean(axis=1, keepdims=True), means.mean(axis=0, keepdims=True)
    rest = means - by_seed - by_algorithm + means.mean(axis=(0, 1))
    own = np.sum(rest**2, axis=0) / (seeds - 1)  # of each algorithm, up to a factor
    others = (seeds - 1) * (algorithms - 2)  # the pair's own degrees of freedom are counted where it is tested
    return Luck(2 * patients * own.sum(axis=0) / (algorithms - 1), np.minimum(_prior_df(own, seeds - 1), others))


def own_deviation(cube: np.ndarray) -> float:
    """Return the standard deviation between trainings of what a seed does to one algorithm and not to all alike.

    A paired difference has it twice; what a seed does to all algorithms cancels there. By the method of moments, as in
    :func:`components`, 0 where that is negative.

    Args:
        cube: scores, ``(patients, seeds, algorithms)``; a patient with a NaN is left out.

    Returns:
        in the unit of the scores; NaN where :func:`common_luck` has none.
    """
    cube = _complete(cube)
    interaction = common_luck(cube).mean_square / 2
    if np.isnan(interaction) or len(cube) < 2:
        return float("nan")
    residual = mean_squares(cube - cube.mean(axis=2, keepdims=True)).residual.sum() / (cube.shape[2] - 1)
    return float(np.sqrt(max(0.0, interaction - residual) / len(cube)))


def _prior_df(own: np.ndarray, df: int) -> np.ndarray:
    """Return the prior's degrees of freedom, infinite if the variances ``own`` (algorithms, ...) differ by chance."""
    floor = np.maximum(TINY * own.mean(axis=0), np.finfo(float).tiny)
    scatter = np.log(np.maximum(own, floor)).var(axis=0, ddof=1) - special.polygamma(1, df / 2)
    return 2 * _trigamma_inverse(np.atleast_1d(scatter)).reshape(scatter.shape)


def _trigamma_inverse(y: np.ndarray) -> np.ndarray:
    """Return where trigamma is ``y``, infinite for ``y <= 0``; by Newton's method on its reciprocal (Smyth, 2004)."""
    known = y > 0
    x = 0.5 + 1 / np.where(known, y, 1.0)
    for _ in range(NEWTON):
        trigamma = special.polygamma(1, x)
        x += trigamma * (1 - trigamma / np.where(known, y, 1.0)) / special.polygamma(2, x)
    return np.where(known, x, np.inf)


def over_runs(cube: np.ndarray, luck: Luck | None = None, level: float = LEVEL) -> OverRuns:
    """Test the mean of paired differences over patients *and* training runs, both taken as random.

    A test over patients is about the models that were trained: the same algorithm trained twice gives two models, and
    with enough patients they differ significantly. This one is about training anew. The quasi-F ratio of Clark ("The
    language-as-fixed-effect fallacy", J. Verbal Learning and Verbal Behavior 12:335-359, 1973) as a t: the variance of
    the mean is (MS_patient + MS_seed - MS_residual) / (patients x seeds), not taken below what either mean square alone
    gives, with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2:110-114, 1946).

    Few seeds agree by chance now and then, and luck is taken for an effect: not too often in one comparison, but with
    p so small that a correction over many comparisons does not keep its promise (calibration shows it). With ``luck``,
    MS_seed is moderated (Smyth, 2004): the mean of the pair's own and that of all algorithms, weighted by their degrees
    of freedom, which add up. So p grows with the pair's own scatter, and one pair's seeds decide little alone.

    Args:
        cube: differences, ``(patients, seeds, columns)``; a patient with a NaN in any column is left out, so that the
            tested mean may differ from that of all patients, in its sign too.
        luck: of all algorithms, for every column or one for each.

    Returns:
        NaN with one seed or fewer than two such patients.
    """
    cube = _complete(cube)
    patients, seeds, columns = cube.shape
    if min(patients, seeds) < 2:
        p, low, high, mean = np.full((4, columns), np.nan)
        return OverRuns(p, low, high, mean, patients)
    squares = mean_squares(cube.round(DIGITS))
    seed, seed_df = squares.seed, np.full(columns, float(seeds - 1))
    if luck is not None and np.isfinite(luck.mean_square).all():
        seed = (luck.df * luck.mean_square + (seeds - 1) * seed) / (luck.df + seeds - 1)
        seed_df = seed_df + luck.df
    return quasi_f(squares._replace(seed=seed), (patients, seeds), seed_df, level)


def quasi_f(squares: MeanSquares, shape: tuple[int, int], seed_df: np.ndarray, level: float = LEVEL) -> OverRuns:
    """Test the mean of two-way tables of ``shape`` patients and seeds; see :func:`over_runs`.

    Args:
        seed_df: degrees of freedom of ``squares.seed``, ``(columns,)``.
    """
    patients, seeds = shape
    alone = np.maximum(squares.patient, squares.seed)
    both = squares.patient + squares.seed - squares.residual
    parts = np.stack([squares.patient, squares.seed, squares.residual])
    freedom = np.stack(
        [np.full_like(seed_df, patients - 1), seed_df, np.full_like(seed_df, (patients - 1) * (seeds - 1))]
    )
    total = np.maximum(both, alone)
    with np.errstate(invalid="ignore", divide="ignore"):
        jointly = total**2 / np.sum(parts**2 / freedom, axis=0)
        df = np.where(both >= alone, jointly, np.where(squares.seed >= squares.patient, seed_df, patients - 1))
        error = np.sqrt(total / (patients * seeds))
        p = np.where(squares.mean.round(DIGITS) == 0, 1.0, 2 * stats.t.sf(np.abs(squares.mean) / error, df))
    half = np.where(total > 0, stats.t.ppf((1 + level) / 2, np.where(total > 0, df, 1)) * error, 0.0)
    return OverRuns(p, squares.mean - half, squares.mean + half, squares.mean, patients)


def variance_split(matrix: ScoreMatrix, reference: str) -> pd.DataFrame:
    """Split the variance of each algorithm's scores, and of its differences to ``reference``, into its sources.

    The residual holds the interaction of patient and seed and what is left. The patients' share of a difference is
    small where a patient is hard for both algorithms alike; the seeds' share is luck that more patients do not mend.

    Returns:
        one row per algorithm and ``of`` (``score``, ``difference``): ``patient``, ``seed``, ``residual`` (standard
        deviations, in the unit of the scores), the shares of the variance in percent (``patient_share`` ...), note.
        Negative estimates are set to 0 and noted; NaN with one seed.
    """
    cube = matrix.cube
    at = matrix.algorithms.index(reference)
    differences = cube - cube[:, :, [at]]
    tables = []
    for of, scores in (("score", cube), ("difference", differences)):
        table = _split(_complete(scores))
        table.insert(0, "algorithm", matrix.algorithms)
        table.insert(1, "of", of)
        tables.append(table if of == "score" else table.drop(index=at))
    return pd.concat(tables, ignore_index=True)


def _complete(cube: np.ndarray) -> np.ndarray:
    return cube[~np.isnan(cube).any(axis=tuple(range(1, cube.ndim)))]


def _split(cube: np.ndarray) -> pd.DataFrame:
    patients, seeds, columns = cube.shape
    if min(patients, seeds) < 2:
        empty = pd.DataFrame(np.nan, range(columns), [*PARTS, *(f"{part}_share" for part in PARTS)])
        return empty.assign(note=ONE_SEED if seeds < 2 else "fewer than two patients were tested with every seed")
    found = components(cube)
    kept = np.maximum(found, 0.0)
    total = kept.sum(axis=0)
    shares = 100 * np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
    table = pd.DataFrame(np.sqrt(kept).T, columns=list(PARTS))
    table[[f"{part}_share" for part in PARTS]] = shares.T
    negative = [[part for part, value in zip(PARTS, column, strict=True) if value < 0] for column in found.T]
    return table.assign(note=[f"negative estimate set to 0: {', '.join(parts)}" if parts else "" for parts in negative])
