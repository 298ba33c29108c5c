"""Who holds what: properties over random sets of patients, and small cases worked by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.config import DataConfig
from fedbench.data.prepared import PreparedDataset
from fedbench.errors import UserError
from fedbench.federation import ClientData, Federation, partition, pooled, relation, with_clients
from tests.toys import MODALITIES, full, in_another_process, listing

some_modalities = st.lists(st.sampled_from(MODALITIES), min_size=1, unique=True)
# Enough complete patients that every client gets some, and any number of incomplete ones.
patients = st.builds(
    lambda n, others: full(n) | {f"Q{i:02d}": sorted(have) for i, have in enumerate(others)},
    st.integers(20, 30),
    st.lists(some_modalities, max_size=25),
)
seeds = st.integers(0, 2**31)


def held(federation: Federation) -> dict[str, list[str]]:
    """Patient -> the clients and splits that hold a case of theirs, one entry per case."""
    homes: dict[str, list[str]] = {}
    for client in federation.clients:
        for split, cases in (("train", client.train), ("val", client.val)):
            for case in cases:
                homes.setdefault(case.patient, []).append(f"{client.name}/{split}")
    for case in federation.test:
        homes.setdefault(case.patient, []).append("test")
    return homes


def shape(federation: Federation) -> list[tuple[str, list[str], list[str]]]:
    """What every client holds, as plain values."""
    return [(c.name, [x.id for x in c.train], [x.id for x in c.val]) for c in federation.clients]


def scored(federation: Federation) -> list[str]:
    """The test cases in order."""
    return [case.id for case in federation.test]


@settings(max_examples=60)
@given(patients, seeds)
def test_everybody_is_somewhere_and_in_one_place_only(have, seed):
    """A training or validation patient gives one case to one client, a test patient every case they have."""
    federation = partition(listing(have), DataConfig(), seed)
    homes = held(federation)
    assert homes.keys() == have.keys()
    for patient, places in homes.items():
        assert len(set(places)) == 1
        assert len(places) == (len(have[patient]) if places[0] == "test" else 1)
    for client in federation.clients:
        assert client.train and client.val
        assert {case.modality for case in (*client.train, *client.val)} == {client.modality}
    assert Counter(scored(federation)).most_common(1)[0][1] == 1
    federation.verify()


@settings(max_examples=40)
@given(st.integers(20, 60), seeds, st.integers(0, 100))
def test_complete_patients_are_dealt_evenly(n, seed, split_seed):
    clients = partition(listing(full(n)), DataConfig(split_seed=split_seed), seed).clients
    for sizes in ([len(c.train) for c in clients], [len(c.val) for c in clients]):
        assert max(sizes) - min(sizes) <= 1


def test_patients_with_a_choice_even_out_the_others():
    """CT only: 6 = 2 test + 2 validation + 2 training (round(1.5) = 2). Both: 24 = 6 + 6 + 12.

    So each training hand is (2 + 12) / 2 = 7 and each validation hand (2 + 6) / 2 = 4.
    """
    have = {f"C{i}": ["CT"] for i in range(6)} | full(24, ["CT", "MR"])
    clients = partition(listing(have, ["CT", "MR"]), DataConfig(test_fraction=0.25, val_fraction=0.25), 0).clients
    assert [len(c.train) for c in clients] == [7, 7]
    assert [len(c.val) for c in clients] == [4, 4]
    assert sum(case.patient.startswith("C") for case in clients[0].train) == 2


def test_who_has_no_choice_once_a_modality_is_left_out_goes_first():
    """Left out PET, a patient with CT and PET can only go to CT; those with CT and MR then even the hands out."""
    have = {f"C{i:02d}": ["CT", "PET"] for i in range(20)} | full(20, ["CT", "MR"]) | {"X": ["PET"]}
    for seed in range(10):
        clients = partition(listing(have), DataConfig(leave_out="PET", test_fraction=0.25, val_fraction=0.25), seed)
        assert [len(c.train) for c in clients.clients] == [10, 10]


@settings(max_examples=30)
@given(patients, seeds, seeds)
def test_test_patients_are_the_same_for_all_seeds(have, one, other):
    dataset = listing(have)
    a, b = (partition(dataset, DataConfig(), seed) for seed in (one, other))
    assert scored(a) == scored(b)
    training = [{x.patient for c in f.clients for x in c.train} for f in (a, b)]
    assert training[0] == training[1]


def test_the_seed_deals_and_the_split_seed_splits():
    dataset = listing(full(30))
    start = partition(dataset, DataConfig(), 0)
    dealt = partition(dataset, DataConfig(), 1)
    split = partition(dataset, DataConfig(split_seed=1), 0)
    assert shape(start) != shape(dealt) and scored(start) == scored(dealt)
    assert scored(start) != scored(split)
    assert len({start.digest, dealt.digest, split.digest}) == 3


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_one_other_case_anywhere_is_another_digest(part):
    dataset = listing(full(30))
    whole = partition(dataset, DataConfig(), 0)
    client = whole.clients[0]
    case = {"training": client.train, "validation": client.val, "test": whole.test}[part][0]
    cases = tuple(replace(x, content="others") if x.id == case.id else x for x in dataset.cases)
    other = partition(replace(dataset, cases=cases), DataConfig(), 0)
    assert shape(other) == shape(whole)
    assert other.digest != whole.digest


@settings(max_examples=40)
@given(patients, seeds, st.randoms(use_true_random=False))
def test_the_order_of_listing_does_not_matter(have, seed, random):
    dataset = listing(have)
    cases, modalities = list(dataset.cases), list(dataset.modalities)
    random.shuffle(cases)
    random.shuffle(modalities)
    other = replace(dataset, cases=tuple(cases), modalities=tuple(modalities))
    a, b = partition(dataset, DataConfig(), seed), partition(other, DataConfig(), seed)
    assert shape(a) == shape(b)
    assert a.digest == b.digest


def test_the_digest_is_the_same_in_another_process():
    code = """
        from fedbench.config import DataConfig
        from fedbench.federation import partition
        from tests.toys import full, listing
        print(partition(listing(full(25) | {"Q": ["MR"]}), DataConfig(leave_out="PET"), 3).digest)
    """
    here = partition(listing(full(25) | {"Q": ["MR"]}), DataConfig(leave_out="PET"), 3).digest
    assert in_another_process(code, hash_seed=1) == here


def test_the_digest_says_what_is_in_a_case_and_not_where_it_lies():
    dataset = listing(full(20))
    digest = partition(dataset, DataConfig(), 0).digest

    def changed(**values) -> PreparedDataset:
        return replace(dataset, cases=tuple(replace(case, **values) for case in dataset.cases))

    assert partition(changed(stem="/elsewhere/x"), DataConfig(), 0).digest == digest
    assert partition(changed(content="other voxels"), DataConfig(), 0).digest != digest
    assert partition(changed(spacing=(2.0, 2.0, 4.0)), DataConfig(), 0).digest != digest


@settings(max_examples=30)
@given(patients, seeds, st.sampled_from(MODALITIES))
def test_an_unseen_modality_has_no_client_but_stays_in_the_test(have, seed, unseen):
    dataset = listing(have)
    whole = partition(dataset, DataConfig(), seed)
    less = partition(dataset, DataConfig(leave_out=unseen), seed)
    assert [c.name for c in less.clients] == [m for m in sorted(MODALITIES) if m != unseen]
    assert less.unseen == unseen
    assert all(x.modality != unseen for c in less.clients for x in (*c.train, *c.val))
    assert scored(less) == scored(whole)
    assert any(case.modality == unseen for case in less.test)
    assert less.digest != whole.digest


def test_unknown_modality_to_leave_out_names_the_nearest():
    with pytest.raises(UserError, match=r"no modality 'PTE' to leave out.*did you mean 'PET'"):
        partition(listing(full(20)), DataConfig(leave_out="PTE"), 0)


@pytest.mark.parametrize(
    ("have", "message"),
    [
        (full(20, ["CT", "MR"]), "client 'PET' has no training patient"),
        (full(20, ["CT", "MR"]) | {"Q0": ["PET"], "Q1": ["PET"]}, "client 'PET' has no validation patient"),
        (full(5), "has no validation patient"),
    ],
)
def test_a_modality_with_too_few_patients_is_refused(have, message):
    with pytest.raises(UserError, match=message) as caught:
        partition(listing(have), DataConfig(), 0)
    assert "--leave-out" in str(caught.value)


@pytest.mark.parametrize(
    ("have", "config"),
    [
        (full(4, ["CT"]), DataConfig(test_fraction=0.1, val_fraction=0.3)),
        (full(20, ["CT"]), DataConfig(leave_out="CT")),
    ],
)
def test_nothing_to_test_or_to_train_is_refused(have, config):
    with pytest.raises(UserError):
        partition(listing(have, ["CT"]), config, 0)


def test_verify_refuses_a_patient_in_two_places():
    federation = partition(listing(full(20)), DataConfig(), 0)
    first, second, third = federation.clients
    stolen = first.train[0]
    for double in (
        with_clients(federation, [first, replace(second, train=(*second.train, stolen)), third]),
        with_clients(federation, [replace(first, val=(*first.val, stolen)), second, third]),
        replace(federation, test=(*federation.test, stolen)),
    ):
        with pytest.raises(UserError, match=rf"patient {stolen.patient} is in .* and in "):
            double.verify()
    federation.verify()


def test_a_pooled_client_holds_everything_whatever_the_order():
    clients = partition(listing(full(20)), DataConfig(), 0).clients
    one, other = pooled(clients), pooled(clients[::-1])
    assert one == other
    assert sorted(x.id for x in one.train) == sorted(x.id for c in clients for x in c.train)
    assert sorted(x.id for x in one.val) == sorted(x.id for c in clients for x in c.val)
    assert one.modality == "CT+MR+PET" and one.parts == clients


@pytest.mark.parametrize(
    ("modality", "unseen", "expected"), [("CT", None, "in"), ("MR", None, "cross"), ("MR", "MR", "unseen")]
)
def test_relation(modality, unseen, expected):
    assert relation(ClientData("CT", "CT", (), ()), modality, unseen) == expected
