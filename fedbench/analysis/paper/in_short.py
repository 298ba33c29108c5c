"""The answers to the paper's questions in short, in Markdown: for a README, and in a few more words for results.md.

Sentences, numbers and verdicts are those of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.paper.answers.alignment import UNMEASURED, alignment_brief, alignment_short, idle
from fedbench.analysis.paper.answers.all_answers import on_phantoms, phantom_verdicts, room, undecided
from fedbench.analysis.paper.answers.cost import bytes_short, cost_short
from fedbench.analysis.paper.answers.cross import (
    CROSS,
    beside,
    dependent,
    in_words,
    most_for,
    short,
    with_common_models,
)
from fedbench.analysis.paper.answers.ground import Ground
from fedbench.analysis.paper.answers.luck import luck_short
from fedbench.analysis.paper.answers.own import control, own_short
from fedbench.analysis.paper.answers.unseen import unseen_modalities, unseen_short
from fedbench.analysis.paper.convergence import endings, rising_short, tell_endings
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.longer import longer
from fedbench.analysis.paper.norms.answer import answer_norms_brief, answer_norms_short
from fedbench.analysis.paper.norms.compared import compare_norms
from fedbench.analysis.paper.numbers import Numbers, named, words
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.setup import limit_unfinished
from fedbench.analysis.paper.study import Part, Study, known_in
from fedbench.analysis.paper.training import measure
from fedbench.analysis.tables.formats import escape_markdown
from fedbench.analysis.verdicts import Verdict, focus, judge

VERDICTS = (("better", Verdict.BETTER), ("worse", Verdict.WORSE), ("not distinguishable", Verdict.SAME))


class Answer(NamedTuple):
    """One answer.

    Attributes:
        topic: what it is about.
        brief: a sentence or two, for a README; empty where it has none.
        more: all that is said in short.
    """

    topic: str
    brief: str
    more: str


def answers_in_short(study: Study) -> list[Answer]:
    """Return the answer to the primary question, then those to the others that can be given."""
    numbers, ground, known = Numbers(), Ground.of(study), known_in(study)
    every = [comparison for _, comparison in ground.compared]
    to_reference = [comparison for _, comparison in ground.to_reference]
    asked = f"Does FedDA add cross-modality ability to what {study.choices.reference} gives? In our hands:"
    answer = short(numbers, ground.to_reference, ground.everything)
    primary = f"{asked} {answer}. {dependent(numbers, ground.to_reference)}"
    held_out = ground.held_out
    if not any(focus(part.labels) for part in study.parts):
        primary, held_out = compared_with_the_reference(ground.parts), []
    besides = f"{most_for(numbers, ground.to_reference)} {beside(numbers, ground.beside)}"
    made, _ = compare_norms(study)
    measured = [(part, measure(Scene(part.analyses, part.condition, known))) for part in ground.whole]
    ended = [(part, training.endings) for part, training in measured]
    on_them = [(part, endings(part.analyses.results(part.condition).rounds)) for part in ground.phantoms]
    aligned, others = alignment_short(numbers, measured), in_words(numbers, "cross", every, CROSS) if every else ""
    luck, own = luck_short(numbers, ground.crossed, to_reference), own_short(numbers, ground.whole)
    aligned, seen = "" if aligned == UNMEASURED else aligned, control(numbers, ground.crossed)
    more = longer(numbers, ground.whole)
    cost = cost_short(numbers, measured)
    left, unfinished = room(numbers, to_reference, ground.everything), limit_unfinished(study)
    unseen = unseen_modalities(numbers, held_out) if held_out else ""
    found = [
        Answer("The question", primary, f"{primary} {besides}"),
        Answer("Other algorithms", others, f"{others} {with_common_models(numbers, every)}" if every else ""),
        Answer("Own modality", own, own),
        Answer("Unseen modality", unseen_short(numbers, held_out), unseen),
        Answer("Alignment", f"{alignment_brief(measured)} {idle(numbers, measured)}", aligned),
        Answer("Cost", bytes_short(numbers, measured), cost),
        Answer("Luck", luck, luck),
        Answer("Normalisation", answer_norms_brief(numbers, made), answer_norms_short(numbers, made)),
        Answer("Power", left, f"{undecided(numbers, ground.whole, ground.parts)} {seen} {left}"),
        Answer("Budget", f"{rising_short(numbers, ended)} {more}", f"{tell_endings(numbers, ended)} {more}"),
        Answer("Phantoms", phantom_verdicts(numbers, on_them), on_phantoms(numbers, on_them)),
        Answer("Not run", unfinished, unfinished),
    ]  # fmt: skip
    return [
        Answer(each.topic, *(escape_markdown(plain(numbers, text.strip())) for text in (each.brief, each.more)))
        for each in found
        if each.more.strip()
    ]


def compared_with_the_reference(parts: Sequence[Part]) -> str:
    """Say of each condition what was better and worse than the reference: the lead of a study without FedDA."""
    told = []
    for part in parts:
        analysis = part.primary
        others = [label for label in part.labels if label != analysis.reference]
        verdicts = {label: judge(analysis, label, analysis.reference).verdict for label in others}
        groups = ((name, [named(k, False) for k, v in verdicts.items() if v is kind]) for name, kind in VERDICTS)
        found = "; ".join(f"{name}: {words(labels)}" for name, labels in groups if labels)
        told.append(
            f"In {escape(part.title)}, by {analysis.matrix.endpoint.name}, against "
            f"{named(analysis.reference, False)}: {found}."
        )
    return " ".join(told)
