"""How far apart the features of modalities are: a plane to look at, and the proxy A-distance.

Ben-David, Blitzer, Crammer and Pereira, "Analysis of Representations for Domain Adaptation", NIPS 2006: 2 (1 - 2 e),
where e is the error of a linear classifier that tells two domains apart; 2: perfectly told apart, 0: not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

FOLDS = 5
COMPONENTS = 32  # of the features, for the classifier; the penalty leaves little of the rest
PENALTY = 0.1  # of the squared weights, where every channel has a variance of 1 and all images a weight of 1
DIGITS = 6


class Samples(NamedTuple):
    """Bottleneck features of images, averaged over space.

    Attributes:
        features: ``(images, channels)``.
        modality: of each image.
        patient: of each image.
    """

    features: np.ndarray
    modality: np.ndarray
    patient: np.ndarray

    def of(self, *modalities: str) -> Samples:
        """Return the images in these modalities."""
        keep = np.isin(self.modality, modalities)
        return Samples(*(values[keep] for values in self))


class Components(NamedTuple):
    """Principal components: ``points`` ``(images, components)``, ``shares`` of the variance ``(components,)``."""

    points: np.ndarray
    shares: np.ndarray


def principal_components(features: np.ndarray, most: int = COMPONENTS) -> Components:
    """Project standardised features on their first principal components; the largest loading of each is positive."""
    scaled = _standardise(features, features)
    variances, axes = np.linalg.eigh(scaled.T @ scaled)
    axes, variances = axes[:, ::-1][:, :most], variances[::-1].clip(0)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    total = variances.sum()
    return Components((scaled @ axes).round(DIGITS), variances[:most] / (total if total > 0 else 1.0))


def mean_proxy_distance(samples: Samples) -> float:
    """Return the mean of :func:`proxy_distance` over all pairs of modalities; NaN if a pair has none."""
    pairs = combinations(np.unique(samples.modality).tolist(), 2)
    distances = [proxy_distance(samples.of(*pair)) for pair in pairs]
    return float(np.mean(distances)) if distances else float("nan")


def proxy_distance(samples: Samples) -> float:
    """Return 2 (1 - 2 e) of two modalities, at least 0; ``samples`` hold principal components.

    ``e``: of a ridge classifier, cross-validated so that no patient is in both training and test folds; the mean error
    of a patient's images, averaged over patients, then over the two modalities. NaN with fewer than two patients in
    one of them.
    """
    first, second = np.unique(samples.modality)
    target = np.where(samples.modality == first, 1.0, -1.0)
    weights = _weights(samples)
    if any(len(set(samples.patient[samples.modality == m])) < 2 for m in (first, second)):
        return float("nan")
    wrong = np.zeros(len(target))
    for test in _folds(samples):
        if len(set(samples.modality[~test])) < 2:
            return float("nan")
        wrong[test] = _judge(samples.features, target, weights, test) * target[test] <= 0
    return float(max(0.0, 2 * (1 - 2 * (wrong @ weights))))


def _weights(samples: Samples) -> np.ndarray:
    """Return weights with which both modalities, and within one all its patients, count the same; their sum is 1."""
    names = np.char.add(np.char.add(samples.modality.astype(str), "\n"), samples.patient.astype(str))
    _, of, images = np.unique(names, return_inverse=True, return_counts=True)
    weights = 1.0 / images[of]
    for modality in np.unique(samples.modality):
        own = samples.modality == modality
        weights[own] /= 2 * weights[own].sum()
    return weights


def _folds(samples: Samples) -> Iterator[np.ndarray]:
    """Yield the images to test on; every modality's patients are dealt out in turn, in the order of their names."""
    fold: dict[str, int] = {}
    for modality in np.unique(samples.modality):
        for patient in np.unique(samples.patient[samples.modality == modality]).tolist():
            fold.setdefault(patient, len(fold) % FOLDS)
    of = np.array([fold[patient] for patient in samples.patient])
    for number in range(FOLDS):
        if (test := of == number).any():
            yield test


def _judge(features: np.ndarray, target: np.ndarray, weights: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the classifier's values for the images of ``test``, trained on the others."""
    train = ~test
    share = weights[train] / weights[train].sum()
    known, new = (np.c_[np.ones(rows.sum()), features[rows]] for rows in (train, test))
    penalty = np.full(known.shape[1], PENALTY)
    penalty[0] = 0.0
    weighted = known * share[:, None]
    return new @ np.linalg.solve(known.T @ weighted + np.diag(penalty), weighted.T @ target[train])


def _standardise(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Bring ``values`` to mean 0 and deviation 1 of ``by``; a constant channel becomes 0."""
    mean, spread = by.mean(axis=0, dtype=float), by.std(axis=0, dtype=float)
    return np.where(spread > 1e-12, (values - mean) / np.where(spread > 1e-12, spread, 1.0), 0.0)
