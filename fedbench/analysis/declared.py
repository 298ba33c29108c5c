"""What the installed dataset plugins say of the data that results are about: of what kind their patients are."""

from __future__ import annotations

from functools import cache
from typing import Any

from fedbench import registry
from fedbench.dataset import Dataset
from fedbench.errors import UserError

PATIENT = Dataset.patient


def plugin_of(name: str) -> Any | None:
    """Return the installed plugin that reads the dataset ``name``; None if there is none.

    A plugin whose modalities depend on the folder that it is given names its data after that, too: ``PLUGIN-FOLDER``.
    """
    try:
        plugins = registry.discover("dataset")
        if name in plugins:
            return registry.load("dataset", plugins[name])
        readers = [registry.load("dataset", plugins[key]) for key in plugins if name.startswith(f"{key}-")]
        return next((reader for reader in readers if not hasattr(reader, "modalities")), None)
    except (UserError, ImportError):
        return None


@cache
def unit_of(dataset: str) -> str:
    """Return what a patient of a dataset is: ``patient``, or as its plugin declares, ``field of view``."""
    return str(getattr(plugin_of(dataset), "patient", PATIENT))
