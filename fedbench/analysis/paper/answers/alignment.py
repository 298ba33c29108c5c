"""Are features aligned where FedDA aligns them, and do its discriminators stay in the game? From the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedbench.analysis.analyses import POOLED
from fedbench.analysis.paper.answers.cross import studied_in, the_reference
from fedbench.analysis.paper.effects import ends, spread
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.moved import (
    ACCURACY_NEAR,
    LOSS_NEAR,
    MOVED,
    Moves,
    Variant,
    by_dataset,
    disagree,
    rivals_moved,
    tell_moves,
    variants,
)
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, signed, words
from fedbench.analysis.paper.readings import READINGS, reading
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.paper.training import Training
from fedbench.analysis.verdicts import Comparison, tally
from fedbench.wording import counted

WON = 0.95  # accuracy on patches: nothing fools it
UNMEASURED = "No features were kept, so nothing can be said about alignment."
UNSTUDIED = "FedDA was not run, so nothing can be said about its alignment."
UNSETTLED = "whether FedDA aligns features is not settled"


def alignment(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say what each reading did to scores and distances, whether discriminators played, and what follows."""
    every = variants(measured)
    if not every:
        return UNSTUDIED
    known = [v for v in every if v.moved is not None]
    judged = [v for v in every if v.accuracy is not None]
    if not known and not judged:
        return UNMEASURED
    to_reference = studied_in([part for part, _ in measured if "cross" in part.relations], "cross", the_reference)
    told = [_reading(numbers, kind, every, to_reference) for kind in READINGS if any(v.kind == kind for v in every)]
    told += [
        _game(numbers, judged),
        _modes(numbers, judged),
        _control(numbers, measured),
        _follows(numbers, by_dataset(known)),
        _pooled(numbers, measured),
    ]
    return " ".join(filter(None, told))


