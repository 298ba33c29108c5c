"""The results of one condition in sentences; every number and every word that could turn out otherwise is a macro."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fedbench.analysis.analyses import REFERENCE_POINTS, RELATIONS, is_reconstruction, is_reference_point
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, interval, named, number, p_value, percent, signed, words
from fedbench.analysis.paper.study import Part
from fedbench.analysis.paper.verdicts import Comparison, Verdict, focus, judge, rivals
from fedbench.analysis.protocol import Analysis
from fedbench.analysis.ranking import METHODS
from fedbench.analysis.rows import METRICS

FULL = METHODS[0]
TOLD = ("in", "cross", "unseen")  # relations that the text is about
NAMED = 2  # of those not distinguishable, that are named one by one
POINTS = {"local": "Clients that train alone", "centralised": "One model on the pooled data"}


class Teller:
    """Puts the numbers of one condition into macros and hands out their uses."""

    def __init__(self, numbers: Numbers, part: Part) -> None:
        self.numbers, self.part = numbers, part

    def put(self, *parts: str, text: str) -> str:
        """Define a macro of this condition."""
        return self.numbers.put(*parts, self.part.key, text=text)

    def name(self, label: str) -> str:
        """An algorithm's name."""
        return named(label, is_reconstruction(label))

    def names(self, labels: Iterable[str]) -> str:
        """Several algorithms' names."""
        return words([self.name(label) for label in labels])

    def score(self, analysis: Analysis, label: str) -> str:
        """Mean and 95% interval over patients of an algorithm."""
        endpoint = analysis.matrix.endpoint
        row: Any = analysis.means.loc[label]
        digits = 3 if endpoint.higher_is_better else 1
        keys = (endpoint.relation, endpoint.metric, label)
        mean = self.put(*keys, text=number(row["mean"], digits))
        bounds = self.put(*keys, "interval", text=interval(row["low"], row["high"], digits))
        return f"{mean} {bounds}"

    def verdict(self, analysis: Analysis, comparison: Comparison) -> str:
        """``better than``, ``not distinguishable from`` or ``worse than``."""
        return self.put(*self._pair(analysis, comparison), text=comparison.verdict.value)

    def difference(self, analysis: Analysis, comparison: Comparison) -> str:
        """Mean difference, its intervals over patients and over patients and runs, and both corrected p-values."""
        row, keys = comparison.row, self._pair(analysis, comparison)
        mean = self.put(*keys, "mean", text=signed(row["mean"]))
        patients = self.put(*keys, "over patients", text=interval(row["mean_low"], row["mean_high"], sign=True))
        runs = self.put(*keys, "over runs", text=interval(row["runs_low"], row["runs_high"], sign=True))
        p = self.put(*keys, "p", text=p_value(comparison.p))
        runs_p = self.put(*keys, "runs p", text=p_value(comparison.runs_p))
        return (
            f"mean difference {mean}; {patients} over patients, corrected {p}; {runs} over patients and seeds, "
            f"corrected {runs_p}"
        )

    def standing(
        self,
        analysis: Analysis,
        whose: str,
        found: Mapping[str, Verdict],
        form: str,
        rest: str = "federated algorithms",
    ) -> str:
        """Say for which of ``found`` which verdict was given: one macro. Many that are not distinguishable are counted.

        Args:
            whose: names the macro.
            form: of the text of one verdict, with places for the verdict and the names.
            rest: what those that are counted are.
        """
        endpoint = analysis.matrix.endpoint
        groups = {verdict: [label for label, given in found.items() if given is verdict] for verdict in Verdict}
        told = []
        for verdict, labels in groups.items():
            if len(labels) > NAMED and verdict is Verdict.SAME:
                told.append(form.format(verdict.value, f"{len(labels)} other {rest}"))
            elif labels:
                told.append(form.format(verdict.value, self.names(labels)))
        return self.put(endpoint.relation, endpoint.metric, whose, "stands", text=words(told))

    def _pair(self, analysis: Analysis, comparison: Comparison) -> tuple[str, ...]:
        endpoint = analysis.matrix.endpoint
        return (endpoint.relation, endpoint.metric, comparison.algorithm, "against", comparison.other)


