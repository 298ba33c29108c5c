"""The results at a glance, for a README: the answers in a few sentences, and one table of all published conditions.

Numbers, verdicts and sentences are those of the paper, so the part is made and checked together with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedbench.analysis.analyses import in_order
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.kinds import kind_of
from fedbench.analysis.paper.answers.alignment import UNMEASURED, alignment_short
from fedbench.analysis.paper.answers.all_answers import on_phantoms, room, undecided
from fedbench.analysis.paper.answers.cost import cost_short
from fedbench.analysis.paper.answers.cross import CROSS, dependent, in_words, most_for, short, with_common_models
from fedbench.analysis.paper.answers.ground import Ground
from fedbench.analysis.paper.answers.luck import luck_short
from fedbench.analysis.paper.answers.own import control, own_short
from fedbench.analysis.paper.answers.unseen import unseen_modalities
from fedbench.analysis.paper.convergence import endings, tell_endings
from fedbench.analysis.paper.making import RESULTS, known_in
from fedbench.analysis.paper.norms.answer import answer_norms_short
from fedbench.analysis.paper.norms.compared import compare_norms
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.numbers import words as words_of
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.results_page import dagger, marked, mean_of, pipes, told_patients, whole_parts, word
from fedbench.analysis.paper.setup import Settings, limit_unfinished
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.paper.training import measure
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.formats import escape_markdown

MARKS = {"better": " ▲", "worse": " ▼"}
LEGEND = (
    "Mean Dice over patients on modalities that a client does not hold; ▲ and ▼: better and worse than {reference} by "
    "both corrected tests, over patients and over patients and seeds; all else is *not distinguishable*, which is no "
    "claim of equality. Numbers among the parameters are those that were tuned, and left out here."
)
NOT_RUN = f"{cells.NONE}: not run there."
ABOUT = (
    "[{folder}/{results}]({folder}/{results}) has intervals, HD95, in-modality Dice and modalities left out of "
    "training; [{folder}]({folder}/) all tables, tests and figures. This part is made by `python -m fedbench paper`; "
    "[results/README.md](results/README.md) says how to repeat the runs."
)


def glance(study: Study, folder: str = "paper") -> str:
    """Return the part, in Markdown; the same published results give the same text.

    Args:
        folder: of the paper, as the README links to it.
    """
    shown = [part for part in whole_parts(study) if "cross" in part.relations and not part.ablation]
    (_, answer), *more = _answers(Numbers(), study)
    references = sorted({part.primary.reference for part in study.parts})
    lines = [answer, ""]
    if shown:
        legend = LEGEND.format(reference=escape_markdown(words_of(references)))
        table, told = _table(shown), escape_markdown(told_patients(shown))
        gaps = NOT_RUN if any(f"| {cells.NONE} " in row for row in table) else ""
        lines += [
            *table,
            "",
            " ".join(filter(None, [legend, gaps, told])),
            "",
            *dagger(shown),
        ]
    lines += [*(f"- **{topic}.** {told}" for topic, told in more), "", ABOUT.format(folder=folder, results=RESULTS)]
    return "\n".join([*lines, ""])


def _answers(numbers: Numbers, study: Study) -> list[tuple[str, str]]:
    """What each answer is about, and the answer: the questions of the paper in short, and how far answers hold."""
    ground, known = Ground.of(study), known_in(study)
    every = [comparison for _, comparison in ground.compared]
    to_reference = [comparison for _, comparison in ground.to_reference]
    asked = f"Does FedDA add cross-modality ability to what {study.choices.reference} gives? In our hands:"
    made, _ = compare_norms(study)
    measured = [(part, measure(Scene(part.analyses, part.condition, known))) for part in ground.whole]
    ended = [(part, training.endings) for part, training in measured]
    on_them = [(part, endings(part.analyses.results(part.condition).rounds)) for part in ground.phantoms]
    aligned = alignment_short(numbers, measured)
    told = {
        "The question": f"{asked} {short(numbers, ground.to_reference)}. {dependent(numbers, ground.to_reference)} "
        f"{most_for(numbers, ground.to_reference)}",
        "All other algorithms": f"{in_words(numbers, 'cross', every, CROSS)} {with_common_models(numbers, every)}"
        if every
        else "",
        "Own modality": own_short(numbers, ground.whole),
        "Unseen modality": unseen_modalities(numbers, ground.held_out) if ground.held_out else "",
        "Alignment": aligned if aligned != UNMEASURED else "",
        "Cost and luck": f"{cost_short(numbers, measured)} {luck_short(numbers, ground.crossed, to_reference)}",
        "Normalisation": answer_norms_short(numbers, made),
        "Power": f"{undecided(numbers, ground.whole)} {control(numbers, ground.crossed)} {room(numbers, to_reference)}",
        "Budget": tell_endings(numbers, ended),
        "Phantoms": on_phantoms(numbers, on_them),
        "Unfinished": limit_unfinished(study),
    }
    return [(topic, escape_markdown(plain(numbers, text.strip()))) for topic, text in told.items() if text.strip()]


def _table(parts: Sequence[Part]) -> list[str]:
    """The lines of the table: a row for each kind of algorithm, a column for each condition."""
    analyses = [part.get("cross") for part in parts]
    labels = [_by_kind(part.labels) for part in parts]
    heads = ["algorithm", *map(escape_markdown, _heads(parts))]
    lines = [pipes(heads), pipes(["---", *("--:" for _ in parts)])]
    for kind in in_order(kind for own in labels for kind in own):
        row = [marked(kind)]
        for analysis, own in zip(analyses, labels, strict=True):
            mark = MARKS.get(word(analysis, own[kind]), "") if kind in own else ""
            row.append(mean_of(analysis, own[kind], 3) + mark if kind in own else cells.NONE)
        lines.append(pipes(row))
    return lines


def _by_kind(labels: Sequence[str]) -> dict[str, str]:
    """Labels by their kinds; by themselves where several are of one kind."""
    many = Counter(map(kind_of, labels))
    return {kind if many[kind := kind_of(label)] == 1 else label: label for label in labels}


def _heads(parts: Sequence[Part]) -> list[str]:
    """The conditions' names, with the norm where it is not that of the same condition before; else the study's name."""
    usual: dict[str, list[str]] = {}
    heads = []
    for part in parts:
        norms = Settings.of(part.analyses.results(part.condition).runs).values("model", "norm")
        more = f", {words_of(norms)} norm" if norms and norms != usual.setdefault(part.condition.name, norms) else ""
        heads.append(part.condition.title + more)
    told = Counter(heads)
    return [part.title if told[head] > 1 else head for part, head in zip(parts, heads, strict=True)]
