"""Are features aligned where FedDA aligns them, and do its discriminators stay in the game? From the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from fedbench.analysis.analyses import POOLED
from fedbench.analysis.paper.answer_cross import studied_in
from fedbench.analysis.paper.effects import ends, spread
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, out_of, words
from fedbench.analysis.paper.readings import READINGS, reading
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.paper.training import Training
from fedbench.analysis.paper.verdicts import Comparison, focus, tally
from fedbench.analysis.rows import counted

LOSS_NEAR, ACCURACY_NEAR = 0.01, 0.02  # of ln 2 and of one half: a discriminator that tells nothing
WON = 0.95  # accuracy on patches: nothing fools it
UNMEASURED = "No features were kept, so nothing can be said about alignment."


@dataclass(frozen=True)
class Variant:
    """One variant of FedDA in one condition, beside the reference of that condition.

    Attributes:
        kind: its reading, see :mod:`fedbench.analysis.paper.readings`.
        own: proxy A-distance between modalities; None where no features were kept.
        reference: that of the reference.
        loss: of its discriminators late in training; None where none was logged.
        accuracy: likewise, on patches.
    """

    part: Part
    label: str
    kind: str
    own: float | None
    reference: float | None
    loss: float | None
    accuracy: float | None

    @property
    def moved(self) -> float | None:
        """How far the distance rose above the reference's; below zero: fell."""
        return None if self.own is None or self.reference is None else self.own - self.reference

    @property
    def undecided(self) -> bool:
        """Whether its discriminators told nothing late in training: no working game."""
        if self.loss is None or self.accuracy is None:
            return False
        return abs(self.loss - log(2)) < LOSS_NEAR and abs(self.accuracy - 0.5) < ACCURACY_NEAR


def variants(measured: Iterable[tuple[Part, Training]]) -> list[Variant]:
    """Return every variant of FedDA that was measured; the same runs in two studies once, in the first."""
    found: dict[tuple[Models, Models], Variant] = {}
    for part, training in measured:
        reference = part.primary.reference
        for label in focus(part.labels):
            if label != reference:
                distances = training.distances.get(label), training.distances.get(reference)
                game = training.loss.get(label), training.accuracy.get(label)
                each = Variant(part, label, reading(part, label), *distances, *game)
                found.setdefault((part.models(label), part.models(reference)), each)
    return list(found.values())


def alignment(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """Say what each reading did to scores and distances, whether discriminators played, and what follows."""
    every = variants(measured)
    known = [v for v in every if v.moved is not None]
    judged = [v for v in every if v.accuracy is not None]
    if not known and not judged:
        return UNMEASURED
    crossed = studied_in([part for part, _ in measured if "cross" in part.relations], "cross")
    to_reference = [(part, c) for part, c in crossed if c.other == c.reference]
    told = [_reading(numbers, kind, every, to_reference) for kind in READINGS if any(v.kind == kind for v in every)]
    return " ".join(filter(None, [*told, _game(numbers, judged), _follows(numbers, known), _pooled(numbers, measured)]))


def alignment_short(numbers: Numbers, measured: Sequence[tuple[Part, Training]]) -> str:
    """The same in one sentence."""
    every = variants(measured)
    playing = [v.moved for v in every if v.moved is not None and not v.undecided]
    idle = sum(v.undecided for v in every)
    if not playing:
        return "" if idle else UNMEASURED
    rose = numbers.put("distance", "rose", text=out_of(sum(m > 0 for m in playing), len(playing), "comparison"))
    text = (
        "Where FedDA's discriminators played, the modalities' features lay farther apart than the reference's, not "
        f"nearer, in {rose}"
    )
    if not idle:
        return f"{text}."
    share = numbers.put("idle", text=f"{idle} of {counted(len(every), 'comparison')}")
    return f"{text}; in {share} the discriminators only guessed late in training."


def _reading(numbers: Numbers, kind: str, every: Sequence[Variant], found: Sequence[tuple[Part, Comparison]]) -> str:
    """What one reading did against the reference: to scores, and to the distance."""
    own = [c for part, c in found if reading(part, c.algorithm) == kind]
    moves = [v.moved for v in every if v.kind == kind and v.moved is not None]
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
        rose = numbers.put("reading", kind, "rose", text=str(sum(m > 0 for m in moves)))
        fell = numbers.put("reading", kind, "fell", text=str(sum(m < 0 for m in moves)))
        by = ends(numbers, ("reading", kind, "moved"), [f"${m:+.2f}$" for m in (min(moves), max(moves))])
        told.append(
            f"the proxy $\\mathcal{{A}}$-distance between modalities rose above the reference's in {rose} and fell "
            f"below it in {fell} of {len(moves)} (by {by})"
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
        f"accuracy one half (within {ACCURACY_NEAR:g}): no working game. There the adversarial term says nothing about "
        "the modality, and the scores are no evidence about alignment, for or against."
    )
    apart = [v.own for v in idle if v.own is not None]
    if apart:
        between = ends(numbers, ("no game", "distance"), [number(d, 2) for d in (min(apart), max(apart))])
        text += (
            f" It is not that nothing was left to tell: a linear classifier still told the modalities apart there (a "
            f"distance of {between} of at most two)."
        )
    return text


def _known(judged: Iterable[Variant]) -> list[float]:
    return [v.accuracy for v in judged if v.accuracy is not None]


def _follows(numbers: Numbers, known: Sequence[Variant]) -> str:
    """What follows for the mechanism, from the variants whose discriminators played."""
    moves = [(v.kind, v.moved < 0) for v in known if not v.undecided and v.moved is not None]
    if not moves:
        return ""
    nearer = [near for _, near in moves]
    share = numbers.put("playing", "nearer", text=out_of(sum(nearer), len(moves), "comparison"))
    lead = (
        f"Of the variants whose discriminators played, features were nearer than the reference's in {share} (no test)"
    )
    kinds = [kind for kind in READINGS if (own := [near for k, near in moves if k == kind]) and sum(own) > len(own) / 2]
    if kinds:
        where = [READINGS[kind].strip() for kind in kinds if kind]
        mostly = " ".join(["mostly so", *([words(where)] if where else [])])
        return f"{lead}, {mostly}: there the alignment that FedDA is after took place, and scores tell its worth."
    return (
        f"{lead}: no reading of ours mostly brought about the alignment that is to carry over from one modality to "
        "another. The scores are those of an objective that was not met; what it would give if it were, they do not "
        "tell."
    )


def _pooled(numbers: Numbers, measured: Iterable[tuple[Part, Training]]) -> str:
    """Whether the model on pooled data, which bounds what federation can give, has its modalities nearer."""
    found: dict[tuple[Models, Models], str] = {}
    farther = False
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
        found.setdefault((part.models(POOLED), part.models(reference)), told)
        farther |= own > other and means[POOLED] > means[reference]
    if not found:
        return ""
    lead = "Nor do good scores ask for near features: the" if farther else "The"
    return (
        f"{lead} distance of {named(POOLED, False)}, which has seen every modality, against the reference's was on "
        f"{'; '.join(found.values())}."
    )
