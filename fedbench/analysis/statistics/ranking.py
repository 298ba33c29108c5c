"""How far a ranking can be trusted: within a dataset by drawing patients anew, across datasets by a consensus.

Wiesenfarth et al., "Methods and open-source toolkit for analyzing and visualizing challenge results", Scientific
Reports 11:2369 (2021); Maier-Hein et al., "Why rankings of biomedical image analysis competitions should be interpreted
with care", Nature Communications 9:5217 (2018). Rank 1 is the best; ties share the mean of their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fedbench.analysis.statistics.intervals import DIGITS, LEVEL, draws
from fedbench.analysis.statistics.paired import friedman
from fedbench.analysis.statistics.scores import ScoreMatrix
from fedbench.errors import UserError
from fedbench.wording import counted, listed

RESAMPLES = 1000
METHODS = ("aggregate-then-rank", "rank-then-aggregate")
FEWEST_DATASETS = 10  # for a test across datasets


@dataclass(frozen=True)
class RankStability:
    """What becomes of the ranking when other patients are drawn.

    Attributes:
        summary: one row per method and algorithm: ``rank`` in the full data, ``mean_rank``, ``low`` and ``high`` (95%
            of the resamples), ``p_first`` (those who tie for the first place share it).
        distribution: tidy: method, algorithm, rank (1 to the number of algorithms), probability.
        tau: Kendall's tau-b of each resampled ranking to the full one, one column per method.
    """

    summary: pd.DataFrame
    distribution: pd.DataFrame
    tau: pd.DataFrame


def rank_stability(values: pd.DataFrame, higher_is_better: bool, resamples: int = RESAMPLES) -> RankStability:
    """Rank the algorithms in ``resamples`` bootstrap samples of the patients.

    ``aggregate-then-rank`` ranks the mean scores; ``rank-then-aggregate`` ranks within each patient and then the mean
    ranks, so that no patient weighs more than another.

    Args:
        values: patients x algorithms, as :attr:`ScoreMatrix.values`.
    """
    scores = _lower_is_better(values.to_numpy(), higher_is_better)
    weights = draws(len(scores), resamples, "ranking") / len(scores)
    summaries, distributions, taus = [], [], {}
    for method, cost in zip(METHODS, (scores, _rank(scores)), strict=True):
        full, ranks = _rank(cost.mean(axis=0)), _rank(weights @ cost)
        places = _places(ranks)
        low, high = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
        summaries.append(
            pd.DataFrame(
                {"method": method, "algorithm": values.columns, "rank": full, "mean_rank": ranks.mean(axis=0)}
                | {"low": low, "high": high, "p_first": places[:, 0]}
            )
        )
        at = pd.MultiIndex.from_product([[method], values.columns, range(1, len(full) + 1)])
        at.names = ["method", "algorithm", "rank"]
        distributions.append(pd.Series(places.ravel(), at, name="probability").reset_index())
        taus[method] = kendall_tau(ranks, full)
    return RankStability(
        pd.concat(summaries, ignore_index=True), pd.concat(distributions, ignore_index=True), pd.DataFrame(taus)
    )


def _lower_is_better(scores: np.ndarray, higher_is_better: bool) -> np.ndarray:
    return -scores if higher_is_better else scores


def _rank(cost: np.ndarray) -> np.ndarray:
    """Rank the last axis, the lowest first."""
    return stats.rankdata(cost.round(DIGITS), axis=-1)


def _places(ranks: np.ndarray) -> np.ndarray:
    """Return how often each algorithm takes each place, ``(algorithms, places)``; m that tie share their m places."""
    k = ranks.shape[1]
    tied = (ranks[:, :, None] == ranks[:, None, :]).sum(axis=-1)
    first = ranks - (tied - 1) / 2
    place = np.arange(1, k + 1)
    taken = (place >= first[..., None]) & (place < (first + tied)[..., None])
    return (taken / tied[..., None]).mean(axis=0)


def kendall_tau(ranks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each row of ``ranks`` (rankings, algorithms) to ``reference`` (algorithms,).

    Where a ranking has only ties tau-b does not exist: 1 if both have, else 0.
    """
    a, b = np.triu_indices(ranks.shape[1], 1)
    own, other = np.sign(ranks[:, a] - ranks[:, b]), np.sign(reference[a] - reference[b])
    untied = np.abs(own).sum(axis=1) * np.abs(other).sum()
    both_tied = (own == 0).all(axis=1) & (other == 0).all()
    return np.where(untied > 0, own @ other / np.sqrt(np.maximum(untied, 1)), both_tied)


