"""Simulated scores with the structure of real ones, to see whether the statistics keep their promises.

A Dice is the sum of what is hard about the patient (for all algorithms alike), about the case and class, of how the
algorithm suits the patient, of the luck of the training run (shared by all patients) and of noise; clipped to [0, 1]
and rounded, so that ties occur. Some patients are hopeless for everybody (all 0: differences of exactly 0), some
structures are missed, and some classes are absent in a patient: silence is then not applicable, a false alarm is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

MEAN = 0.8
PATIENT = 0.08  # standard deviations, in Dice
CASE = 0.05
INTERACTION = 0.02  # of algorithm and patient
NOISE = 0.04
SLICE = 0.1  # of a slice about its case
HOPELESS = 0.05  # probabilities
MISSED = 0.01
ABSENT = 0.15
ALARM = 0.4  # at most; each patient has a rate
DIGITS = 3
FOCUS = 2  # algorithms under study, as the two variants of one method are


@dataclass(frozen=True)
class Design:
    """The size of a simulated comparison.

    Attributes:
        difference: what algorithm 1 gains, in Dice; 0: no algorithm differs from another.
        run_luck: standard deviation of what a seed does to one algorithm and not to all alike, in Dice.
        luck_spread: standard deviation of the logarithm of that between algorithms; its mean square stays.
        focus: how many of the algorithms, the last ones, are under study.
    """

    patients: int = 100
    algorithms: int = 8
    seeds: int = 5
    cases: int = 3
    classes: int = 3
    slices: int = 12
    difference: float = 0.0
    run_luck: float = 0.0
    luck_spread: float = 0.0
    focus: int = FOCUS

    @property
    def starts(self) -> np.ndarray:
        """Where each patient's cells begin, for :func:`fedbench.analysis.statistics.scores.over_cells`."""
        return np.arange(self.patients) * self.cases * self.classes


class Simulated(NamedTuple):
    """Dice of many comparisons.

    Attributes:
        scores: ``(simulations, algorithms, seeds, patients, cases, classes)``, NaN where both masks are empty.
        absent: ``(simulations, 1, 1, patients, 1, classes)``, whether the truth is empty; class 0 is always there.
    """

    scores: np.ndarray
    absent: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """The scores as ``(simulations, algorithms, seeds, cells)``, sorted by patient."""
        return self.scores.reshape(*self.scores.shape[:3], -1)


def simulate(design: Design, simulations: int, random: np.random.RandomState) -> Simulated:
    """Draw ``simulations`` comparisons."""
    full = (simulations, design.algorithms, design.seeds, design.patients, design.cases, design.classes)

    def shape(varying: str) -> tuple[int, ...]:
        return tuple(size if letter in varying else 1 for size, letter in zip(full, "naspck", strict=True))

    scores = random.normal(MEAN, NOISE, full)
    for scale, varying in ((PATIENT, "np"), (CASE, "npck"), (INTERACTION, "nap")):
        scores += scale * random.standard_normal(shape(varying))
    luck = design.run_luck * random.standard_normal(shape("nas"))
    if design.luck_spread:
        luck *= np.exp(design.luck_spread * random.standard_normal(shape("na")) - design.luck_spread**2)
    scores += luck
    scores[:, 1] += design.difference
    scores = scores.clip(0, 1).round(DIGITS)
    scores[random.uniform(size=full) < MISSED] = 0.0
    scores *= random.uniform(size=shape("np")) >= HOPELESS
    absent = random.uniform(size=shape("npk")) < ABSENT
    absent[..., 0] = False
    alarm = random.uniform(size=full) < ALARM * random.uniform(size=shape("np"))
    return Simulated(np.where(absent, np.where(alarm, 0.0, np.nan), scores), absent)


def slices(cells: np.ndarray, number: int, random: np.random.RandomState) -> np.ndarray:
    """Return ``number`` slices of each of ``cells`` (...), ``(..., number)``, as 2-D evaluations have them."""
    noise = SLICE * random.standard_normal((*cells.shape, number))
    return (cells[..., None] + noise).clip(0, 1).round(DIGITS)


def to_rows(simulated: Simulated) -> pd.DataFrame:
    """Return the first comparison as rows of the store: dataset ``simulated``, algorithms ``a0``, ``a1``, ..."""
    scores = simulated.scores[0]
    truth = np.broadcast_to(~simulated.absent[0], scores.shape).ravel()
    names = [[f"{letter}{i:03}" for i in range(size)] for letter, size in zip("aspck", scores.shape, strict=True)]
    index = pd.MultiIndex.from_product(names, names=["setting", "seed", "patient", "modality", "class"])
    dice = scores.ravel()
    flag = np.select([np.isnan(dice), ~truth, dice == 0], ["both-empty", "false-alarm", "missed"], "")
    rows = index.to_frame(index=False).assign(dice=dice, nsd=dice, hd95=10 * (1 - dice), flag=flag)
    constant = {"dataset": "simulated", "client": "c", "deployment": "global", "selection": "last", "relation": "cross"}
    return rows.assign(
        run_id="simulated." + rows["setting"] + "." + rows["seed"],
        case=rows["patient"] + "/" + rows["modality"],
        seed=rows["seed"].str[1:].astype(int),
        partition=rows["seed"],
        **constant,
    )
