"""Plugins by name for the kit: an import that fails is a message, not a traceback."""

from __future__ import annotations

from typing import Any

from fedbench import registry
from fedbench.errors import UserError, nearest


def load(kind: registry.Kind, name: str) -> type[Any]:
    """Return the class of a plugin.

    Raises:
        UserError: there is none, or its file cannot be imported.
    """
    return registry.load(kind, registry.find(kind, name))


def kind_of(name: str) -> registry.Kind:
    """Say whether ``name``, an installed name or ``FILE.py:CLASS``, is an algorithm or a dataset.

    Raises:
        UserError: it is neither, or its file cannot be imported.
    """
    if ".py" in name:
        try:
            load("algorithm", name)
        except UserError as error:
            if "is not a fedbench.algorithm.Algorithm" not in str(error):
                raise
            load("dataset", name)
            return "dataset"
        return "algorithm"
    if name in registry.discover("algorithm"):
        return "algorithm"
    if name in registry.discover("dataset"):
        return "dataset"
    known = {**registry.discover("algorithm"), **registry.discover("dataset")}
    raise UserError(f"no algorithm and no dataset named '{name}'{nearest(name, known)}")
