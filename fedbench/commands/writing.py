"""``paper``: tables, figures and every number of the paper, from published results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedbench.commands.options import console
from fedbench.commands.refusing import must_take_files
from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.analysis.analyses import Choices

PUBLISHED, PAPER = Path("results/published"), Path("paper")


def paper(
    source: Annotated[
        Path, typer.Option("--from", metavar="FOLDER", help="Published results: one folder, or the folder of them.")
    ] = PUBLISHED,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", file_okay=False, help="The paper's folder.")] = PAPER,
    pdf: Annotated[bool, typer.Option("--pdf", help="Build main.pdf from the main.tex there; needs LaTeX.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if the paper is not what the results give.")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="All others are compared with it; default: the suite's.")
    ] = None,
    selection: Annotated[
        str | None, typer.Option(metavar="last|best-validation", help="Which round's models; default: the suite's.")
    ] = None,
    missing: Annotated[
        str | None, typer.Option(metavar="refuse|worst|complete-cases", help="Missing scores; default refuse.")
    ] = None,
) -> None:
    """Write tables, figures and numbers of the paper from published results; or check that they are up to date.

    It asks whether FedDA adds cross-modality ability to what the reference gives. Of a study without FedDA, results.md
    and the results at a glance begin with what was better or worse than the reference; other texts remain about FedDA.

    The results at a glance in the README.md beside the paper's folder are made and checked too, if it has the marks.

    --check compares with the choices (--reference, ...) that the paper was made with, unless others are given.

    Examples: `fedbench paper` · `fedbench paper --pdf` · `fedbench paper --check`
    """
    from fedbench.commands.analysing import AnalysisOptions

    if pdf and check:
        raise UserError("--pdf and --check exclude each other: --check changes nothing.")
    if not check:
        must_take_files("--to", to, to)
    given = {"reference": reference, "selection": selection, "missing": missing}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if check:
        _check(source, to, AnalysisOptions(out=source, to=to, **_recorded(to) | chosen).choices)
    else:
        _make(source, to, AnalysisOptions(out=source, to=to, **chosen).choices, pdf)


def _recorded(to: Path) -> dict[str, Any]:
    """Return the choices that the paper in ``to`` was made with; empty where that is not known."""
    from fedbench.analysis.paper.building import MADE_FROM
    from fedbench.store import read_json

    choices = (read_json(to / MADE_FROM) or {}).get("choices", {})
    return {name: choices[name] for name in ("reference", "selection", "missing") if name in choices}


def _make(source: Path, to: Path, choices: Choices, pdf: bool) -> None:
    from fedbench.analysis.paper.building import build
    from fedbench.analysis.paper.glance import glance
    from fedbench.analysis.paper.making import make
    from fedbench.analysis.paper.readme import part_of, put_part
    from fedbench.analysis.paper.study import read_study

    readme = _readme(to)
    study = read_study(source, choices)
    part_of(readme)  # whatever is wrong with its marks is said before anything is drawn
    with console.status("reading") as status:
        files = make(study, to, status.update)
    of = ", ".join(study.manifests)
    console.print(f"{len(files)} files in {to}, from {of}", markup=False, highlight=False, soft_wrap=True)
    if put_part(readme, glance(study, *_links(to))):
        console.print(f"results at a glance: {readme}", markup=False, highlight=False, soft_wrap=True)
    if pdf:
        with console.status("LaTeX"):
            built = build(to)
        console.print(str(built), markup=False, highlight=False, soft_wrap=True)


def _check(source: Path, to: Path, choices: Choices) -> None:
    from fedbench.analysis.paper.building import MADE_FROM
    from fedbench.analysis.paper.glance import glance
    from fedbench.analysis.paper.making import generated_files
    from fedbench.analysis.paper.readme import NOTHING, glance_problems
    from fedbench.analysis.paper.study import folders_of, read_study

    if not folders_of(source):
        left = sorted(generated_files(to) | ({MADE_FROM} if (to / MADE_FROM).exists() else set()))
        console.print(f"nothing published yet in {source}", markup=False, highlight=False, soft_wrap=True)
        problems = [f"{name}: made from results that are not published; remove it." for name in left]
        _report(problems + glance_problems(_readme(to), NOTHING), to)
        return
    from fedbench.analysis.paper.checking import check

    study = read_study(source, choices)
    with console.status("reading") as status:
        problems = check(study, to, status.update)
    _report(problems + glance_problems(_readme(to), glance(study, *_links(to))), to)


def _readme(to: Path) -> Path:
    """The README that shows the results at a glance: beside the paper's folder."""
    from fedbench.analysis.paper.readme import README

    return to.resolve().parent / README


def _links(to: Path) -> tuple[str, str]:
    """How that README links to the paper, and to what says how to repeat the runs, if that is there."""
    again = "results/README.md"
    return to.resolve().name, again if (_readme(to).parent / again).is_file() else ""


def _report(problems: list[str], to: Path) -> None:
    for problem in problems:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    if problems:
        console.print(f"{to} is not what the published results give", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    console.print(f"{to} is up to date", markup=False, highlight=False, soft_wrap=True)
