"""Whether a table fits the width of a page, and what is done with one that does not: headings turned, or parts.

Widths are counted in characters of the table's own print.
"""

from __future__ import annotations

from dataclasses import replace

from fedbench.analysis.tables.cells import Cell, Column, Table

GAP = 2  # between columns
WIDEST = 170  # of a table that can be read when it is scaled to a page
UNSCALED = 100  # of a table that fits a page as it is
LONG = 30  # rows of a table that is set in small print
SIDEWAYS = 0.4  # lines that a letter of a turned heading takes
SECOND = 0.8  # lines that intervals below their numbers take
SMALL = 0.7  # size of an interval's print
BESIDE = 0.8  # the same, of one beside its number
TURNED = 5  # width of a turned heading's two lines


def characters(table: Table, beside: bool = False) -> int:
    """Return how wide a table is.

    Args:
        beside: intervals stand beside the numbers, not below.
    """
    return sum(_widths(table, beside)) + GAP * len(table.columns)


def intervals_beside(table: Table) -> bool:
    """Return whether there is room for intervals beside their numbers, which takes half as many lines."""
    return any(cell.below for row in table.rows for cell in row) and characters(table, beside=True) <= UNSCALED


def turned(table: Table) -> list[bool]:
    """Return for each column whether its heading is turned: where a table is too wide, those that widen theirs."""
    if characters(table) <= WIDEST:
        return [False] * len(table.columns)
    return [_can_turn(column) and len(column.name) > TURNED for column in table.columns]


def in_parts(table: Table) -> list[Table]:
    """Return the table, or if no turned heading makes it fit, parts that do: some columns each, all that name rows."""
    widths = [
        min(width, max(TURNED, _content(table, i))) if turn else width
        for i, (width, turn) in enumerate(zip(_widths(table), turned(table), strict=True))
    ]
    heads = [i for i, column in enumerate(table.columns) if column.heads or (column.left and i < _first_number(table))]
    room = WIDEST - sum(widths[i] + GAP for i in heads)
    parts: list[list[int]] = [[]]
    left = room
    for i in (i for i in range(len(table.columns)) if i not in heads):
        if parts[-1] and widths[i] + GAP > left:
            parts.append([])
            left = room
        parts[-1].append(i)
        left -= widths[i] + GAP
    if len(parts) == 1:
        return [table]
    return [_part(table, [*heads, *own], number, len(parts)) for number, own in enumerate(parts, start=1)]


def lines(table: Table) -> float:
    """Return about how high a table's rows and headings are, in lines of its own print."""
    names = [column.name for column, turn in zip(table.columns, turned(table), strict=True) if turn]
    heads = table.depth + max((SIDEWAYS * max(map(len, name.split("["))) for name in names), default=0.0)
    two = 0 if intervals_beside(table) else sum(any(cell.below for cell in row) for row in table.rows)
    return heads + len(table.rows) + SECOND * two


def scale(table: Table) -> float:
    """Return by how much a table is scaled down to fit a page."""
    return min(1.0, UNSCALED / characters(table)) if table.columns else 1.0


def under_headings(table: Table, name: str) -> Table:
    """Return the table without the column ``name``: a row with that and its word stands above the rows it is about."""
    column = next(i for i, other in enumerate(table.columns) if other.name == name)
    first = next(i for i, other in enumerate(table.columns) if other.heads)
    rows: list[list[Cell]] = []
    rules: list[int] = []
    last: Cell | None = None
    for row in table.rows:
        if row[column] != last:
            rules.append(len(rows))
            blank = [Cell("", (None,) * len(each.fields)) for each in table.columns]
            blank[first] = Cell(f"{name} {row[column].text}", (None,), sign=row[column].sign)
            rows.append(blank)
            last = row[column]
        rows.append(list(row))
    kept = [i for i in range(len(table.columns)) if i != column]
    cut = [[row[i] for i in kept] for row in rows]
    return replace(table, columns=[table.columns[i] for i in kept], rows=cut, rules=tuple(rules))


def _widths(table: Table, beside: bool = False) -> list[int]:
    return [max(len(column.name), _content(table, i, beside)) for i, column in enumerate(table.columns)]


def _content(table: Table, column: int, beside: bool = False) -> int:
    cells = [row[column] for row in table.rows]
    if beside:
        return round(max((len(c.text) + (1 + BESIDE * len(c.below) if c.below else 0) for c in cells), default=0))
    return round(max((max(len(c.text), SMALL * len(c.below)) for c in cells), default=0))


def _can_turn(column: Column) -> bool:
    return not column.left and not column.heads


def _first_number(table: Table) -> int:
    return next((i for i, column in enumerate(table.columns) if not column.left), len(table.columns))


def _part(table: Table, columns: list[int], number: int, parts: int) -> Table:
    return replace(
        table, name=f"{table.name}.{number}", title=f"{table.title}, part {number} of {parts}",
        columns=[table.columns[i] for i in columns], rows=[[row[i] for i in columns] for row in table.rows],
    )  # fmt: skip
