"""What more rounds did to the reference, where a condition was trained with more of them and nothing else changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fedbench.analysis.norms import Column, step
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, interval, named, signed, words
from fedbench.analysis.paper.study import Part
from fedbench.config import canonical, section_of

BUDGET = ("rounds", "validate_every")  # what may differ


SAID = "(interval over patients and seeds, by its own scatter, not corrected)"


def longer(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say how far more rounds moved the cross-modality Dice of the reference; empty where they were not tried."""
    told = _moved(numbers, parts)
    if not told:
        return ""
    return (
        "A learning rate that decays over all rounds lets scores rise towards the end of any budget; what a larger one "
        f"brings shows in cross-modality Dice: {words(told)} {SAID}."
    )


def longer_on_phantoms(numbers: Numbers, phantoms: Sequence[Part]) -> str:
    """The same of phantoms, beside the other answers."""
    told = _moved(numbers, phantoms)
    return f"By cross-modality Dice, {words(told)} {SAID}." if told else ""


def _moved(numbers: Numbers, parts: Sequence[Part]) -> list[str]:
    """Return, for every condition and the next with more rounds, what these did to the reference there."""
    told = []
    conditions = [part.condition for part in parts]
    pairs = sorted(_pairs(parts), key=lambda pair: (conditions.index(pair[0].condition), *pair[2]))
    for short, long, (few, many) in pairs:
        reference = short.primary.reference
        before, after = (Column("", False, "", part.get("cross"), {reference: reference}) for part in (short, long))
        gain = step(before, after, reference)
        keys = ("longer", long.key)
        moved = numbers.put(*keys, text=signed(gain.mean))
        bounds = numbers.put(*keys, "interval", text=interval(gain.runs_low, gain.runs_high, sign=True))
        rounds = numbers.put(*keys, "rounds", text=f"{many} rounds in place of {few}")
        told.append(f"{rounds} on {escape(short.title)} moved that of {named(reference, False)} by {moved} {bounds}")
    return told


def _pairs(parts: Sequence[Part]) -> Iterator[tuple[Part, Part, tuple[int, int]]]:
    """Yield every condition that repeats another with more rounds, after the longest of those, and both rounds."""
    crossed = [part for part in parts if "cross" in part.relations and not part.ablation]
    for long in crossed:
        repeated = [(rounds, short) for short in crossed if (rounds := _more(short, long))]
        longest = max((rounds for rounds, _ in repeated), default=None)
        yield from ((short, long, rounds) for rounds, short in repeated if rounds == longest)


def _more(short: Part, long: Part) -> tuple[int, int] | None:
    """Return the rounds of the two where ``long`` has more of them and nothing else is another; else None."""
    if short.condition != long.condition or short.primary.reference != long.primary.reference:
        return None  # a suite may declare another reference
    one, other = _settings(short), _settings(long)
    if one is None or other is None or one[1:] != other[1:] or one[0] >= other[0]:
        return None
    return one[0], other[0]


def _settings(part: Part) -> tuple[int, list[str], set[tuple[Any, ...]]] | None:
    """Return the rounds of the reference's runs, what else determined them, and seed, fold and partition of each.

    None where they have several numbers of rounds. The version of the code is no setting.
    """
    runs = part.analyses.results(part.condition).runs
    own = runs[runs["setting"] == part.primary.reference]
    identities = [json.loads(text) for text in own["identity"]]
    training = [section_of(identity, "training") for identity in identities]
    rounds = {int(each.get("rounds", 0)) for each in training}
    if len(rounds) != 1 or 0 in rounds:
        return None
    rest = set()
    for each, identity in zip(training, identities, strict=True):
        fixed = {key: value for key, value in each.items() if key not in BUDGET}
        kept = (section_of(identity, name) for name in ("model", "data"))
        rest.add(canonical([fixed, *kept, identity.get("dataset_content")]))
    drawn = set(own[["seed", "fold", "partition"]].itertuples(index=False, name=None))
    return rounds.pop(), sorted(rest), drawn
