"""Whether training had come to its end: how validation Dice still moved in the last quarter of the rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fedbench.analysis.analyses import POOLED
from fedbench.analysis.figures.curves import VALIDATION
from fedbench.analysis.figures.scene import trials
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, interval, number, out_of, signed, words
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.paper.teller import Teller
from fedbench.wording import counted

LAST = 0.75  # of the rounds; what comes after is the last quarter
FLAT = 0.02  # Dice; a change whose interval lies within is none


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

    @property
    def ended(self) -> bool:
        """Whether the interval lies so near zero that training had come to rest."""
        return bool(self.low > -FLAT and self.high < FLAT)


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


Found = Sequence[tuple[Part, Mapping[str, Ending]]]  # conditions, and every setting's ending there


def _of_reference(found: Found) -> list[tuple[Part, Ending]]:
    """Return how the reference ended, where that is known; conditions that share its runs count once, in the first."""
    known: dict[Models, tuple[Part, Ending]] = {}
    for part, endings_there in found:
        reference = part.primary.reference
        ending = endings_there.get(reference)
        if ending is not None and ending.improving is not None:
            known.setdefault(part.models(reference), (part, ending))
    return list(known.values())


def tell_rising(numbers: Numbers, found: Found) -> str:
    """Name the conditions in which the reference was still improving; empty if there are none."""
    rising = [pair for pair in _of_reference(found) if pair[1].improving]
    if not rising:
        return ""
    return (
        f"The reference was still improving on {_each(numbers, rising)}: its validation Dice rose in the last quarter "
        "of the rounds (intervals over runs, uncorrected), so that there the comparison is one at this budget."
    )


def rising_short(numbers: Numbers, found: Found) -> str:
    """Count the conditions in which the reference was still improving; empty if there are none."""
    known = _of_reference(found)
    rising = sum(bool(ending.improving) for _, ending in known)
    if not rising:
        return ""
    share = numbers.put("ending", "rising", text=out_of(rising, len(known), "condition"))
    text = f"In {share} the reference was still improving at the end: there the comparison is one at this budget"
    unclear = sum(not ending.improving and not ending.ended for _, ending in known)
    if not unclear:
        return f"{text}."
    others = len(known) - rising
    which = "the other" if others == 1 else f"the other {others}" if unclear == others else f"{unclear} of the others"
    which = numbers.put("ending", "unclear", text=which)
    return f"{text}; in {which} nothing shows that training had come to rest."


def tell_endings(numbers: Numbers, found: Found) -> str:
    """Name the conditions in which the reference was improving to the last, and those where no end shows."""
    known = _of_reference(found)
    unclear = [pair for pair in known if not pair[1].improving and not pair[1].ended]
    ended = sum(pair[1].ended and not pair[1].improving for pair in known)
    sentences = [told] if (told := tell_rising(numbers, found)) else []
    if unclear:
        sentences.append(
            f"On {_each(numbers, unclear)} what runs did in the last quarter does not show that training had come to "
            "rest."
        )
    if ended:
        share = numbers.put("ending", "ended", text=out_of(ended, len(known), "condition"))
        sentences.append(f"In {share} the reference's validation Dice had come to rest (within {FLAT:g}).")
    return " ".join(sentences)


def _each(numbers: Numbers, pairs: Iterable[tuple[Part, Ending]]) -> str:
    """``sts ($+0.075$ [$+0.022$, $+0.127$])``."""
    told = []
    for part, ending in pairs:
        change = numbers.put("ended", part.key, text=signed(ending.end - ending.before))
        bounds = numbers.put("ended", part.key, "interval", text=interval(ending.low, ending.high, sign=True))
        told.append(f"{escape(part.title)} ({change} {bounds})")
    return words(told)


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
    said = {
        True: "it was still improving when the rounds, and the learning rate, came to their end",
        False: "it had come to rest" if ending.ended else "no improvement shows, and no rest either",
        None: "one run tells no more",
    }[ending.improving]
    verdict = teller.put("ending", label, "verdict", text=said)
    return (
        f"From round {ending.since} to the last, the mean validation Dice of {teller.name(label)} went from {ends} "
        f"({moved}; {bounds} over {counted(ending.runs, 'run')}): {verdict}."
    )
