"""Algorithms but for the numbers that were tuned: what ablations show in several sizes."""

from __future__ import annotations

from fedbench.analysis.paper.study import Part
from fedbench.registry import Spec, parse_spec


def kind_of(label: str) -> str:
    """Return a label without the numbers among its parameters, which were tuned: ``fedprox[mu=0.1]`` is ``fedprox``."""
    setting, space, deployment = label.partition(" (")
    spec = parse_spec(setting)
    words = tuple((name, value) for name, value in spec.params if isinstance(value, str))
    return f"{Spec(spec.name, words).text}{space}{deployment}"


def has_one_of_each_kind(part: Part) -> bool:
    """Whether no two labels differ by numbers alone, as they do in an ablation."""
    return len({kind_of(label) for label in part.labels}) == len(part.labels)
