"""What a suite names: the classes of its algorithms and datasets, and one of them made, or refused in a line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench import registry
from fedbench.algorithm import Algorithm
from fedbench.config import digest
from fedbench.dataset import Dataset
from fedbench.errors import UserError
from fedbench.sources import code_digest, preparing_digest


@dataclass(frozen=True)
class Entry:
    """A plugin as a suite names it.

    Attributes:
        code: the digest of its source.
    """

    spec: registry.Spec
    cls: type[Any]
    code: str


def entry_of(kind: registry.Kind, text: str) -> Entry:
    """Return the plugin that ``text`` (``sts=PATH``, ``my.py:Mine[mu=1]``) names."""
    spec, cls = registry.named(kind, text)
    return Entry(spec, cls, code_digest(cls))


def make_algorithm(spec: registry.Spec, cls: type[Algorithm]) -> Algorithm:
    """Return the algorithm with its parameters checked.

    Raises:
        UserError: a parameter is refused, or its own code raises.
    """
    with refusing_broken(spec, cls):
        return cls(**dict(spec.params))


def label_of(spec: registry.Spec, cls: type[Algorithm]) -> str:
    """Return what tables call an algorithm with these parameters."""
    return cls.name + spec.text.removeprefix(spec.name)


@contextlib.contextmanager
def refusing_broken(spec: registry.Spec, cls: type[Algorithm]) -> Iterator[None]:
    """Tell in one line, with the line of its file, what a plugin from a file raises while it is set up.

    What goes wrong with an algorithm that is installed is a fault of its package: it keeps its traceback.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if ".py" not in spec.name:
            raise
        raise UserError(f"algorithm '{label_of(spec, cls)}' cannot be set up: {said_by(cls, error)}") from error


def said_by(cls: type[Algorithm], error: BaseException) -> str:
    """Return in one line what an algorithm raised, with the last line of its file that led to it."""
    file = getattr(sys.modules[cls.__module__], "__file__", None)
    return registry.in_a_line(error, Path(file) if file else None)


def make_dataset(spec: registry.Spec, cls: type[Dataset]) -> Dataset:
    """Return the dataset with its path and parameters checked."""
    return cls(spec.path, **dict(spec.params))


def preparing_code(dataset_code: str) -> str:
    """Return the digest of all source that turns raw files into a prepared store."""
    return digest([dataset_code, preparing_digest()])
