"""A table before it is written: columns under headings, cells that keep their numbers, and what must be said with it.

:mod:`fedbench.analysis.tables.formats` writes it as LaTeX, Markdown, CSV and HTML; all four hold the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Value = str | int | float | None
NONE = "–"  # there is no such number
BEST, TIED = "best", "tied"  # marks
AGREES = "*"  # a sign
ESTIMATE = ("", "low", "high", "mark")  # the values of a cell made by estimate()
INTERVAL = ("", "low", "high")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: as printed.
        values: what a machine reads, one per field of the column: full precision, None for no number.
        below: a second line, such as an interval.
        mark: ``BEST``, ``TIED`` or ``""``.
        sign: printed after the text, outside the mark.
    """

    text: str
    values: tuple[Value, ...]
    below: str = ""
    mark: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its own heading.
        groups: the headings above it, outermost first; neighbours under the same heading share it.
        fields: the names of a cell's values; the first is the column itself, ``""``.
        left: text, set flush left; numbers are set right.
        heads: names its row.
        sign: printed after the name.
    """

    name: str
    groups: tuple[str, ...] = ()
    fields: tuple[str, ...] = ("",)
    left: bool = False
    heads: bool = False
    sign: str = ""

    @property
    def keys(self) -> list[str]:
        """The names of its values, unique within a table: ``cross-modality Dice low``."""
        return [" ".join(part for part in (*self.groups, self.name, field) if part) for field in self.fields]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: as in a file name: letters, digits, dashes and points.
        title: what it is about, without a full stop.
        caption: how to read it; sentences. Names the selection rule, patients, seeds and the missing policy.
        rules: the rows above which a line is drawn.
        marks: what each mark and sign that may occur means.
        notes: what a reader of the numbers must know; sentences.
        facts: constant columns of the CSV, which has neither caption nor notes: selection, patients, ...
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    rules: tuple[int, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = [key for column in self.columns for key in column.keys]
        if len(set(keys)) < len(keys):
            raise ValueError(f"table {self.name}: two columns of the same name in {keys}")
        for row in self.rows:
            if [len(cell.values) for cell in row] != [len(column.fields) for column in self.columns]:
                raise ValueError(f"table {self.name}: a row does not fit the columns: {row}")

    @property
    def signs(self) -> set[str]:
        """The marks and signs that occur."""
        cells = [cell for row in self.rows for cell in row]
        return {c.mark for c in cells} | {c.sign for c in cells} | {c.sign for c in self.columns}

    @property
    def depth(self) -> int:
        """How many rows of headings there are."""
        return 1 + max(len(column.groups) for column in self.columns)

    def heading(self, level: int) -> list[tuple[str, int]]:
        """Return (heading, columns under it) of a row of headings from above, ``""`` where there is none."""
        spans: list[tuple[str, int]] = []
        last: object = None
        for number, column in enumerate(self.columns):
            groups = column.groups
            key = (groups[: level + 1], None) if level < len(groups) else ((), number)
            if key == last and key[0]:
                spans[-1] = (spans[-1][0], spans[-1][1] + 1)
            else:
                spans.append((groups[level] if level < len(groups) else "", 1))
            last = key
        return spans


def text(value: str) -> Cell:
    """Return a cell of words."""
    return Cell(value, (value,))


def count(value: float | None) -> Cell:
    """Return a whole number, with spaces between thousands."""
    number = _known(value)
    return Cell(NONE if number is None else f"{round(number):,}".replace(",", " "), (_whole(number),))


def number(value: float | None, digits: int) -> Cell:
    """Return a number."""
    return Cell(decimal(value, digits), (_known(value),))


def signed(value: float | None, digits: int) -> Cell:
    """Return a number with its sign."""
    return Cell(decimal(value, digits, signed=True), (_known(value),))


def estimate(
    mean: float | None, low: float | None, high: float | None, digits: int, mark: str = "", sign: str = ""
) -> Cell:
    """Return a mean and its interval, which may be missing; see ``ESTIMATE`` for its values."""
    bounds = "" if _known(low) is None else f"{decimal(low, digits)}, {decimal(high, digits)}"
    values = (_known(mean), _known(low), _known(high), f"{mark}{sign}")
    return Cell(decimal(mean, digits), values, bounds, mark, sign)


def difference(value: float | None, low: float | None, high: float | None, digits: int) -> Cell:
    """Return a difference and its interval; see ``INTERVAL`` for its values."""
    bounds = "" if _known(low) is None else f"{decimal(low, digits, signed=True)}, {decimal(high, digits, signed=True)}"
    return Cell(decimal(value, digits, signed=True), (_known(value), _known(low), _known(high)), bounds)


def span(low: float | None, high: float | None, digits: int) -> Cell:
    """Return an interval alone: two values."""
    known = _known(low), _known(high)
    return Cell(NONE if None in known else f"{decimal(low, digits)} to {decimal(high, digits)}", known)


def probability(value: float | None) -> Cell:
    """Return a p-value: three decimals, ``< 0.001`` below."""
    p = _known(value)
    return Cell(NONE if p is None else "< 0.001" if p < 0.0005 else decimal(p, 3), (p,))


def share(percent: float | None) -> Cell:
    """Return a percentage."""
    known = _known(percent)
    return Cell(NONE if known is None else f"{decimal(known, 0)} %", (known,))


def size(number_of_bytes: float | None) -> Cell:
    """Return a number of bytes: ``1.99 MB``."""
    known = _known(number_of_bytes)
    return Cell(NONE if known is None else human_bytes(known), (known,))


def duration(seconds: float | None) -> Cell:
    """Return a time: ``1:15`` for 75 seconds."""
    known = _known(seconds)
    return Cell(NONE if known is None else minutes(known), (known,))


def decimal(value: float | None, digits: int, signed: bool = False) -> str:
    """Return a number as printed, with a true minus; never ``-0``."""
    known = _known(value)
    if known is None:
        return NONE
    if math.isinf(known):
        return "∞" if known > 0 else "−∞"
    printed = f"{known:{'+' if signed else ''}.{digits}f}"
    if float(printed) == 0:
        printed = f"{0:.{digits}f}"
    return printed.replace("-", "−")


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def human_bytes(number: float) -> str:
    """``1990180`` -> ``1.99 MB``."""
    if math.isnan(number):
        return "–"
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def minutes(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    if math.isnan(seconds):
        return "–"
    whole, rest = divmod(round(seconds), 60)
    return f"{whole}:{rest:02d}"
