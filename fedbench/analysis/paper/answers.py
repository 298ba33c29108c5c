"""The answers to the paper's questions over all conditions, in words that the tests choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fedbench.analysis.analyses import is_reconstruction, is_reference_point
from fedbench.analysis.paper.convergence import improving_in
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, percent, signed, words
from fedbench.analysis.paper.phantoms import beside, of_patients
from fedbench.analysis.paper.study import Models, Part, Study
from fedbench.analysis.paper.training import Training
from fedbench.analysis.paper.verdicts import Comparison, Verdict, focus, judge, rivals, tally
from fedbench.analysis.ranking import consensus
from fedbench.analysis.rows import counted

ALONE, POOLED = "local", "centralised"
NAMED = 3  # algorithms in brackets
CROSS, UNSEEN = "on modalities that a client does not hold", "on a modality that nobody trained on"
NONE_OF_FOCUS = "No published condition compares FedDA with another aggregation algorithm there, so this stays open."


def answer(numbers: Numbers, study: Study, trainings: Mapping[str, Training]) -> None:
    """Define the macros of abstract, discussion and conclusion.

    Args:
        trainings: of each part, by its key.
    """
    parts = of_patients(study.parts, dataset_of)
    whole = [part for part in parts if not part.condition.unseen]
    crossed = [part for part in whole if "cross" in part.relations]
    held_out = [part for part in parts if "unseen" in part.relations]
    cross, unseen = studied(crossed, "cross"), studied(held_out, "unseen")
    to_reference = [c for c in cross if c.other == c.reference]
    if held_out:
        last = in_words(numbers, "unseen", unseen, UNSEEN)
    else:
        last = "No published condition leaves a modality out of training, so nothing can be said of unseen modalities."
    texts = {
        "in": _reference_beaten(numbers, [part for part in whole if "in" in part.relations]),
        "federation": federation(numbers, crossed),
        "cross": in_words(numbers, "cross", cross, CROSS),
        "variants": _by_variant(numbers, cross),
        "room": _room(numbers, to_reference),
        "unseen": last,
        "short": short(numbers, to_reference),
        "undecided": _undecided(numbers, whole),
        "luck": _luck(numbers, whole),
        "consensus": _consensus(study),
        "alignment": _alignment(numbers, [(part, trainings[part.key]) for part in whole]),
        "ending": improving_in(trainings[part.key].endings.get(part.primary.reference) for part in parts),
        "cost": _cost(numbers, [(part, trainings[part.key]) for part in parts]),
        "phantoms": on_phantoms(numbers, beside(study.parts, dataset_of)),
    }
    for name, text in texts.items():
        numbers.put("answer", name, text=text)


def dataset_of(part: Part) -> str:
    """Return the name of the dataset that a part is of."""
    return part.condition.dataset


def on_phantoms(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say how FedDA did on phantoms, which the other answers leave out; empty where there is nothing to say."""
    crossed = [part for part in parts if not part.condition.unseen and "cross" in part.relations]
    found = [c for c in studied(crossed, "cross") if c.other == c.reference]
    if not found:
        return ""
    counts, reference = tally(found), named(found[0].other, False)
    better, worse, same, total = (
        numbers.put("phantoms", name, text=text)
        for name, text in (
            ("better", str(counts.better)), ("worse", str(counts.worse)), ("same", str(counts.same)),
            ("total", counted(counts.total, "comparison")),
        )
    )  # fmt: skip
    names = words([f"\\textsf{{{escape(name)}}}" for name in sorted({dataset_of(part) for part in crossed})])
    return (
        f"Generated phantoms stand for no patient and are not counted in these answers. On them ({names}), by Dice "
        f"{CROSS}, FedDA was better than {reference} in {better}, worse in {worse} and not distinguishable in {same} "
        f"of {total}."
    )


