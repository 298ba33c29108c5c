"""Does ``paper/`` say what the published results give? Text byte for byte; figures by what they were made from.

A figure's bytes depend on the versions of matplotlib and its fonts, so they are not made again and compared: the check
is that ``made_from.json`` names the manifests of the results as they are now, and that each figure's file is the one
that was made then. Captions are text and compared as such.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from fedbench.analysis.paper.building import MADE_FROM, PDF, sources_digest
from fedbench.analysis.paper.making import FIGURES_FOLDER, draw, generated_files, recorded, write
from fedbench.analysis.paper.study import Study
from fedbench.files import sha256

AGAIN = "run `fedbench paper`"


def check(study: Study, target: Path, watch: Callable[[str], None] = lambda _: None) -> list[str]:
    """Return what is wrong with ``target``, one line per file; empty if nothing is."""
    record = recorded(target)
    if not record:
        return [f"{MADE_FROM}: missing or unreadable; {AGAIN}."]
    problems = []
    if record.get("published") != study.manifests:
        problems.append(f"{MADE_FROM}: made from other results than those published now; {AGAIN}.")
    if record.get("choices") != vars(study.choices):
        problems.append(f"{MADE_FROM}: made with other choices ({record.get('choices')}); {AGAIN}.")
    drawn = draw(study, Path(FIGURES_FOLDER), watch, save=name_pdf)
    watch("numbers, text and tables")
    texts = write(study, drawn)
    figures = {path.as_posix() for every in drawn.values() for figure in every for path in figure.files}
    for name, text in sorted(texts.items()):
        if not (target / name).is_file():
            problems.append(f"{name}: missing; {AGAIN}.")
        elif (target / name).read_bytes() != text.encode():
            problems.append(f"{name}: differs from what the results give; {AGAIN}.")
    for name in sorted(figures):
        if not (target / name).is_file():
            problems.append(f"{name}: missing; {AGAIN}.")
        elif sha256(target / name) != record.get("figures", {}).get(name):
            problems.append(f"{name}: is not the file that was made; {AGAIN}.")
    left = sorted(generated_files(target) - texts.keys() - figures)
    problems += [f"{name}: nothing makes it now; remove it." for name in left]
    return problems + pdf_problems(target, record.get("pdf"))


def name_pdf(_: Figure, stem: Path) -> list[Path]:
    """Return the file in which :func:`~fedbench.analysis.paper.making.save_pdf` would save a figure."""
    return [stem.parent / f"{stem.name}.pdf"]


def pdf_problems(target: Path, built: object) -> list[str]:
    """A PDF that is there must have been built from the text that is there."""
    if not (target / PDF).is_file():
        return []
    again = "run `fedbench paper --pdf`, or remove it"
    if not isinstance(built, dict) or built.get("sha256") != sha256(target / PDF):
        return [f"{PDF}: is not the file that was built; {again}."]
    return [] if built.get("sources") == sources_digest(target) else [f"{PDF}: older than its sources; {again}."]
