"""How figures look: one fixed colour and marker per algorithm, sizes for print, files that are the same every time.

Algorithms of the default suite have the same look in every figure of every study. Any other takes a further look by
its name, or the next free one if another algorithm of the study has that. Colours: Okabe and Ito, "Color Universal
Design" (2008), extended by Tol's muted scheme ("Colour Schemes", SRON/EPS/TN/09-002, 2021).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from fedbench.analysis.analyses import RECONSTRUCTED, RECONSTRUCTION, is_personal, is_reconstruction
from fedbench.analysis.statistics.rows import base_name
from fedbench.files import write_atomic
from fedbench.suite import builtin_suites

COLUMN, PAGE = 3.4, 7.0  # inches: width of a figure across one column, across the page
SMALLEST, NORMAL, LARGE = 6.0, 7.0, 8.0  # points
RESOLUTION = 200  # dots per inch of a PNG
METADATA: dict[str, dict[str, str | None]] = {  # of a file of each kind: nothing of when and where it was made
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "fedbench", "Producer": None},
    "png": {"Software": None},
}
SCALES = {"*": 1.5, "X": 1.15, "P": 1.15, "D": 0.85, "s": 0.9, "d": 1.1}  # markers of one size do not look so

Save = Callable[[Figure, Path], list[Path]]  # of a figure under a path without suffix; the files


class Look(NamedTuple):
    """Of one algorithm: colour (hex), marker and line style as matplotlib names them."""

    colour: str
    marker: str
    line: Any

    def size(self, points: float) -> float:
        """Return the marker size that looks as large as a circle of ``points``."""
        return points * SCALES.get(self.marker, 1.0)


FIRST = (  # of the default suite's algorithms, in its order; the reference points are grey and black, and dashed
    Look("#808080", "v", (0, (4, 1.5))),
    Look("#000000", "^", (0, (4, 1.5))),
    Look("#0072B2", "o", "-"),
    Look("#56B4E9", "s", "-"),
    Look("#009E73", "D", "-"),
    Look("#CC79A7", "P", "-"),
    Look("#E69F00", "X", "-"),
    Look("#D55E00", "*", "-"),
)
FURTHER = ("#332288", "#882255", "#44AA99", "#999933", "#8C510A", "#AA4499")
MARKERS = ("<", ">", "p", "h", "d", "8")
VARIANTS = (-0.35, 0.45, -0.6, 0.65)  # how far the colour of a second, third ... variant goes to black or white
PALEST = 0.48  # luminance of a colour whose thin lines can be seen on white
GROUPS = (  # of modalities and clients, in colours that no algorithm has
    Look("#648FFF", "o", "-"),
    Look("#DC267F", "s", "-"),
    Look("#FFB000", "^", "-"),
    Look("#785EF0", "D", "-"),
    Look("#FE6100", "v", "-"),
    Look("#2B2B2B", "P", "-"),
)
DASHES: tuple[Any, ...] = ((0, (1, 1)), (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALLEST + 0.5,
    "ytick.labelsize": SMALLEST + 0.5,
    "legend.fontsize": SMALLEST + 0.5,
    "legend.title_fontsize": SMALLEST + 0.5,
    "figure.titlesize": LARGE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "text.parse_math": False,  # a "$" in a name is a dollar
    "axes.formatter.use_mathtext": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "fedbench",
    "savefig.dpi": RESOLUTION,
    "savefig.facecolor": "white",
}


def look_of(label: str, labels: Iterable[str]) -> Look:
    """Return the look of an algorithm.

    Args:
        label: as from :func:`fedbench.analysis.statistics.rows.labels`, or a setting without its deployment.
        labels: those of the whole evidence, whatever a figure shows of them.
    """
    known = looks(tuple(sorted(set(labels))))
    if label in known:
        return known[label]
    deployed = [name for name in known if name.startswith(f"{label} (")]
    return known[deployed[0]] if deployed else looks(tuple(sorted({*known, label})))[label]


def colour_of(label: str, labels: Iterable[str]) -> str:
    """Return the colour of an algorithm, see :func:`look_of`."""
    return look_of(label, labels).colour


def marker_of(label: str, labels: Iterable[str]) -> str:
    """Return the marker of an algorithm, see :func:`look_of`."""
    return look_of(label, labels).marker


@cache
def looks(labels: tuple[str, ...]) -> dict[str, Look]:
    """Return the look of every label; variants of one algorithm share its hue, in order: global, personal, others."""
    variants: dict[str, list[str]] = {}
    for label in sorted(labels, key=_variant_order):
        variants.setdefault(base_name(label), []).append(label)
    of_base = dict(zip(_default_algorithms(), FIRST, strict=False))
    of_base |= _further([base for base in sorted(variants) if base not in of_base])
    return {label: _vary(of_base[base], i) for base, own in variants.items() for i, label in enumerate(own)}


@cache
def _default_algorithms() -> tuple[str, ...]:
    text = builtin_suites()["default"].read_text(encoding="utf-8")
    return tuple(dict.fromkeys(map(base_name, tomllib.loads(text)["algorithms"])))


def _further(bases: Sequence[str]) -> dict[str, Look]:
    """Give each its preferred look; where that is taken the next free one; when all are taken, with other markers."""
    number = len(FURTHER)
    given: dict[str, Look] = {}
    for base in bases:
        preferred = int.from_bytes(hashlib.sha256(base.encode()).digest()[:4], "big") % number
        turns = [
            Look(FURTHER[at % number], MARKERS[(at + turn) % number], "-")
            for turn in range(number)
            for at in range(preferred, preferred + number)
        ]
        given[base] = next((look for look in turns if look not in given.values()), turns[0])
    return given


def _vary(look: Look, number: int) -> Look:
    if number == 0:
        return look
    every = [first.marker for first in FIRST]
    shift = VARIANTS[(number - 1) % len(VARIANTS)]
    red, green, blue = (c + (float(shift > 0) - c) * abs(shift) for c in to_rgb(look.colour))
    at = every.index(look.marker) if look.marker in every else 0
    while luminance((red, green, blue)) > PALEST:
        red, green, blue = (c * 0.98 for c in (red, green, blue))
    return Look(
        to_hex((red, green, blue)).upper(), every[(at + number) % len(every)], DASHES[(number - 1) % len(DASHES)]
    )


def luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of red, green and blue from 0 to 1 (WCAG 2): white has 1."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _variant_order(label: str) -> tuple[int, str]:
    return (0 if not label.endswith(")") else 1 if is_personal(label) else 2, label)


def display_name(label: str) -> str:
    """Return the label as figures write it: a reconstruction of somebody's method carries a mark.

    Figures made within :func:`apply_style` take ``$``, ``_`` and ``%`` literally; elsewhere names must be escaped.
    """
    return label + RECONSTRUCTED if is_reconstruction(label) else label


def footnote(labels: Iterable[str]) -> str:
    """Return what a caption must add about ``labels``; empty if no reconstruction is among them."""
    return f"{RECONSTRUCTED} {RECONSTRUCTION}" if any(map(is_reconstruction, labels)) else ""


def look_of_group(name: str, names: Iterable[str]) -> Look:
    """Return the look of a modality or a client among all ``names`` of a condition.

    Colours repeat after six, each time with other markers and lines.
    """
    turn, at = divmod(sorted(set(names)).index(name), len(GROUPS))
    look, marker = GROUPS[at], GROUPS[(at + turn) % len(GROUPS)].marker
    return look if turn == 0 else Look(look.colour, marker, DASHES[(turn - 1) % len(DASHES)])


@contextmanager
def apply_style() -> Iterator[None]:
    """Draw with these settings and no others, whatever the user's matplotlibrc says; make and save figures inside."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save(figure: Figure, stem: Path, kinds: Sequence[str] = tuple(METADATA)) -> list[Path]:
    """Write ``stem``.pdf and ``stem``.png, each atomically; the same figure gives the same bytes.

    Args:
        kinds: only these of :data:`METADATA`.

    Returns:
        the files, one for each kind.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    with apply_style():
        if (layout := figure.get_layout_engine()) is not None:  # once, for all files
            layout.execute(figure)
            figure.set_layout_engine("none")
        for kind in kinds:
            drawn = partial(figure.savefig, format=kind, metadata=METADATA[kind], dpi=RESOLUTION)
            files.append(stem.parent / f"{stem.name}.{kind}")
            write_atomic(files[-1], drawn)
    return files
