"""The part of a README between two marks, which ``fedbench paper`` writes and checks (:mod:`.glance` makes it)."""

from __future__ import annotations

from pathlib import Path

from fedbench.errors import UserError
from fedbench.files import write_text

README = "README.md"
BEGIN, END = "<!-- results at a glance: begin -->", "<!-- results at a glance: end -->"
NOTHING = "Nothing published yet.\n"
AGAIN = "run `fedbench paper`"


def part_of(readme: Path) -> str | None:
    """Return what stands between the marks; None without such a file, or without marks.

    Raises:
        UserError: one mark without the other, several, or the wrong way round.
    """
    if not readme.is_file():
        return None
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text and END not in text:
        return None
    before, begin, rest = text.partition(f"{BEGIN}\n")
    inside, end, after = rest.partition(END)
    if not begin or not end or any(mark in piece for mark in (BEGIN, END) for piece in (before, inside, after)):
        raise UserError(f"{readme}: the lines '{BEGIN}' and '{END}' must both be there, once and in this order.")
    return inside


def put_part(readme: Path, text: str) -> bool:
    """Replace what stands between the marks; False where there are none.

    Raises:
        UserError: as :func:`part_of`.
    """
    if part_of(readme) is None:
        return False
    before, _, rest = readme.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    write_text(readme, f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")
    return True


def glance_problems(readme: Path, text: str) -> list[str]:
    """Return what is wrong with the part of a README, a line; empty if nothing is, or if it has no such part."""
    there = part_of(readme)
    if there is None or there == text:
        return []
    again = f"put `{NOTHING.strip()}` between the marks" if text == NOTHING else AGAIN
    return [f"{readme.name}: its results at a glance are not what the results give; {again}."]
