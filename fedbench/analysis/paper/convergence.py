"""Whether training had come to its end: how validation Dice still moved in the last quarter of the rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fedbench.analysis.figures.curves import VALIDATION
from fedbench.analysis.figures.scene import trials
from fedbench.analysis.paper.numbers import interval, number, out_of, signed
from fedbench.analysis.paper.telling import Teller
from fedbench.analysis.rows import counted

LAST = 0.75  # of the rounds; what comes after is the last quarter
POOLED = "centralised"


@dataclass(frozen=True)
class Ending:
    """How an algorithm's validation Dice (mean over clients) moved at the end, over training runs.

    Attributes:
        since: the last round, counted from 1, that was validated in the first three quarters.
        before: mean over runs at that round.
        end: mean over runs at the last round.
        low: 95% interval (Student's t over runs) of the change; NaN with one run.
        high: its upper bound.
    """

    since: int
    before: float
    end: float
    low: float
    high: float
    runs: int

    @property
    def improving(self) -> bool | None:
        """Whether the interval lies above zero; None where there is no interval."""
        return bool(self.low > 0) if np.isfinite(self.low) else None


def endings(rounds: pd.DataFrame) -> dict[str, Ending]:
    """Return every setting's ending; those that were validated once only are left out."""
    curves = trials(rounds, VALIDATION)
    return {
        str(setting): found
        for setting, own in (curves.groupby("setting", observed=True) if len(curves) else ())
        if (found := _ending(own.pivot_table("value", "run_id", "round")))
    }


def _ending(curves: pd.DataFrame) -> Ending | None:
    """Return the ending of ``curves``: a row per run, a column per validated round (counted from 0)."""
    *earlier, last = (int(round) for round in curves.columns)
    earlier = [round for round in earlier if round + 1 <= LAST * (last + 1)]
    if not earlier:
        return None
    change = (curves[last] - curves[earlier[-1]]).dropna()
    runs = len(change)
    half = stats.t.ppf(0.975, runs - 1) * change.std() / np.sqrt(runs) if runs > 1 else np.nan
    mean = float(change.mean())
    before, end = (float(curves.loc[change.index, r].mean()) for r in (earlier[-1], last))
    return Ending(earlier[-1] + 1, before, end, mean - half, mean + half, runs)


def improving_in(endings_of_reference: Iterable[Ending | None]) -> str:
    """Return in how many conditions the reference was still improving, as a sentence; empty if nowhere is known."""
    known = [ending.improving for ending in endings_of_reference if ending and ending.improving is not None]
    if not known:
        return ""
    where = out_of(sum(known), len(known), "condition")
    return f"In {where} the reference's validation Dice was still rising in the last quarter of the rounds."


def tell_ending(teller: Teller, found: Mapping[str, Ending]) -> str:
    """Return the paragraph on the end of training, in LaTeX; empty if the reference was not validated before."""
    reference = teller.part.primary.reference
    if reference not in found:
        return ""
    told = [_one(teller, reference, found[reference])]
    told += [_one(teller, POOLED, found[POOLED])] if POOLED in found and reference != POOLED else []
    return "\\paragraph{Had training come to its end?} " + "\n".join(told)


def _one(teller: Teller, label: str, ending: Ending) -> str:
    change = ending.end - ending.before
    moved = teller.put("ending", label, "change", text=signed(change))
    bounds = teller.put("ending", label, "interval", text=interval(ending.low, ending.high, sign=True))
    ends = teller.put("ending", label, "from to", text=f"{number(ending.before)} to {number(ending.end)}")
    words = {
        True: "it was still improving when the rounds, and the learning rate, came to their end",
        False: "no further improvement shows",
        None: "one run tells no more",
    }[ending.improving]
    verdict = teller.put("ending", label, "verdict", text=words)
    return (
        f"From round {ending.since} to the last, the mean validation Dice of {teller.name(label)} went from {ends} "
        f"({moved}; {bounds} over {counted(ending.runs, 'run')}): {verdict}."
    )
