"""How far FedDA moved the distance between modalities' features from the reference's: by variant and by data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from fedbench.analysis.analyses import is_personal
from fedbench.analysis.paper.effects import ends
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, signed
from fedbench.analysis.paper.readings import reading
from fedbench.analysis.paper.setup import Settings
from fedbench.analysis.paper.study import Models, Part
from fedbench.analysis.paper.training import Training
from fedbench.analysis.verdicts import focus, rivals
from fedbench.wording import counted

LOSS_NEAR, ACCURACY_NEAR = 0.01, 0.02  # of ln 2 and of one half: a discriminator that tells nothing
MOVED = 0.05  # proxy A-distance, of at most two; what is less counts as no move


@dataclass(frozen=True)
class Variant:
    """One variant of FedDA in one condition, beside the reference of that condition.

    Attributes:
        kind: its reading, see :mod:`fedbench.analysis.paper.readings`.
        own: proxy A-distance between modalities; None where no features were kept.
        reference: that of the reference.
        span: the lowest and the highest of the reference's runs; None with one run.
        loss: of its discriminators late in training; None where none was logged.
        accuracy: likewise, on patches.
        by_batch: whether its network normalises by the statistics of a batch in training and by running ones at rest,
            so that a discriminator can tell source maps, which come from the network in training, from target maps,
            which come from one at rest, whatever their modality.
    """

    part: Part
    label: str
    kind: str
    own: float | None
    reference: float | None
    span: tuple[float, float] | None
    loss: float | None
    accuracy: float | None
    by_batch: bool = False

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

    @property
    def within(self) -> bool:
        """Whether the distance lies within those of the reference's single runs."""
        return self.own is not None and self.span is not None and self.span[0] <= self.own <= self.span[1]


@dataclass(frozen=True)
class Moves:
    """The variants of FedDA on one data set whose distances are known."""

    dataset: str
    variants: Sequence[Variant]

    @property
    def sizes(self) -> list[float]:
        """How far each moved."""
        return [v.moved for v in self.variants if v.moved is not None]

    @property
    def farther(self) -> int:
        """How many moved up."""
        return sum(size > MOVED for size in self.sizes)

    @property
    def nearer(self) -> int:
        """How many moved down."""
        return sum(size < -MOVED for size in self.sizes)

    @property
    def direction(self) -> int:
        """Where most went: 1 up, -1 down, 0 neither."""
        half = len(self.sizes) / 2
        return (self.farther > half) - (self.nearer > half)

    @property
    def confounded(self) -> bool:
        """Whether no patient was imaged in several modalities, so that modality and patient cannot be told apart."""
        cases = [v.part.analyses.results(v.part.condition).cases for v in self.variants]
        return all(own.groupby("patient", observed=True)["modality"].nunique().max() == 1 for own in cases)

    @property
    def sharing(self) -> int:
        """How many are compared with one and the same set of the reference's runs, the most frequent."""
        return max(Counter(v.part.models(v.part.primary.reference) for v in self.variants).values())


def variants(measured: Iterable[tuple[Part, Training]]) -> list[Variant]:
    """Return every variant of FedDA that was measured; the same runs in two studies once, in the first."""
    found: dict[tuple[Models, Models], Variant] = {}
    for part, training in measured:
        reference = part.primary.reference
        norms = Settings.of(part.analyses.results(part.condition).runs).values("model", "norm")
        low, high, runs = training.spans.get(reference, (0.0, 0.0, 0))
        for label in focus(part.labels):
            if label != reference:
                distances = training.distances.get(label), training.distances.get(reference)
                game = training.loss.get(label), training.accuracy.get(label)
                span = (low, high) if runs > 1 else None
                each = Variant(part, label, reading(part, label), *distances, span, *game, "batch" in norms)
                found.setdefault((part.models(label), part.models(reference)), each)
    return list(found.values())


def rivals_moved(measured: Iterable[tuple[Part, Training]]) -> dict[str, list[float]]:
    """Return how far algorithms that are not under study moved the distance, by data set; the same runs once.

    Those with one common model, as the reference has.
    """
    found: dict[tuple[Models, Models], tuple[str, float]] = {}
    for part, training in measured:
        reference = part.primary.reference
        for label in (x for x in rivals(part.labels) if x != reference and not is_personal(x)):
            own, other = training.distances.get(label), training.distances.get(reference)
            if own is not None and other is not None:
                found.setdefault((part.models(label), part.models(reference)), (part.condition.dataset, own - other))
    return {
        name: [size for of, size in found.values() if of == name] for name in sorted({n for n, _ in found.values()})
    }


def by_dataset(every: Iterable[Variant]) -> list[Moves]:
    """Return the variants that have a distance and whose discriminators did not just guess, data set by data set."""
    playing = [v for v in every if v.moved is not None and not v.undecided]
    names = sorted({v.part.condition.dataset for v in playing})
    return [Moves(name, [v for v in playing if v.part.condition.dataset == name]) for name in names]


def disagree(found: Iterable[Moves]) -> bool:
    """Say whether most variants came nearer on one data set and went farther on another."""
    return {moves.direction for moves in found} >= {-1, 1}


def tell_moves(numbers: Numbers, found: Sequence[Moves], where: str) -> str:
    """``farther than the reference's in 9 and nearer in 0 of 9 comparisons on nuclei (+0.24 to +0.51; ...) and ...``.

    Args:
        where: what the macros are called after.
    """
    told: list[str] = []
    for moves in found:
        keys = ("distance", where, moves.dataset)
        farther, nearer, total = (
            numbers.put(*keys, name, text=text)
            for name, text in (
                ("farther", str(moves.farther)), ("nearer", str(moves.nearer)),
                ("total", counted(len(moves.sizes), "comparison")),
            )
        )  # fmt: skip
        counts = f"in {farther} and {nearer} of {total}"
        if not told:
            counts = f"farther from each other than the reference's in {farther} and nearer in {nearer} of {total}"
        told.append(f"{counts} on {escape(moves.dataset)} ({_more(numbers, keys, moves)})")
    return "; ".join(told)


def _more(numbers: Numbers, keys: tuple[str, ...], moves: Moves) -> str:
    """How far, and what must be known of it."""
    sizes = ends(numbers, (*keys, "moved"), [signed(size, 2) for size in (min(moves.sizes), max(moves.sizes))])
    within = ", within the span of the reference's own runs" if all(v.within for v in moves.variants) else ""
    alone = "; each patient was imaged in one modality, so that the two cannot be told apart"
    alone = alone if moves.confounded else ""
    return f"{sizes}{within}{alone}"