def studied(parts: Iterable[Part], relation: str) -> list[Comparison]:
    """Return every comparison, by Dice, of an algorithm under study with another aggregation algorithm.

    The same models compared in two studies (an ablation holds the default again) count once, in the first.
    """
    comparisons: dict[tuple[Models, Models], Comparison] = {}
    for part in parts:
        analysis = part.get(relation)
        labels = analysis.matrix.algorithms
        for one, other in ((a, b) for a in focus(labels) for b in rivals(labels)):
            comparisons.setdefault((part.models(one), part.models(other)), judge(analysis, one, other))
    return list(comparisons.values())


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
    lead = f"In {total}, by Dice {where}, of a variant of FedDA with another aggregation algorithm, FedDA was"
    if counts.total in counts.values:
        name = {counts.better: "better", counts.same: "not distinguishable", counts.worse: "worse"}[counts.total]
        return f"{lead} {name}." if counts.total == 1 else f"{lead} {name} in every one."
    than = {v: _others(c.other for c in comparisons if c.verdict is v) for v in (Verdict.BETTER, Verdict.WORSE)}
    return (
        f"{lead} better in {better}{than[Verdict.BETTER]}, worse in {worse}{than[Verdict.WORSE]} and not "
        f"distinguishable in {same}."
    )


def _others(labels: Iterable[str]) -> str:
    """`` (than a and b)``; nothing where they are none, or too many to name."""
    names = [named(label, False) for label in sorted(set(labels))]
    return f" (than {words(names)})" if 0 < len(names) <= NAMED else ""


def short(numbers: Numbers, comparisons: list[Comparison]) -> str:
    """The answer to the primary question, as the end of a sentence: does FedDA go beyond the reference?"""
    counts = tally(comparisons)
    if counts.total == 0:
        return "we cannot say, for nothing published compares it with the reference"
    reference = named(comparisons[0].other, False)
    total = numbers.put("short", "total", text=counted(counts.total, "comparison"))
    higher = numbers.put("short", "higher", text=str(_higher(comparisons)))
    better = numbers.put("short", "better", text=str(counts.better))
    worse = numbers.put("short", "worse", text=str(counts.worse))
    if counts.better == counts.total:
        return f"yes, it was better than {reference} in every condition and variant"
    if counts.worse == counts.total:
        return f"no, it was worse than {reference} in every condition and variant"
    if counts.better:
        return f"not in general; it was better than {reference} in {better} and worse in {worse} of {total}"
    if counts.worse:
        return f"no; it was better than {reference} in no condition and variant, and worse in {worse} of {total}"
    return (
        f"we found no evidence that it does; it was nowhere distinguishable from {reference} (its mean was the higher "
        f"one in {higher} of {total})"
    )


def _higher(comparisons: Iterable[Comparison]) -> int:
    """Return how often the mean was higher, whether significantly or not; of a metric of which more is better."""
    return sum(float(c.row["mean"]) > 0 for c in comparisons)


def _by_variant(numbers: Numbers, comparisons: list[Comparison]) -> str:
    texts = []
    for label in sorted({c.algorithm for c in comparisons}):
        counts = tally([c for c in comparisons if c.algorithm == label])
        better, total, worse = (
            numbers.put("cross", label, name, text=str(value))
            for name, value in (("better", counts.better), ("comparisons", counts.total), ("worse", counts.worse))
        )
        texts.append(f"{named(label, True)} was better in {better} and worse in {worse} of {total}")
    return f"By variant: {'; '.join(texts)}." if texts else ""


def _room(numbers: Numbers, comparisons: list[Comparison]) -> str:
    """Say what the intervals of the undecided comparisons with the reference leave room for."""
    undecided = [c.row for c in comparisons if c.verdict is Verdict.SAME]
    highs = [row["runs_p_high"] if np.isfinite(row["runs_p_high"]) else row["mean_high"] for row in undecided]
    known = [h for h in highs if np.isfinite(h)]
    if not known:
        return ""
    largest = numbers.put("largest gain left open", text=signed(max(known)))
    return (
        "Not distinguishable is not equal: where FedDA was not told from the reference, the largest gain that the "
        "intervals of the mean difference (those of the test over patients and seeds, uncorrected) leave open is "
        f"{largest} Dice."
    )


