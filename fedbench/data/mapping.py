"""The user's mapping: a CSV file that says which case is which modality, whose it is, and from which site.

A line per case; columns ``case`` and at least one of ``modality`` and ``patient``, optionally ``channel`` and ``site``.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fedbench.errors import UserError, nearest
from fedbench.names import safe

COLUMNS = ("case", "modality", "channel", "patient", "site")


@dataclass(frozen=True)
class Entry:
    """What the mapping says of one case; empty where it says nothing."""

    modality: str = ""
    channel: int = 0
    patient: str = ""
    site: str = ""


@dataclass(frozen=True)
class Table:
    """The user's mapping.

    Attributes:
        by_channel: it has no column ``modality``: the channels are the modalities.
        entries: case -> what it says; None where the line is wrong.
        checksum: sha256 of the file.
    """

    file: Path
    by_channel: bool
    entries: dict[str, Entry | None]
    problems: list[UserError]
    checksum: str

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of the entries, in alphabetical order."""
        return tuple(sorted({entry.modality for entry in self.entries.values() if entry}))


def read_table(file: Path, cases: Collection[str], channels: int) -> Table:
    """Read the user's mapping.

    Args:
        cases: those of the data set.
        channels: how many images a case has.

    Raises:
        UserError: it cannot be read, or its columns are wrong. A wrong line is among ``problems`` instead.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{file}: the mapping cannot be read: {reason}; give it relative to the data set.") from None
    columns, lines = _lines(content, file)
    _check_columns(columns, channels, file)
    table = Table(file, "modality" not in columns, {}, [], hashlib.sha256(content).hexdigest())
    first: dict[str, int] = {}  # line of each case
    spelt: dict[tuple[str, str], tuple[str, int]] = {}  # how each modality and patient is written first, and where
    for line, fields in lines:
        cells = dict(zip(columns, fields, strict=False))
        case, modality = cells.get("case", ""), cells.get("modality", "")
        try:
            if len(fields) != len(columns):
                raise UserError(f"{len(fields)} fields under {len(columns)} columns; add or remove a comma.")
            if case in first:
                raise UserError(f"case '{case}' was in line {first[case]} already; keep one of the two.")
            entry = _entry(cells, cases, channels)
            for what, key, text in (("modality", entry.modality, modality), ("patient", entry.patient, entry.patient)):
                written, place = spelt.setdefault((what, key.casefold()), (text, line))
                if written != text:
                    raise UserError(f"{what} '{text}' was '{written}' in line {place}; write both alike.")
            table.entries[case] = entry
        except UserError as error:
            table.problems.append(UserError(f"{file}, line {line}: {error}"))
            table.entries.setdefault(case, None)
        if case:
            first.setdefault(case, line)
    return table


def _lines(content: bytes, file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the columns in lower case, and number and fields of every other line that is not empty."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: not UTF-8; save the mapping as CSV in UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not CSV ({error}); correct its quotes.") from None
    (_, columns), *lines = [row for row in rows if any(row[1])] or [(1, [""])]
    return [column.lower() for column in columns], lines


def _check_columns(columns: list[str], channels: int, file: Path) -> None:
    where = f"{file}, first line"
    if len(columns) == 1 and re.search(r"[;\t]", columns[0]):
        raise UserError(f"{where}: separate columns by commas, as in case,modality.")
    if "case" not in columns or not {"modality", "patient"} & set(columns):
        missing = "case" if "case" not in columns else "modality"
        raise UserError(f"{where}: column '{missing}' is missing; write case,modality or case,patient.")
    for column in columns:
        if column not in COLUMNS:
            raise UserError(f"{where}: unknown column '{column}'{nearest(column, COLUMNS)}")
        if columns.count(column) > 1:
            raise UserError(f"{where}: column '{column}' is there twice; keep one of them.")
    if "channel" in columns and "modality" not in columns:
        raise UserError(f"{where}: column 'channel' needs a column 'modality'; add it, or drop 'channel'.")
    if "modality" in columns and "channel" not in columns and channels > 1:
        raise UserError(
            f"{where}: a case has {channels} channels; add a column 'channel' that says which of them the modality is "
            "in, or drop the column 'modality' to make the channels the modalities."
        )


def _entry(cells: dict[str, str], cases: Collection[str], channels: int) -> Entry:
    """Return what one line says; ``cells`` by column."""
    case, channel = cells["case"], cells.get("channel", "0")
    for column in ("case", "modality", "patient"):
        if cells.get(column) == "":
            raise UserError(f"the {column} is empty; fill it in, or remove the line.")
    if case not in cases:
        close = difflib.get_close_matches(case, cases, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "correct the name, or remove the line."
        raise UserError(f"the data set has no case '{case}'; {hint}")
    modality = safe(cells.get("modality", ""))
    if "modality" in cells and not modality:
        raise UserError(f"modality '{cells['modality']}' has no letters a to z and no digits; call it otherwise.")
    if not re.fullmatch("[0-9]{1,4}", channel) or int(channel) >= channels:
        raise UserError(f"there is no channel '{channel}'; the data set has 0 to {channels - 1}.")
    patient, site = (unicodedata.normalize("NFC", cells.get(column, "")) for column in ("patient", "site"))
    return Entry(modality, int(channel), patient, site)
