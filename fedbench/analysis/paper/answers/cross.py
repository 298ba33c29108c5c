"""The primary question: does FedDA give ability on other modalities beyond that of other aggregation algorithms?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fedbench.analysis.analyses import is_personal
from fedbench.analysis.kinds import family
from fedbench.analysis.paper.effects import effect, spread
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, words
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.statistics.protocol import ALPHA, Analysis
from fedbench.analysis.verdicts import Comparison, Verdict, focus, judge, rivals, tally
from fedbench.wording import counted

NAMED = 3  # algorithms in brackets
CROSS = "on modalities that a client does not hold"
NONE_OF_FOCUS = "No published condition compares FedDA with another aggregation algorithm there, so this stays open."


def other_algorithms(analysis: Analysis) -> list[str]:
    """Return the aggregation algorithms of an analysis that are not under study."""
    return rivals(analysis.matrix.algorithms)


def the_reference(analysis: Analysis) -> list[str]:
    """Return the reference of an analysis, which may be a reference point, or itself under study."""
    return [analysis.reference]


def studied_in(
    parts: Iterable[Part], relation: str, others: Callable[[Analysis], Iterable[str]] = other_algorithms
) -> list[tuple[Part, Comparison]]:
    """Return every comparison, by Dice, of an algorithm under study with another aggregation algorithm, and where.

    The same models compared in two studies (an ablation holds the default again) count once, in the first.

    Args:
        others: whom they are compared with, by analysis.
    """
    comparisons: dict[tuple[Models, Models], tuple[Part, Comparison]] = {}
    for part in parts:
        analysis = part.get(relation)
        for one, other in ((a, b) for a in focus(analysis.matrix.algorithms) for b in others(analysis) if a != b):
            comparisons.setdefault((part.models(one), part.models(other)), (part, judge(analysis, one, other)))
    return list(comparisons.values())


def studied(parts: Iterable[Part], relation: str) -> list[Comparison]:
    """Return the comparisons of :func:`studied_in`."""
    return [comparison for _, comparison in studied_in(parts, relation)]


def in_words(numbers: Numbers, relation: str, comparisons: list[Comparison], where: str) -> str:
    """Say how the algorithms under study did against the others."""
    if not comparisons:
        return NONE_OF_FOCUS
    counts = tally(comparisons)
    total = numbers.put("fedda", relation, "comparisons", text=counted(counts.total, "comparison"))
    better, same, worse = (
        numbers.put("fedda", relation, name, text=str(value))
        for name, value in (("better", counts.better), ("same", counts.same), ("worse", counts.worse))
    )
    other = f"another aggregation algorithm{_others((c.other for c in comparisons), '{}')}"
    lead = f"In {total}, by Dice {where}, of a variant of FedDA with {other}, FedDA was"
    if counts.total in counts.values:
        name = {counts.better: "better", counts.same: "not distinguishable", counts.worse: "worse"}[counts.total]
        if counts.total == 1:
            return f"{lead} {name}."
        return f"{lead} distinguishable in none." if counts.same else f"{lead} {name} in every one."
    than = {v: _counted(c.other for c in comparisons if c.verdict is v) for v in (Verdict.BETTER, Verdict.WORSE)}
    return (
        f"{lead} better in {better}{than[Verdict.BETTER]}, worse in {worse}{than[Verdict.WORSE]} and not "
        f"distinguishable in {same}."
    )


def _counted(labels: Iterable[str]) -> str:
    """`` (than a in 2 and than b in 3)``, if there are several; nothing where they are too many to name."""
    found = Counter(labels)
    if len(found) == 1 or len(found) > NAMED:
        return _others(found)
    return f" ({words([f'than {named(label, False)} in {found[label]}' for label in sorted(found)])})" if found else ""


def _others(labels: Iterable[str], told: str = "than {}") -> str:
    """`` (than a and b)``; nothing where they are none, or too many to name."""
    names = [named(label, False) for label in sorted(set(labels))]
    return f" ({told.format(words(names))})" if 0 < len(names) <= NAMED else ""


def beside(numbers: Numbers, found: list[tuple[Part, Comparison]]) -> str:
    """Say how FedDA did against the reference where another modality was left out; empty where none was."""
    comparisons = [c for _, c in found]
    counts = tally(comparisons)
    if not counts.total:
        return ""
    total = numbers.put("beside", "total", text=counted(counts.total, "comparison"))
    better, worse, same = (
        numbers.put("beside", name, text=str(value))
        for name, value in (("better", counts.better), ("worse", counts.worse), ("same", counts.same))
    )
    sizes = spread(numbers, ("beside", "difference"), comparisons)
    return (
        f"Where a modality was left out of training, on those that other clients hold, it was better than "
        f"{named(comparisons[0].other, False)} in {better}, worse in {worse} and not distinguishable in {same} of "
        f"{total} (mean differences of {sizes} Dice), which no other answer counts."
    )


def short(numbers: Numbers, found: list[tuple[Part, Comparison]], where: str = "") -> str:
    """The answer to the primary question, as the end of a sentence: does FedDA go beyond the reference?

    Args:
        where: which comparisons these are, if not all.
    """
    comparisons = [c for _, c in found]
    counts = tally(comparisons)
    if counts.total == 0:
        return "we cannot say, for nothing published compares it with the reference"
    reference = named(comparisons[0].other, False)
    total = numbers.put("short", "total", text=counted(counts.total, "comparison")) + where
    better = numbers.put("short", "better", text=str(counts.better))
    worse = numbers.put("short", "worse", text=str(counts.worse))
    sizes = _sizes(numbers, found)
    if counts.better == counts.total:
        return f"yes, it was better than {reference} in every condition and variant{where} ({sizes})"
    if counts.worse == counts.total:
        return f"no, it was worse than {reference} in every condition and variant{where} ({sizes})"
    if counts.better:
        return f"not in general; it was better than {reference} in {better} and worse in {worse} of {total} ({sizes})"
    if counts.worse:
        return (
            f"no; it was better than {reference} in no condition and variant, and worse in {worse} of {total} ({sizes})"
        )
    return f"we found no evidence that it does; it was distinguishable from {reference} in none of {total} ({sizes})"


def _sizes(numbers: Numbers, found: list[tuple[Part, Comparison]]) -> str:
    """The span of the mean differences: of the main runs, and of the other values that ablations try."""
    main = [c for part, c in found if not part.ablation]
    others = [c for part, c in found if part.ablation]
    if not main or not others:
        return f"mean differences of {spread(numbers, ('short', 'difference'), main or others)} Dice"
    spans = spread(numbers, ("short", "main"), main), spread(numbers, ("short", "ablation"), others)
    many = (
        numbers.put("short", name, "total", text=str(len(own))) for name, own in (("main", main), ("ablation", others))
    )
    which = "an ablation" if len({part.key for part, _ in found if part.ablation}) == 1 else "ablations"
    return "mean differences of {2} Dice in {0}, and of {3} in {1} more of {4}, with other hyper-parameters".format(
        *many, *spans, which
    )


def dependent(numbers: Numbers, found: list[tuple[Part, Comparison]], relation: str = "cross") -> str:
    """Say how many of the comparisons look at the same patients, so that they are no independent evidence."""
    of: dict[str, list[int]] = {}
    for part, _ in found:
        of.setdefault(part.condition.dataset, []).append(len(part.get(relation).matrix.values))
    if max(map(len, of.values()), default=0) < 2:
        return ""
    told = []
    for name, patients in sorted(of.items()):
        many = numbers.put("dependent", relation, name, "comparisons", text=str(len(patients)))
        size = numbers.put("dependent", relation, name, "patients", text=str(max(patients)))
        most = "" if len(set(patients)) == 1 else "at most "
        told.append(f"{many} on the same {most}{size} patients of \\textsf{{{escape(name)}}}")
    together = max(Counter(part.key for part, _ in found).values()) > 1
    share = ", and those of one condition share the runs of the reference" if together else ""
    return f"These are no independent pieces of evidence: {words(told)}{share}."


def most_for(numbers: Numbers, found: list[tuple[Part, Comparison]]) -> str:
    """Tell the comparison with the reference that speaks most for FedDA: its size, interval and corrected p."""
    if not found:
        return ""
    part, best = max(found, key=lambda each: float(each[1].row["mean"]))
    of = ", in an ablation" if part.ablation else ""
    who = numbers.put("most for", "variant", text=f"{named(best.algorithm, True)} on {escape(part.title)}{of}")
    reference = named(best.other, False)
    lead = "most in favour of FedDA" if best.row["mean"] > 0 else "least against FedDA"
    return (
        f"The mean difference to {reference} that is {lead} is that of {who}: {effect(numbers, ('most for',), best)}; "
        f"it was {best.verdict.value} {reference}.{_over_patients(numbers, [c for _, c in found])}"
    )


def _over_patients(numbers: Numbers, comparisons: Sequence[Comparison]) -> str:
    """How often the test over patients alone named a difference to the reference, and in whose favour."""
    named_there = [float(c.row["mean"]) for c in comparisons if c.p < ALPHA]
    if not named_there:
        return ""
    rose, fell, total = (
        numbers.put("most for", "over patients", name, text=str(many))
        for name, many in (
            ("better", sum(mean > 0 for mean in named_there)), ("worse", sum(mean < 0 for mean in named_there)),
            ("total", len(comparisons)),
        )
    )  # fmt: skip
    return (
        f" The test over patients alone, corrected, which is about the models at hand, was significant in favour of "
        f"FedDA in {rose} of {total} and against it in {fell}."
    )


def by_rival(numbers: Numbers, comparisons: list[Comparison]) -> str:
    """Say how FedDA did against each other aggregation algorithm, whatever its hyper-parameters, with sizes."""
    told = []
    for name in sorted({family(c.other) for c in comparisons}):
        own = [c for c in comparisons if family(c.other) == name]
        counts = tally(own)
        better, worse, total = (
            numbers.put("against", name, key, text=str(value))
            for key, value in (("better", counts.better), ("worse", counts.worse), ("total", counts.total))
        )
        sizes = spread(numbers, ("against", name, "difference"), own)
        told.append(f"{named(name, False)}, better in {better} and worse in {worse} of {total} ({sizes})")
    if not told:
        return ""
    text = (
        "By rival (how often the variants of FedDA were better and worse, and the span of the mean differences): "
        f"{'; '.join(told)}."
    )
    if any(is_personal(c.other) for c in comparisons):
        text += (
            " Models that clients keep to themselves are not meant for modalities that these clients do not hold: to "
            "be better than them is no more than a model for everybody should be."
        )
    return text


def with_common_models(numbers: Numbers, comparisons: list[Comparison]) -> str:
    """Say how large the differences to rivals were that FedDA was never told from; empty where there are none."""
    told_from = {family(c.other) for c in comparisons if c.verdict is not Verdict.SAME}
    rest = [c for c in comparisons if family(c.other) not in told_from]
    if not rest or not told_from:
        return ""
    names = words([named(name, False) for name in sorted({family(c.other) for c in rest})])
    total = numbers.put("common", "total", text=counted(len(rest), "comparison"))
    sizes = spread(numbers, ("common", "difference"), rest)
    return f"With {names}, {total}, the mean differences were {sizes} Dice, and FedDA was distinguishable in none."
