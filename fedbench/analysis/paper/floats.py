"""The order of the supplement's tables and figures: by about how high they are, so that pages fill."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.analysis.figures import Drawn, style
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.tables.cells import Table
from fedbench.analysis.tables.fitting import LONG, lines, scale

ROOM = 9.7  # inches of floats on a page
LINE, ROW, SMALL_ROW = 0.16, 0.165, 0.12  # inches: of lines of captions, of rows of tables, and of those in small print
LETTERS = 125  # in a line of a caption
HERE = "[!htbp]"  # where a float of the supplement stands


def in_supplement(text: str) -> str:
    """Return a float that stands where it is written, not at the top of a page."""
    return text.replace("[tbp]", HERE, 1)


def figure_float(drawn: Drawn, folder: str, title: str, label: str, body: bool) -> str:
    """Return the float of a figure that was drawn.

    Args:
        folder: in which its file lies, beside the text.
        body: it stands in the text of two columns, not in the supplement.
    """
    (file,) = drawn.files
    environment = "figure*" if body and drawn.size[0] > style.COLUMN + 0.1 else "figure"
    return (
        f"\\begin{{{environment}}}{'[tbp]' if body else HERE}\n\\centering\n"
        f"\\includegraphics[max width=\\linewidth, max totalheight=0.82\\textheight]{{{folder}/{file.name}}}\n"
        f"\\caption{{\\textbf{{{escape(title)}.}} {escape(drawn.caption)}}}\n\\label{{fig:{label}}}\n"
        f"\\end{{{environment}}}\n"
    )


def packed(floats: Sequence[tuple[float, str]]) -> list[str]:
    """Return floats, given with their heights, in an order that fills pages: next is the first that still has room."""
    left, room = list(floats), ROOM
    ordered = []
    while left:
        chosen = next((each for each in left if each[0] <= room), left[0])
        room = (room if chosen[0] <= room else ROOM) - chosen[0]
        ordered.append(chosen[1])
        left.remove(chosen)
    return ordered


def table_height(table: Table) -> float:
    """Return about how high a table is on a page with its caption and notes, in inches."""
    words = len(table.title) + len(table.caption) + sum(map(len, table.notes))
    rows = lines(table) * (ROW if len(table.rows) <= LONG else SMALL_ROW) * scale(table)
    return rows + LINE * (4 + len(table.notes) + words / LETTERS)


def figure_height(drawn: Drawn) -> float:
    """Return about how high a figure is on a page with its caption, in inches."""
    if not drawn.files:
        return 0.0
    wide, tall = drawn.size
    return tall * min(1.0, style.PAGE / wide) + LINE * (3 + len(drawn.caption) / LETTERS)
