"""The results at a glance, for a README: the answers in a few sentences, and one table of the published conditions.

Numbers, verdicts and sentences are those of the paper, so the part is made and checked together with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fedbench.analysis.paper.in_short import answers_in_short
from fedbench.analysis.paper.making import RESULTS
from fedbench.analysis.paper.numbers import words as words_of
from fedbench.analysis.paper.overview import norms_of, phantoms_beside, scores_table, side_by_side
from fedbench.analysis.paper.results_page import dagger, marked, pipes, told_patients
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.formats import escape_markdown

LEGEND = (
    "Mean Dice over patients on modalities that a client does not hold; ▲ and ▼: better and worse than {reference} by "
    "both corrected tests, over patients and over patients and seeds; all else is *not distinguishable*, which is no "
    "claim of equality."
)
NUMBERS = "Numbers among the parameters are left out here."
NUMBER = re.compile(r"=[\d.]")
NOT_RUN = f"{cells.NONE}: not run there."
ABOUT = (
    "[{folder}/{results}]({folder}/{results}) has these answers with their {more}; [{folder}]({folder}/) all tables, "
    "tests and figures. This part is made by `python -m fedbench paper`"
)
AGAIN = "[{file}]({file}) says how to repeat the runs"


def glance(study: Study, folder: str = "paper", again: str = "") -> str:
    """Return the part, in Markdown; the same published results give the same text.

    Args:
        folder: of the paper, as the README links to it.
        again: the file that says how to repeat the runs, likewise; empty if there is none.
    """
    shown = side_by_side(study)
    answer, *others = answers_in_short(study)
    references = sorted({part.primary.reference for part in study.parts})
    lines = [answer.brief, ""]
    if shown:
        legend = LEGEND.format(reference=escape_markdown(words_of(references)))
        table, told = _table(shown), escape_markdown(told_patients(shown))
        numbers = NUMBERS if any(NUMBER.search(label) for part in shown for label in part.labels) else ""
        gaps = NOT_RUN if any(f"| {cells.NONE} " in row for row in table) else ""
        lines += [
            *table,
            "",
            " ".join(filter(None, [legend, numbers, gaps, told])),
            "",
            *dagger(shown),
        ]
    more = ["sizes", "intervals", "HD95", "in-modality Dice"]
    more += ["phantoms"] if phantoms_beside(study) else []
    more += ["modalities left out of training"] if any(part.condition.unseen for part in study.parts) else []
    about = ABOUT.format(folder=folder, results=RESULTS, more=words_of(more))
    about = "; ".join(filter(None, [about, AGAIN.format(file=again) if again else ""])) + "."
    briefs = [f"- **{each.topic}.** {each.brief}" for each in others if each.brief]
    lines += [*briefs, "", about]
    return "\n".join([*lines, ""])


def _table(parts: Sequence[Part]) -> list[str]:
    """The lines of the table: that of the paper's overview, with headings of one line."""
    lines = [pipes(["algorithm", *map(escape_markdown, _heads(parts))]), pipes(["---", *("--:" for _ in parts)])]
    for name, *found in scores_table(parts).rows:
        lines.append(pipes([marked(name.text), *(f"{cell.text} {cell.sign}".strip() for cell in found)]))
    return lines


def _heads(parts: Sequence[Part]) -> list[str]:
    """The conditions' names, with the norm where it is not that of the same condition before; else the study's name."""
    usual: dict[str, list[str]] = {}
    heads = []
    for part in parts:
        norms = norms_of(part)
        more = f", {words_of(norms)} norm" if norms and norms != usual.setdefault(part.condition.name, norms) else ""
        heads.append(part.condition.title + more)
    told = Counter(heads)
    return [part.title if told[head] > 1 else head for part, head in zip(parts, heads, strict=True)]
