"""Several clients per modality, mixed clients, clients by site: properties, and small cases worked by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedbench.config import DataConfig
from fedbench.data.dealing import dirichlet, main_modality, mix
from fedbench.data.prepared import PreparedDataset
from fedbench.errors import UserError
from fedbench.federation import Federation, partition, relation
from tests.data.test_splitting import sited
from tests.toys import MODALITIES, full, in_another_process, listing

options = st.fixed_dictionaries(
    {"clients_per_modality": st.integers(2, 3)},
    optional={
        "size_skew": st.floats(0.05, 50),
        "class_skew": st.floats(0.05, 50),
        "modality_mix": st.floats(0.4, 1),
        "leave_out": st.sampled_from(MODALITIES),
    },
)
seeds = st.integers(0, 2**31)


def with_classes(dataset: PreparedDataset, classes: int = 3) -> PreparedDataset:
    """Give patient number i mostly class i % classes."""
    names = sorted({case.patient for case in dataset.cases})
    voxels = {name: tuple(50 if k == i % classes else 5 for k in range(classes)) for i, name in enumerate(names)}
    cases = tuple(replace(case, voxels=voxels[case.patient]) for case in dataset.cases)
    return replace(dataset, cases=cases, classes=tuple("abc"[:classes]))


def sizes(federation: Federation, modality: str) -> list[int]:
    return [len(client.train) for client in federation.clients if client.name.startswith(modality)]


@settings(max_examples=80)
@given(st.integers(60, 90), options, seeds)
def test_everybody_is_dealt_once_and_nobody_goes_empty(n, values, seed):
    dataset = with_classes(listing(full(n)))
    federation = partition(dataset, DataConfig(**values), seed)
    homes = Counter(case.patient for c in federation.clients for case in (*c.train, *c.val))
    tested = {case.patient for case in federation.test}
    assert set(homes.values()) == {1} and not tested & set(homes) and len(tested) + len(homes) == n
    unseen = values.get("leave_out")
    assert len(federation.clients) == values["clients_per_modality"] * (3 - (unseen is not None))
    assert all(client.train and client.val for client in federation.clients)
    assert unseen not in {case.modality for c in federation.clients for case in (*c.train, *c.val)}
    assert federation.digest == partition(dataset, DataConfig(**values), seed).digest


def test_without_skew_clients_of_a_modality_are_alike():
    """90 patients: 27 test, round(13.5) = 14 validation, 49 training: 16 or 17 per modality, 8 or 9 per client."""
    federation = partition(listing(full(90)), DataConfig(clients_per_modality=2), 0)
    assert [client.name for client in federation.clients] == [f"{m}-{i}" for m in sorted(MODALITIES) for i in (1, 2)]
    assert {client.modality for client in federation.clients} == set(MODALITIES)
    assert all(size in (8, 9) for m in MODALITIES for size in sizes(federation, m))


def test_a_small_concentration_makes_sizes_uneven_and_a_large_one_even():
    dataset = listing(full(120))

    def spread(skew: float) -> float:
        drawn = [partition(dataset, DataConfig(clients_per_modality=3, size_skew=skew), seed) for seed in range(8)]
        return float(np.mean([np.ptp(sizes(federation, m)) for federation in drawn for m in MODALITIES]))

    assert spread(0.3) > 8 > 3 > spread(1000.0)


def test_a_small_concentration_keeps_classes_apart():
    """How far the prominent classes of a client are from those of all: total variation, mean over clients."""
    dataset = with_classes(listing(full(120)))

    def apart(skew: float | None) -> float:
        distances = []
        for seed in range(6):
            config = DataConfig(clients_per_modality=2, class_skew=skew)
            for client in partition(dataset, config, seed).clients:
                counts = np.bincount([int(np.argmax(case.voxels)) for case in client.train], minlength=3)
                distances.append(np.abs(counts / counts.sum() - 1 / 3).sum() / 2)
        return float(np.mean(distances))

    assert apart(0.1) > 2 * apart(None)
    assert apart(0.1) > apart(10.0)


def test_somebody_stays_with_every_client():
    """Of one patient in a hand four tenths are none: a client would hold nothing of its own modality."""
    hands = {modality: (modality, [f"{modality} patient"]) for modality in MODALITIES}
    mixed = mix(hands, 0.4, ("names",))
    assert mixed == {modality: [(modality, f"{modality} patient")] for modality in MODALITIES}


def test_a_large_organ_is_not_the_prominent_class_of_everybody():
    """Half of the patients have twice as much of the small organ as the others; a large one fills all images alike."""
    dataset = listing(full(120))
    names = sorted({case.patient for case in dataset.cases})
    voxels = {name: (1000, 20 if i % 2 else 40) for i, name in enumerate(names)}
    cases = tuple(replace(case, voxels=voxels[case.patient]) for case in dataset.cases)
    apart = []  # from one half, for every patient of a client
    for seed in range(6):
        config = DataConfig(clients_per_modality=2, class_skew=0.1)
        for client in partition(replace(dataset, cases=cases, classes=("large", "small")), config, seed).clients:
            share = np.mean([case.voxels[1] == 40 for case in client.train])
            apart += [abs(share - 0.5)] * len(client.train)
    assert np.mean(apart) > 0.15


@pytest.mark.parametrize("stay", [0.9, 0.5])
def test_the_share_that_stays(stay):
    """30 training patients in each of three hands: 27 (15) stay, 3 (15) go to the two others, in their modality."""
    config = DataConfig(modality_mix=stay, test_fraction=0.1, val_fraction=0.1)
    federation = partition(listing(full(112)), config, 0)
    for client in federation.clients:
        counts = Counter(case.modality for case in client.train)
        staying = round(stay * 30)
        assert counts[client.name] == staying
        others = [counts[m] for m in MODALITIES if m != client.name]
        assert abs(sum(counts.values()) - 30) <= 1 and max(others) - min(others) <= 1
        assert client.modality == client.name == main_modality(client.train)
        assert relation(client, client.name, None) == "in"
        assert {relation(client, m, None) for m in MODALITIES if m != client.name} == {"minor"}
    assert partition(listing(full(112)), replace_mix(config, 1.0), 0).digest != federation.digest


def replace_mix(config: DataConfig, value: float) -> DataConfig:
    return config.model_copy(update={"modality_mix": value})


def test_everything_staying_is_the_plain_partition():
    plain, mixed = (partition(listing(full(40)), DataConfig(modality_mix=mix), 0) for mix in (None, 1.0))
    assert plain.digest == mixed.digest


def test_clients_by_site_hold_what_the_site_has():
    dataset = sited(listing(full(40) | {f"Q{i:02d}": ["CT"] for i in range(20)}), "ABAB")
    federation = partition(dataset, DataConfig(clients="site"), 0)
    assert [client.name for client in federation.clients] == ["A", "B"]
    for client in federation.clients:
        assert {case.site for case in (*client.train, *client.val)} == {client.name}
        assert client.modality == "CT" and client.modalities == set(MODALITIES)
        assert [relation(client, m, None) for m in MODALITIES] == ["in", "minor", "minor"]
    again = partition(dataset, DataConfig(clients="site", leave_out="CT"), 0)
    assert all(case.modality != "CT" for client in again.clients for case in client.train)
    federation.verify()


def test_sites_that_are_not_known_or_not_one_are_refused():
    dataset = sited(listing(full(30)), "AB")
    with pytest.raises(UserError, match="does not say from which site"):
        partition(listing(full(30)), DataConfig(clients="site"), 0)
    moved = tuple(replace(c, site="B") if c.id == "P00/CT" else c for c in dataset.cases)
    with pytest.raises(UserError, match="patient P00 is in sites A, B"):
        for split_seed in range(20):  # P00 may be a test patient, whose site matters to nobody
            partition(replace(dataset, cases=moved), DataConfig(clients="site", split_seed=split_seed), 0)


def test_too_few_patients_for_so_many_clients():
    with pytest.raises(UserError, match=r"has 1 validation patients for 3 clients; make fewer"):
        partition(listing(full(20)), DataConfig(clients_per_modality=3), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unlabelled_share": 0.5}, "every training case has its mask"),
        ({"size_skew": 1.0}, "set clients_per_modality"),
        ({"class_skew": 1.0}, "set clients_per_modality"),
        ({"clients": "site", "clients_per_modality": 2}, "takes the hospitals as they are"),
        ({"clients": "site", "modality_mix": 0.9}, "takes the hospitals as they are"),
        ({"fold": 0}, "fold 0 is one of how many"),
        ({"folds": 3, "fold": 3}, "no fold 3 of 3: they count from 0, so the last one is 2"),
        ({"modality_mix": 0.0}, "greater than 0"),
        ({"folds": 1}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_dealt_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        DataConfig(**values)


FROZEN = {
    "plain": ({}, "29f5f57cde78c2a4"),
    "folds": ({"folds": 5, "fold": 2}, "1fd693851e2e575f"),
    "unseen": ({"leave_out": "MR"}, "47a527ef2f283127"),
    "divided": ({"clients_per_modality": 2, "size_skew": 0.5, "class_skew": 0.5}, "a45a02368efb2b69"),
    "mixed": ({"modality_mix": 0.8}, "31bc56291e419da9"),
    "sites": ({"clients": "site"}, "df8c7c7fa8734645"),
}


@pytest.mark.parametrize("kind", FROZEN)
def test_partitions_never_change(kind):
    """The digests of today, whatever the version of Python, numpy or pandas: older results stay comparable."""
    values, digest = FROZEN[kind]
    dataset = with_classes(sited(listing(full(90)), "ABC"))
    assert partition(dataset, DataConfig(**values), 7).digest[:16] == digest


def test_the_digest_is_the_same_in_another_process():
    code = """
        from fedbench.config import DataConfig
        from fedbench.federation import partition
        from tests.toys import full, listing
        config = DataConfig(clients_per_modality=2, size_skew=0.4, modality_mix=0.8)
        print(partition(listing(full(90)), config, 3).digest)
    """
    config = DataConfig(clients_per_modality=2, size_skew=0.4, modality_mix=0.8)
    here = partition(listing(full(90)), config, 3).digest
    assert in_another_process(code, hash_seed=1) == here


def test_dirichlet_shares():
    """Sums to 1; its mean follows the concentrations, 1:2:1."""
    drawn = np.array([dirichlet(np.array([1.0, 2.0, 1.0]), "test", i) for i in range(4000)])
    np.testing.assert_allclose(drawn.sum(1), 1)
    np.testing.assert_allclose(drawn.mean(0), [0.25, 0.5, 0.25], atol=0.02)
    assert (dirichlet(np.ones(3), "a") == dirichlet(np.ones(3), "a")).all()
    assert (dirichlet(np.ones(3), "a") != dirichlet(np.ones(3), "b")).all()
