"""What the terms of the local objective do: nothing when switched off, something when on, smoothly, where they may."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from fedbench.algorithm import Client, State, Step
from fedbench.testing.findings import Broken, NotApplicable, rule
from fedbench.testing.laboratory import copied, differing
from fedbench.testing.subject import STANDARD, Subject, differ

ROUND = 1  # the first in which every client has a past
WAYS = (0.1, 0.01)  # how far from the received weights, in weights of about 0.1
KINK = 0.7  # share of the change at the nearer: a norm 1.0, a square 0.1, terms through ReLUs up to 0.5
Gradient = dict[str, Tensor]


class _Enough(Exception):
    """The first step has been seen."""


def first_gradient(subject: Subject, start: tuple[State, dict[str, Any]], way: float, **changes: Any) -> Gradient:
    """Return the segmentation network's gradient at the first step of the first client in round 1.

    Args:
        start: the state after round 0.
        way: how far the live weights are moved from those received, in a fixed random direction, before that step.
    """
    gradient: Gradient = {}

    class Stopping(subject.cls):  # type: ignore[name-defined]
        def local_step(self, step: Step) -> None:
            """Move the live weights, note the gradient of the first step there, and stop."""
            model, stream = step.model, torch.Generator().manual_seed(0)
            names = {id(p): name for name, p in model.named_parameters()}
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(way * 0.1 * torch.randn(p.shape, generator=stream))

            def sees(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
                own = [p for group in optimizer.param_groups for p in group["params"] if id(p) in names]
                if own:
                    gradient.update({names[id(p)]: p.grad.detach().clone() for p in own if p.grad is not None})
                    raise _Enough

            handle = register_optimizer_step_pre_hook(sees)
            try:
                super().local_step(step)
            finally:
                handle.remove()
            raise _Enough

    training = STANDARD.start(Stopping(**{**subject.params, **changes}))
    training.restore(copied(start[0]), {**start[1], "history": []})
    with contextlib.suppress(_Enough):
        next(training.rounds())
    return gradient


def _after_first_round(subject: Subject) -> tuple[State, dict[str, Any]]:
    if not subject.reduced:
        raise NotApplicable('no is_fedavg_with = {"parameter": value} says what switches its terms off')
    return subject.run(**subject.reduced).states[ROUND - 1]


@rule(
    "reduction",
    "something else than the term is switched on: another step, another random stream, entries that are not averaged.",
)
def reduction(subject: Subject) -> str:
    """With the declared parameters it is FedAvg, bit for bit."""
    if not subject.reduced:
        raise NotApplicable('it declares no is_fedavg_with = {"parameter": value}')
    text = ", ".join(f"{name}={value!r}" for name, value in subject.reduced.items())
    if where := differ(subject.run(**subject.reduced), subject.reference()):
        raise Broken(f"with {text} it is not FedAvg: {where} differs")
    return f"with {text} it is FedAvg, bit for bit"


@rule(
    "effect",
    "the term has no gradient. Did it capture the live parameters in place of copies (client.received holds copies), "
    "detach too much, or forget its weight?",
)
def effect(subject: Subject) -> str:
    """With its terms on, the algorithm is not FedAvg."""
    if not subject.reduced:
        raise NotApplicable('it declares no is_fedavg_with = {"parameter": value}')
    for changes in ({}, subject.strong):
        if differ(subject.run(**changes), subject.reference()):
            return "with its terms on, the result is another one than FedAvg's"
    raise Broken(f"even with {subject.strong} the result is FedAvg's")


@rule(
    "smooth",
    "a norm that is not squared pulls as hard near w_t as far from it: write mu/2 * squared_distance(step.model, "
    "step.received).",
)
def smooth(subject: Subject) -> str:
    """The terms' gradient changes little where the weights change little, also next to the weights received."""
    start = _after_first_round(subject)

    def extra(way: float) -> Tensor:
        on, off = (first_gradient(subject, start, way, **p) for p in (subject.strong, subject.reduced))
        return torch.cat([(on[name] - off[name]).double().flatten() for name in off])

    there, size = extra(0.0), _size(first_gradient(subject, start, 0.0, **subject.reduced))
    if not torch.isfinite(there).all():
        raise NotApplicable("the gradient is not finite; see 'finite'")
    far, near = (float((extra(way) - there).norm()) for way in WAYS)
    if far > 1e-4 * size and near > KINK * far:
        raise Broken(f"a tenth of the way from w_t, the terms' gradient has changed by {near / far:.0%} of the whole")
    return "the terms' gradient fades in with the distance from the weights received"


