"""The other process of :mod:`fedbench.testing.datasets.elsewhere`: it lists a dataset and reads a few of its cases.

Folders are listed there the other way round: their order is the file system's, and another machine has another.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from fedbench.dataset import Dataset
from fedbench.testing.answering import imported
from fedbench.testing.datasets.subject import Subject, described, volume_digest
from fedbench.testing.findings import raised


class Reversed:
    """What ``os.scandir`` returns, from the last entry to the first."""

    def __init__(self, entries: list[Any]) -> None:
        self.entries = iter(entries[::-1])

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def __next__(self) -> Any:
        return next(self.entries)

    def __enter__(self) -> Reversed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: all entries are read."""


def _list_backwards() -> None:
    listdir: Callable[..., list[Any]] = os.listdir
    scandir: Callable[..., Any] = os.scandir

    def backwards(*args: Any) -> Reversed:
        with scandir(*args) as entries:
            return Reversed(list(entries))

    os.listdir = lambda *args: listdir(*args)[::-1]
    os.scandir = backwards  # type: ignore[assignment]


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return what is listed, in words, and a digest of every case that is read; or the error."""
    try:
        cls: type[Dataset] = imported("dataset", question)
        _list_backwards()
        subject = Subject(cls(question["folder"], **question["params"]), None)
        digests = [[case.id, volume_digest(case.read())] for case in subject.first(question["cases"])]
        return {"listed": [described(each) for each in subject.listed], "read": digests}
    except Exception as error:
        return {"error": raised(error)}


if __name__ == "__main__":
    private = os.fdopen(os.dup(1), "w")  # a plugin that prints must not break the answer
    os.dup2(2, 1)
    private.write(json.dumps(answer(json.load(sys.stdin))))
    private.close()
    os._exit(0)  # whatever threads a plugin has left
