"""The one error type for a user's mistake: shown as a message, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: bad input, a missing file, an impossible combination.

    The message says what is wrong, where (file, key or option) and what to do. The command line prints it and exits
    with status 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` (or a full stop) plus the known names, for an unknown ``name``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"{hint} Known: {', '.join(names) or 'none'}."
