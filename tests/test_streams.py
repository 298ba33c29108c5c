"""Named streams: the names alone decide, and no two lists of names are the same one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedbench.streams import derive_seed, shuffled

SEED = 8895035739370091100
ORDER = ["P4", "P1", "P2", "P3"]


def test_seeds_are_fixed_numbers():
    """Published results hang on them."""
    assert derive_seed("batches", 0, "CT", 3, 1) == SEED
    assert shuffled(["P1", "P2", "P3", "P4"], "split", 0) == ORDER


def test_names_are_kept_apart():
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert derive_seed("client", 1, 12) != derive_seed("client", 11, 2)
    assert derive_seed("a") != derive_seed("a", "")


@given(st.lists(st.text(max_size=5), max_size=5))
def test_seeds_fit_a_generator_of_torch(names):
    assert 0 <= derive_seed(*names) < 2**63


@given(st.sets(st.text(min_size=1, max_size=5), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_an_order_does_not_depend_on_who_else_is_there(items, random):
    listed = sorted(items)
    order = shuffled(listed, "deal", 1)
    left = random.choice(listed)
    assert shuffled([x for x in listed if x != left], "deal", 1) == [x for x in order if x != left]
    random.shuffle(listed)
    assert shuffled(listed, "deal", 1) == order
