"""The one error type for a user's mistake, shown as a message, never as a traceback; the name that was meant."""

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


EXHAUSTED = ("CUDA out of memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "Seems to be OOM")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Say whether a GPU had no memory left, in torch's words or in those of CUDA, cuBLAS, cuDNN or MONAI."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in EXHAUSTED):
            return True
        error = error.__cause__ or error.__context__
    return False
