"""Lists, counts and long names as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHOWN = 5  # names listed in a message


def listed(names: Iterable[object]) -> str:
    """Return the first few distinct names as text, and how many more there are."""
    every = list(dict.fromkeys(str(n) for n in names))
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def counted(number: int, noun: str) -> str:
    """``2, "patient"`` -> ``2 patients``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def fold(name: str, letters: int) -> str:
    """Break a name into lines of ``letters`` at its brackets, commas, hyphens and spaces, else behind an equal sign."""
    parts = [
        piece
        for part in re.split(r"(?<=[-,\s])|(?=[\[(])", name)
        for piece in ([part] if len(part.rstrip()) <= letters else re.split("(?<==)", part))
    ]
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)
