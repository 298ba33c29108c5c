"""The results at a glance, for a README: the answers in a few sentences, and one table of all published conditions.

Numbers, verdicts and sentences are those of the paper, so the part is made and checked together with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedbench.analysis import cells
from fedbench.analysis.analyses import in_order
from fedbench.analysis.formats import escape_markdown
from fedbench.analysis.paper.answer_cross import CROSS, in_words, most_for, short, with_common_models
from fedbench.analysis.paper.answer_norms import answer_norms
from fedbench.analysis.paper.answer_unseen import unseen_modalities
from fedbench.analysis.paper.answers import on_phantoms, undecided
from fedbench.analysis.paper.convergence import endings, tell_endings
from fedbench.analysis.paper.ground import Ground
from fedbench.analysis.paper.making import RESULTS
from fedbench.analysis.paper.norm_compared import compare_norms
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.numbers import words as words_of
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.results_page import dagger, marked, mean_of, pipes, whole_parts, word
from fedbench.analysis.paper.setup import Settings, limit_unfinished
from fedbench.analysis.paper.study import Part, Study
from fedbench.registry import Spec, parse_spec

MARKS = {"better": " ▲", "worse": " ▼"}
LEGEND = (
    "Mean Dice over patients on modalities that a client does not hold; ▲ and ▼: better and worse than {reference} by "
    "both corrected tests, over patients and over patients and seeds; all else is *not distinguishable*, which is no "
    "claim of equality. Numbers among the parameters are those that were tuned, and left out here."
)
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
    shown = [part for part in whole_parts(study) if "cross" in part.relations and _has_one_of_each_kind(part)]
    answer, *more = _answers(Numbers(), study)
    references = sorted({part.primary.reference for part in study.parts})
    lines = [answer, ""]
    if shown:
        lines += [
            *_table(shown),
            "",
            LEGEND.format(reference=escape_markdown(words_of(references))),
            "",
            *dagger(shown),
        ]
    lines += [*(f"- {sentence}" for sentence in more), "", ABOUT.format(folder=folder, results=RESULTS)]
    return "\n".join([*lines, ""])


def _answers(numbers: Numbers, study: Study) -> list[str]:
    """The answers over all conditions: the question of the paper, unseen modalities, norms, and how far they hold."""
    ground = Ground.of(study)
    every = [comparison for _, comparison in ground.compared]
    asked = f"Does FedDA add cross-modality ability to what {study.choices.reference} gives? In our hands:"
    made, _ = compare_norms(study)
    ended, on_them = (
        [(part, endings(part.analyses.results(part.condition).rounds)) for part in parts]
        for parts in (ground.whole, ground.phantoms)
    )
    texts = [
        f"{asked} {short(numbers, [c for _, c in ground.to_reference])}. {most_for(numbers, ground.to_reference)}",
        f"{in_words(numbers, 'cross', every, CROSS)} {with_common_models(numbers, every)}" if every else "",
        unseen_modalities(numbers, ground.held_out) if ground.held_out else "",
        answer_norms(numbers, made) if made else "",
        f"{undecided(numbers, ground.whole)} {tell_endings(numbers, ended)}",
        on_phantoms(numbers, on_them),
        limit_unfinished(study),
    ]
    return [escape_markdown(plain(numbers, text.strip())) for text in texts if text.strip()]


def kind_of(label: str) -> str:
    """Return a label without the numbers among its parameters, which were tuned: ``fedprox[mu=0.1]`` is ``fedprox``."""
    setting, space, deployment = label.partition(" (")
    spec = parse_spec(setting)
    words = tuple((name, value) for name, value in spec.params if isinstance(value, str))
    return f"{Spec(spec.name, words).text}{space}{deployment}"


def _has_one_of_each_kind(part: Part) -> bool:
    """Whether no two labels differ by numbers alone, as they do in an ablation."""
    return len({kind_of(label) for label in part.labels}) == len(part.labels)


def _table(parts: Sequence[Part]) -> list[str]:
    """The lines of the table: a row for each kind of algorithm, a column for each condition."""
    analyses = [part.get("cross") for part in parts]
    labels = [{kind_of(label): label for label in part.labels} for part in parts]
    heads = ["algorithm", *map(escape_markdown, _heads(parts))]
    lines = [pipes(heads), pipes(["---", *("--:" for _ in parts)])]
    for kind in in_order(kind for own in labels for kind in own):
        row = [marked(kind)]
        for analysis, own in zip(analyses, labels, strict=True):
            mark = MARKS.get(word(analysis, own[kind]), "") if kind in own else ""
            row.append(mean_of(analysis, own[kind], 3) + mark if kind in own else cells.NONE)
        lines.append(pipes(row))
    return lines


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
