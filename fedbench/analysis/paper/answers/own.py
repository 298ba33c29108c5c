"""What federation gives: on a client's own modality, on the others, and where it stays behind pooled training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from fedbench.analysis.analyses import ALONE, POOLED, is_reconstruction, is_reference_point
from fedbench.analysis.paper.effects import by_verdict, effect, ends
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, signed, words
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.verdicts import Comparison, Verdict, judge, tally
from fedbench.errors import UserError
from fedbench.wording import counted


def own_modality(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say who was better than the reference on the clients' own modality, in how many of its conditions, and by how
    much.
    """
    if not parts:
        return "No published condition has scores on the clients' own modality."
    reference = named(parts[0].primary.reference, False)
    told = []
    for found in _by_winner(parts).values():
        won = [(part, c) for part, c in found if c.verdict is Verdict.BETTER]
        each = [
            f"{escape(part.title)}, by {effect(numbers, ('in won', part.key, c.algorithm), c)}" for part, c in won
        ]  # fmt: skip
        told.append(f"{_share(numbers, found)} ({'; '.join(each)})")
    if not told:
        return f"On a client's own modality, another aggregation algorithm was better than {reference} in no condition."
    lead = "On a client's own modality, of the aggregation algorithms"
    if len(told) == 1:
        return f"{lead} one was better than {reference}: {told[0]}."
    return f"{lead} {len(told)} were better than {reference}: {'; '.join(told)}."


def own_short(numbers: Numbers, parts: Sequence[Part]) -> str:
    """What one model for all costs on a client's own modality, in one sentence; empty where nobody trained alone."""
    parts = [part for part in parts if "in" in part.relations]
    found = [judge(analysis, ALONE, analysis.reference) for analysis in _with_alone(parts, "in")]
    if not found:
        return ""
    winners = [_share(numbers, each, "{0} ({1})") for each in _by_winner(parts).values()]
    return (
        f"On its own modality, a client that trains alone was better than {named(found[0].other, False)} in "
        f"{_where(numbers, 'alone', found)}; of the other aggregation algorithms {'only ' if winners else ''}"
        f"{words(winners)} {'were' if len(winners) > 1 else 'was'} better there than {named(found[0].other, False)}."
    )


def _by_winner(parts: Iterable[Part]) -> dict[str, list[tuple[Part, Comparison]]]:
    """Return all comparisons with the reference of every algorithm that was better somewhere; shared runs once."""
    found: dict[str, dict[tuple[Models, Models], tuple[Part, Comparison]]] = {}
    for part in parts:
        for c in _against_reference(part):
            key = part.models(c.algorithm), part.models(c.other)
            found.setdefault(c.algorithm, {}).setdefault(key, (part, c))
    every = {name: list(own.values()) for name, own in found.items()}
    return {name: own for name, own in every.items() if any(c.verdict is Verdict.BETTER for _, c in own)}


def _share(numbers: Numbers, found: Sequence[tuple[Part, Comparison]], form: str = "{0} {1}") -> str:
    """``fedbn (personal) in 2 of 3 conditions with it``."""
    better = sum(c.verdict is Verdict.BETTER for _, c in found)
    share = numbers.put("in", "won", found[0][1].algorithm, text=out_of(better, len(found), "condition"))
    return form.format(_name(found[0][1]), f"in {share} with it")


