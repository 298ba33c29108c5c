"""``paper/`` from published results: every generated file, and ``made_from.json``, which says what from.

Written file by file, ``made_from.json`` last; what an earlier study made and this one does not is removed. Files that
people write (``main.tex``, ``references.bib``, ``README.md``) are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fedbench import store
from fedbench.analysis.figures import FIGURES, Drawn, draw_one, style
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.paper.answers.all_answers import answer
from fedbench.analysis.paper.building import MADE_FROM
from fedbench.analysis.paper.data import datasets_section
from fedbench.analysis.paper.norms.section import norms_section
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.overview import draw_overview, overview_section
from fedbench.analysis.paper.reliability import describe_reliability
from fedbench.analysis.paper.results_page import results_page
from fedbench.analysis.paper.sections import wanted, write_sections
from fedbench.analysis.paper.setup import describe_setup
from fedbench.analysis.paper.study import Study, known_in
from fedbench.analysis.paper.training import measure
from fedbench.analysis.paper.tuning import describe_tuning
from fedbench.files import sha256, write_text

FORMAT = "fedbench paper 1"
ALL = ""  # in place of the key of a part
NUMBERS, OVERVIEW, GENERATED, NORMS = "numbers.tex", "overview.tex", "generated.tex", "norms.tex"
SUPPLEMENT, DATASETS = "supplement.tex", "datasets.tex"
RESULTS = "results.md"
TABLES, FIGURES_FOLDER = "tables", "figures"


def make(study: Study, target: Path, watch: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Write all generated files into ``target``; the same published results give the same text and tables.

    Args:
        watch: called with what is being made.

    Returns:
        the files, those of earlier results that were removed not among them.
    """
    before = recorded(target)
    drawn = draw(study, target / FIGURES_FOLDER, watch)
    watch("numbers, text and tables")
    texts = write(study, drawn)
    for name, text in texts.items():
        write_text(target / name, text)
    figures = {
        path.relative_to(target).as_posix() for every in drawn.values() for figure in every for path in figure.files
    }
    for name in generated_files(target) - figures - texts.keys():
        if name in before.get("text", {}) or name in before.get("figures", {}):
            (target / name).unlink()
    record: dict[str, Any] = {
        "format": FORMAT,
        "published": study.manifests,
        "choices": vars(study.choices),
        "text": {name: sha256(target / name) for name in sorted(texts)},
        "figures": {name: sha256(target / name) for name in sorted(figures)},
    }
    if "pdf" in before:
        record["pdf"] = before["pdf"]
    store.write_json(target / MADE_FROM, record)
    return [target / name for name in (*sorted(texts), *sorted(figures), MADE_FROM)]


def write(study: Study, drawn: dict[str, list[Drawn]]) -> dict[str, str]:
    """Return the generated text by path; figures must be drawn already, for their captions and sizes."""
    numbers, known = Numbers(), known_in(study)
    trainings = {part.key: measure(Scene(part.analyses, part.condition, known)) for part in study.parts}
    describe_setup(numbers, study)
    describe_tuning(numbers, study)
    describe_reliability(numbers, study)
    answer(numbers, study, trainings)
    sections = write_sections(numbers, study, drawn, trainings)
    norms = norms_section(numbers, study)
    overview, first = overview_section(study, drawn.get(ALL, []))
    return {
        NUMBERS: numbers.render(),
        OVERVIEW: overview,
        GENERATED: sections.body,
        NORMS: norms.text,
        SUPPLEMENT: sections.supplement + norms.more,
        DATASETS: datasets_section(study),
        RESULTS: results_page(study),
        **{f"{TABLES}/{name}.tex": text for name, text in (sections.tables | norms.tables | first).items()},
    }


def save_pdf(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem``.pdf."""
    return style.save(figure, stem, kinds=("pdf",))


def draw(
    study: Study, folder: Path, watch: Callable[[str], None] = lambda _: None, save: style.Save = save_pdf
) -> dict[str, list[Drawn]]:
    """Draw the figures and ``save`` them; return them by the key of their part, those of all parts by ``ALL``."""
    known = known_in(study)
    watch("figure of all conditions")
    drawn: dict[str, list[Drawn]] = {ALL: draw_overview(study, folder, save)}
    for part in [*study.parts, *study.rescored]:
        scene = Scene(part.analyses, part.condition, known)
        for name in wanted(part, list(FIGURES)):
            watch(f"figure {name} of {part.title}")
            figure = draw_one(scene, name, folder / part.study if part.study else folder, save)
            drawn.setdefault(part.key, []).append(figure)
    return drawn


def recorded(target: Path) -> dict[str, Any]:
    """Return what ``made_from.json`` says; empty where there is none."""
    found = store.read_json(target / MADE_FROM)
    return found if isinstance(found, dict) else {}


def generated_files(target: Path) -> set[str]:
    """Return the paths, relative to ``target``, of all files there that have a generated file's place."""
    single = (NUMBERS, OVERVIEW, GENERATED, NORMS, SUPPLEMENT, DATASETS, RESULTS)
    found = {name for name in single if (target / name).is_file()}
    for folder in (TABLES, FIGURES_FOLDER):
        found |= {path.relative_to(target).as_posix() for path in (target / folder).rglob("*") if path.is_file()}
    return found
