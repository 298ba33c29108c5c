"""Scores: of clients' models on validation cases, of every deployed model on test cases, one row per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from fedbench.algorithm import MODEL, Deployment
from fedbench.config import EvaluationConfig
from fedbench.data.prepared import PreparedCase
from fedbench.engine.compute import Compute
from fedbench.engine.inference import predict, truth
from fedbench.engine.reestimation import batch_norms, reestimate, samples_of, training_cases
from fedbench.engine.task import Task
from fedbench.federation import ClientData, Federation, relation
from fedbench.metrics import ClassScore, score_case
from fedbench.models import SegmentationNetwork


def load_deployment(networks: nn.ModuleDict, deployment: Deployment) -> None:
    """Put a deployed model's weights into the segmentation network."""
    networks["model"].load_state_dict({k.removeprefix(MODEL): v for k, v in deployment.entries.items()})


def dice_per_class(prediction: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """Return Dice of labels 1..classes; NaN where both masks are empty."""
    joint = np.bincount(
        (true.astype(np.int64) * (classes + 1) + prediction).ravel(), minlength=(classes + 1) ** 2
    ).reshape(classes + 1, classes + 1)
    sizes = (joint.sum(0) + joint.sum(1))[1:].astype(float)
    return np.divide(2.0 * joint.diagonal()[1:], sizes, out=np.full(classes, np.nan), where=sizes > 0)


def deployed_to(client: ClientData, deployments: Sequence[Deployment]) -> Deployment:
    """Return the model that ``client`` uses: its own where it has one, otherwise the first that everybody has."""
    own = [d for d in deployments if d.client == client.name]
    return (own or [d for d in deployments if d.client is None])[0]


def validation_dice(
    task: Task, networks: nn.ModuleDict, deployments: Sequence[Deployment], compute: Compute
) -> dict[str, float]:
    """Return each client's mean Dice of its deployed model on its own validation cases (3-D, both-empty left out)."""
    scores: dict[str, float] = {}
    loaded = None
    for client in task.federation.clients:
        deployment = deployed_to(client, deployments)
        if deployment is not loaded:
            load_deployment(networks, deployment)
            loaded = deployment
        model: SegmentationNetwork = networks["model"]  # type: ignore[assignment]
        values = [
            dice_per_class(predict(model, case, compute, task.size), truth(case), task.classes) for case in client.val
        ]
        flat = np.concatenate(values)
        scores[client.name] = float(np.nanmean(flat)) if np.isfinite(flat).any() else 0.0
    return scores


def evaluate(
    task: Task,
    regions: Mapping[str, Sequence[int]],
    config: EvaluationConfig,
    networks: nn.ModuleDict,
    deployments: Sequence[Deployment],
    selection: str,
    compute: Compute,
    keep: Callable[[Deployment, PreparedCase, np.ndarray], None] = lambda *_: None,
) -> list[dict[str, Any]]:
    """Score every deployed model on every test case in every modality.

    A global model is run once and its scores are listed for each client that uses it, so a row always says whose model
    it is. ``keep`` sees each predicted label map. With ``config.reestimate`` a model for everybody with BatchNorm is
    scored once more, as deployment ``reestimated``, with statistics from the training images of each case's modality.

    Args:
        regions: what is scored, by name: one label, or several as one structure (whole tumour = oedema and core).

    Returns:
        rows with client, client_modality, deployment, selection, relation, modality, patient, case, unit (of lengths:
        mm, or px where nobody knows how large a pixel is), label, class, dice, hd95 (in unit), nsd, volume_truth and
        volume_prediction (3-D: ml; 2-D: unit squared), flag.
    """
    rows: list[dict[str, Any]] = []
    federation: Federation = task.federation
    tolerances = {"mm": config.nsd_tolerance_mm, "px": config.nsd_tolerance_px}
    model: SegmentationNetwork = networks["model"]  # type: ignore[assignment]

    def score(kind: str, users: Sequence[ClientData], case: PreparedCase) -> np.ndarray:
        """Add the rows of one model on one case, for every client that uses it; return its prediction."""
        prediction = predict(model, case, compute, task.size)
        scores = score_regions(prediction, truth(case), regions, case.spacing, tolerances[case.unit])
        for client in users:
            where = {
                "client": client.name,
                "client_modality": client.modality,
                "deployment": kind,
                "selection": selection,
                "relation": relation(client, case.modality, federation.unseen),
                "modality": case.modality,
                "patient": case.patient,
                "case": case.id,
                "unit": case.unit,
            }
            rows.extend(where | {"class": name} | _columns(value) for name, value in scores.items())
        return prediction

    for deployment in deployments:
        load_deployment(networks, deployment)
        users = [c for c in federation.clients if deployment.client in (None, c.name)]
        for case in federation.test:
            keep(deployment, case, score(deployment.kind, users, case))
        if config.reestimate and deployment.client is None and batch_norms(model):
            kind = "reestimated" if deployment.kind == "global" else f"{deployment.kind}, reestimated"
            for modality, cases in training_cases(federation).items():
                samples = samples_of(cases, task.size, task.training.batch_size, task.data.patches_per_case)
                reestimate(model, samples, compute)
                for case in federation.test:
                    if case.modality == modality:
                        score(kind, users, case)
    return rows


def score_regions(
    prediction: np.ndarray,
    true: np.ndarray,
    regions: Mapping[str, Sequence[int]],
    spacing: Sequence[float],
    tolerance: float,
) -> dict[str, ClassScore]:
    """Score each region, the union of its labels; ``ClassScore.label`` numbers the regions from 1."""
    scores = {}
    for number, (name, labels) in enumerate(regions.items(), start=1):
        predicted, actual = (np.isin(array, labels).astype(np.uint8) for array in (prediction, true))
        (score,) = score_case(predicted, actual, [1], spacing, tolerance)
        scores[name] = replace(score, label=number)
    return scores


def _columns(score: ClassScore) -> dict[str, Any]:
    return {
        "label": score.label,
        "dice": score.dice,
        "hd95": score.hd95,
        "nsd": score.nsd,
        "volume_truth": score.volume_truth,
        "volume_prediction": score.volume_prediction,
        "flag": score.flag,
    }
