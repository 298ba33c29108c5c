"""Independent random streams, named rather than shared: the same names give the same numbers everywhere.

There is no global seed. Whoever needs randomness derives a seed from what the numbers are for, so that one consumer
(an algorithm's discriminator, say) can never move another's (the batches).
"""

from __future__ import annotations

import hashlib


def derive_seed(*names: object) -> int:
    """Return a 63-bit seed determined by ``names`` alone (not by process, platform or Python version)."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def shuffled(items: list[str], *names: object) -> list[str]:
    """Return ``items`` in an order determined by ``names`` and each item alone.

    Sorting by hash keeps the order of two items when a third comes or goes, and needs no generator whose algorithm
    could change between library versions.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{derive_seed(*names)}/{item}".encode()).digest())
