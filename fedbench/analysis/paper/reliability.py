"""How far the words can be trusted at this size: the calibration of the protocol, run for the published conditions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedbench.analysis.paper.earlier_tests import declared_of, is_asked, pairs_of, tell_earlier
from fedbench.analysis.paper.numbers import Numbers, out_of, percent, words
from fedbench.analysis.paper.phantoms import of_patients
from fedbench.analysis.paper.setup import CONFIDENCE, span
from fedbench.analysis.paper.study import Study
from fedbench.analysis.statistics.calibration import (
    BETTER,
    BETTER_LUCK,
    BOTH,
    GIVEN,
    LUCK,
    OWN_SCATTER,
    UNEQUAL,
    calibrate,
    family_errors,
    power,
)
from fedbench.analysis.statistics.paired import holm
from fedbench.analysis.statistics.protocol import ALPHA, Analysis, is_variant
from fedbench.analysis.statistics.variance import own_deviation
from fedbench.analysis.verdicts import direction
from fedbench.wording import counted

SIMULATIONS, RESAMPLES = 1000, 1000
DIFFERENCE, LARGE = 0.02, 0.05  # Dice
FEWEST_ALGORITHMS = 4  # that calibration can simulate


def describe_reliability(numbers: Numbers, study: Study) -> None:
    """Define the macros on calibration at the size of the smallest condition, and on what cannot be decided.

    Conditions that leave a modality out have fewer patients and seeds; they are simulated apart, or alone where there
    are no others. Phantoms count only where there is nothing else.
    """
    parts = of_patients(study.parts, lambda part: part.condition.dataset)
    every = [part.primary for part in parts]
    main = [part.dice for part in parts if not part.condition.unseen] or [part.dice for part in parts]
    hopeless = [analysis for analysis in every if not decidable(analysis)]
    numbers.put("answer", "power", text=_power(numbers, len(hopeless), len(every)))
    which = " with all modalities in training" if len(main) < len(every) else ""
    fit = [analysis for analysis in main if _fit(analysis)]
    text, short = _calibration(numbers, min(fit, key=_smallness), run_lucks(main), which) if fit else (_TOO_SMALL, "")
    unseen = [part.get("unseen") for part in parts if part.condition.unseen and "unseen" in part.relations]
    apart = [analysis for analysis in unseen if decidable(analysis) and _fit(analysis)] if which else []
    numbers.put("calibration", text=f"{text} {_left_out(numbers, apart)}" if apart else text)
    numbers.put("answer", "power", "short", text=short)
    tell_earlier(numbers, every)
    numbers.put("one", "family", text=_one_family(study))


def _smallness(analysis: Analysis) -> tuple[int, int, int, int]:
    """The fewest patients first and, of such, the largest family: the least power that our words have."""
    matrix = analysis.matrix
    return len(matrix.values), -len(matrix.algorithms), -len(declared_of(analysis)), len(matrix.seeds)


def _fit(analysis: Analysis) -> bool:
    return len(analysis.matrix.algorithms) >= FEWEST_ALGORITHMS and len(analysis.matrix.seeds) >= 2


def decidable(analysis: Analysis) -> bool:
    """Say whether the smallest p-value that so many patients allow survives Holm's correction."""
    return 2.0 ** (1 - len(analysis.matrix.values)) * int(analysis.pairwise["declared"].sum()) <= ALPHA


def repeated(analysis: Analysis) -> bool:
    """Say whether there is a test over runs, which our words ask for: with one seed there is none."""
    return bool(declared_of(analysis)["runs_p"].notna().any())


def run_lucks(analyses: Sequence[Analysis]) -> list[float]:
    """Return :func:`.variance.own_deviation`, which is what is simulated, where training runs differ least and most.

    Of analyses of Dice. One value if the two are alike; at least 0.001. Conditions of one seed do not count.
    """
    found = [own_deviation(analysis.matrix.cube) for analysis in analyses if len(analysis.matrix.seeds) > 1]
    return sorted({max(0.001, round(end, 3)) for end in (min(found), max(found))})


