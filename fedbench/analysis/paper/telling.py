"""The results of one condition in sentences; every number and every word that could turn out otherwise is a macro."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedbench.analysis.analyses import (
    ALONE,
    POOLED,
    REFERENCE_POINTS,
    RELATIONS,
    is_reference_point,
)
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import number, p_value, percent
from fedbench.analysis.paper.scatter import scatters
from fedbench.analysis.paper.study import Part
from fedbench.analysis.paper.teller import Teller
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.ranking import METHODS
from fedbench.analysis.statistics.rows import METRICS
from fedbench.analysis.verdicts import Comparison, Verdict, focus, judge, rivals

FULL = METHODS[0]
TOLD = ("in", "cross", "unseen")  # relations that the text is about
POINTS = {ALONE: "Clients that train alone", POOLED: "One model on the pooled data"}


def tell(teller: Teller) -> list[str]:
    """Return the paragraphs of a condition, in LaTeX."""
    part = teller.part
    headings = {
        "in": "The client's own modality",
        "cross": f"{'Other modalities of the training' if part.condition.unseen else 'Modalities'} that the client "
        "does not hold",
        "unseen": f"The unseen modality ({escape(part.condition.unseen)})",
    }
    paragraphs = []
    for relation in (r for r in TOLD if r in part.relations):
        analysis = part.get(relation)
        sentences = _sentences(teller, analysis)
        if relation == "in" and _same_as_cross(part):
            sentences.append(_shared(bool(focus(analysis.matrix.algorithms))))
        else:
            sentences += _studied(teller, analysis)
        paragraphs.append(f"\\paragraph{{{headings[relation]}.}} " + "\n".join(sentences))
    return [*paragraphs, _other_metrics(teller), _certainty(teller)]


def _shared(studied: bool) -> str:
    return (
        f"Where all clients use one model{', with FedDA too' if studied else ''}, the scores are those on the other "
        "modalities, which follow: every modality weighs as much among own as among foreign ones."
    )


def _same_as_cross(part: Part) -> bool:
    """Say whether reference and algorithms under study have the same scores in-modality and cross-modality."""
    if "cross" not in part.relations:
        return False
    own, cross = (part.get(relation).matrix for relation in ("in", "cross"))
    labels = [part.primary.reference, *focus(own.algorithms)]
    if not set(labels) <= set(cross.algorithms):
        return False
    return own.values.index.equals(cross.values.index) and np.allclose(own.values[labels], cross.values[labels])


def _sentences(teller: Teller, analysis: Analysis) -> list[str]:
    labels, reference, relation = analysis.matrix.algorithms, analysis.reference, analysis.matrix.endpoint.relation
    federated = [a for a in analysis.order if not is_reference_point(a)]
    sentences = [f"{teller.name(reference)} reached a Dice of {teller.score(analysis, reference)}."]
    sentences += [reference_point(teller, analysis, name) for name in REFERENCE_POINTS if name in labels]
    if federated and federated[0] != reference:
        best = teller.put("best", relation, text=teller.name(federated[0]))
        score = teller.score(analysis, federated[0])
        sentences.append(f"Of the federated algorithms {best} had the highest mean, {score}.")
    others = [a for a in rivals(analysis.order) if a != reference]
    if others:
        found = {other: judge(analysis, other, reference) for other in others}
        for comparison in found.values():
            teller.verdict(analysis, comparison)
        verdicts = {other: comparison.verdict for other, comparison in found.items()}
        text = teller.standing(analysis, f"all against {reference}", verdicts, "{0} it: {1}", "rivals of FedDA")
        sentences.append(f"Compared with {teller.name(reference)} -- {text}.")
    return sentences


def reference_point(teller: Teller, analysis: Analysis, point: str) -> str:
    """A reference point's score, and whether federation does better or worse than it."""
    text = f"{POINTS[point]} ({teller.name(point)}) reached {teller.score(analysis, point)}"
    if analysis.reference == point:
        return f"{text}."
    verdict = teller.verdict(analysis, judge(analysis, analysis.reference, point))
    return f"{text}; {teller.name(analysis.reference)} was {verdict} that."


