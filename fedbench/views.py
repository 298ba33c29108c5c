"""What figures show of a test case: a few slices of image and truth, stored once for all runs on the same test cases.

``.views/<key>.npz`` under the results folder: ``image|<case>`` uint8 ``(S, X, Y, channels)``, scaled from the 0.5th to
the 99.5th percentile of the whole image; ``truth|<case>`` uint8 ``(S, X, Y)``; ``facts``, JSON as bytes. A run keeps
its predictions of the same slices (``predictions.npz``), so figures need neither the raw nor the prepared data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedbench.config import digest
from fedbench.data.prepared import PreparedCase, describe
from fedbench.errors import UserError
from fedbench.federation import Federation
from fedbench.files import write_atomic
from fedbench.reading import read_arrays, unlinked

FOLDER = ".views"
MOST = 3  # slices per case


@dataclass(frozen=True)
class CaseView:
    """What is shown of one test case.

    Attributes:
        image: uint8 ``(S, X, Y, channels)``.
        truth: uint8 ``(S, X, Y)``, 0 = background.
        slices: their numbers in the volume; ``[0]`` of a picture.
        best: which of them has the most truth.
        spacing: size of a voxel along X and Y, in ``unit``.
        picture: a 2-D image, drawn as it is; a slice is drawn as radiologists look at it (right on the left).
    """

    patient: str
    modality: str
    image: np.ndarray
    truth: np.ndarray
    slices: tuple[int, ...]
    best: int
    spacing: tuple[float, float]
    unit: str
    picture: bool


def shown_slices(true: np.ndarray) -> list[int]:
    """Return the slices to show of a truth ``(X, Y, Z)``: the one with most truth, and a quarter from both its ends."""
    counts = np.count_nonzero(true, axis=(0, 1))
    within = np.flatnonzero(counts) if counts.any() else np.arange(len(counts))
    ends = [int(within[round(share * (len(within) - 1))]) for share in (0.25, 0.75)]
    return sorted({int(counts.argmax()) if counts.any() else int(within[len(within) // 2]), *ends})[:MOST]


def cut(labels: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the shown slices of a label map ``(X, Y, Z)`` or ``(X, Y)``: ``(S, X, Y)``."""
    if true.ndim == 2:
        return np.ascontiguousarray(labels[None])
    return np.ascontiguousarray(np.moveaxis(labels[..., shown_slices(true)], -1, 0))


def view_of(case: PreparedCase) -> CaseView:
    """Cut the shown slices out of a prepared case."""
    label = np.moveaxis(np.asarray(case.label), 0, -1)
    picture = len(case.shape) == 2
    true = label[..., 0] if picture else label
    slices = [0] if picture else shown_slices(true)
    low, high = np.percentile(case.image, (0.5, 99.5))
    scaled = np.clip((np.asarray(case.image[slices]) - low) / max(high - low, 1e-6), 0, 1)
    truths = cut(true, true)
    return CaseView(
        case.patient, case.modality, np.rint(255 * np.moveaxis(scaled, 1, -1)).astype(np.uint8), truths, tuple(slices),
        int(np.count_nonzero(truths, axis=(1, 2)).argmax()), (case.spacing[0], case.spacing[1]), case.unit, picture,
    )  # fmt: skip


def views_key(federation: Federation) -> str:
    """Return the name of the views of a federation: the same for all runs on the same test cases."""
    return digest([describe(case) for case in federation.test])[:16]


def keep_views(root: Path, federation: Federation) -> str:
    """Write the views of the test cases under ``root`` unless they are there; return their key."""
    key = views_key(federation)
    target = unlinked(root, FOLDER) / f"{key}.npz"
    if not target.exists():
        save_views(target, {case.id: view_of(case) for case in federation.test})
    return key


def save_views(target: Path, views: Mapping[str, CaseView]) -> None:
    """Write views by case id, atomically; the same views give the same bytes."""
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for case, view in sorted(views.items()):
        arrays |= {f"image|{case}": view.image, f"truth|{case}": view.truth}
        facts[case] = {k: v for k, v in asdict(view).items() if k not in ("image", "truth")}
    arrays["facts"] = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    save_arrays(target, arrays)


def load_views(file: Path) -> dict[str, CaseView]:
    """Read what :func:`save_views` wrote.

    Raises:
        UserError: it is something else.
    """
    arrays = read_arrays(file)
    try:
        facts = json.loads(arrays["facts"].tobytes())
        return {
            case: CaseView(
                image=arrays[f"image|{case}"], truth=arrays[f"truth|{case}"],
                **fact | {"slices": tuple(fact["slices"]), "spacing": tuple(fact["spacing"])},
            )
            for case, fact in facts.items()
        }  # fmt: skip
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{file}: holds no pictures of test cases; delete it, and the next run makes it again."
        ) from None


def save_arrays(target: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed ``.npz``, atomically."""

    def write(part: Path) -> None:
        with open(part, "wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    write_atomic(target, write)


def array_key(kind: str, client: str | None, case: str) -> str:
    """Return the name of a deployed model's array for a case, in ``predictions.npz`` and ``features.npz``."""
    return f"{kind}|{client or ''}|{case}"


def read_key(key: str) -> tuple[str, str, str]:
    """Return (kind, client or ``""``, case) of :func:`array_key`."""
    kind, client, case = key.split("|", 2)
    return kind, client, case