def in_one_family(analyses: Sequence[Analysis]) -> list[tuple[str, str]]:
    """Return the declared pairs that would be called otherwise if several analyses had one family of comparisons."""
    parts = [declared_of(analysis) for analysis in analyses]
    agreed = np.concatenate([direction(*both) != 0 for both in zip(analyses, parts, strict=True)])
    declared = pd.concat(parts, ignore_index=True)
    own = (declared["p_holm"] < ALPHA) & (declared["runs_p_holm"] < ALPHA)
    joint = (holm(declared["p"].to_numpy()) < ALPHA) & (holm(declared["runs_p"].to_numpy()) < ALPHA)
    return pairs_of(declared[agreed & (own != joint)])


def _one_family(study: Study) -> str:
    """What would change if the same models' scores with statistics taken anew were in the family of the trained."""
    both = [
        (part.primary, again.primary)
        for part in study.parts
        for again in study.rescored
        if (part.study, part.condition) == (again.study, again.condition.trained)
    ]
    pairs = [pair for analyses in both for pair in in_one_family(analyses)]
    return _otherwise(pairs, sum(len(declared_of(analysis)) for analyses in both for analysis in analyses))


def _otherwise(pairs: Sequence[tuple[str, str]], total: int) -> str:
    """How many of the comparisons it is, and how many of them the paper asks for."""
    if not pairs:
        return "no declared comparison would be called otherwise"
    asked = sum(map(is_asked, pairs))
    said = f"{out_of(len(pairs), total, 'declared comparison')} would be called otherwise"
    return f"{said}, {asked or 'none'} of them of FedDA with another aggregation algorithm"


def _power(numbers: Numbers, hopeless: int, total: int) -> str:
    if not hopeless:
        return ""
    share = numbers.put("undecidable", text=out_of(hopeless, total, "condition"))
    return (
        f"In {share} patients are so few that, after correction for the number of comparisons, no difference could be "
        "named however large it is: there everything is ``not distinguishable'', and only the intervals tell what was "
        "seen."
    )


_TOO_SMALL = "The published conditions are too small to simulate: calibration needs two seeds and four algorithms."


def _calibration(numbers: Numbers, smallest: Analysis, lucks: Sequence[float], which: str) -> tuple[str, str]:
    """What calibration found at this size; what it says of power, in short."""
    tables = [_tables(smallest, luck) for luck in lucks]
    put = numbers.put

    def rate(name: str, situation: str, check: str) -> str:
        return put("calibration", name, text=percent(_rate(tables[0], situation, check), 1))

    def rates(name: str, situation: str, check: str) -> str:
        return put("calibration", name, text=words([percent(_rate(t, situation, check), 1) for t in tables]))

    family = rate("family", GIVEN, "Wilcoxon with Holm, any of the family")
    both = rate("both", GIVEN, BOTH)
    naive = rate("slices", GIVEN, "Wilcoxon, slices as samples")
    mean = rate("mean", GIVEN, "mean (BCa over patients)")
    found = rate("power", BETTER, f"Wilcoxon with Holm, +{DIFFERENCE:g} Dice")
    one = rates("one", LUCK, "Wilcoxon, one pair")
    runs = rates("runs", LUCK, "patients and runs (quasi-F), one pair")
    both_luck = rates("bothLuck", LUCK, BOTH)
    wide = rates("wide", LUCK, "mean difference (quasi-F)")
    alone = rates("alone", LUCK, OWN_SCATTER)
    narrow = rates("narrow", LUCK, "mean difference (BCa over patients)")
    unequal = rates("bothUnequal", UNEQUAL, BOTH)
    found_both = rates("powerBoth", BETTER_LUCK, f"both tests with Holm, +{DIFFERENCE:g} Dice")
    found_large = rates("powerLarge", BETTER_LUCK, f"both tests with Holm, +{LARGE:g} Dice")
    size = put("calibration", "size", text=_size_in_words(smallest))
    number = put("calibration", "simulations", text=str(SIMULATIONS))
    gain = put("calibration", "difference", text=f"{DIFFERENCE:g}")
    large = put("calibration", "large", text=f"{LARGE:g}")
    sd = put("calibration", "luck", text=words([f"{luck:g}" for luck in lucks]))
    where = "as in our conditions with the least and the most of it" if len(lucks) > 1 else "as in our conditions"
    confidence = put("confidence", text=CONFIDENCE)
    scatter = ", where training runs scatter as in ours with the least and the most of it" if len(lucks) > 1 else ""
    short = (
        f"In simulated studies of the size of our smallest condition{which} the tests find a gain of {large} Dice in "
        f"{found_large}{scatter}."
    )
    text = (
        f"The analysis was run on {number} simulated studies of the size of our smallest condition{which} ({size}; "
        f"clustered scores with ties, empty masks and hopeless cases). Where no algorithm differed, the Holm-corrected "
        f"family named a difference in {family} of them. Where algorithms did not differ but training runs had luck "
        f"(what a seed did to one algorithm and not to all alike had a standard deviation of {sd} Dice, {where}), a "
        f"pair was called different by the uncorrected test over patients in {one} and by that over patients and seeds "
        f"in {runs}; the {confidence} interval of the mean difference covered zero in {narrow} (bootstrap over "
        f"patients), {wide} (of the test over patients and seeds) and {alone} (of its form for steps, by the pair's "
        f"own scatter alone). "
        f"Taking slices for samples errs in {naive}. The "
        f"{confidence} interval of a mean covered the truth in {mean}: with so few patients intervals of means are too "
        f"narrow. Both corrected tests together, which our words ask for, named some difference in {both} "
        f"of the studies without one, in {both_luck} where runs had luck, and in {unequal} where some algorithms had "
        f"much more of it than others. "
        f"The price is power: a gain of {gain} Dice was found by the corrected test over patients in {found} where "
        f"models are given, and by both tests in {found_both} where runs have luck; one of {large} by both in "
        f"{found_large}. ``Not distinguishable'' does not mean alike."
    )
    return text, short


