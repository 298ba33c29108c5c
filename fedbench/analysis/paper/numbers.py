"""``numbers.tex``: one LaTeX macro for every number in the paper and for every word that depends on results.

A sentence is written with what :meth:`Numbers.put` returns, so text cannot say what the results do not.
"""

from __future__ import annotations

import re
from math import isfinite

from fedbench.analysis.paper.latex import escape

NAMES = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
HEAD = "% Written by `fedbench paper` from published results; a change by hand is found by `fedbench paper --check`.\n"
SMALLEST_P = 0.001


class Numbers:
    """Macros by name, in the order in which they were made."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._names: dict[tuple[str, ...], str] = {}

    def put(self, *parts: str, text: str) -> str:
        """Define a macro and return its use, ``\\CrossDiceFedavgSts{}``.

        Args:
            parts: what it is, such as ``"cross", "dice", "fedavg", "sts"``; different parts never share a name.
            text: LaTeX.

        Raises:
            ValueError: these parts are defined already, as something else.
        """
        if parts not in self._names:
            name = "".join(map(camel, parts))
            while name in self._texts:
                name += "Again"
            self._names[parts] = name
            self._texts[name] = text
        elif self._texts[self._names[parts]] != text:
            raise ValueError(f"two texts for the macro of {', '.join(parts)}")
        return f"\\{self._names[parts]}{{}}"

    def text(self, *parts: str) -> str:
        """Return what the macro of ``parts`` stands for.

        Raises:
            KeyError: there is none.
        """
        return self._texts[self._names[parts]]

    def spelled(self, text: str) -> str:
        """Return ``text`` with the uses of macros replaced by what they stand for."""
        before = ""
        while text != before:
            before, text = text, re.sub(r"\\([A-Z][A-Za-z]*)\{\}", lambda use: self._texts[use[1]], text)
        return text

    def names(self) -> list[str]:
        """Return the names of all macros, without the backslash."""
        return list(self._texts)

    def render(self) -> str:
        """Return the file."""
        return HEAD + "".join(f"\\newcommand{{\\{name}}}{{{text}}}\n" for name, text in self._texts.items())


def camel(text: str) -> str:
    """``fedprox[mu=0.1]`` -> ``FedproxMuZeroOne``: letters are all that a macro's name may have."""
    words = re.findall(r"[A-Za-z]+|[0-9]", text)
    return "".join(NAMES[int(word)] if word.isdecimal() else word[0].upper() + word[1:] for word in words) or "Nameless"


# -- numbers as text -----------------------------------------------------------------------------------------------


def number(value: float, digits: int = 3) -> str:
    """``0.5`` -> ``0.500``; a dash where there is none."""
    return f"{value:.{digits}f}" if isfinite(value) else "--"


def signed(value: float, digits: int = 3) -> str:
    """``-0.012`` -> ``$-0.012$``; zero has no sign."""
    if not isfinite(value):
        return "--"
    text = f"{value:+.{digits}f}"
    return f"${text.lstrip('+-') if float(text) == 0 else text}$"


def interval(low: float, high: float, digits: int = 3, sign: bool = False) -> str:
    """``[0.412, 0.530]``; ``[--]`` where there is none."""
    write = signed if sign else number
    return f"[{write(low, digits)}, {write(high, digits)}]" if isfinite(low) and isfinite(high) else "[--]"


def p_value(p: float) -> str:
    """``$p=0.012$``, ``$p<0.001$``; says so where there is none."""
    if not isfinite(p):
        return "no $p$-value"
    return f"$p<{SMALLEST_P:g}$" if p < SMALLEST_P else f"$p={p:.3f}$"


def percent(share: float, digits: int = 0) -> str:
    """``0.25`` -> ``25\\%``."""
    return f"{100 * share:.{digits}f}\\%" if isfinite(share) else "--"


def words(items: list[str], none: str = "none", last: str = "and") -> str:
    """``a, b and c``; the items are LaTeX."""
    if not items:
        return none
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def out_of(some: int, of_all: int, noun: str) -> str:
    """``no condition``, ``2 of 3 conditions``, ``all 3 conditions``, ``both conditions``, ``the one condition``."""
    if some == 0:
        return f"no {noun}"
    if some < of_all:
        return f"{some} of {of_all} {noun}s"
    return {1: f"the one {noun}", 2: f"both {noun}s"}.get(of_all, f"all {of_all} {noun}s")


def named(label: str, mark: bool) -> str:
    """Return an algorithm's name as the paper writes it; a reconstruction carries a dagger."""
    return f"\\textsf{{{escape(label)}}}" + (r"\textsuperscript{\dag}" if mark else "")
