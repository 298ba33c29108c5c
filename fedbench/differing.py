"""What runs say decided their bits, and whether two have the same scores and curves: tables alone, nothing trains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

DECIDING = ("python", "torch", "monai", "numpy", "scipy")  # whose versions decide a run's bits
ATTEMPTS = "attempts"  # of a run: absent from its ``run.json`` where all computed with the same
TIMED = ("seconds", "validation seconds")  # metrics of rounds that are never the same twice


def attempts_of(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what says with which versions and hardware a run was computed, in turn; it speaks for its last attempt.

    Args:
        run: its ``run.json``, or what is published of that.
    """
    return [*(run.get(ATTEMPTS) or ())[:-1], run]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold, as ``training.lr`` and its value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def short(value: Any) -> str:
    """Return a value as text; of a digest the beginning."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


def untimed(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the training curves without what is never the same twice."""
    return rounds[~rounds["metric"].isin(TIMED)].reset_index(drop=True)


def differing_rows(what: str, first: pd.DataFrame, second: pd.DataFrame) -> Iterator[str]:
    """Yield what differs between two tables in the columns that both have, whatever the order of their rows."""
    if len(first) != len(second):
        yield f"{what}: {len(first)} rows against {len(second)}"
        return
    columns = [column for column in first.columns if column in second.columns]
    names = [column for column in columns if not pd.api.types.is_float_dtype(first[column])]
    first, second = (frame.sort_values(names, ignore_index=True, kind="stable") for frame in (first, second))
    for column in columns:
        a, b = first[column], second[column]
        same = (a == b) | (a.isna() & b.isna())
        if not same.all():
            apart = f", at most {np.nanmax(np.abs(a - b)):.3g} apart" if pd.api.types.is_numeric_dtype(a) else ""
            yield f"{what}: {(~same).sum()} of {len(same)} values of '{column}' differ{apart}"
