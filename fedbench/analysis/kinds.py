"""Algorithms but for the numbers among their parameters, which were tuned: what ablations show in several sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fedbench.analysis.analyses import is_reference_point
from fedbench.analysis.statistics.scores import ScoreMatrix
from fedbench.registry import Spec, parse_spec


def kind_of(label: str) -> str:
    """Return a label without the numbers among its parameters, which were tuned: ``fedprox[mu=0.1]`` is ``fedprox``."""
    setting, space, deployment = label.partition(" (")
    spec = parse_spec(setting)
    words = tuple((name, value) for name, value in spec.params if isinstance(value, str))
    return f"{Spec(spec.name, words).text}{space}{deployment}"


def by_kind(labels: Sequence[str]) -> dict[str, str]:
    """Return labels by their kinds; by themselves where several are of one kind."""
    many = Counter(map(kind_of, labels))
    return {kind if many[kind := kind_of(label)] == 1 else label: label for label in labels}


def alike(matrices: Sequence[ScoreMatrix]) -> list[ScoreMatrix]:
    """Return ``matrices`` with one name for an algorithm whose tuned numbers differ between them: its kind.

    Labels stay where they are the same everywhere, and where a matrix has two of a kind.
    """
    several = {kind for m in matrices for kind, n in Counter(map(kind_of, m.algorithms)).items() if n > 1}
    labels: dict[str, set[str]] = {}
    for label in (label for m in matrices for label in m.algorithms):
        labels.setdefault(kind_of(label), set()).add(label)
    renamed = {label: kind for kind, own in labels.items() if len(own) > 1 and kind not in several for label in own}
    return [_renamed(m, renamed) for m in matrices]


def federated_alike(matrices: Sequence[ScoreMatrix]) -> list[ScoreMatrix]:
    """Return ``matrices`` with the federated algorithms alone, whose names are :func:`alike`."""
    federated = [[label for label in m.algorithms if not is_reference_point(label)] for m in matrices]
    return alike([replace(m, values=m.values[own]) for m, own in zip(matrices, federated, strict=True)])


def _renamed(matrix: ScoreMatrix, names: dict[str, str]) -> ScoreMatrix:
    values, by_seed = (frame.rename(columns=names).sort_index(axis=1) for frame in (matrix.values, matrix.by_seed))
    return replace(matrix, values=values, by_seed=by_seed, counts=matrix.counts.rename(index=names))


def family(label: str) -> str:
    """``fedprox[mu=0.1]`` -> ``fedprox``, ``fedbn[norms=all] (personal)`` -> ``fedbn (personal)``."""
    name, _, rest = label.partition("[")
    return name + rest.rpartition("]")[2] if rest else name
