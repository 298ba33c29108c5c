"""What the server makes of the uploads: buffers, weights by samples, the order of clients, a single client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedbench.algorithm import State, weighted_mean
from fedbench.errors import UserError
from fedbench.testing.findings import Broken, NotApplicable, rule
from fedbench.testing.laboratory import Scenario, copied
from fedbench.testing.rounds import plain_local_training
from fedbench.testing.subject import Subject, completes, differ
from fedbench.testing.watching import Aggregation, Watch

ALONE = Scenario(clients=1, rounds=2)
SAMPLES = "samples"
CLEAR = 0.05  # one candidate explains the result if its error is below this share of the next best's
ASIDE = 0.01  # how far beside its way a buffer may lie, as a share of the way: messages may be rounded
LEAST = 0.05  # the share of its way that a buffer must go, or it stands still


@rule(
    "buffers",
    "aggregate every entry of the state dict, not parameters() alone, as weighted_mean does: running statistics by "
    "samples, num_batches_tracked as the maximum.",
)
def buffers(subject: Subject) -> str:
    """Shared buffers go to the weighted mean of what the clients' networks hold, or a part of the way; integers become
    the maximum; none is lost or reset, however they travel.
    """
    names = [name for name, _ in subject.main.training.networks.named_buffers()]
    weighting = _weighting(subject) or SAMPLES  # a wrong one is for the next rule to judge
    for seen in subject.watch.aggregations:
        _entries(seen)
        if not seen.before:
            continue
        held = [subject.watch.ended[seen.round, u.client] for u in seen.uploads]
        expected = weighted_mean(held, _weights(subject, seen)[weighting], [n for n in names if n in seen.after])
        for name, mean in expected.items():
            if not _on_the_way(seen.before[name], seen.after[name], mean):
                raise Broken(f"round {seen.round}: '{name}' {_instead(seen, held, name)}")
    shared = [name for name in names if name in subject.first_aggregation.before]
    return f"{len(shared)} shared buffers are means or maxima; {len(names) - len(shared)} stay with their client"


def _entries(seen: Aggregation) -> None:
    if seen.after.keys() != seen.before.keys():
        name = min(seen.after.keys() ^ seen.before.keys())
        raise Broken(f"round {seen.round}: aggregate() {'lost' if name in seen.before else 'added'} '{name}'")
    for name, value in seen.after.items():
        if (value.dtype, value.shape) != (seen.before[name].dtype, seen.before[name].shape):
            raise Broken(f"round {seen.round}: aggregate() made '{name}' {value.dtype} {tuple(value.shape)}")


def _on_the_way(before: Tensor, after: Tensor, mean: Tensor) -> bool:
    """Whether a buffer has gone from ``before`` to ``mean``, or a part of the way; integers must have arrived."""
    if not mean.is_floating_point():
        return torch.equal(after, mean)
    way, gone = (value.double() - before.double() for value in (mean, after))
    length, rounding = float(way.norm()), 1e-5 * float(mean.double().norm()) + 1e-6
    if length <= rounding:
        return float(gone.norm()) <= 2 * rounding
    share = float((gone * way).sum()) / length**2
    return LEAST <= share <= 1 + ASIDE and float((gone - share * way).norm()) <= ASIDE * length + rounding


def _instead(seen: Aggregation, held: Sequence[State], name: str) -> str:
    """Say what a buffer is that is not what it should be."""
    value = seen.after[name]
    if _close(value, seen.before[name]):
        return "is what it was before the round: it was forgotten"
    for upload, state in zip(seen.uploads, held, strict=True):
        if _close(value, state[name]):
            return f"is that of client {upload.client} alone"
    return "is not the maximum of the clients'" if not value.is_floating_point() else "is not the weighted mean"


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6)


@rule(
    "samples",
    "weigh by upload.samples (slices or patches of an epoch) and divide by their sum; batches are no measure of a "
    "client's data, since the last may be a part of one.",
)
def samples(subject: Subject) -> str:
    """Clients weigh as their samples do, not as their batches, and not all alike."""
    seen = subject.first_aggregation
    if len(seen.uploads) < 2:
        raise NotApplicable("a single client trains")
    if not any(value.is_floating_point() for value in seen.after.values()):
        raise NotApplicable("nothing is shared")
    doubled = subject.aggregated([replace(u, samples=2 * u.samples) for u in seen.uploads])
    if _distance(doubled, seen.after) > 1e-4 * _length(seen.after):
        alike = [replace(u, message=_mean(seen, [u.samples for u in seen.uploads])) for u in seen.uploads]
        once, twice = subject.aggregated(alike), subject.aggregated([replace(u, samples=2 * u.samples) for u in alike])
        sums = _distance(once, twice) > 1e-4 * _length(once)
        why = "do not sum to 1" if sums else "are no shares of the samples, but of a root, logarithm or softmax of them"
        raise Broken(f"if every client had twice the samples the result would differ: the weights {why}")
    found = _weighting(subject)
    if found is None:
        raise NotApplicable("what the server computes is not a function of a mean over the clients")
    if found != SAMPLES:
        raise Broken(f"the mean over the clients is weighted by {found}")
    return f"weighted by samples, {':'.join(str(u.samples) for u in seen.uploads)}"


def _weights(subject: Subject, seen: Aggregation) -> dict[str, Sequence[float]]:
    """The weights that somebody may have given the clients, by what they are."""
    steps = {s.name: t.steps for s, t in zip(subject.main.training.states, subject.main.training.sets, strict=True)}
    return {
        SAMPLES: [u.samples for u in seen.uploads],
        "batches": [steps[u.client] for u in seen.uploads],
        "clients, all alike": [1] * len(seen.uploads),
        "the root of their samples": [u.samples**0.5 for u in seen.uploads],
    }


def _weighting(subject: Subject) -> str | None:
    """Return by what the mean is weighted of which the first round's result is a function; None if of no mean.

    The server is asked again with the mean in place of every client's message: with the right mean it answers the same.
    """
    seen = subject.first_aggregation
    if len(seen.uploads) < 2:
        return None
    error = {
        what: _distance(subject.aggregated([replace(u, message=_mean(seen, by)) for u in seen.uploads]), seen.after)
        for what, by in _weights(subject, seen).items()
    }
    best, second = sorted(error, key=lambda what: error[what])[:2]
    return best if error[best] <= CLEAR * error[second] else None


def _mean(seen: Aggregation, weights: Sequence[float]) -> State:
    """The mean of the messages; entries that do not fit together are the first client's."""
    first = seen.uploads[0].message
    fitting = [n for n in first if all(n in u.message and u.message[n].shape == first[n].shape for u in seen.uploads)]
    mean = weighted_mean([{n: u.message[n] for n in fitting} for u in seen.uploads], weights)
    return copied(first) | mean


