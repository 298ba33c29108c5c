"""``figures``: every figure of a study, drawn from finished runs or from published results."""

from __future__ import annotations

from typing import Annotated

import typer

from fedbench.commands.analysing import AnalysisOptions, with_analysis
from fedbench.commands.options import console
from fedbench.errors import UserError, nearest


@with_analysis
def figures(
    options: AnalysisOptions,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this figure, such as forest; a wrong name lists them all. Repeatable."),
    ] = None,
) -> None:
    """Draw all figures of every dataset as PDF and PNG, with captions.txt beside them.

    Example: `fedbench figures --from results/published/study-sts --to sts-figures`
    """
    from fedbench.analysis.figures import FIGURES, Drawn, draw_all, write_captions
    from fedbench.wording import counted

    for name in only or ():
        if name not in FIGURES:
            raise UserError(f"--only {name}: no such figure{nearest(name, FIGURES)}")
    analyses = options.analyses()
    target = options.target("figures")
    with console.status("drawing") as status:

        def watch(drawn: Drawn) -> None:
            status.update(f"{drawn.condition.title}: {drawn.name}")

        drawn = draw_all(analyses.evidence, analyses, target, only or None, watch)
        write_captions(drawn, target)
    for one in drawn:
        if one.reason:
            console.print(f"no {one.name} of {one.condition.title}: {one.reason}", markup=False, highlight=False)
    made = [one for one in drawn if one.files]
    files = sum(len(one.files) for one in made)
    console.print(
        f"{counted(len(made), 'figure')}, {counted(files, 'file')} in {target}", highlight=False, soft_wrap=True
    )
