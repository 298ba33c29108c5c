"""Names in figures: folded to the room they have, and legends that show them as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from fedbench.analysis.figures.style import Look, display_name, look_of

LETTER = 0.055  # inches of a letter, about
TEXT_LINE = 0.115  # inches of a line


def fold(name: str, inches: float) -> str:
    """Break a name into lines of about ``inches`` at its brackets, commas and spaces."""
    room = max(8, int(inches / LETTER))
    lines = [""]
    for part in re.split(r"(?<=[,\s])|(?=[\[(])", name):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines if line.strip())


def lines_of(names: Iterable[str]) -> int:
    """Return the most lines that a folded name has."""
    return max((name.count("\n") + 1 for name in names), default=1)


def legend_columns(names: Sequence[str], inches: float) -> int:
    """Return how many columns a legend of ``names`` may have in a width of ``inches``."""
    longest = max(map(len, names), default=0)
    return max(1, min(len(names), int(inches / (0.55 + LETTER * longest))))


def write_legend(target: Any, labels: Sequence[str], known: Iterable[str], lines: bool = False, **style: Any) -> Legend:
    """Write a legend of algorithms on axes or a figure.

    Args:
        known: the labels of the whole evidence.
        lines: draw the line as well as the marker.
    """
    known = list(known)
    handles = [handle_of(look_of(label, known), lines) for label in labels]
    return name_handles(target, handles, [display_name(label) for label in labels], **style)


def handle_of(look: Look, lines: bool = False) -> Line2D:
    """Return the legend's picture of a look."""
    line: Any = look.line if lines else "none"
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle=line, markersize=look.size(4), markeredgewidth=0.0
    )


def name_handles(target: Any, handles: Sequence[Any], names: Sequence[str], **style: Any) -> Legend:
    """Write a legend whose names are shown as they are, with a leading underscore too (matplotlib drops those)."""
    legend: Legend = target.legend(handles, [str(i) for i in range(len(names))], **style)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    return legend
