"""Who holds what: patients split into training, validation and test, training patients dealt to clients.

The patient is the unit: nobody is in two splits or in two clients, even if scanned with every modality. Test patients
are scored in every modality they have, so that cross-modality results are paired. No torch here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedbench.config import DataConfig, digest
from fedbench.data.dealing import Cases, deal_modalities, deal_sites, divide, main_modality, mix
from fedbench.data.prepared import PreparedCase, PreparedDataset, describe
from fedbench.data.splitting import Patients, by_patient, split
from fedbench.errors import UserError, nearest


@dataclass(frozen=True)
class ClientData:
    """One silo: its training and validation cases.

    Attributes:
        modality: the one modality it holds; of a client that holds several, the one most of its training cases have.
        parts: the clients a pooled client was made of, whose step counts add up to its own; empty for a plain client.
    """

    name: str
    modality: str
    train: tuple[PreparedCase, ...]
    val: tuple[PreparedCase, ...]
    parts: tuple[ClientData, ...] = ()

    @property
    def modalities(self) -> set[str]:
        """Every modality among its training cases."""
        return {case.modality for case in self.train}


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
            for name, cases in (("training", client.train), ("validation", client.val)):
                for case in cases:
                    homes[case.patient].add(f"{name} of client {client.name}")
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
        modality="+".join(dict.fromkeys(client.modality for client in clients)),
        train=tuple(case for client in clients for case in client.train),
        val=tuple(case for client in clients for case in client.val),
        parts=tuple(clients),
    )


def relation(client: ClientData, modality: str, unseen: str | None) -> str:
    """``in``: its main modality; ``minor``: one it has less of; ``cross``: only others have it; ``unseen``: nobody."""
    if modality == unseen:
        return "unseen"
    if modality == client.modality:
        return "in"
    return "minor" if modality in client.modalities else "cross"


def partition(dataset: PreparedDataset, config: DataConfig, seed: int) -> Federation:
    """Split the patients of ``dataset`` and deal those for training and validation to clients, as ``config`` says.

    With ``hide_test`` the clients are the same, ``test`` is empty, and the digest is another.

    Raises:
        UserError: an unknown modality to leave out, no client or no test patient left, or a client without training or
            validation patients.
    """
    if config.leave_out is not None and config.leave_out not in dataset.modalities:
        hint = nearest(config.leave_out, dataset.modalities)
        raise UserError(f"dataset '{dataset.name}' has no modality '{config.leave_out}' to leave out{hint}")
    trained = sorted(m for m in dataset.modalities if m != config.leave_out)  # no result depends on how they are listed
    if not trained:
        raise UserError(f"dataset '{dataset.name}': without '{config.leave_out}' no client is left to train.")
    patients = by_patient(dataset.cases)
    try:
        splits = split(patients, config)
        train, val = (_deal(patients, splits[part], trained, config, dataset.name, part, seed) for part in _PARTS)
    except UserError as error:
        raise UserError(f"dataset '{dataset.name}', seed {seed}: {error}") from None
    if not splits["test"]:
        raise UserError(
            f"dataset '{dataset.name}': [data] test_fraction = {config.test_fraction:g} leaves no test patient."
        )
    clients = tuple(_client(dataset.name, seed, name, train, val) for name in sorted({*train, *val}))
    test = tuple(case for patient in splits["test"] for case in patients[patient])
    shown = () if config.hide_test else test
    content = {
        "dataset": dataset.content,
        "unseen": config.leave_out,
        "clients": [
            {"name": c.name, "train": [describe(x) for x in c.train], "val": [describe(x) for x in c.val]}
            for c in clients
        ],
        "test": [describe(x) for x in shown],
    }
    federation = Federation(dataset.name, clients, test, config.leave_out, digest(content))
    federation.verify()
    return replace(federation, test=shown)


_PARTS = ("train", "val")


def _client(dataset: str, seed: int, name: str, train: dict[str, Cases], val: dict[str, Cases]) -> ClientData:
    own = [tuple(sorted(hands.get(name, []), key=lambda case: case.id)) for hands in (train, val)]
    if not all(own):
        missing = "validation" if own[0] else "training"
        raise UserError(
            f"dataset '{dataset}', seed {seed}: client '{name}' has no {missing} patient. Add patients, leave the "
            "modality out (--leave-out), make fewer clients, or change [data] test_fraction/val_fraction."
        )
    return ClientData(name, main_modality(own[0]), own[0], own[1])


def _deal(
    patients: Patients, chosen: Sequence[str], modalities: Sequence[str], config: DataConfig, dataset: str, part: str,
    seed: int,
) -> dict[str, Cases]:  # fmt: skip
    """Return every client's hand of the training or validation patients."""
    if config.clients == "site":
        return deal_sites(patients, chosen, modalities)
    hands: dict[str, tuple[str, list[str]]] = {}
    dealt = deal_modalities(patients, chosen, modalities, (dataset, "deal", part, seed))
    for modality, hand in dealt.items():
        if config.clients_per_modality == 1 or not hand:
            hands[modality] = (modality, hand)
            continue
        order, draw = (dataset, "divide", part, seed, modality), (dataset, "dirichlet", seed, modality)
        if len(hand) < config.clients_per_modality:
            kind, k = "training" if part == "train" else "validation", config.clients_per_modality
            raise UserError(
                f"modality '{modality}' has {len(hand)} {kind} patients for {k} clients; make fewer clients per "
                "modality, or change [data] test_fraction/val_fraction."
            )
        for number, own in enumerate(divide(patients, hand, modality, config, order, draw), start=1):
            hands[f"{modality}-{number}"] = (modality, own)
    stay = 1.0 if config.modality_mix is None else config.modality_mix
    mixed = mix(hands, stay, (dataset, "mix", part, seed))
    return {
        client: [case for modality, patient in pairs for case in patients[patient] if case.modality == modality]
        for client, pairs in mixed.items()
    }


def with_clients(federation: Federation, clients: Sequence[ClientData]) -> Federation:
    """Return ``federation`` with other clients (tests and studies); the digest is kept."""
    return replace(federation, clients=tuple(clients))