def alignment_short(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """The same in one sentence; empty where FedDA was not run."""
    every = variants(measured)
    found = by_dataset(every)
    no_game = idle(numbers, measured)
    if not found:
        return no_game or (UNMEASURED if every else "")
    return (
        "Where FedDA's discriminators played, the modalities' features lay, by a proxy distance of at most two (less "
        f"than {MOVED:g} counts as no move), "
        f"{tell_moves(numbers, found, 'short')}: {_direction(found)}. {_control(numbers, measured)} {no_game}"
    ).strip()


def _control(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """How far algorithms without any discriminator moved the distance: what a move of FedDA is to be held against."""
    found = rivals_moved(measured)
    told = [
        f"{ends(numbers, ('distance', 'rivals', name), [signed(size, 2) for size in sorted(sizes)])} on {escape(name)}"
        for name, sizes in found.items()
    ]
    return f"Rivals, which have no discriminator, moved it by {words(told)}." if told else ""


def alignment_brief(measured: Sequence[tuple[Part, Training]]) -> str:
    """What most variants did, without sizes; empty where it was not measured, or no discriminator played."""
    found = by_dataset(variants(measured))
    if not found:
        return ""
    return f"The modalities' features, where FedDA's discriminators played: {_direction(found)}."


def _direction(found: Sequence[Moves]) -> str:
    """What most variants did, over the data sets."""
    if disagree(found):
        return UNSETTLED
    nearer = [escape(moves.dataset) for moves in found if moves.direction < 0]
    where = "no data set" if not nearer else "every data set" if len(nearer) == len(found) else words(nearer)
    return f"on {where} did most variants bring them nearer" if not nearer else f"most came nearer on {where}"


def idle(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say in how many comparisons discriminators did not play, or could win without looking at modalities."""
    every = variants(measured)
    many = sum(v.undecided for v in every)
    easy = sum(v.by_batch and v.accuracy is not None and not v.undecided for v in every)
    if not many and not easy:
        return ""
    total = counted(len(every), "comparison")
    told = []
    if many:
        share = numbers.put("idle", text=f"{many} of {total}")
        told.append(f"in {share} the discriminators only guessed late in training")
    if easy:
        share = numbers.put("idle", "easy", text=f"{easy} {'more' if many else f'of {total}'}")
        told.append(
            f"in {share} batch normalisation alone gave them something to tell the two sides of our reading apart by, "
            "whatever the modality"
        )
    left = numbers.put("idle", "left", text=str(len(every) - many - easy))
    text = " and ".join(told) + (f"; {left} tested alignment without either." if easy else ".")
    return text[0].upper() + text[1:]


def _reading(numbers: Numbers, kind: str, every: Sequence[Variant], found: Sequence[tuple[Part, Comparison]]) -> str:
    """What one reading did against the reference: to scores, and to the distance."""
    own = [c for part, c in found if reading(part, c.algorithm) == kind]
    mine = [v for v in every if v.kind == kind]
    moves = [v.moved for v in mine if v.moved is not None and not v.undecided]
    told = []
    if own:
        counts = tally(own)
        better, worse, total = (
            numbers.put("reading", kind, name, text=text)
            for name, text in (
                ("better", str(counts.better)), ("worse", str(counts.worse)),
                ("total", counted(counts.total, "comparison")),
            )
        )  # fmt: skip
        sizes = spread(numbers, ("reading", kind, "difference"), own)
        told.append(
            f"FedDA was better than the reference in {better} and worse in {worse} of {total} by cross-modality Dice "
            f"(mean differences of {sizes})"
        )
    if moves:
        rose = numbers.put("reading", kind, "rose", text=str(sum(m > MOVED for m in moves)))
        fell = numbers.put("reading", kind, "fell", text=str(sum(m < -MOVED for m in moves)))
        by = ends(numbers, ("reading", kind, "moved"), [signed(m, 2) for m in (min(moves), max(moves))])
        told.append(
            f"{'where discriminators played, ' if any(v.undecided for v in mine) else ''}the proxy "
            f"$\\mathcal{{A}}$-distance between modalities rose above the reference's in {rose} and fell below it in "
            f"{fell} of {len(moves)} (by {by}; less than {MOVED:g} counts as neither)"
        )
    lead = {"weights": "Where weights alone travel, ", "features": "Where feature maps travel, ", "": ""}[kind]
    text = f"{lead}{'; '.join(told)}."
    return text[0].upper() + text[1:] if told else ""


def _game(numbers: Numbers, judged: Sequence[Variant]) -> str:
    """Whether discriminators played, late in training."""
    if not judged:
        return ""
    span = ends(numbers, ("discriminator accuracy",), [number(v, 2) for v in sorted(_known(judged))])
    lead = (
        f"Late in training the discriminators judged patches with an accuracy of {span}, where one half means that "
        "they could not tell the features apart and one that nothing fools them."
    )
    idle = [v for v in judged if v.undecided]
    won = sum(accuracy > WON for accuracy in _known(judged))
    text = f"{lead} In {numbers.put('won', text=str(won))} of {len(judged)} they had won." if won else lead
    if not idle:
        return f"{text} None of them was reduced to guessing."
    where = words(sorted({escape(v.part.title) for v in idle}))
    share = numbers.put("no game", text=f"{len(idle)} of {len(judged)}")
    names = numbers.put("no game", "where", text=where)
    text += (
        f" In {share} (on {names}) their loss was that of guessing, $\\ln 2$ (within {LOSS_NEAR:g}), and their "
        f"accuracy one half (within {ACCURACY_NEAR:g}): late in training there was no working game, and the scores are "
        f"no evidence about alignment, for or against.{_unexplained(numbers, judged)}"
    )
    apart = [v.own for v in idle if v.own is not None]
    if apart:
        between = ends(numbers, ("no game", "distance"), [number(d, 2) for d in (min(apart), max(apart))])
        text += (
            f" It is not that nothing was left to tell: a linear classifier still told the modalities apart there (a "
            f"distance of {between} of at most two)."
        )
    return text


def _unexplained(numbers: Numbers, judged: Iterable[Variant]) -> str:
    """What discriminators that only guessed do not explain: that the distance rose all the same."""
    moves = {idle: [v.moved for v in judged if v.undecided is idle and v.moved is not None] for idle in (True, False)}
    most = max(moves[True], default=0.0)
    if most <= MOVED:
        return ""
    size = numbers.put("no game", "moved", text=signed(most, 2))
    more = ", more than where discriminators played" if moves[False] and most > max(moves[False]) else ""
    return f" Yet the distance there rose above the reference's by up to {size}{more}, which we cannot explain."


def _modes(numbers: Numbers, judged: Sequence[Variant]) -> str:
    """What a discriminator can tell by batch normalisation alone, and how they did with it and without."""
    by_batch = [v for v in judged if v.by_batch]
    if not by_batch:
        return ""
    spans = [
        ends(numbers, ("mode", name), [number(v, 2) for v in sorted(_known(own))])
        for name, own in (("batch", by_batch), ("other", [v for v in judged if not v.by_batch]))
        if own
    ]
    text = (
        "Yet an accuracy above one half need not be about modalities. Source maps come from the network in training, "
        "target maps from one at rest, and these differ by batch normalisation alone, which takes the statistics of "
        "the batch in training and running ones at rest: with the same weights and the same images a discriminator "
        "learns to tell them apart, and with the other norms it cannot. With batch normalisation the accuracy was "
        f"{spans[0]}"
    )
    return f"{text}, with the other norms {spans[1]}." if len(spans) > 1 else f"{text}."


def _known(judged: Iterable[Variant]) -> list[float]:
    return [v.accuracy for v in judged if v.accuracy is not None]


def _follows(numbers: Numbers, found: Sequence[Moves]) -> str:
    """What follows for the mechanism, from the variants whose discriminators played."""
    if not found:
        return ""
    lead = (
        "By data set, where discriminators played (no test), the modalities' features lay "
        f"{tell_moves(numbers, found, 'playing')}.{_shared(numbers, found)}"
    )
    if disagree(found):
        return f"{lead} Data sets disagree: {UNSETTLED} here."
    playing = [(v.kind, v.moved < -MOVED) for moves in found for v in moves.variants if v.moved is not None]
    nearer = [near for _, near in playing]
    share = numbers.put("playing", "nearer", text=out_of(sum(nearer), len(nearer), "comparison"))
    lead += f" Features were nearer than the reference's in {share}"
    kinds = [
        kind for kind in READINGS if (own := [near for k, near in playing if k == kind]) and sum(own) > len(own) / 2
    ]
    if kinds:
        where = [READINGS[kind].strip() for kind in kinds if kind]
        mostly = " ".join(["mostly so", *([words(where)] if where else [])])
        return f"{lead}, {mostly}: there the alignment that FedDA is after took place, and scores tell its worth."
    return (
        f"{lead}: no reading of ours mostly brought about the alignment that is to carry over from one modality to "
        "another. The scores are those of an objective that was not met; what it would give if it were, they do not "
        "tell."
    )


def _shared(numbers: Numbers, found: Iterable[Moves]) -> str:
    """How many comparisons are with the same runs of the reference: they are no independent evidence."""
    told = [
        f"{numbers.put('distance', 'shared', m.dataset, text=f'{m.sharing} of the {len(m.sizes)}')} on "
        f"{escape(m.dataset)}"
        for m in found
        if m.sharing > 1
    ]
    return f" Of these comparisons {words(told)} are with the same runs of the reference." if told else ""


def _pooled(numbers: Numbers, measured: Iterable[tuple[Part, Training]]) -> str:
    """Whether the model on pooled data, which bounds what federation can give, has its modalities nearer."""
    found: dict[tuple[Models, Models], tuple[str, bool]] = {}
    for part, training in measured:
        reference = part.primary.reference
        if not {POOLED, reference} <= training.distances.keys() or "cross" not in part.relations:
            continue
        own, other = training.distances[POOLED], training.distances[reference]
        means = part.get("cross").means["mean"]
        keys = ("pooled distance", part.key)
        distances = numbers.put(*keys, text=f"{number(own, 2)} against {number(other, 2)}")
        dice = numbers.put(*keys, "dice", text=f"{number(means[POOLED])} against {number(means[reference])}")
        told = f"{escape(part.title)} {distances} at a Dice of {dice}"
        without = bool(own > other and means[POOLED] > means[reference])
        found.setdefault((part.models(POOLED), part.models(reference)), (told, without))
    if not found:
        return ""
    many = sum(without for _, without in found.values())
    shown = [told for told, without in found.values() if without or not many]
    share = numbers.put("pooled distance", "without", text=out_of(many, len(found), "condition"))
    lead = f"In {share} pooled training scored higher although its features lay farther apart: the" if many else "The"
    return (
        f"{lead} distance of {named(POOLED, False)}, which has seen every modality, against the reference's was on "
        f"{'; '.join(shown)}."
    )
