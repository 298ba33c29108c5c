"""Names from data as they may stand in file names and identifiers."""

from __future__ import annotations

import re
import unicodedata


def safe(name: str) -> str:
    """Return ``name`` in ASCII letters and digits, with a dash for whatever lies between; empty if none is left."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))  # é becomes e
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")
