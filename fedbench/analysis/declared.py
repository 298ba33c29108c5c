"""What the installed dataset plugins say of the data that results are about: of what kind their patients are."""

from __future__ import annotations

from functools import cache
from typing import Any

from fedbench import registry
from fedbench.dataset import Dataset
from fedbench.errors import UserError

PATIENT = Dataset.patient


def plugin_of(name: str) -> Any | None:
    """Return the installed dataset plugin ``name``; None if there is none."""
    try:
        found = registry.discover("dataset").get(name)
        return None if found is None else registry.load("dataset", found)
    except (UserError, ImportError):
        return None


@cache
def unit_of(dataset: str) -> str:
    """Return what a patient of a dataset is: ``patient``, or as its plugin declares, ``field of view``."""
    return str(getattr(plugin_of(dataset), "patient", PATIENT))