def tell(teller: Teller) -> list[str]:
    """Return the paragraphs of a condition, in LaTeX."""
    part = teller.part
    headings = {
        "in": "The client's own modality",
        "cross": "Modalities that the client does not hold",
        "unseen": f"The unseen modality ({escape(part.condition.unseen)})",
    }
    paragraphs = []
    for relation in (r for r in TOLD if r in part.relations):
        analysis = part.get(relation)
        sentences = _sentences(teller, analysis)
        if relation == "in" and _same_as_cross(part):
            sentences.append(_SHARED)
        else:
            sentences += _studied(teller, analysis)
        paragraphs.append(f"\\paragraph{{{headings[relation]}.}} " + "\n".join(sentences))
    return [*paragraphs, _other_metrics(teller), _certainty(teller)]


_SHARED = (
    "Where all clients use one model, with FedDA too, the scores are those on the other modalities, which follow: "
    "every modality is one client's own and the others' foreign one."
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


def tell_unseen(teller: Teller) -> str:
    """Return the sentences about the modality that was left out of training, in LaTeX."""
    if "unseen" not in teller.part.relations:
        return "The modality left out was not tested."
    analysis = teller.part.get("unseen")
    return "\n".join([*_sentences(teller, analysis), *_studied(teller, analysis)])


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
    """One sentence per algorithm under study."""
    return [_one(teller, analysis, a) for a in focus(analysis.matrix.algorithms) if a != analysis.reference]


def _one(teller: Teller, analysis: Analysis, label: str) -> str:
    """An algorithm under study: against the reference, then against everybody else."""
    reference = analysis.reference
    comparison = judge(analysis, label, reference)
    text = (
        f"{teller.name(label)} reached {teller.score(analysis, label)} and was {teller.verdict(analysis, comparison)} "
        f"{teller.name(reference)} ({teller.difference(analysis, comparison)})"
    )
    found = {}
    for other in analysis.order:
        if other not in (label, reference) and not is_reference_point(other):
            against = judge(analysis, label, other)
            teller.verdict(analysis, against)
            found[other] = against.verdict
    if found:
        text += f"; it was {teller.standing(analysis, label, found, '{0} {1}')}"
    return f"{text}.{_PATIENTS_ONLY if comparison.patients_only else ''}"


_PATIENTS_ONLY = (
    " The models that were trained do differ from the reference's over patients, but nothing shows that training anew "
    "would give the difference again."
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
    test, ranks, reference = analysis.friedman, analysis.ranks, analysis.reference
    f = "\\infty" if np.isinf(test.f) else f"{test.f:.2f}"
    omnibus = teller.put("omnibus", text=f"$F_{{{test.df[0]},{test.df[1]}}}={f}$, {p_value(float(test.p))}")
    summary = ranks.summary[ranks.summary["method"] == FULL].sort_values(["rank", "algorithm"], kind="stable")
    leader = teller.put("leader", text=teller.name(str(summary.iloc[0]["algorithm"])))
    share = teller.put("leader stays first", text=percent(float(summary.iloc[0]["p_first"])))
    tau = teller.put("mean tau", text=number(float(ranks.tau[FULL].mean()), 2))
    text = (
        f"\\paragraph{{How certain this is.}} By {RELATIONS[analysis.matrix.endpoint.relation]} Dice, Friedman's test "
        f"over all algorithms, reference points included: {omnibus}. When patients are drawn anew, {leader} stays "
        f"first in {share} of the draws, and the ranking agrees with that of all patients by a mean Kendall's "
        f"$\\tau_b$ of {tau}."
    )
    return text + _luck(teller, analysis, reference)


def _luck(teller: Teller, analysis: Analysis, reference: str) -> str:
    split = analysis.variance
    own = split[(split["of"] == "score") & (split["algorithm"] == reference)].iloc[0]
    if not np.isfinite(own["seed"]):
        return ""
    spread = teller.put("seed spread", text=number(own["seed"]))
    share = teller.put("seed share", text=percent(own["seed_share"] / 100))
    return (
        f" Trainings of {teller.name(reference)} that differ in nothing but the seed scatter with a standard deviation "
        f"of {spread}: {share} of the variance of a patient's score."
    )


def tell_notes(part: Part) -> list[str]:
    """Return the paragraph with what a reader of the numbers must know, if there is anything."""
    notes = list(dict.fromkeys(note for r in part.relations for note in part.get(r).notes))
    return [f"\\paragraph{{Notes of the analysis.}} {escape(' '.join(notes))}"] if notes else []
