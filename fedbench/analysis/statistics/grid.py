"""Every row of a comparison in its place (algorithm, seed, cell), so that what is missing shows.

A cell is what one model is scored on at once: a client, a case and a class.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from fedbench.analysis.statistics.rows import CELL, KEEP, NO_TRUTH, codes
from fedbench.errors import UserError
from fedbench.wording import counted, listed

Missing = Literal["refuse", "worst", "complete-cases"]


class Grid(NamedTuple):
    """Scores by place.

    Attributes:
        scores: ``(algorithms, seeds, cells)``, NaN where not applicable or absent.
        present: ``(algorithms, seeds, cells)``, whether there is a row.
        cells: one row per cell, sorted by patient: patient, case, class, client, fold, ``truth`` (is not empty).
    """

    scores: np.ndarray
    present: np.ndarray
    algorithms: list[str]
    seeds: list[int]
    cells: pd.DataFrame


def lay_out(rows: pd.DataFrame, algorithms: list[str], metric: str, where: str) -> Grid:
    """Put each row of :func:`fedbench.analysis.statistics.rows.of_endpoint` in its place; ``where`` begins a message.

    Raises:
        UserError: two rows in one place, a patient in several folds, a truth that is not the same for all.
    """
    seeds = sorted(rows["seed"].unique())
    _, first, cell = np.unique(codes(rows, CELL), return_index=True, return_inverse=True)
    cells = rows[[*CELL, "fold"]].iloc[first].reset_index(drop=True)
    homes = rows[["patient", "fold"]].drop_duplicates()
    if (several := homes["patient"].duplicated()).any():
        raise UserError(f"{where}: patient {min(homes['patient'][several])} is in the test sets of several folds.")
    shape = (len(algorithms), len(seeds), len(cells))
    a = places(rows["label"], algorithms)
    s = np.searchsorted(seeds, rows["seed"])
    place = (a * shape[1] + s) * shape[2] + cell
    times = np.bincount(place, minlength=int(np.prod(shape)))
    if (times > 1).any():
        odd = rows[times[place] > 1].iloc[0]
        raise UserError(
            f"{where}, seed {odd['seed']}: '{odd['label']}' scores class {odd['class']} of case {odd['case']} for "
            f"client {odd['client']} more than once (run {odd['run_id']})."
        )
    with_truth = np.bincount(cell, ~rows["flag"].isin(NO_TRUTH), len(cells))
    if (mixed := (with_truth > 0) & (with_truth < np.bincount(cell))).any():
        odd = cells[mixed].iloc[0]
        raise UserError(
            f"{where}: the truth of class {odd['class']} in case {odd['case']} is empty in some runs and not in "
            f"others, so they were not scored on the same data. {KEEP}"
        )
    scores = np.full(times.size, np.nan)
    scores[place] = rows[metric].to_numpy(dtype=float)
    cells = cells.assign(truth=with_truth > 0)
    return Grid(scores.reshape(shape), times.reshape(shape) > 0, algorithms, seeds, cells)


def places(labels: pd.Series, algorithms: list[str]) -> np.ndarray:
    """Return where each of ``labels``, which are categories, stands among ``algorithms``."""
    return pd.Index(algorithms).get_indexer(labels.cat.categories)[labels.cat.codes]


def complete(grid: Grid, missing: Missing, worst: float, where: str) -> tuple[Grid, list[str]]:
    """Refuse, fill in or leave out what not all algorithms have, and return notes that say so.

    Raises:
        UserError: something is missing and ``missing`` is ``refuse``; nothing is left.
    """
    absent = grid.present.any(axis=0) & ~grid.present
    if not absent.any():
        return grid, []
    lost = "; ".join(f"{a}: {_gap(grid, gap)}" for a, gap in zip(grid.algorithms, absent, strict=True) if gap.any())
    if missing == "refuse":
        raise UserError(
            f"{where}: not every algorithm has every score (missing: {lost}), so they cannot be ranked. Finish the "
            "runs, or say how to go on: --missing worst or --missing complete-cases."
        )
    if missing == "worst":
        filled = grid._replace(scores=np.where(absent, worst, grid.scores), present=grid.present | absent)
        return filled, [f"Missing scores were set to the worst value, {worst:g} (missing: {lost})."]
    notes = [f"Only what all algorithms have was compared (missing: {lost})."]
    there: np.ndarray = np.any(grid.present, axis=(1, 2))
    if not there.all():
        notes.append(f"Left out for want of any score: {listed(grid.algorithms[a] for a in np.flatnonzero(~there))}.")
    shared: np.ndarray = np.all(grid.present[there], axis=0)
    if not shared.any():
        raise UserError(f"{where}: no score is shared by all algorithms (missing: {lost}).")
    seeds, cells = np.flatnonzero(shared.any(axis=1)), np.flatnonzero(shared.any(axis=0))
    kept_cells = grid.cells.iloc[cells].reset_index(drop=True)
    before, after = grid.cells["patient"].nunique(), kept_cells["patient"].nunique()
    notes.append(f"Compared: {after} of {before} patients, {len(seeds)} of {len(grid.seeds)} seeds.")
    keep = np.ix_(np.flatnonzero(there), seeds, cells)
    present = np.broadcast_to(shared, grid.present.shape)[keep]
    return Grid(
        scores=np.where(present, grid.scores[keep], np.nan),
        present=present,
        algorithms=[grid.algorithms[a] for a in np.flatnonzero(there)],
        seeds=[grid.seeds[s] for s in seeds],
        cells=kept_cells,
    ), notes


def _gap(grid: Grid, gap: np.ndarray) -> str:
    """Say what is missing: seeds that an algorithm lacks altogether, else folds, else patients. ``(seeds, cells)``."""
    offered: np.ndarray = np.any(grid.present, axis=0)
    if (gap == offered).all():
        return "everything"
    parts, gap = [], gap.copy()
    whole: np.ndarray = np.all(gap == offered, axis=1)
    if whole.any():
        parts.append(f"seed {listed(grid.seeds[s] for s in np.flatnonzero(whole))}")
        gap[whole] = False
    for fold in sorted(set(grid.cells["fold"]) - {-1}):
        inside = np.ix_(~whole, (grid.cells["fold"] == fold).to_numpy())
        if gap[inside].any() and (gap[inside] == offered[inside]).all():
            parts.append(f"fold {fold}")
            gap[inside] = False
    if gap.any():
        patients = grid.cells["patient"].to_numpy()[np.any(gap, axis=0)]
        parts.append(f"{counted(gap.sum(), 'score')} of {counted(len(set(patients)), 'patient')} ({listed(patients)})")
    return ", ".join(parts)
