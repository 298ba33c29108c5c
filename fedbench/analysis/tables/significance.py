"""Tables of statistics: omnibus tests, the declared comparisons, stability of ranks, variance of scores."""

from __future__ import annotations

from fedbench.analysis.analyses import Analyses, in_order, is_reference_point
from fedbench.analysis.evidence import Condition
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.ranking import METHODS
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.statistics.variance import PARTS
from fedbench.analysis.tables.captions import MARKS, NAME, about, facts_of, name_of, notes_of, rule_of
from fedbench.analysis.tables.cells import (
    INTERVAL,
    Cell,
    Column,
    Table,
    count,
    decimal,
    difference,
    number,
    probability,
    share,
    signed,
    span,
    text,
)
from fedbench.wording import counted

DIGITS = {"dice": 3, "nsd": 3, "hd95": 2}  # of differences
SPREADS = {"patient": "patients", "seed": "seeds", "residual": "rest"}
SPARED = ("median difference", "rank-biserial", "favours")  # in a brief table
OVER_FOLDS = ("over folds",)
NEGATIVE = "negative estimate"  # how such a note begins


def overview(analyses: Analyses, condition: Condition) -> Table:
    """Return one row per endpoint: do the algorithms differ at all, and is the best better than its runner-up."""
    made = [analyses.get(condition, endpoint) for endpoint in analyses.endpoints(condition)]
    better, runs = ("best against runner-up",), ("Friedman",)
    columns = [
        Column("endpoint", left=True, heads=True), Column("patients"), Column("seeds"), Column("F", runs),
        Column("df", runs), Column("p", runs), Column("best", better, left=True),
        Column("runner-up", better, left=True), Column("p, patients", better), Column("p, patients and runs", better),
    ]  # fmt: skip
    caption = (
        "Friedman's test in the form of Iman and Davenport over all algorithms, and the comparison of the federated "
        "algorithm with the best mean with the next one: Wilcoxon's test over patients and the test over patients and "
        f"runs, both with Holm's correction over all pairs. {about(analyses, made)}"
    )
    return Table(
        f"tests.{condition.name}", f"Tests on {condition.title}", caption, columns, [_overview_row(a) for a in made],
        (), MARKS, notes_of(made), facts_of(analyses, condition, made),
    )  # fmt: skip


def _overview_row(analysis: Analysis) -> list[Cell]:
    omnibus, endpoint = analysis.friedman, analysis.matrix.endpoint
    order = [label for label in analysis.order if not is_reference_point(label)]
    pair = analysis.comparison(order[0], order[1]) if len(order) > 1 else {"p_holm_all": None, "runs_p_holm_all": None}
    leaders = [name_of(label) for label in order[:2]] + [text("–")] * (2 - len(order[:2]))
    return [
        text(endpoint.name.partition(",")[0]), count(len(analysis.matrix.values)), count(len(analysis.matrix.seeds)),
        number(float(omnibus.f), 2), text("{}, {}".format(*omnibus.df)), probability(float(omnibus.p)), *leaders,
        probability(pair["p_holm_all"]), probability(pair["runs_p_holm_all"]),
    ]  # fmt: skip


