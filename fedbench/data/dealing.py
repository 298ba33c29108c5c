"""Training patients to clients: who holds whom, and in which modality.

A hand is the list of cases one client holds. Every patient is dealt once: all cases in one modality to one client, or
with clients by site all cases to the site. The dealing depends on the run's seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from fedbench.config import DataConfig
from fedbench.data.prepared import PreparedCase
from fedbench.data.splitting import Patients
from fedbench.errors import UserError
from fedbench.streams import derive_seed, shuffled

Cases = list[PreparedCase]
Names = tuple[object, ...]


def deal_sites(patients: Patients, chosen: Sequence[str], modalities: Sequence[str]) -> dict[str, Cases]:
    """Return the hand of every site: its patients' cases in ``modalities``.

    Raises:
        UserError: cases without a site, or a patient of two sites.
    """
    hands: dict[str, Cases] = defaultdict(list)
    for patient in chosen:
        cases = [case for case in patients[patient] if case.modality in modalities]
        sites = {case.site for case in cases}
        if "" in sites:
            raise UserError('[data] clients = "site": the data does not say from which site its cases are.')
        if len(sites) > 1:
            raise UserError(f'[data] clients = "site": patient {patient} is in sites {", ".join(sorted(sites))}.')
        for case in cases:
            hands[case.site].append(case)
    return dict(hands)


def deal_modalities(patients: Patients, chosen: Sequence[str], modalities: Sequence[str], names: Names) -> dict:
    """Return modality -> patients: who has several goes where, so far, fewest are; the order is given by ``names``."""
    hands: dict[str, list[str]] = {m: [] for m in modalities}
    has = {patient: {case.modality for case in patients[patient]} for patient in chosen}
    order = shuffled(list(chosen), *names)
    order.sort(key=lambda p: len(has[p] & set(modalities)))  # stable; who has no choice goes first
    for patient in order:
        able = [m for m in modalities if m in has[patient]]
        if able:
            hands[min(able, key=lambda m: len(hands[m]))].append(patient)
    return hands


def divide(
    patients: Patients, hand: Sequence[str], modality: str, config: DataConfig, names: Names, draw: Names
) -> list[list[str]]:
    """Divide the patients of one modality among ``clients_per_modality`` clients.

    Patients are grouped by their most prominent class (all in one group without ``class_skew``). Shares: even; with
    ``size_skew`` a draw from a symmetric Dirichlet distribution; with ``class_skew`` a draw per group around these
    (Hsu, Qi and Brown 2019, arXiv 1909.06335). Every client gets at least one patient.

    Args:
        names: of the order of the patients.
        draw: of the Dirichlet draws, the same for training and validation.
    """
    k = config.clients_per_modality
    sizes = dirichlet(np.ones(k) * config.size_skew, *draw, "size") if config.size_skew else np.full(k, 1 / k)
    groups: dict[int, list[str]] = defaultdict(list)
    prominent = _prominent_class(patients, hand, modality) if config.class_skew else {}
    for patient in shuffled(list(hand), *names):
        groups[prominent.get(patient, 0)].append(patient)
    hands: list[list[str]] = [[] for _ in range(k)]
    for label, members in sorted(groups.items()):
        share = dirichlet(config.class_skew * k * sizes, *draw, "class", label) if config.class_skew else sizes
        bounds = np.rint(np.cumsum([0.0, *share]) * len(members)).astype(int)
        for i, own in enumerate(hands):
            own += members[bounds[i] : bounds[i + 1]]
    for own in hands:
        if not own:
            own.append(max(hands, key=len).pop())
    return hands


def dirichlet(alpha: np.ndarray, *names: object) -> np.ndarray:
    """Draw shares that sum to 1 from a Dirichlet distribution.

    With numpy's legacy generator, whose streams never change between versions (numpy's NEP 19), unlike the new one's.
    """
    legacy = np.random.RandomState(derive_seed(*names) % 2**32)
    drawn = legacy.gamma(np.maximum(alpha, 1e-3), 1.0) + 1e-12
    return drawn / drawn.sum()


def _prominent_class(patients: Patients, hand: Sequence[str], modality: str) -> dict[str, int]:
    """Return for each patient the class that takes most of the image, compared with the mean of all patients."""
    voxels = np.array(
        [np.sum([c.voxels for c in patients[p] if c.modality == modality], axis=0) for p in hand], dtype=float
    )
    relative = voxels / np.maximum(voxels.mean(axis=0), 1.0)
    return {p: int(row.argmax()) + 1 if row.any() else 0 for p, row in zip(hand, relative, strict=True)}


def mix(hands: Mapping[str, tuple[str, list[str]]], stay: float, names: Names) -> dict[str, list[tuple[str, str]]]:
    """Move patients between clients so that a share ``stay`` of each hand stays.

    Args:
        hands: client -> (its modality, its patients).

    Returns:
        client -> (modality, patient) pairs; a moved patient keeps the modality it was dealt in.
    """
    mixed: dict[str, list[tuple[str, str]]] = {client: [] for client in hands}
    moved: Counter[str] = Counter()

    def of(client: str, modality: str) -> int:
        return sum(theirs == modality for theirs, _ in mixed[client])

    for client, (modality, members) in hands.items():
        others = [name for name, (theirs, _) in hands.items() if theirs != modality]
        staying = max(1, round(stay * len(members))) if others else len(members)
        order = shuffled(list(members), *names, client)
        mixed[client] += [(modality, patient) for patient in order[:staying]]
        for patient in order[staying:]:
            fewest = min(others, key=lambda name: (of(name, modality), moved[name]))
            mixed[fewest].append((modality, patient))
            moved[fewest] += 1
    return mixed


def main_modality(cases: Sequence[PreparedCase]) -> str:
    """Return the modality of most of ``cases``; of equals the first by name."""
    counts = Counter(case.modality for case in cases)
    return min(counts, key=lambda m: (-counts[m], m))
