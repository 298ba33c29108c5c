"""``report``: one HTML file with everything that was found."""

from __future__ import annotations

from fedbench.commands.analysing import PAGES, AnalysisOptions, with_analysis
from fedbench.commands.options import console


@with_analysis
def report(options: AnalysisOptions) -> None:
    """Write one self-contained HTML file: summary, tables, figures, a browser of cases, protocol and provenance.

    It is written to `report.html` in the folder that is read, or to `--to`: a file that ends in `.html`, or a folder.

    Examples: `fedbench report` · `fedbench report --from results/published/study-sts --to sts.html`
    """
    from fedbench.analysis.report import write_report

    analyses = options.analyses()
    target = options.target("report.html")
    if target.suffix.lower() not in PAGES:
        target /= "report.html"
    with console.status("drawing figures and writing the report"):
        write_report(analyses.evidence, analyses, target)
    console.print(f"report: {target}", highlight=False, soft_wrap=True)
