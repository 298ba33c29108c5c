"""Patients into training, validation and test: by fractions or by folds, stratified by modality and site.

The split depends on ``split_seed`` alone, so the test patients are the same for all seeds and all algorithms. Nothing
here draws from a random generator: an order is a sort by sha256, the same in every process and version of Python.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fedbench.config import DataConfig
from fedbench.data.prepared import PreparedCase
from fedbench.errors import UserError
from fedbench.streams import shuffled

Patients = Mapping[str, Sequence[PreparedCase]]  # patient -> all cases


def by_patient(cases: Sequence[PreparedCase]) -> dict[str, list[PreparedCase]]:
    """Return every patient's cases, by name and id."""
    patients: dict[str, list[PreparedCase]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: (case.patient, case.id)):
        patients[case.patient].append(case)
    return dict(patients)


def split(patients: Patients, config: DataConfig) -> dict[str, list[str]]:
    """Return the names of the patients of ``train``, ``val`` and ``test``, each sorted.

    Patients who have the same modalities form a group. Of every group the same share is taken for testing (or every
    k-th for fold k), spread evenly over its sites; at least one patient of a group of five or more.

    Raises:
        UserError: fewer patients than folds, or no test patient.
    """
    if config.folds and config.folds > len(patients):
        raise UserError(f"[data] folds = {config.folds}, but there are only {len(patients)} patients.")
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient, cases in patients.items():
        groups[tuple(sorted({case.modality for case in cases}))].append(patient)
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    dealt = 0
    for modalities, members in sorted(groups.items()):
        order = _by_site(patients, shuffled(members, "split", config.split_seed, *modalities))
        if config.folds:
            test = [p for i, p in enumerate(order, start=dealt) if i % config.folds == (config.fold or 0)]
            dealt += len(order)
        else:
            test = evenly(order, _share(len(order), config.test_fraction))
        rest = [p for p in order if p not in set(test)]
        val = evenly(rest, min(_share(len(order), config.val_fraction), len(rest)))
        splits["test"] += test
        splits["val"] += val
        splits["train"] += [p for p in rest if p not in set(val)]
    return {name: sorted(members) for name, members in splits.items()}


def evenly(items: Sequence[str], n: int) -> list[str]:
    """Return ``n`` of ``items``, evenly spread over their order (systematic sampling)."""
    return [items[(2 * i + 1) * len(items) // (2 * n)] for i in range(n)]


def _by_site(patients: Patients, order: list[str]) -> list[str]:
    """Sort by site; the sort is stable, so patients of a site keep the order they came in."""
    return sorted(order, key=lambda patient: sorted({case.site for case in patients[patient]}))


def _share(total: int, fraction: float) -> int:
    return max(1 if total >= 5 else 0, round(total * fraction))
