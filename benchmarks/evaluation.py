"""``fedbench.metrics.score_case`` against MONAI's Dice, HD95 and NSD on the same masks, on one thread.

Both get label maps as they come out of a network; MONAI's functions want one-hot masks, which it is given ready made,
outside the clock. Cases are scored in turn, a handful by the one and the same handful by the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from monai.networks.utils import one_hot
from scipy.ndimage import gaussian_filter

from benchmarks.common import Report, Settings, interleave, main, ratios, seconds
from fedbench.metrics import score_case

TITLE = "Dice, HD95 and NSD against MONAI's on the same masks"
CLASSES = 4
NSD_TOLERANCE = 2.0
EQUAL = 1e-6
HANDFUL = 5


class Pair(NamedTuple):
    """A predicted and a true label map."""

    prediction: np.ndarray
    truth: np.ndarray


def measure(settings: Settings) -> Report:
    """Score 2-D and 3-D cases."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # MONAI warns about every empty mask
    report = Report()
    share = 25 if settings.quick else 1
    for name, shape, spacing, cases in (
        ("2-D 256x256", (256, 256), (1.0, 1.0), 500 // share),
        ("3-D 96x96x96", (96, 96, 96), (1.0, 1.0, 2.0), max(2, 40 // share)),
    ):
        pairs = [draw(shape, seed) for seed in range(cases)]
        handfuls = [pairs[i : i + HANDFUL] for i in range(0, cases, HANDFUL)]
        ours: list[float] = []
        theirs: list[float] = []
        ready = [[one_hots(pair) for pair in handful] for handful in handfuls]
        for handful, masks in zip(handfuls, ready, strict=True):
            times = interleave(
                {
                    "ours": lambda h=handful, s=spacing: seconds(lambda: fedbench_scores(h, s)),
                    "theirs": lambda m=masks, s=spacing: seconds(lambda: monai_scores(m, s)),
                },
                1,
            )
            ours += [x / len(handful) for x in times["ours"]]
            theirs += [x / len(handful) for x in times["theirs"]]
        compared, worst = difference(
            fedbench_scores(pairs, spacing), monai_scores([m for h in ready for m in h], spacing)
        )
        what = f"{name} x {CLASSES} classes x {cases} cases"
        report.add(f"{what}: fedbench, a case", [1000 * x for x in ours], "ms")
        report.add(f"{what}: MONAI, a case", [1000 * x for x in theirs], "ms")
        report.add(f"{what}: largest difference in {compared} scores", worst, target=("<=", EQUAL))
        report.add(f"{what}: times faster than MONAI", ratios(theirs, ours), target=(">=", 5.0))
    report.notes.append(
        "A repeat is a handful of 5 cases. The masks are blobs, some of them missing in the truth or the prediction; "
        "there MONAI gives NaN or infinity and fedbench a flag, and only scores that MONAI defines are compared, HD95 "
        "relative to its size. MONAI's masks are made one-hot before the clock starts, fedbench's are not."
    )
    return report


def draw(shape: Sequence[int], seed: int) -> Pair:
    """Blobs with wavy outlines about as large as organs, and a prediction that is somewhat off."""
    rng = np.random.default_rng([len(shape), seed])
    grid = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    waves = _waves(rng, shape, 6)
    maps = np.zeros((2, *shape), np.uint8)
    for label in range(1, CLASSES + 1):
        centre, radius = rng.uniform(-0.55, 0.55, len(shape)), rng.uniform(0.12, 0.35)
        for which in range(2):
            if rng.random() < 0.03:
                continue  # missing
            moved = centre + which * rng.normal(0, 0.02, len(shape))
            distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, moved, strict=True)))
            outline = waves + which * 0.4 * _waves(rng, shape, 3)
            maps[which][distance + 0.05 * outline < radius * (1 + which * rng.normal(0, 0.05))] = label
    return Pair(maps[1], maps[0])


def _waves(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> np.ndarray:
    field = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return field / field.std()


def one_hots(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what MONAI's functions take: ``(1, classes + 1, ...)``, prediction and truth."""
    maps = (torch.from_numpy(np.ascontiguousarray(m))[None, None].long() for m in pair)
    prediction, truth = (one_hot(m, CLASSES + 1) for m in maps)
    return prediction, truth


def fedbench_scores(pairs: Sequence[Pair], spacing: Sequence[float]) -> np.ndarray:
    """Return ``(cases, classes, 3)``: Dice, HD95, NSD."""
    rows = [score_case(p, t, range(1, CLASSES + 1), spacing, NSD_TOLERANCE) for p, t in pairs]
    return np.array([[(s.dice, s.hd95, s.nsd) for s in row] for row in rows])


def monai_scores(masks: Sequence[tuple[torch.Tensor, torch.Tensor]], spacing: Sequence[float]) -> np.ndarray:
    """As :func:`fedbench_scores`, by MONAI."""
    common = {"include_background": False, "spacing": tuple(spacing)}
    rows = []
    for prediction, truth in masks:
        dice = compute_dice(prediction, truth, include_background=False)[0]
        hd95 = compute_hausdorff_distance(prediction, truth, percentile=95, **common)[0]
        nsd = compute_surface_dice(prediction, truth, [NSD_TOLERANCE] * CLASSES, **common)[0]
        rows.append(torch.stack([dice.double(), hd95.double(), nsd.double()], dim=1).numpy())
    return np.array(rows)


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, float]:
    """Return how many scores MONAI defines, and by how much ours differ at most (HD95: relative where above 1 mm)."""
    defined = np.isfinite(theirs)
    ours, theirs = ours[defined], theirs[defined]
    return theirs.size, float((np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))).max())


if __name__ == "__main__":
    main("evaluation", TITLE, measure)
