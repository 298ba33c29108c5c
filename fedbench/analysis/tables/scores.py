"""Tables of scores: the main result, of each condition and pooled; means by modality and by class."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedbench.analysis.analyses import RELATIONS, Analyses, in_order
from fedbench.analysis.evidence import Condition
from fedbench.analysis.kinds import alike
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.ranking import consensus, dataset_means, shared
from fedbench.analysis.statistics.rows import METRICS, Endpoint
from fedbench.analysis.tables import best
from fedbench.analysis.tables.captions import (
    MARKS,
    NAME,
    about,
    column_of,
    facts_of,
    name_of,
    notes_of,
    rule_of,
    selected,
)
from fedbench.analysis.tables.cells import ESTIMATE, Column, Table, Value, estimate, number, text
from fedbench.errors import UserError
from fedbench.wording import counted, listed

DIGITS = {"dice": 3, "nsd": 3, "hd95": 1}
DIRECTION = "Higher is better for Dice and NSD, lower for HD95."
REFERENCES = "local and centralised training are reference points, not federated, and take no part in marks."


def main_result(analyses: Analyses, condition: Condition) -> Table:
    """Return the main result of a condition: algorithms x relations x metrics, means with 95% intervals."""
    endpoints = analyses.endpoints(condition)
    made = [analyses.get(condition, endpoint) for endpoint in endpoints]
    columns = [
        Column(METRICS[e.metric] + _unit(analyses, condition, e), (RELATIONS[e.relation],), ESTIMATE) for e in endpoints
    ]
    marked = [best.marks(analysis) for analysis in made]
    algorithms = in_order(label for analysis in made for label in analysis.matrix.algorithms)
    rows = []
    for label in algorithms:
        cells = [name_of(label)]
        for analysis, marks in zip(made, marked, strict=True):
            mean = analysis.means.reindex([label]).iloc[0]
            digits = DIGITS[analysis.matrix.endpoint.metric]
            cells.append(estimate(mean["mean"], mean["low"], mean["high"], digits, *marks.get(label, ("", ""))))
        rows.append(cells)
    caption = (
        f"Mean over patients with 95% interval (bootstrap over patients). {DIRECTION}{_tolerance(analyses, condition)} "
        f"{about(analyses, made)} {REFERENCES.capitalize()}"
    )
    return Table(
        f"main.{condition.name}", f"Scores on {condition.title}", caption, [NAME, *columns], rows, rule_of(algorithms),
        MARKS, (*_coincide(made), *notes_of(made)), facts_of(analyses, condition, made),
    )  # fmt: skip


def pooled_result(analyses: Analyses, conditions: Sequence[Condition] | None = None) -> Table | None:
    """Return means over datasets and mean ranks; None where no relation occurs in two datasets.

    Relations of which fewer than two algorithms have scores in all datasets are left out and noted; None if all are.

    Datasets weigh the same; within a dataset, so do the modalities left out. In- and cross-modality scores are those
    with nothing left out of training. An algorithm whose tuned numbers differ between datasets is one: its kind.

    Args:
        conditions: what is pooled; default: all, as trained.
    """
    pooled = analyses.evidence.trained if conditions is None else conditions
    columns: list[Column] = [NAME]
    values: list[pd.Series] = []
    notes: dict[str, None] = {}
    datasets = 0
    for relation in RELATIONS:
        left_out = relation == "unseen"
        here = [c for c in pooled if bool(c.unseen) == left_out and relation in analyses.relations(c)]
        if len({c.dataset for c in here}) < 2:
            continue
        of_metric = {m: alike([analyses.get(c, Endpoint(relation, m)).matrix for c in here]) for m in METRICS}
        if len(shared(of_metric["dice"])) < 2:
            where = listed(c.title for c in here)
            notes[f"{RELATIONS[relation]}: not pooled, fewer than two algorithms have scores in all of {where}."] = None
            continue
        datasets = max(datasets, len({c.dataset for c in here}))
        ranks = consensus(of_metric["dice"])
        for metric, matrices in of_metric.items():
            units = {m.unit for m in matrices}
            if len(units) > 1:
                notes[f"HD95 is not pooled over datasets in {' and in '.join(sorted(units))}."] = None
                continue
            unit = f" ({units.pop()})" if metric == "hd95" else ""
            columns.append(Column(METRICS[metric] + unit, (RELATIONS[relation],)))
            values.append(dataset_means(matrices).mean().reindex(ranks.order.index))
        columns.append(Column("mean rank, Dice", (RELATIONS[relation],)))
        values.append(ranks.order["mean_rank"])
        first, end, rest = ranks.text.partition("). ")
        notes |= dict.fromkeys(filter(None, (f"{RELATIONS[relation]} Dice: {first}{end.strip()}", rest)))
        notes |= dict.fromkeys(f"{m.dataset}: {note}" for m in of_metric["dice"] for note in m.notes)
    if not values:
        return None
    algorithms = in_order(label for column in values for label in column.index)
    digits = [2 if "rank" in c.name else DIGITS["hd95"] if "HD95" in c.name else DIGITS["dice"] for c in columns[1:]]
    rows = [
        [name_of(label), *(number(v.get(label), n) for v, n in zip(values, digits, strict=True))]
        for label in algorithms
    ]
    caption = (
        f"Mean over {counted(datasets, 'dataset')} of each dataset's mean over patients, and mean rank of an "
        f"algorithm's mean Dice (1 is best). {DIRECTION} {selected(analyses)} No interval and no mark: with so few "
        "datasets nothing is said about others. Numbers among parameters are left aside where tuning chose others for "
        "each dataset."
    )
    facts: dict[str, Value] = {"selection": analyses.choices.selection, "missing scores": analyses.choices.missing}
    return Table(
        "main.pooled", "Scores over datasets", caption, columns, rows, rule_of(algorithms), MARKS,
        tuple(notes), facts | {"datasets": datasets},
    )  # fmt: skip


def by_modality(analyses: Analyses, condition: Condition) -> Table:
    """Return mean Dice by the modality of the client whose model it is, and the scored one; a column per algorithm."""
    cases = analyses.results(condition).cases
    parts = cases.groupby(["client_modality", "modality", "relation"], observed=True).size().index
    heads = [Column("model of", left=True, heads=True), Column("scored on", left=True), Column("relation", left=True)]
    caption = (
        "Mean Dice over patients of the models that clients of one modality use, on test cases of each modality. "
        f"{_about_primary(analyses, condition)} Descriptive: nothing here is tested."
    )
    return _of_parts(analyses, condition, "modalities", "Dice by modality", caption, heads, parts.tolist())


def by_class(analyses: Analyses, condition: Condition) -> Table:
    """Return mean Dice by class (in the order of their numbers) and relation; a column per algorithm."""
    cases = analyses.results(condition).cases
    by_number = cases.sort_values([c for c in ("number", "class") if c in cases])["class"].drop_duplicates().tolist()
    there = set(zip(cases["class"], cases["relation"], strict=True))
    parts = [(c, r) for r in analyses.relations(condition) for c in by_number if (c, r) in there]
    heads = [Column("class", left=True, heads=True), Column("relation", left=True)]
    caption = (
        f"Mean Dice over the patients who have the structure. {_about_primary(analyses, condition)} Descriptive: "
        "nothing here is tested."
    )
    return _of_parts(analyses, condition, "classes", "Dice by class", caption, heads, parts)


def _of_parts(
    analyses: Analyses, condition: Condition, name: str, title: str, caption: str, heads: list[Column],
    parts: Sequence[tuple[str, ...]],
) -> Table:  # fmt: skip
    """One row per part of the scores: (client's modality, scored modality, relation) or (class, relation)."""
    cases = analyses.results(condition).cases
    by = ["client_modality", "modality", "relation"] if len(heads) == 3 else ["class", "relation"]
    algorithms = analyses.algorithms(condition)
    rows, notes = [], []
    for part in parts:
        where = np.logical_and.reduce([cases[column] == value for column, value in zip(by, part, strict=True)])
        means, problem = _part_means(analyses, condition, where, part[-1])
        words = [*map(str, part[:-1]), RELATIONS[part[-1]]]
        notes += [f"{', '.join(words)}: {problem}"] if problem else []
        rows.append([*map(text, words), *(number(means.get(label), DIGITS["dice"]) for label in algorithms)])
    group = 0 if len(heads) == 3 else -1  # a rule between clients, or between relations
    breaks = [i for i in range(1, len(parts)) if parts[i][group] != parts[i - 1][group]]
    return Table(
        f"{name}.{condition.name}", f"{title} on {condition.title}", caption, [*heads, *map(column_of, algorithms)],
        rows, tuple(breaks), MARKS, tuple(notes), facts_of(analyses, condition, [analyses.get(condition)]),
    )  # fmt: skip


def _part_means(
    analyses: Analyses, condition: Condition, where: np.ndarray, relation: str
) -> tuple[pd.Series, str]:  # fmt: skip
    """Mean Dice by algorithm, and why there is none."""
    try:
        return analyses.scores(condition, Endpoint(relation, "dice", condition.unseen), where).values.mean(), ""
    except UserError as error:  # too few patients have it; what is wrong with the rows has been refused before
        return pd.Series(dtype=float), str(error)


def _about_primary(analyses: Analyses, condition: Condition) -> str:
    return about(analyses, [analyses.get(condition)])


def _coincide(made: Sequence[Analysis]) -> list[str]:
    """Say why two columns hold the same numbers: of a shared model, and images that weigh the same in both."""
    means = {a.matrix.endpoint.relation: a.means["mean"] for a in made if a.matrix.endpoint.metric == "dice"}
    if not {"in", "cross"} <= set(means):
        return []
    same = in_order(means["in"].index[np.isclose(means["in"], means["cross"].reindex(means["in"].index), atol=1e-12)])
    why = "the clients share one model, and every modality weighs as much among own as among foreign ones"
    return [f"In- and cross-modality scores are the same for {', '.join(same)}: {why}."] if same else []


def _unit(analyses: Analyses, condition: Condition, endpoint: Endpoint) -> str:
    return f" ({analyses.unit(condition)})" if endpoint.metric == "hd95" else ""


def _tolerance(analyses: Analyses, condition: Condition) -> str:
    unit = analyses.unit(condition)
    runs = analyses.results(condition).runs
    every = {json.loads(text)["evaluation"].get(f"nsd_tolerance_{unit}") for text in runs["identity"]}
    return f" NSD at a tolerance of {listed(f'{t:g} {unit}' for t in sorted(every - {None}))}." if every else ""