def _undecided(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say how large a mean difference of the declared family stayed undecided: what the words cannot tell apart."""
    found = [
        judge(part.primary, pair["algorithm"], pair["reference"])
        for part in parts
        for pair in part.primary.pairwise[part.primary.pairwise["declared"]].to_dict("records")
    ]
    open_ones = [c for c in found if c.verdict is Verdict.SAME]
    if not open_ones:
        return ""
    widest = max(open_ones, key=lambda c: abs(float(c.row["mean"])))
    size = numbers.put("undecided", "size", text=number(abs(float(widest.row["mean"]))))
    pair = words([named(a, is_reconstruction(a)) for a in (widest.algorithm, widest.other)])
    return (
        f"These tests are cautious: a difference of {size} between {numbers.put('undecided', 'pair', text=pair)}, the "
        "largest that was left open, is not distinguishable to them: over so few training runs, and corrected for so "
        "many comparisons, it could be luck."
    )


def _reference_beaten(numbers: Numbers, parts: list[Part]) -> str:
    """Say in how many conditions some algorithm was better than the reference on the clients' own modality."""
    if not parts:
        return "No published condition has scores on the clients' own modality."
    winners: dict[str, list[str]] = {}
    for part in parts:
        analysis = part.get("in")
        others = [a for a in analysis.matrix.algorithms if a != analysis.reference and not is_reference_point(a)]
        better = [a for a in others if judge(analysis, a, analysis.reference).verdict is Verdict.BETTER]
        if better:
            winners[part.title] = better
    share = numbers.put("in", "won", text=out_of(len(winners), len(parts), "condition"))
    reference = named(parts[0].primary.reference, False)
    lead = f"On a client's own modality, another aggregation algorithm was better than {reference} in {share}"
    alone = _alone(numbers, parts)
    if not winners:
        return f"{lead}.{alone}"
    each = [
        f"{escape(title)}: {words([named(a, is_reconstruction(a)) for a in labels])}"
        for title, labels in winners.items()
    ]
    return f"{lead} ({'; '.join(each)}).{alone}"


def _alone(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say where clients do better on their own modality without federation."""
    made = [part.get("in") for part in parts]
    found = [judge(a, ALONE, a.reference) for a in made if ALONE in a.matrix.algorithms and a.reference != ALONE]
    if not found:
        return ""
    higher = numbers.put("alone", "higher", text=out_of(_higher(found), len(found), "condition"))
    better = numbers.put("alone", "better", text=out_of(tally(found).better, len(found), "condition"))
    return (
        f" Clients that train alone had the higher mean there in {higher}, and were better by both tests in {better}."
    )


def federation(numbers: Numbers, parts: list[Part]) -> str:
    """Say whether plain federation gives clients ability on other modalities at all."""
    found = [
        judge(part.get("cross"), part.get("cross").reference, ALONE)
        for part in parts
        if ALONE in part.get("cross").matrix.algorithms and part.get("cross").reference != ALONE
    ]
    if not found:
        return "Training each client alone was not published, so what federation itself adds is not known."
    higher = numbers.put("federation", "higher", text=out_of(_higher(found), len(found), "condition"))
    better = numbers.put("federation", "better", text=out_of(tally(found).better, len(found), "condition"))
    return (
        f"On modalities that a client does not hold, {named(found[0].algorithm, False)} had a higher mean Dice than "
        f"clients that train alone in {higher}, and was better by both tests in {better}."
    )


def _luck(numbers: Numbers, parts: list[Part]) -> str:
    """Say how much of the differences to the reference is luck of training."""
    shares = []
    for part in parts:
        split = part.primary.variance
        rows = split[(split["of"] == "difference") & split["algorithm"].isin(focus(split["algorithm"].unique()))]
        shares += [share for share in rows["seed_share"] if np.isfinite(share)]
    if not shares:
        return "With one seed, or without FedDA, the share of luck in a difference cannot be told."
    low, high = _ends(numbers, "seed share", [percent(share / 100) for share in sorted(shares)])
    return (
        f"Of the variance of a patient's difference between FedDA and the reference, the seed of the training run made "
        f"up {low} to {high}, depending on condition and variant."
    )


def _consensus(study: Study) -> str:
    main = study.groups[0][1]
    whole = [c for c in main.conditions if c.whole and main.primary(c) == main.declared]
    whole = of_patients(whole, lambda condition: condition.dataset)
    if len(whole) < 2:
        return ""
    return escape(consensus([main.get(c).matrix for c in whole]).text)


def _alignment(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say where the variants' features are nearer to each other than the reference's, and how discriminators fared."""
    pairs = {
        (part.models(label), part.models(part.primary.reference)): (
            training.distances[label], training.distances[part.primary.reference]
        )
        for part, training in measured
        for label in focus(training.distances)
        if part.primary.reference in training.distances and label != part.primary.reference
    }  # fmt: skip
    accuracies = [value for _, training in measured for value in training.accuracy.values()]
    sentences = []
    if pairs:
        nearer = numbers.put("nearer", text=str(sum(own < other for own, other in pairs.values())))
        total = numbers.put("nearer", "of", text=str(len(pairs)))
        sentences.append(
            f"The proxy $\\mathcal{{A}}$-distance between modalities was smaller with a variant of FedDA than with the "
            f"reference in {nearer} of {total} comparisons (of means over training runs; no test is made of it)."
        )
        sentences += _of_pooled(numbers, measured)
    if accuracies:
        low, high = _ends(numbers, "discriminator accuracy", [number(v, 2) for v in sorted(accuracies)])
        sentences.append(
            f"Late in training the discriminators judged patches with an accuracy of {low} to {high}, where one half "
            "means that they could not tell the features apart and one that nothing fools them."
        )
    return " ".join(sentences) or "No features were kept, so nothing can be said about alignment."


def _of_pooled(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> list[str]:
    """Say whether one model on pooled data, which bounds what federation can give, has its modalities nearer."""
    found = {
        (part.models(POOLED), part.models(part.primary.reference)): (
            training.distances[POOLED] < training.distances[part.primary.reference]
        )
        for part, training in measured
        if {POOLED, part.primary.reference} <= training.distances.keys()
    }
    if not found:
        return []
    nearer = numbers.put("pooled nearer", text=out_of(sum(found.values()), len(found), "condition"))
    return [
        "Of one model on the pooled data, which has seen every modality, it was smaller than the reference's in "
        f"{nearer}."
    ]


def _cost(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say how many times the reference's bytes and time the variants need."""
    factors: dict[str, list[float]] = {"bytes": [], "time": []}
    for part, training in measured:
        reference = part.primary.reference
        for kind, values in (("bytes", training.sent), ("time", training.seconds)):
            if values.get(reference, 0.0) > 0:
                factors[kind] += [values[label] / values[reference] for label in focus(values) if label != reference]
    if not factors["bytes"] or not factors["time"]:
        return "The cost of FedDA against the reference was not measured."
    ends = [_ends(numbers, f"cost {kind}", [number(v, 2) for v in sorted(values)]) for kind, values in factors.items()]
    return (
        "A run of FedDA sent {} to {} times the reference's bytes and took {} to {} times its time, depending on "
        "condition and variant; times are rough, as runs shared a machine."
    ).format(*ends[0], *ends[1])


def _ends(numbers: Numbers, name: str, ordered: Sequence[str]) -> tuple[str, str]:
    return numbers.put(name, "least", text=ordered[0]), numbers.put(name, "most", text=ordered[-1])
