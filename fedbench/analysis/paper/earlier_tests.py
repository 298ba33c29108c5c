"""What earlier forms of the test over training runs would have said otherwise: the paper tells it, for it was changed.

Both are refuted forms of :func:`fedbench.analysis.statistics.variance.over_runs`: the first errs too often in a family
of comparisons, the second can make a difference more significant by more scatter between seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedbench.analysis.kinds import family
from fedbench.analysis.paper.numbers import Numbers, named, words
from fedbench.analysis.statistics.intervals import DIGITS
from fedbench.analysis.statistics.paired import holm
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.statistics.variance import common_luck, mean_squares, over_runs, quasi_f
from fedbench.analysis.verdicts import direction, focus, rivals
from fedbench.wording import counted


def own_luck(analysis: Analysis) -> np.ndarray:
    """Return p of the declared pairs by the first form of the test over runs: each pair has only its own luck."""
    return over_runs(_differences(analysis)).p


def larger_luck(analysis: Analysis) -> np.ndarray:
    """Return p of the declared pairs by the second form: own luck or that of all algorithms, whichever is larger."""
    cube, luck = analysis.matrix.cube, common_luck(analysis.matrix.cube)
    found = _differences(analysis)
    found = found[~np.isnan(cube).any(axis=(1, 2))]
    patients, seeds, columns = found.shape
    if min(patients, seeds) < 2:
        return np.full(columns, np.nan)
    squares = mean_squares(found.round(DIGITS))
    common = (seeds - 1) * (cube.shape[2] - 1)
    df = np.where(luck.mean_square > squares.seed, float(common), float(seeds - 1))
    return quasi_f(squares._replace(seed=np.fmax(luck.mean_square, squares.seed)), (patients, seeds), df).p


EARLIER = {"first": own_luck, "second": larger_luck}  # forms of the test over runs that calibration or thought refuted


class Flips(NamedTuple):
    """Declared pairs that another test would call otherwise: ``only_then`` it names a difference, ``only_now`` ours."""

    only_then: list[tuple[str, str]]
    only_now: list[tuple[str, str]]


def otherwise(analysis: Analysis, earlier: Callable[[Analysis], np.ndarray] = own_luck) -> Flips:
    """Return the declared pairs that would be called otherwise by an ``earlier`` form of the test over runs."""
    declared = declared_of(analysis)
    over_patients = (declared["p_holm"] < ALPHA) & (direction(analysis, declared) != 0)
    then = over_patients & (holm(earlier(analysis)) < ALPHA)
    now = over_patients & (declared["runs_p_holm"] < ALPHA)
    return Flips(pairs_of(declared[then & ~now]), pairs_of(declared[now & ~then]))


def _differences(analysis: Analysis) -> np.ndarray:
    names, declared = analysis.matrix.algorithms, declared_of(analysis)
    first, second = ([names.index(name) for name in declared[column]] for column in ("algorithm", "reference"))
    return analysis.matrix.cube[:, :, first] - analysis.matrix.cube[:, :, second]


def declared_of(analysis: Analysis) -> pd.DataFrame:
    """Return the declared comparisons."""
    return analysis.pairwise[analysis.pairwise["declared"]]


def named_differences(analysis: Analysis) -> int:
    """Return how many of the declared comparisons name a difference."""
    declared = declared_of(analysis)
    significant = (declared["p_holm"] < ALPHA) & (declared["runs_p_holm"] < ALPHA)
    return int((significant & (direction(analysis, declared) != 0)).sum())


def pairs_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return who was compared with whom."""
    return list(rows[["algorithm", "reference"]].itertuples(index=False, name=None))


def tell_earlier(numbers: Numbers, analyses: Sequence[Analysis]) -> None:
    """Define a macro for each form: what it would have said otherwise, and of which of the paper's own comparisons."""
    for which, form in EARLIER.items():
        numbers.put("earlier", which, text=_flips(numbers, which, [otherwise(a, form) for a in analyses], analyses))
    degrees = sorted({len(analysis.matrix.seeds) - 1 for analysis in analyses if len(analysis.matrix.seeds) > 1})
    ends = words([str(n) for n in dict.fromkeys((degrees[0], degrees[-1]))], last="to") if degrees else "no"
    numbers.put("earlier", "degrees", text=ends)


def _flips(numbers: Numbers, which: str, flips: Sequence[Flips], analyses: Sequence[Analysis]) -> str:
    declared = [declared_of(analysis) for analysis in analyses]
    every = [[pair for each in flips for pair in each[side]] for side in (0, 1)]
    if not any(every):
        return "no declared comparison would be called otherwise"
    counts = [
        numbers.put("earlier", which, side, text=str(len(p))) for side, p in zip(("then", "now"), every, strict=True)
    ]
    asked = [_named([pair for pair in pairs if is_asked(pair)]) for pairs in every]
    share = numbers.put("earlier", which, "total", text=counted(sum(map(len, declared)), "declared comparison"))
    named_now = sum(map(named_differences, analyses))
    here = numbers.put("earlier", which, "here", text=counted(named_now, "difference"))
    known = {family(other) for rows in declared for pair in pairs_of(rows) if is_asked(pair) for other in rivals(pair)}
    spared = sorted(known - {family(other) for pairs in every for p in pairs if is_asked(p) for other in rivals(p)})
    none = f"; of FedDA with {words([named(name, False) for name in spared], last='or')} it is none" if spared else ""
    return (
        f"of {share} {counts[0]} would be named besides ({asked[0]}), and of the {here} named here {counts[1]} would "
        f"not be ({asked[1]}){none}"
    )


def is_asked(pair: tuple[str, str]) -> bool:
    """Say whether it is of FedDA with another aggregation algorithm."""
    return len(focus(pair)) == len(rivals(pair)) == 1


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    """``of FedDA with another aggregation algorithm: 2, with fedbn (personal) and moon``, or none."""
    others = sorted({family(other) for pair in pairs for other in rivals(pair)})
    many = f"{len(pairs)}, with {words([named(other, False) for other in others])}" if pairs else "none"
    return f"of FedDA with another aggregation algorithm: {many}"
