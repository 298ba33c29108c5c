"""``results.md`` beside the paper: one small table for each published condition; those with a modality left out share
one.

Numbers, verdicts and sentences are those of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from fedbench.analysis.analyses import (
    ALONE,
    RECONSTRUCTED,
    RECONSTRUCTION,
    RELATIONS,
    in_order,
    is_reconstruction,
    is_reference_point,
)
from fedbench.analysis.declared import PATIENT, unit_of
from fedbench.analysis.paper.answers.cross import CROSS, in_words, studied
from fedbench.analysis.paper.in_short import answers_in_short
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.numbers import words as words_of
from fedbench.analysis.paper.overview import whole_parts
from fedbench.analysis.paper.plain import markdown
from fedbench.analysis.paper.reliability import decidable, repeated
from fedbench.analysis.paper.setup import NORMS, Settings
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.paper.teller import Teller
from fedbench.analysis.paper.telling import reference_point
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.tables import cells
from fedbench.analysis.tables.cells import minutes
from fedbench.analysis.tables.formats import escape_markdown
from fedbench.analysis.verdicts import focus, judge
from fedbench.wording import counted

NAMED = ("better", "worse")
ROWS = 12  # of a table; the paper has all
MADE = (
    "Made by `python -m fedbench paper` from what is published. Means over patients; 95% bootstrap intervals over "
    "patients, which are too narrow where patients are few. *Better* and *worse* need both corrected tests, over "
    "patients and over patients and seeds; all else is *not distinguishable*, which is no claim of equality. Names "
    "hold no more parameters than tell algorithms apart; the paper's table of configurations has all."
)


def results_page(study: Study) -> str:
    """Return the page, in Markdown; the same published results give the same text."""
    whole = whole_parts(study)
    lines = ["# Results", "", MADE, "", "## In short", ""]
    question, *others = answers_in_short(study)
    lines += [question.more, "", *(f"- **{each.topic}.** {each.more}" for each in others), ""]
    lines += ["## Condition by condition", ""]
    for text in filter(None, (shared_runs(study.parts), told_patients(study.parts))):
        lines += [escape_markdown(text), ""]
    for part in whole:
        lines += _condition(part)
    held_out = [part for part in study.parts if "unseen" in part.relations]
    for key in dict.fromkeys((part.condition.dataset, part.folder) for part in held_out):  # phantoms last, as in parts
        lines += _left_out([part for part in held_out if (part.condition.dataset, part.folder) == key])
    lines += dagger([*whole, *held_out])
    return "\n".join(lines)


def dagger(parts: Iterable[Part]) -> list[str]:
    """Return the note of reconstructed algorithms, if there is one among the labels."""
    used = any(is_reconstruction(label) for part in parts for label in part.labels)
    return [f"{RECONSTRUCTED} {RECONSTRUCTION}", ""] if used else []


def shared_runs(parts: Sequence[Part]) -> str:
    """Say how many trainings there are where conditions share some; empty where they share none."""
    runs = [part.analyses.results(part.condition).runs["run_id"] for part in parts]
    trained, shown = pd.concat(runs).nunique(), sum(map(len, runs))
    if trained == shown:
        return ""
    return f"The parts below sum to {shown} runs, of {counted(trained, 'training')}: an ablation shows some runs again."


def told_patients(parts: Iterable[Part]) -> str:
    """Say on which data sets a patient is something else, as their loaders declare; empty where on none."""
    units = {name: unit_of(name) for name in sorted({part.condition.dataset for part in parts})}
    return " ".join(f"On {name} a patient is a {unit}." for name, unit in units.items() if unit != PATIENT)


def _condition(part: Part) -> list[str]:
    """A condition: what was run, its table, and two sentences."""
    numbers = Numbers()
    sentences = []
    if "cross" in part.relations:
        analysis = part.get("cross")
        if focus(part.labels):
            sentences.append(in_words(numbers, "cross", studied([part], "cross"), CROSS))
        if ALONE in analysis.matrix.algorithms:
            sentences.append(reference_point(Teller(numbers, part), analysis, ALONE))
    shown = _chosen(part, part.labels)
    more = len(part.labels) - len(shown)
    left = f" {counted(more, 'more row')} in the paper." if more else ""
    return [
        f"### {escape_markdown(part.title)}", "", f"{escape_markdown(_size(part))}{left}", "",
        *_table(part, shown), "", " ".join(markdown(numbers, sentence) for sentence in sentences), "",
    ]  # fmt: skip


def _size(part: Part) -> str:
    """Runs, seeds, patients, and the kind of norm."""
    patients = counted(len(part.primary.matrix.values), "test patient")
    folder = f" Published as {part.folder}." if part.folder else ""
    return f"{_trainings([part], patients)}{folder}"


def _trainings(parts: Sequence[Part], *facts: str) -> str:
    """How many trainings, how long, how often repeated, with which norm."""
    runs = pd.concat([part.analyses.results(part.condition).runs for part in parts])
    norms = [NORMS.get(norm, norm) for norm in Settings.of(runs).values("model", "norm")]
    time = f"{counted(len(runs), 'run')} of {minutes(float(runs['seconds'].mean()))} min on average"
    seeds = max(len(part.primary.matrix.seeds) for part in parts)
    return f"{', '.join([time, counted(seeds, 'seed'), *facts, *norms])}."


def _left_out(parts: Sequence[Part]) -> list[str]:
    """The conditions of a dataset with a modality left out, side by side: the Dice on that modality."""
    found = {part.condition.unseen: part.get("unseen") for part in parts}
    labels = in_order({label for part in parts for label in part.labels})
    reference = parts[0].primary.reference
    heads = [f"{unseen} ({len(analysis.matrix.values)})" for unseen, analysis in found.items()]
    lines = [pipes(map(escape_markdown, ["algorithm", *heads])), pipes(["---", *("--:" for _ in heads)])]
    for label in labels:
        name = marked(label)
        words = [word(analysis, label) for analysis in found.values()]
        marks = [f" ({word})" if word in NAMED else "" for word in words]
        means = [mean_of(analysis, label, 3) for analysis in found.values()]
        lines.append(pipes([name, *(escape_markdown(mean + mark) for mean, mark in zip(means, marks, strict=True))]))
    folder = f" Published as {parts[0].folder}." if parts[0].folder else ""
    few = [unseen for unseen, analysis in found.items() if not decidable(analysis)]
    hopeless = f" Of {words_of(few)} patients are too few to name any difference." if few else ""
    if all(unseen in few or not repeated(analysis) for unseen, analysis in found.items()) and len(few) < len(found):
        hopeless += " With one seed no difference is named."
    return [
        f"### {escape_markdown(parts[0].condition.dataset)}, a modality left out of training", "",
        f"{escape_markdown(_trainings(parts) + folder)} Dice on the modality that nobody trained on (test patients); "
        f"{' or '.join(NAMED)} than {escape_markdown(reference)} where it says so."
        f"{escape_markdown(hopeless)}", "", *lines, "",
    ]  # fmt: skip


def _chosen(part: Part, labels: Sequence[str]) -> list[str]:
    """Return the rows: all, or where they are too many reference points and reference, those under study, the best."""
    if len(labels) <= ROWS:
        return list(labels)
    analysis = part.primary
    ranked = [label for label in analysis.order if label in labels]
    fixed = [label for label in labels if is_reference_point(label) or label == analysis.reference]
    rest = [label for label in ranked if label not in fixed]
    rest.sort(key=lambda label: not is_reconstruction(label))  # stable: the best first within each
    return in_order([*fixed, *rest[: max(0, ROWS - len(fixed))]])


def _table(part: Part, labels: Sequence[str]) -> list[str]:
    """The table's lines: by cross-modality scores, with the in-modality Dice beside."""
    relation = "cross" if "cross" in part.relations else "in"
    dice, distance = part.get(relation), part.get(relation, "hd95")
    own = part.get("in") if "in" in part.relations else None
    heads = [
        "algorithm", f"{RELATIONS[relation]} Dice", f"{RELATIONS[relation]} Dice against {dice.reference}",
        "in-modality Dice", f"in-modality Dice against {dice.reference}",
        f"{RELATIONS[relation]} HD95 ({distance.matrix.unit})",
    ]  # fmt: skip
    lines = [pipes(map(escape_markdown, heads)), pipes(["---", "--:", "---", "--:", "---", "--:"])]
    for label in labels:
        name = marked(label)
        lines.append(pipes([name, *map(escape_markdown, _row(label, dice, own, distance))]))
    return lines