def _studied(teller: Teller, analysis: Analysis) -> list[str]:
    """A table of the algorithms under study against the reference, and who they differ from among the others."""
    labels = [a for a in focus(analysis.matrix.algorithms) if a != analysis.reference]
    if not labels:
        return []
    compared = {label: judge(analysis, label, analysis.reference) for label in labels}
    rows = [line for label in labels for line in _rows(teller, analysis, label, compared[label])]
    table = (
        "\\par\\smallskip{\\footnotesize\\noindent\\begin{adjustbox}{max width=\\linewidth}"
        "\\begin{tabular}{@{}rrlllr@{}}\\toprule\n"
        f"Dice & difference & interval & {_HEADS} & verdict\\\\\\midrule\n"
        + "\n".join(rows)
        + "\n\\bottomrule\\end{tabular}\\end{adjustbox}\\par}\\smallskip\\noindent "
    )
    seeds = "patients and seeds" if len(analysis.matrix.seeds) > 1 else "patients"
    intro = (
        f"Variants of FedDA, mean difference to {teller.name(analysis.reference)} with its 95\\% interval over {seeds} "
        f"and {'both corrected $p$-values' if len(analysis.matrix.seeds) > 1 else 'the corrected $p$-value'} "
        "(n.d.: not distinguishable):"
    )
    found = [intro, table, *_among_rivals(teller, analysis, labels)]
    if any(comparison.patients_only for comparison in compared.values()):
        found.append(_PATIENTS_ONLY.strip())
    return found


_HEADS = "patients & and seeds"
_SHORT = {Verdict.BETTER: "better", Verdict.SAME: "n.d.", Verdict.WORSE: "worse"}


def _rows(teller: Teller, analysis: Analysis, label: str, comparison: Comparison) -> list[str]:
    """Two lines: the algorithm's name, and its numbers."""
    teller.verdict(analysis, comparison)
    endpoint = analysis.matrix.endpoint
    keys = (endpoint.relation, endpoint.metric, label)
    mean = teller.put(*keys, text=number(float(analysis.means["mean"][label])))
    word = teller.put(*keys, "verdict", text=_SHORT[comparison.verdict])
    values = " & ".join([mean, *teller.difference(analysis, comparison), word])
    return [f"\\multicolumn{{6}}{{@{{}}l@{{}}}}{{{teller.name(label)}}}\\\\*", f"{values}\\\\"]


def _among_rivals(teller: Teller, analysis: Analysis, labels: Sequence[str]) -> list[str]:
    """From which other federated algorithms each differs; one sentence for those that differ from none."""
    told, same = [], []
    for label in labels:
        found = {}
        for other in analysis.order:
            if other not in (label, analysis.reference) and not is_reference_point(other):
                against = judge(analysis, label, other)
                teller.verdict(analysis, against)
                found[other] = against.verdict
        if set(found) <= set(labels):  # nobody but each other
            continue
        standing = teller.standing(analysis, label, found, "{0} {1}")
        if set(found.values()) == {Verdict.SAME}:
            same.append(label)
        else:
            told.append(f"{teller.name(label)} was {standing}.")
    if same:
        whose = "None of these" if len(same) == len(labels) else f"None of {teller.names(same)}"
        whose = whose if len(same) > 1 else f"{teller.name(same[0])} was not"
        verb = "" if len(same) == 1 else " was"
        others = f"any federated algorithm other than {teller.name(analysis.reference)}"
        others = "any other federated algorithm" if is_reference_point(analysis.reference) else others
        told.append(f"{whose}{verb} distinguishable from {others}.")
    return told


_PATIENTS_ONLY = (
    " Where the test over patients is significant alone, the models that were trained do differ from the reference's, "
    "but nothing shows that training anew would give the difference again."
)


