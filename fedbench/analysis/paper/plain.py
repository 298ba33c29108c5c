"""The paper's sentences without LaTeX, for places that show Markdown."""

from __future__ import annotations

import re

from fedbench.analysis.paper.latex import SYMBOLS
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.tables.formats import SPECIAL, escape_markdown

PRINTED = (
    {latex: character for character, latex in SPECIAL.items()}
    | {latex: character for character, latex in SYMBOLS.items()}
    | {r"\textsuperscript{\dag}": "†", r"\rec{}": "†", r"\textsf{": "", r"\emph{": "", "}": "", r"\,": " ", "-{}": "-"}
    | {"--": "–", "~": " ", "'": "'", "``": "“", "''": "”"}
)  # what LaTeX prints for what the sentences are made of
TOKEN = re.compile(
    "|".join([*map(re.escape, sorted(PRINTED, key=len, reverse=True)), r"\$(?P<math>[^$\\]*)\$"])
)  # the longest first: \textbackslash{} is not a brace


def plain(numbers: Numbers, text: str) -> str:
    """Return a sentence as it is read: macros spelled out, LaTeX printed."""

    def printed(token: re.Match[str]) -> str:
        math = token["math"]
        return PRINTED[token[0]] if math is None else math.replace("-", "−").replace("=", " = ").replace("<", " < ")

    return TOKEN.sub(printed, numbers.spelled(text))


def markdown(numbers: Numbers, text: str) -> str:
    """Return a sentence as Markdown; nothing in a name is markup."""
    return escape_markdown(plain(numbers, text))
