"""The seal of a prepared store: digests of what says which array is whose, kept beside it, so that an edit is noticed.

Arrays have checksums in the manifest; the seal lies in the store's facts and is of the manifest and the facts. A store
that was made before there were seals has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedbench.config import digest
from fedbench.data.prepared import FACTS, MANIFEST
from fedbench.files import sha256
from fedbench.store import read_json

SEAL = "sealed"


def sealed(facts: dict[str, Any], manifest: Path) -> dict[str, Any]:
    """Return ``facts`` with the seal of them and of the written ``manifest``."""
    return {**facts, SEAL: {MANIFEST: sha256(manifest), FACTS: digest(facts)}}


def edited(folder: Path) -> list[str]:
    """Return which of these files of a store are not as they were sealed, a line for each; none if it has no seal.

    Raises:
        UserError: the facts are there and could not be read.
    """
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or SEAL not in facts:  # what is not even facts, `load` refuses
        return []
    seal = facts.pop(SEAL)
    now = sealed(facts, folder / MANIFEST)[SEAL]
    others = [name for name in now if not isinstance(seal, dict) or seal.get(name) != now[name]]
    return [f"{folder / name} was edited; delete {folder} and prepare the data again." for name in others]
