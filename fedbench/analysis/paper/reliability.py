"""How far the words can be trusted at this size: the calibration of the protocol, run for the published conditions."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from fedbench.analysis.calibration import BETTER, GIVEN, LUCK, calibrate
from fedbench.analysis.paper.numbers import Numbers, out_of, percent, words
from fedbench.analysis.paper.setup import CONFIDENCE, span
from fedbench.analysis.paper.study import Part
from fedbench.analysis.protocol import ALPHA

SIMULATIONS, RESAMPLES = 1000, 1000
DIFFERENCE = 0.02  # Dice
FEWEST_ALGORITHMS = 4  # that calibration can simulate


def describe_reliability(numbers: Numbers, parts: Iterable[Part]) -> None:
    """Define the macros on calibration at the size of the smallest condition, and on what cannot be decided."""
    every = [part.primary for part in parts]
    hopeless = [a for a in every if not decidable(len(a.matrix.values), int(a.pairwise["declared"].sum()))]
    numbers.put("answer", "power", text=_power(numbers, len(hopeless), len(every)))
    sizes = {(len(a.matrix.values), len(a.matrix.algorithms), len(a.matrix.seeds)) for a in every}
    fit = sorted(size for size in sizes if size[1] >= FEWEST_ALGORITHMS and size[2] >= 2)
    numbers.put("calibration", text=_calibration(numbers, fit[0]) if fit else _TOO_SMALL)


def decidable(patients: int, comparisons: int) -> bool:
    """Say whether the smallest p-value that so many patients allow survives Holm's correction."""
    return 2.0 ** (1 - patients) * comparisons <= ALPHA


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


def _calibration(numbers: Numbers, smallest: tuple[int, int, int]) -> str:
    patients, algorithms, seeds = smallest
    table = calibrate(SIMULATIONS, patients, algorithms, seeds, DIFFERENCE, resamples=RESAMPLES)
    put = numbers.put

    def rate(name: str, situation: str, check: str) -> str:
        return put("calibration", name, text=percent(_rate(table, situation, check), 1))

    family = rate("family", GIVEN, "Wilcoxon with Holm, any of the family")
    runs = rate("runs", LUCK, "patients and runs (quasi-F), one pair")
    one = rate("one", LUCK, "Wilcoxon, one pair")
    naive = rate("slices", GIVEN, "Wilcoxon, slices as samples")
    mean = rate("mean", GIVEN, "mean (BCa over patients)")
    power = rate("power", BETTER, f"Wilcoxon with Holm, +{DIFFERENCE:g} Dice")
    study = words([span([patients], "patient"), f"{algorithms} algorithms", span([seeds], "seed")])
    size = put("calibration", "size", text=study)
    number = put("calibration", "simulations", text=str(SIMULATIONS))
    gain = put("calibration", "difference", text=f"{DIFFERENCE:g}")
    confidence = put("confidence", text=CONFIDENCE)
    return (
        f"The analysis was run on {number} simulated studies of the size of our smallest condition ({size}; clustered "
        f"scores with ties, empty masks and hopeless cases). Where no algorithm differed, the Holm-corrected family "
        f"named a difference in {family} of them. Where algorithms did not differ but training runs had luck, a pair "
        f"was called different by the uncorrected test over patients in {one} and by that over patients and seeds in "
        f"{runs}. Taking slices for samples errs in {naive}. The {confidence} interval of a mean covered the truth in "
        f"{mean}. A true gain of {gain} Dice was found by the corrected test over patients in {power}."
    )


def _rate(table: pd.DataFrame, situation: str, check: str) -> float:
    found = table[(table["situation"] == situation) & (table["check"] == check)]
    return float(found["rate"].iloc[0])