def own_open(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Name the largest gain on the own modality that was not told from zero; empty where there is none."""
    undecided = [
        (part, c) for part in parts for c in _against_reference(part)
        if c.verdict is Verdict.SAME and float(c.row["mean"]) > 0
    ]  # fmt: skip
    if not undecided:
        return ""
    part, largest = max(undecided, key=lambda each: float(each[1].row["mean"]))
    who = numbers.put("in open", "algorithm", text=f"{_name(largest)} on {escape(part.title)}")
    size = effect(numbers, ("in open",), largest)
    return f"Among aggregation algorithms, the largest gain there that is not distinguishable is that of {who}: {size}."


def alone(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say where clients do better on their own modality without federation, and by how much."""
    made = _with_alone(parts, "in")
    found = [judge(analysis, ALONE, analysis.reference) for analysis in made]
    if not found:
        return ""
    where = _where(numbers, "alone", found)
    text = f"Clients that train alone were better there than {named(found[0].other, False)} in {where}."
    return f"{text} {_nearest(numbers, made)}".strip()


def _nearest(numbers: Numbers, made: Sequence[Analysis]) -> str:
    """How near the best aggregation algorithm comes to clients that train alone, by its mean; nothing is tested."""
    gaps: dict[str, list[float]] = {}
    for analysis in made:
        means = {str(label): float(mean) for label, mean in analysis.means["mean"].items()}
        if federated := [label for label in means if not is_reference_point(label)]:
            best = max(federated, key=means.__getitem__)
            gaps.setdefault(best, []).append(means[ALONE] - means[best])
    every = [gap for own in gaps.values() for gap in own]
    if not every:
        return ""
    ahead = numbers.put("alone", "highest", text=out_of(sum(gap > 0 for gap in every), len(every), "condition"))
    who = words([named(label, is_reconstruction(label)) for label in gaps], last="or")
    sizes = ends(numbers, ("alone", "lead"), [signed(min(every)), signed(max(every))])
    return (
        f"In {ahead} their mean was the highest; that of the best aggregation algorithm ({who}) differed from it by "
        f"{sizes} (alone minus federated, nothing tested)."
    )


def federation(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say whether plain federation gives clients ability on other modalities at all, and how much."""
    found = [judge(analysis, analysis.reference, ALONE) for analysis in _with_alone(parts, "cross")]
    if not found:
        return "Training each client alone was not published, so what federation itself adds is not known."
    return (
        f"On modalities that a client does not hold, {named(found[0].algorithm, False)} itself was better than clients "
        f"that train alone in {_where(numbers, 'federation', found)}."
    )


def control(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say where the tests see that pooled training is better than the reference: what they can see at all."""
    found: dict[tuple[Models, Models], Comparison] = {}
    for part in parts:
        analysis = part.get("cross")
        if POOLED in analysis.matrix.algorithms and analysis.reference != POOLED:
            key = part.models(POOLED), part.models(analysis.reference)
            found.setdefault(key, judge(analysis, POOLED, analysis.reference))
    every = list(found.values())
    if not every:
        return ""
    return (
        f"What these tests can see is shown by pooled training: {named(POOLED, False)} was better than "
        f"{named(every[0].other, False)} by cross-modality Dice in {_where(numbers, 'control', every)}."
    )


def behind_pooled(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Name, for each condition, the modality on which the reference is furthest behind pooled training."""
    told, seen = [], set[Models]()
    for part in parts:
        reference = part.get("cross").reference
        if POOLED not in part.labels or reference == POOLED or part.models(reference) in seen:
            continue
        seen.add(part.models(reference))
        gaps = by_modality(part)
        if len(gaps) > 1:
            told.append(_behind(numbers, part, gaps.sort_values("gap", ascending=False, kind="stable")))
    if not told:
        return ""
    return (
        "What pooled training reaches and the reference does not is spread unevenly over modalities (cross-modality "
        f"Dice, nothing tested): {'; '.join(told)}."
    )


def by_modality(part: Part) -> pd.DataFrame:
    """Return the cross-modality Dice by scored modality: ``reference``, ``pooled``, ``gap`` and ``patients``."""
    cases = part.analyses.results(part.condition).cases
    labels = [part.get("cross").reference, POOLED]
    rows: dict[str, dict[str, float]] = {}
    endpoint = Endpoint("cross", "dice", part.condition.unseen)
    crossed = (cases["relation"] == "cross").to_numpy()
    for modality in sorted(cases["modality"][crossed].unique()):
        try:
            matrix = part.analyses.scores(
                part.condition, endpoint, crossed & (cases["modality"] == modality).to_numpy()
            )
        except UserError:
            continue
        if not set(labels) <= set(matrix.algorithms):
            continue
        reference, pooled = (float(matrix.values[label].mean()) for label in labels)
        rows[str(modality)] = {"reference": reference, "pooled": pooled, "patients": len(matrix.values)}
    return pd.DataFrame(rows).T.assign(gap=lambda frame: frame["pooled"] - frame["reference"]) if rows else _NO_GAPS


_NO_GAPS = pd.DataFrame(columns=["reference", "pooled", "patients", "gap"])


def _behind(numbers: Numbers, part: Part, gaps: pd.DataFrame) -> str:
    worst, rest = gaps.iloc[0], gaps.iloc[1:]
    keys = ("gap", part.key)
    modality = numbers.put(*keys, "modality", text=escape(str(gaps.index[0])))
    reached = numbers.put(*keys, "reference", text=number(worst["reference"]))
    pooled = numbers.put(*keys, "pooled", text=number(worst["pooled"]))
    others = numbers.put(*keys, "others", text=number(float(rest["gap"].max())))
    patients = numbers.put(*keys, "patients", text=counted(int(worst["patients"]), "patient"))
    return (
        f"on {escape(part.title)} it is largest for {modality} ({patients}; {reached} against {pooled}), and at most "
        f"{others} for any other"
    )


def _where(numbers: Numbers, key: str, found: Sequence[Comparison]) -> str:
    """``3 of 5 conditions (mean differences of ...)``: where it was better, and the sizes there and elsewhere."""
    better = numbers.put(key, "better", text=out_of(tally(found).better, len(found), "condition"))
    return f"{better} ({by_verdict(numbers, (key, 'difference'), found)})"


def _with_alone(parts: Iterable[Part], relation: str) -> list[Analysis]:
    """Return the analyses that have clients that train alone beside another reference; shared runs once."""
    found: dict[tuple[Models, Models], Analysis] = {}
    for part in parts:
        analysis = part.get(relation)
        if ALONE in analysis.matrix.algorithms and analysis.reference != ALONE:
            found.setdefault((part.models(ALONE), part.models(analysis.reference)), analysis)
    return list(found.values())


def _against_reference(part: Part) -> list[Comparison]:
    """Every other aggregation algorithm against the reference, on the clients' own modality."""
    analysis = part.get("in")
    others = [a for a in analysis.matrix.algorithms if a != analysis.reference and not is_reference_point(a)]
    return [judge(analysis, other, analysis.reference) for other in others]


def _name(comparison: Comparison) -> str:
    return named(comparison.algorithm, is_reconstruction(comparison.algorithm))
