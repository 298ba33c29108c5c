"""Who holds what: patients split into training, validation and test, training patients dealt to modality clients.

The patient is the unit: nobody is in two splits or in two clients, even if scanned with every modality. Test patients
are scored in every modality they have, so that cross-modality results are paired. The split depends on ``split_seed``
alone (the same test patients for all seeds of a suite); the dealing depends on the run's seed. No torch here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fedbench.config import DataConfig, digest
from fedbench.errors import UserError, nearest
from fedbench.preparation import PreparedCase, PreparedDataset, describe
from fedbench.streams import shuffled


@dataclass(frozen=True)
class ClientData:
    """One silo: its training and validation cases, all of one modality (except a pooled client's).

    ``parts``: the clients a pooled client was made of, whose step counts add up to its own; empty for a plain client.
    """

    name: str
    modality: str
    train: tuple[PreparedCase, ...]
    val: tuple[PreparedCase, ...]
    parts: tuple[ClientData, ...] = ()


@dataclass(frozen=True)
class Federation:
    """The clients of one dataset for one seed, the test cases, and the digest of it all."""

    dataset: str
    clients: tuple[ClientData, ...]
    test: tuple[PreparedCase, ...]
    unseen: str | None
    digest: str

    def verify(self) -> None:
        """Raise :class:`UserError` if a patient is in two splits or in two clients."""
        homes: dict[str, set[str]] = defaultdict(set)
        for client in self.clients:
            for split, cases in (("training", client.train), ("validation", client.val)):
                for case in cases:
                    homes[case.patient].add(f"{split} of client {client.name}")
        for case in self.test:
            homes[case.patient].add("test")
        for patient, places in sorted(homes.items()):
            if len(places) > 1:
                raise UserError(
                    f"partition of '{self.dataset}': patient {patient} is in {' and in '.join(sorted(places))}."
                )


def pooled(clients: Sequence[ClientData]) -> ClientData:
    """Return one client that holds all cases of ``clients``, whatever their order."""
    clients = sorted(clients, key=lambda client: client.name)
    return ClientData(
        name="pooled",
        modality="+".join(client.modality for client in clients),
        train=tuple(case for client in clients for case in client.train),
        val=tuple(case for client in clients for case in client.val),
        parts=tuple(clients),
    )


def partition(dataset: PreparedDataset, config: DataConfig, seed: int) -> Federation:
    """Deal the patients of ``dataset`` to one client per modality.

    Patients are grouped by the modalities they have; each group is split by the same fractions (at least one test and
    one validation patient per group of five or more). A patient who has several modalities goes to the client that so
    far holds the fewest, in an order given by ``seed``.

    Raises:
        UserError: an unknown modality to leave out, no client or no test patient left, or a client without training or
            validation patients.
    """
    if config.leave_out is not None and config.leave_out not in dataset.modalities:
        hint = nearest(config.leave_out, dataset.modalities)
        raise UserError(f"dataset '{dataset.name}' has no modality '{config.leave_out}' to leave out{hint}")
    trained = sorted(m for m in dataset.modalities if m != config.leave_out)  # no result depends on how they are listed
    by_patient: dict[str, dict[str, PreparedCase]] = defaultdict(dict)
    for case in dataset.cases:
        by_patient[case.patient][case.modality] = case
    splits = _split(by_patient, config)
    dealt = {
        split: _deal(splits[split], by_patient, trained, (dataset.name, "deal", split, seed))
        for split in ("train", "val")
    }
    clients = tuple(ClientData(m, m, tuple(dealt["train"][m]), tuple(dealt["val"][m])) for m in trained)
    if not clients:
        raise UserError(f"dataset '{dataset.name}': without '{config.leave_out}' no client is left to train.")
    if not splits["test"]:
        raise UserError(
            f"dataset '{dataset.name}': [data] test_fraction = {config.test_fraction:g} leaves no test patient."
        )
    for client in clients:
        if not client.train or not client.val:
            missing = "training" if not client.train else "validation"
            raise UserError(
                f"dataset '{dataset.name}', seed {seed}: client '{client.name}' has no {missing} patient. "
                "Add patients, leave the modality out (--leave-out), or change [data] test_fraction/val_fraction."
            )
    test = tuple(case for p in splits["test"] for _, case in sorted(by_patient[p].items()))
    content = {
        "dataset": dataset.content,
        "unseen": config.leave_out,
        "clients": [
            {"name": c.name, "train": [describe(x) for x in c.train], "val": [describe(x) for x in c.val]}
            for c in clients
        ],
        "test": [describe(x) for x in test],
    }
    federation = Federation(dataset.name, clients, test, config.leave_out, digest(content))
    federation.verify()
    return federation


def _split(by_patient: dict[str, dict[str, PreparedCase]], config: DataConfig) -> dict[str, list[str]]:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient, cases in by_patient.items():
        groups[tuple(sorted(cases))].append(patient)
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for modalities, patients in sorted(groups.items()):
        order = shuffled(patients, "split", config.split_seed, *modalities)
        n_test = _share(len(order), config.test_fraction)
        n_val = _share(len(order), config.val_fraction)
        splits["test"] += order[:n_test]
        splits["val"] += order[n_test : n_test + n_val]
        splits["train"] += order[n_test + n_val :]
    return {name: sorted(patients) for name, patients in splits.items()}


def _share(total: int, fraction: float) -> int:
    return max(1 if total >= 5 else 0, round(total * fraction))


def _deal(
    patients: Iterable[str], by_patient: dict[str, dict[str, PreparedCase]], modalities: Sequence[str], names: tuple
) -> dict[str, list[PreparedCase]]:
    hands: dict[str, list[PreparedCase]] = {m: [] for m in modalities}
    order = shuffled(list(patients), *names)
    order.sort(key=lambda p: len(by_patient[p].keys() & set(modalities)))  # stable; who has no choice goes first
    for patient in order:
        able = [m for m in modalities if m in by_patient[patient]]
        if able:
            chosen = min(able, key=lambda m: len(hands[m]))
            hands[chosen].append(by_patient[patient][chosen])
    return {m: sorted(cases, key=lambda case: case.id) for m, cases in hands.items()}


def with_clients(federation: Federation, clients: Sequence[ClientData]) -> Federation:
    """Return ``federation`` with other clients (tests and studies); the digest is kept."""
    return replace(federation, clients=tuple(clients))
