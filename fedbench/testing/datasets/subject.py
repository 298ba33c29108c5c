"""The dataset that is checked: its cases as listed, and the few of them that are read."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from functools import cached_property

from fedbench.dataset import Case, Dataset, Volume
from fedbench.errors import UserError

FEW = 2  # of each modality, for rules that read a case several times


class Subject:
    """One dataset on one folder.

    Args:
        cases: how many of each modality are read; None for all.
    """

    def __init__(self, dataset: Dataset, cases: int | None) -> None:
        self.dataset, self.most = dataset, cases
        self.cls = type(dataset)
        self.labels: dict[str, set[int]] = {}  # of the cases read so far

    def again(self) -> Dataset:
        """Return another instance for the same folder."""
        return self.cls(self.dataset.path, **self.dataset.params.model_dump())

    @cached_property
    def listed(self) -> list[Case | UserError]:
        """What the dataset lists, problems included."""
        return list(self.dataset.cases())

    @cached_property
    def cases(self) -> list[Case]:
        """The cases without the problems."""
        return [case for case in self.listed if isinstance(case, Case)]

    @property
    def chosen(self) -> list[Case]:
        """The cases that are read."""
        return self.first(self.most)

    def first(self, most: int | None) -> list[Case]:
        """Return the first ``most`` cases of each modality, in their order."""
        if most is None:
            return self.cases
        counts: Counter[str] = Counter()
        first = []
        for case in self.cases:
            counts[case.modality] += 1
            if counts[case.modality] <= most:
                first.append(case)
        return first

    def limited(self, cases: list[Case]) -> Dataset:
        """Return the dataset as if it listed ``cases`` alone."""
        limited = copy.copy(self.dataset)
        limited.cases = lambda: cases  # type: ignore[method-assign]
        return limited


def described(found: Case | UserError) -> str:
    """Return what a dataset lists in words: all of a case but its read."""
    if isinstance(found, UserError):
        return f"problem: {found}"
    site = f" at {found.site}" if found.site else ""
    return f"{found.id}{site} ({', '.join(map(str, found.sources)) or 'no sources'})"


def volume_digest(volume: Volume) -> str:
    """Return the sha256 of everything a volume holds."""
    sha = hashlib.sha256(repr((volume.image.shape, volume.image.dtype.str, volume.spacing)).encode())
    sha.update(volume.image.tobytes())
    sha.update(volume.label.tobytes())
    return sha.hexdigest()
