"""Patients into splits and folds: properties over random sets of patients, and small cases worked by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.config import DataConfig
from fedbench.data.prepared import PreparedDataset
from fedbench.data.splitting import by_patient, evenly, split
from fedbench.errors import UserError
from fedbench.federation import partition
from tests.toys import MODALITIES, full, listing

some_modalities = st.lists(st.sampled_from(MODALITIES), min_size=1, unique=True)
patients = st.builds(
    lambda n, others: full(n) | {f"Q{i:02d}": sorted(have) for i, have in enumerate(others)},
    st.integers(20, 30),
    st.lists(some_modalities, max_size=25),
)


def sited(dataset: PreparedDataset, sites: str) -> PreparedDataset:
    """Give the patients, in the order of their names, the sites ``sites[i % len]``."""
    names = sorted({case.patient for case in dataset.cases})
    site = {name: sites[i % len(sites)] for i, name in enumerate(names)}
    return replace(dataset, cases=tuple(replace(case, site=site[case.patient]) for case in dataset.cases))


def test_evenly_by_hand():
    """3 of 9: the middles of three thirds; 2 of 5: (2i + 1) * 5 // 4 = 1 and 3."""
    assert evenly("abcdefghi", 3) == ["b", "e", "h"]
    assert evenly("abcde", 2) == ["b", "d"]
    assert evenly("abc", 3) == ["a", "b", "c"] and evenly("abc", 0) == []


@settings(max_examples=50)
@given(patients, st.integers(2, 6), st.integers(0, 100))
def test_every_patient_is_tested_in_one_fold(have, folds, split_seed):
    people = by_patient(listing(have).cases)
    tested: Counter[str] = Counter()
    for fold in range(folds):
        splits = split(people, DataConfig(folds=folds, fold=fold, split_seed=split_seed))
        assert sorted(name for names in splits.values() for name in names) == sorted(people)
        assert splits["train"] and splits["val"] and splits["test"]
        tested.update(splits["test"])
    assert tested == Counter(dict.fromkeys(people, 1))


@settings(max_examples=30)
@given(st.integers(20, 60), st.integers(2, 6))
def test_folds_are_of_one_size(n, folds):
    people = by_patient(listing(full(n)).cases)
    sizes = [len(split(people, DataConfig(folds=folds, fold=fold))["test"]) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_stratified_by_modality_and_site():
    """40 patients with all modalities, 20 with CT alone, of two sites each: 4 of every kind in each of 5 folds."""
    dataset = sited(listing(full(40) | {f"Q{i:02d}": ["CT"] for i in range(20)}), "ABAB")
    people = by_patient(dataset.cases)
    for fold in range(5):
        test = split(people, DataConfig(folds=5, fold=fold))["test"]
        kinds = Counter((name[0], people[name][0].site) for name in test)
        assert kinds == {("P", "A"): 4, ("P", "B"): 4, ("Q", "A"): 2, ("Q", "B"): 2}


def test_small_groups_share_the_folds():
    """Seven kinds of patients, two of each: the count goes on from kind to kind, so 14 make folds of 4, 4, 3 and 3."""
    kinds = [["CT"], ["MR"], ["PET"], ["CT", "MR"], ["CT", "PET"], ["MR", "PET"], ["CT", "MR", "PET"]]
    people = by_patient(listing({f"P{i}{twin}": have for i, have in enumerate(kinds) for twin in "ab"}).cases)
    tested = [split(people, DataConfig(folds=4, fold=fold))["test"] for fold in range(4)]
    assert [len(names) for names in tested] == [4, 4, 3, 3]
    assert len({name for names in tested for name in names}) == 14


def test_a_split_is_stratified_by_site():
    """20 patients of site A, 10 of B: round(30 * 0.3) = 9 for the test, 6 of A and 3 of B."""
    people = by_patient(sited(listing(full(30)), "AAB").cases)
    for seed in range(5):
        test = split(people, DataConfig(split_seed=seed))["test"]
        assert Counter(people[name][0].site for name in test) == {"A": 6, "B": 3}


def test_folds_are_the_same_for_all_seeds_and_differ_by_split_seed():
    dataset = listing(full(24))
    tests = [
        [case.id for case in partition(dataset, DataConfig(folds=4, fold=1, split_seed=s), seed).test]
        for s, seed in ((0, 0), (0, 1), (1, 0))
    ]
    assert tests[0] == tests[1] != tests[2]


def test_all_images_of_a_patient_stay_together():
    """A field of view with several images in one modality, as microscopes give them."""
    cases = [
        replace(case, id=f"{case.id}/{part}", content=f"{case.content}{part}")
        for case in listing(full(20)).cases
        for part in "abc"
    ]
    federation = partition(replace(listing({}), cases=tuple(cases)), DataConfig(), 0)
    held = Counter(case.patient for client in federation.clients for case in (*client.train, *client.val))
    assert set(held.values()) == {3}
    assert set(Counter(case.patient for case in federation.test).values()) == {9}


def test_more_folds_than_patients_are_refused():
    with pytest.raises(UserError, match="folds = 9, but there are only 8 patients"):
        partition(listing(full(8)), DataConfig(folds=9, fold=0), 0)