def marked(label: str) -> str:
    """Return a label for a table, with a dagger if it is our reconstruction."""
    return escape_markdown(label) + (RECONSTRUCTED if is_reconstruction(label) else "")


def _row(label: str, dice: Analysis, own: Analysis | None, distance: Analysis) -> list[str]:
    return [
        _estimate(dice, label), word(dice, label),
        mean_of(own, label, 3), cells.NONE if own is None else word(own, label), mean_of(distance, label, 1),
    ]  # fmt: skip


def word(analysis: Analysis, label: str) -> str:
    """What may be said of an algorithm against the reference."""
    if label == analysis.reference:
        return "reference"
    if label not in analysis.matrix.algorithms:
        return cells.NONE
    return judge(analysis, label, analysis.reference).verdict.value.removesuffix(" than").removesuffix(" from")


def _estimate(analysis: Analysis, label: str) -> str:
    if label not in analysis.means.index:
        return cells.NONE
    mean, low, high = (float(analysis.means[key][label]) for key in ("mean", "low", "high"))
    shown = cells.estimate(mean, low, high, 3)
    return f"{shown.text} ({shown.below.replace(', ', ' to ')})" if shown.below else shown.text


def mean_of(analysis: Analysis | None, label: str, digits: int) -> str:
    """Return the mean of an algorithm, or a dash."""
    if analysis is None or label not in analysis.means.index:
        return cells.NONE
    return cells.decimal(float(analysis.means["mean"][label]), digits)


def pipes(row: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(row)} |"