def comparisons(analyses: Analyses, condition: Condition, endpoint: Endpoint, brief: bool = False) -> Table:
    """Return the declared family of comparisons of an endpoint, one row per pair.

    Args:
        brief: leave out the median, the rank-biserial correlation and what is not corrected.
    """
    analysis = analyses.get(condition, endpoint)
    digits, unit = DIGITS[endpoint.metric], analysis.matrix.unit
    declared = analysis.pairwise[analysis.pairwise["declared"]]
    folds = bool(declared["folds_p"].notna().any())
    patients, runs = ("over patients",), ("over patients and runs",)
    columns = [
        NAME, Column("against", left=True), Column("median difference", fields=INTERVAL),
        Column("mean difference", fields=INTERVAL), Column("rank-biserial", patients), Column("p", patients),
        Column("p, Holm", patients), Column("interval of the mean", runs, ("low", "high")), Column("p", runs),
        Column("p, Holm", runs), *([Column("p", OVER_FOLDS)] if folds else []), Column("favours", left=True),
    ]  # fmt: skip
    rows = [
        [
            name_of(pair["algorithm"]), name_of(pair["reference"]),
            difference(pair["median"], pair["median_low"], pair["median_high"], digits),
            difference(pair["mean"], pair["mean_low"], pair["mean_high"], digits),
            signed(pair["rank_biserial"], 2), probability(pair["p"]), probability(pair["p_holm"]),
            span(pair["runs_low"], pair["runs_high"], digits), probability(pair["runs_p"]),
            probability(pair["runs_p_holm"]), *([probability(pair["folds_p"])] if folds else []),
            name_of(pair["favours"]) if pair["favours"] else text("neither"),
        ]
        for pair in declared.to_dict("records")
    ]  # fmt: skip
    if brief:
        kept = [i for i, c in enumerate(columns) if c.name not in SPARED and (c.name != "p" or c.groups == OVER_FOLDS)]
        columns, rows = [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
        at = [column.name for column in columns].index("mean difference")  # its interval beside it, not below
        columns[at : at + 1] = [Column("mean difference"), Column("interval of the mean", patients, ("low", "high"))]
        for row, pair in zip(rows, declared.to_dict("records"), strict=True):
            row[at : at + 1] = [signed(pair["mean"], digits), span(pair["mean_low"], pair["mean_high"], digits)]
    breaks = [i for i in range(1, len(rows)) if declared["reference"].iloc[i] != declared["reference"].iloc[i - 1]]
    omnibus = analysis.friedman
    friedman = f"Friedman (Iman-Davenport): F({omnibus.df[0]}, {omnibus.df[1]}) = {decimal(float(omnibus.f), 2)}"
    caption = (
        f"Differences{f' in {unit}' if unit else ''}, algorithm minus the one it is compared with, with 95% intervals; "
        f"Holm's correction over these {counted(len(rows), 'comparison')}, the declared ones. {friedman}, "
        f"p {_equals(float(omnibus.p))}. {_FOLDS if folds else ''}{about(analyses, [analysis])}"
    )
    return Table(
        f"pairs.{condition.name}.{_short(endpoint)}", f"{_title(endpoint)}: comparisons on {condition.title}", caption,
        columns, rows, tuple(breaks), MARKS, notes_of([analysis]),
        facts_of(analyses, condition, [analysis]) | {"endpoint": _short(endpoint)},
    )  # fmt: skip


_FOLDS = (
    "Over folds: the corrected t-test of Nadeau and Bengio, which takes patients that validate for training patients "
    "(p is a little too small), not corrected for the number of comparisons. "
)


def ranks(analyses: Analyses, condition: Condition, endpoint: Endpoint) -> Table:
    """Return how stable the ranking is when patients are drawn anew, by both ways of ranking."""
    analysis = analyses.get(condition, endpoint)
    found = {(row["method"], row["algorithm"]): row for row in analysis.ranks.summary.to_dict("records")}
    columns = [NAME]
    for method in METHODS:
        columns += [
            Column("rank", (method,)), Column("95% interval", (method,), ("low", "high")),
            Column("probability of rank 1", (method,)),
        ]  # fmt: skip
    algorithms = in_order(analysis.matrix.algorithms)
    rows = []
    for label in algorithms:
        row = [name_of(label)]
        for method in METHODS:
            own = found[method, label]
            row += [number(own["rank"], 1), span(own["low"], own["high"], 1), number(own["p_first"], 2)]
        rows.append(row)
    tau = "; ".join(f"{method} {decimal(analysis.ranks.tau[method].mean(), 2)}" for method in METHODS)
    caption = (
        f"Ranks (1 is best) and what becomes of them in {len(analysis.ranks.tau)} bootstrap samples of the patients. "
        f"Mean of Kendall's tau to the ranking of all patients: {tau}. {about(analyses, [analysis])}"
    )
    return Table(
        f"ranks.{condition.name}.{_short(endpoint)}", f"{_title(endpoint)}: ranks on {condition.title}", caption,
        columns, rows, rule_of(algorithms), MARKS, notes_of([analysis]),
        facts_of(analyses, condition, [analysis]) | {"endpoint": _short(endpoint)},
    )  # fmt: skip


def variance(analyses: Analyses, condition: Condition, endpoint: Endpoint) -> Table:
    """Return how much of scores, and of differences to the reference, is the patient and how much luck."""
    analysis = analyses.get(condition, endpoint)
    found = {(row["of"], row["algorithm"]): row for row in analysis.variance.to_dict("records")}
    groups = {"score": "score", "difference": f"difference to {analysis.reference}"}
    columns = [NAME]
    for group in groups.values():
        columns += [Column(f"SD, {SPREADS[part]}", (group,)) for part in PARTS]
        columns += [Column(f"share, {SPREADS[part]}", (group,)) for part in PARTS]
    algorithms = in_order(analysis.matrix.algorithms)
    rows = []
    for label in algorithms:
        row = [name_of(label)]
        for of in groups:
            own = found.get((of, label), {})
            row += [number(own.get(part), DIGITS[endpoint.metric]) for part in PARTS]
            row += [share(own.get(f"{part}_share")) for part in PARTS]
        rows.append(row)
    remarks = {str(row["note"]) for row in found.values()} - {""}
    said = [f"{note[0].upper()}{note[1:]}." for note in sorted(remarks) if not note.startswith(NEGATIVE)]
    if any(note.startswith(NEGATIVE) for note in remarks):
        said.append("0 also stands for a negative estimate of a variance.")
    folds = "With folds, a seed stands for one run of each. " if (analysis.matrix.folds >= 0).any() else ""
    caption = (
        "Standard deviations and shares of the variance: between patients, between training runs (seeds), and the rest "
        f"(a patient suits a run, and noise). {folds}{about(analyses, [analysis])}"
    )
    return Table(
        f"variance.{condition.name}.{_short(endpoint)}", f"{_title(endpoint)}: variance on {condition.title}",
        caption, columns, rows, rule_of(algorithms), MARKS, (*said, *notes_of([analysis])),
        facts_of(analyses, condition, [analysis]) | {"endpoint": _short(endpoint)},
    )  # fmt: skip


def _short(endpoint: Endpoint) -> str:
    return f"{endpoint.relation}-{endpoint.metric}"


def _title(endpoint: Endpoint) -> str:
    name = endpoint.name.partition(",")[0]
    return name[0].upper() + name[1:]


def _equals(p: float) -> str:
    shown = probability(p).text
    return shown if shown.startswith("<") else f"= {shown}"