@dataclass(frozen=True)
class Consensus:
    """The ranking across datasets.

    Attributes:
        ranks: rank of each algorithm's mean score in each dataset; index dataset (each once), columns algorithm.
        order: index algorithm, best first: ``mean_rank`` (over datasets) and ``rank``, the consensus.
        p: of the Iman-Davenport test with datasets as blocks; None with fewer than ten.
        text: what the numbers say and do not say, for the reader.
    """

    ranks: pd.DataFrame
    order: pd.DataFrame
    p: float | None
    text: str


def shared(matrices: Sequence[ScoreMatrix]) -> list[str]:
    """Return the algorithms that have scores in all of ``matrices``, by name."""
    return sorted(set.intersection(*(set(m.algorithms) for m in matrices)))


def dataset_means(matrices: Sequence[ScoreMatrix]) -> pd.DataFrame:
    """Return the mean score of the shared algorithms in each dataset, with its conditions (modalities left out) alike.

    Index dataset, columns algorithm.
    """
    means = pd.DataFrame([m.values[shared(matrices)].mean() for m in matrices])
    return means.groupby(pd.Index([m.dataset for m in matrices], name="dataset")).mean()


def consensus(matrices: Sequence[ScoreMatrix]) -> Consensus:
    """Rank the algorithms across datasets by their mean rank (Borda's rule); every dataset weighs the same.

    Conditions of one dataset, such as several modalities left out in turn, are averaged before algorithms are ranked.
    Demsar, JMLR 7:1-30 (2006): a test over datasets takes the dataset as its unit, and needs ten of them or more.

    Args:
        matrices: one per condition, of the same endpoint; only algorithms in all of them are ranked.

    Raises:
        UserError: no dataset, a condition twice, different endpoints, fewer than two algorithms in common.
    """
    if not matrices:
        raise UserError("no dataset to rank algorithms across.")
    measured = {(m.endpoint.relation, m.endpoint.metric, m.selection) for m in matrices}
    if len(measured) > 1:
        raise UserError(f"these endpoints are not comparable across datasets: {listed(sorted(map(str, measured)))}.")
    names = [m.dataset + (f" without {m.endpoint.unseen}" if m.endpoint.unseen else "") for m in matrices]
    if len(set(names)) < len(names):
        raise UserError(f"a dataset is given twice: {listed(sorted(names))}.")
    ranked = shared(matrices)
    everybody = sorted(set().union(*(m.algorithms for m in matrices)))
    if len(ranked) < 2:
        raise UserError(f"fewer than two algorithms have scores in all of {listed(names)}.")
    means = dataset_means(matrices)
    cost = _lower_is_better(means.to_numpy(), matrices[0].endpoint.higher_is_better)
    ranks = pd.DataFrame(_rank(cost), means.index, pd.Index(ranked, name="algorithm"))
    order = pd.DataFrame({"mean_rank": ranks.mean(), "rank": _rank(ranks.mean().to_numpy())})
    order = order.sort_values("rank", kind="stable")
    p = float(friedman(cost).p) if len(means) >= FEWEST_DATASETS else None
    return Consensus(ranks, order, p, _text(order, len(means), p, sorted(set(everybody) - set(ranked))))


def _text(order: pd.DataFrame, datasets: int, p: float | None, left_out: list[str]) -> str:
    first = listed(order.index[order["rank"] == order["rank"].min()])
    best = f"Mean rank over {counted(datasets, 'dataset')} is best for {first}"
    sentences = [f"{best} ({order['mean_rank'].min():.2f} of {len(order)})."]
    if p is None:
        sentences.append(
            f"No p-value across datasets: its unit would be the dataset, and with {datasets} (fewer than "
            f"{FEWEST_DATASETS}) a rank test has hardly any power and a normal approximation does not hold (Demsar "
            "2006). The mean ranks describe these datasets only."
        )
    else:
        sentences.append(f"Iman-Davenport test with datasets as blocks: p = {p:.3g}.")
    if left_out:
        sentences.append(f"Not ranked, for want of scores in every dataset: {listed(left_out)}.")
    return " ".join(sentences)