def _left_out(numbers: Numbers, analyses: Sequence[Analysis]) -> str:
    """How often our words err on modalities left out of training, where there are the fewest runs to tell luck by."""
    smallest = min(analyses, key=lambda a: (len(a.matrix.seeds), len(a.matrix.algorithms), len(a.matrix.values)))
    size, luck = simulated_size(smallest), run_lucks(analyses)[-1]
    table = family_errors(SIMULATIONS, **size, run_luck=luck)
    rates = [percent(_rate(table, situation, BOTH), 1) for situation in (GIVEN, LUCK, UNEQUAL)]
    given, lucky, unequal = (
        numbers.put("calibration", "leftOut", name, text=rate)
        for name, rate in zip(("given", "luck", "unequal"), rates, strict=True)
    )
    told = numbers.put("calibration", "leftOut", "size", text=_size_in_words(smallest))
    sd = numbers.put("calibration", "leftOut", "sd", text=f"{luck:g}")
    return (
        f"On modalities left out of training the two tests were simulated for our condition with the fewest runs in "
        f"which a difference could be named ({told}; luck of {sd} Dice): they named some difference where there was "
        f"none in {given} of the studies, in {lucky} where runs had luck, and in {unequal} where some algorithms had "
        "much more of it."
    )


def simulated_size(analysis: Analysis) -> dict[str, int]:
    """Return what a simulation of this size and with as many declared comparisons is asked for."""
    matrix = analysis.matrix
    focus = sum(is_variant(label) for label in matrix.algorithms if label != analysis.reference)
    sizes = {"patients": len(matrix.values), "algorithms": len(matrix.algorithms), "seeds": len(matrix.seeds)}
    return sizes | {"focus": focus}


def _size_in_words(analysis: Analysis) -> str:
    size = simulated_size(analysis)
    seen = [span([size["patients"]], "patient"), f"{size['algorithms']} algorithms", span([size["seeds"]], "seed")]
    return f"{words(seen)}, {counted(len(declared_of(analysis)), 'declared comparison')}"


def _tables(analysis: Analysis, luck: float) -> pd.DataFrame:
    size = simulated_size(analysis)
    gains = (power(SIMULATIONS, **size, difference=gain, run_luck=luck) for gain in (DIFFERENCE, LARGE))
    found = calibrate(SIMULATIONS, **size, difference=DIFFERENCE, run_luck=luck, resamples=RESAMPLES)
    return pd.concat([found, *gains])


def _rate(table: pd.DataFrame, situation: str, check: str) -> float:
    found = table[(table["situation"] == situation) & (table["check"] == check)]
    return float(found["rate"].iloc[0])