def _size(gradient: Gradient) -> float:
    return float(torch.cat([g.double().flatten() for g in gradient.values()]).norm())


@rule(
    "reach",
    "a term on bottleneck features (step.features) cannot move the decoder: do not feed it logits, and detach() what "
    "must not learn.",
)
def reach(subject: Subject) -> str:
    """The terms beside the segmentation loss move only what terms_move says."""
    start = _after_first_round(subject)
    if subject.cls.terms_move == "everything":
        raise NotApplicable('its terms may move everything (terms_move = "encoder" would say otherwise)')
    on, off = (first_gradient(subject, start, 0.0, **params) for params in (subject.strong, subject.reduced))
    encoder = subject.main.training.networks["model"].encoder_entries()  # type: ignore[operator]
    for name in sorted(off.keys() - encoder):
        gap, size = float((on[name] - off[name]).abs().max()), float(off[name].abs().max())
        if gap > 1e-6 * max(size, 1e-6):
            raise Broken(f"a term other than the segmentation loss moves '{name}' of the decoder")
    return f"the gradients of {len(off.keys() - encoder)} decoder entries are those of the segmentation loss alone"


@rule(
    "reference",
    "what a client holds itself against was taken after training began: capture it in begin_round(), or use "
    "step.received, which is w_t throughout.",
)
def reference(subject: Subject) -> str:
    """What a step does depends on the networks, not on which batches came before: references are fixed at the start."""
    seen: dict[str, list[Any]] = {}
    first = _second_steps(subject, seen, replay=False)
    if text := _other(first, _second_steps(subject, seen, replay=True)):
        cleared: dict[str, list[Any]] = {}
        first = _second_steps(subject, cleared, replay=False, clear=True)
        if not _other(first, _second_steps(subject, cleared, replay=True, clear=True)):
            raise Broken(
                f"{text}, and not if gradients are cleared between: those of all batches pile up",
                "call optimizer.zero_grad() before loss.backward(), or step.minimise(loss), which does.",
            )
        raise Broken(text)
    return "from the same weights and batch a step is the same whatever came before"


def _other(first: dict[str, State], again: dict[str, State]) -> str:
    """Say where the second step is another one in the replay."""
    for client, state in first.items():
        if names := differing(state, again.get(client, {})):
            return f"client {client}, step 2: from the same weights, after another batch 1, '{names[0]}' differs"
    return ""


def _second_steps(subject: Subject, seen: dict[str, list[Any]], replay: bool, clear: bool = False) -> dict[str, State]:
    """Return every client's networks after step 2 of round 1.

    The first time, remember what it had after step 1. In the replay, step 1 is another one, and what was remembered is
    put back after it. With ``clear``, no gradient is left after step 1.
    """
    after: dict[str, State] = {}
    number = 0

    class Second(subject.cls):  # type: ignore[name-defined]
        def begin_round(self, client: Client) -> None:
            nonlocal number
            number = 0
            super().begin_round(client)

        def local_step(self, step: Step) -> None:
            nonlocal number
            number += 1
            client, here = step.client, step.client.round == ROUND
            if here and number == 1 and replay:
                step.images.neg_()
            super().local_step(step)
            if here and number == 1:
                _put_back(client, seen[client.name]) if replay else seen.__setitem__(client.name, _held(client))
            if here and number == 1 and clear:
                client.networks.zero_grad(set_to_none=True)
            if here and number == 2:
                after[client.name] = copied(client.networks.state_dict())

    rounds = STANDARD.start(Second(**{**subject.params, **subject.strong})).rounds()
    for _ in range(ROUND + 1):
        next(rounds)
    return after


def _held(client: Client) -> list[Any]:
    optimizers = {name: _cloned(each.state_dict()) for name, each in client.optimizers.items()}
    return [copied(client.networks.state_dict()), optimizers, client.generator.get_state()]


def _put_back(client: Client, held: list[Any]) -> None:
    networks, optimizers, stream = held
    client.networks.load_state_dict(networks)
    for name, state in optimizers.items():
        client.optimizers[name].load_state_dict(_cloned(state))
    client.generator.set_state(stream)


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(each) for key, each in value.items()}
    return [_cloned(each) for each in value] if isinstance(value, list) else value


RULES = (reduction, effect, smooth, reach, reference)
