"""Text from data as LaTeX prose: whatever a name holds, it is printed and never run."""

from __future__ import annotations

from unicodedata import normalize

from fedbench.analysis.tables.formats import escape_latex

BREAKS = "/.-_"  # an address may be broken after these
SYMBOLS = {"τ": r"$\tau$", "λ": r"$\lambda$", "μ": r"$\mu$", "Δ": r"$\Delta$", "†": r"\rec{}"}


def escape(text: str) -> str:
    """Return ``text`` as LaTeX prints it, with apostrophes as in prose and a few Greek letters."""
    plain = "".join(SYMBOLS.get(character) or escape_latex(character) for character in normalize("NFC", text))
    return plain.replace(r"\textquotesingle{}", "'")


def breakable(text: str) -> str:
    """Return an address, a path or an identifier, escaped, with places to break it."""
    return "".join(escape(c) + (r"\allowbreak{}" if c in BREAKS else "") for c in text)