def _distance(a: State, b: State) -> float:
    squares = [(a[n].double() - v.double()).square().sum() for n, v in b.items() if v.is_floating_point()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _length(a: State) -> float:
    return _distance(a, {name: torch.zeros_like(value) for name, value in a.items()})


@rule("order", "weigh and keep things by upload.client or upload.index, not by their place in a list you remembered.")
def order(subject: Subject) -> str:
    """Listing the clients in another order changes nothing but the order."""
    if where := differ(subject.main, subject.run(Scenario(backwards=True))):
        raise Broken(f"the clients listed backwards end with another result: {where}")
    in_any_order(subject, subject.watch)
    return "clients and uploads in the opposite order give the same"


def in_any_order(subject: Subject, watch: Watch) -> None:
    """Refuse a server that makes something else of the first round's uploads in the opposite order."""
    seen = watch.aggregations[0]
    turned = [replace(u, index=index) for index, u in enumerate(reversed(seen.uploads))]
    if seen.before and _distance_any(subject.aggregated(turned, watch), seen.after) > 1e-4:
        number = len(seen.uploads)
        raise Broken(f"{number} uploads in the opposite order, numbered so, are aggregated to other weights")


def _distance_any(a: State, b: State) -> float:
    """The largest difference, relative to the entry's size."""
    gaps = [float((a[n].double() - v.double()).abs().max() / (v.double().abs().max() + 1e-3)) for n, v in b.items()]
    return max(gaps, default=0.0)


@rule(
    "one-client",
    "with a single client the average is that client's weights: divide by the sum of the weights, add nothing to them.",
)
def one_client(subject: Subject) -> str:
    """A federation of one is local training, or is refused."""
    try:
        alone = subject.run(ALONE)
    except UserError as error:
        return f"refused: {error}"
    completes(alone, "one client")
    if plain_local_training(subject.cls) and (_averages(subject) or not subject.first_aggregation.before):
        return _equals(subject, {}, "nothing but aggregation is its own, and with one client it is local training")
    if subject.reduced and not differ(subject.run(**subject.reduced), subject.reference()):
        return _equals(subject, subject.reduced, f"with {_text(subject.reduced)} it is local training")
    return "trains; its local training is not FedAvg's, so there is nothing to compare it with"


def _averages(subject: Subject) -> bool:
    """Whether every round's result is the weighted mean of the uploads."""
    for seen in subject.watch.aggregations:
        mean = _mean(seen, [u.samples for u in seen.uploads])
        if not seen.before or _distance(mean, seen.after) > 1e-5 * _length(seen.after):
            return False
    return True


def _equals(subject: Subject, changes: dict[str, object], text: str) -> str:
    if where := differ(subject.run(ALONE, **changes), subject.reference(ALONE)):
        raise Broken(f"one client{f' with {_text(changes)}' if changes else ''} is not local training: {where} differs")
    return text


def _text(params: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


RULES = (buffers, samples, order, one_client)