def _other_metrics(teller: Teller) -> str:
    """Who differs from the reference by the secondary metrics."""
    part = teller.part
    told = []
    for metric in (m for m in METRICS if m != "dice"):
        for relation in (r for r in TOLD if r in part.relations):
            analysis = part.get(relation, metric)
            others = [a for a in analysis.order if a != analysis.reference and not is_reference_point(a)]
            verdicts = {a: judge(analysis, a, analysis.reference).verdict for a in others}
            differing = {a: v for a, v in verdicts.items() if v is not Verdict.SAME}
            if differing:
                text = teller.standing(analysis, f"all against {analysis.reference}", differing, "{0} it: {1}")
                told.append(f"{METRICS[metric]}, {RELATIONS[relation]} -- {text}")
    reference = teller.name(part.primary.reference)
    if told:
        return f"\\paragraph{{Other metrics.}} Compared with {reference}: {'; '.join(told)}."
    none = teller.put("other metrics", text="no federated algorithm was better or worse than")
    return f"\\paragraph{{Other metrics.}} By NSD and \\HD{{}}, {none} {reference}."


def _certainty(teller: Teller) -> str:
    """The omnibus test, the stability of the ranking and the share of luck, of the primary endpoint."""
    analysis = teller.part.primary
    test, ranks, endpoint = analysis.friedman, analysis.ranks, analysis.matrix.endpoint
    f = "\\infty" if np.isinf(test.f) else f"{test.f:.2f}"
    omnibus = teller.put("omnibus", text=f"$F_{{{test.df[0]},{test.df[1]}}}={f}$, {p_value(float(test.p))}")
    summary = ranks.summary[ranks.summary["method"] == FULL].sort_values(["rank", "algorithm"], kind="stable")
    leader = teller.put("leader", text=teller.name(str(summary.iloc[0]["algorithm"])))
    share = teller.put("leader stays first", text=percent(float(summary.iloc[0]["p_first"])))
    tau = teller.put("mean tau", text=number(float(ranks.tau[FULL].mean()), 2))
    text = (
        f"\\paragraph{{How certain this is.}} By {RELATIONS[endpoint.relation]} {METRICS[endpoint.metric]}, "
        f"Friedman's test over all algorithms, reference points included: {omnibus}. When patients are drawn anew, "
        f"{leader} stays first in {share} of the draws, and the ranking agrees with that of all patients by a mean "
        f"Kendall's $\\tau_b$ of {tau}."
    )
    return text + _luck(teller, analysis)


def _luck(teller: Teller, analysis: Analysis) -> str:
    """How far the mean score moves from seed to seed: the reference's, and who has least and most of it."""
    found = {s.algorithm: s for s in scatters(analysis) if not is_reference_point(s.algorithm)}
    if not found:
        return ""
    ordered = sorted(found.values(), key=lambda each: each.sd)
    chosen = {"least": ordered[0], "most": ordered[-1]}
    if analysis.reference in found and found[analysis.reference] not in chosen.values():
        chosen = {"reference": found[analysis.reference], **chosen}
    told = []
    for end, each in chosen.items():
        text = f"{teller.name(each.algorithm)} {number(each.sd)} (seeds {number(each.low)} to {number(each.high)})"
        told.append(f"{'' if end == 'reference' else f'{end} '}{teller.put('seed spread', end, text=text)}")
    return (
        " From seed to seed, with other weights, batches and dealing of patients, the mean of an algorithm moves with "
        f"a standard deviation of: {'; '.join(told)}."
    )


def tell_notes(part: Part) -> list[str]:
    """Return the paragraph with what a reader of the numbers must know, if there is anything."""
    notes = list(dict.fromkeys(note for r in part.relations for note in part.get(r).notes))
    return [f"\\paragraph{{Notes of the analysis.}} {escape(' '.join(notes))}"] if notes else []
