"""Where the server goes: nowhere if no client learns, and otherwise to where the clients are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fedbench.algorithm import State, weighted_mean
from fedbench.engine.task import TrainingDiverged
from fedbench.testing.findings import Broken, NotApplicable, rule
from fedbench.testing.laboratory import copied, differing
from fedbench.testing.subject import STANDARD, Subject

STILL = 0.05  # of the weights' length: small noise on what is sent is no move
TOWARDS = 0.01  # cosine between the server's move and the clients'


@contextlib.contextmanager
def nobody_learns() -> Iterator[None]:
    """Within the block, put back what an optimiser's step does to its parameters."""
    held: list[tuple[Tensor, Tensor]] = []

    def before(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        held[:] = [(p, p.detach().clone()) for group in optimizer.param_groups for p in group["params"]]

    def after(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        with torch.no_grad():
            for parameter, value in held:
                parameter.copy_(value)

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@rule(
    "fixed-point",
    "does the server add weights where changes are meant, begin a moment or an average at something else than the "
    "first weights or zero changes, or take shares that do not sum to 1? What moves it on purpose, such as much noise, "
    "is a reason to skip the rule.",
)
def fixed_point(subject: Subject) -> str:
    """Where the clients learn nothing, shared parameters and the models for everybody stay at their start."""
    training = STANDARD.start(subject.make())
    learned = {name for name, _ in training.networks.named_parameters()}
    start = copied({name: value for name, value in training.networks.state_dict().items() if name in learned})
    try:
        with nobody_learns():
            for number in training.rounds():
                if name := _left(training.server.weights, start):
                    raise Broken(f"no client learned anything, and after round {number} the server's '{name}' moved")
            for deployment in (d for d in training.deployments() if d.client is None):
                if name := _left(deployment.entries, start):
                    raise Broken(f"no client learned anything, and '{name}' of the {deployment.kind} model moved")
    except TrainingDiverged as error:
        raise NotApplicable(f"where nobody learns it diverges: {error}") from None
    return f"{training.server.round} rounds in which nobody learns leave parameters where they were"


def _left(state: State, start: State) -> str:
    """Return the entry that went farthest if all together are no longer at their start."""
    gone = {n: float((v.double() - start[n].double()).norm()) for n, v in state.items() if n in start}
    length = sum(float(start[n].double().norm()) ** 2 for n in gone) ** 0.5
    far = sum(way**2 for way in gone.values()) ** 0.5 > STILL * length
    return max(gone, key=lambda name: gone[name]) if far else ""


@rule(
    "direction",
    "a sign: changes are w_k - w_t and are added, a pseudo-gradient is w_t - w_k and is subtracted; or the clients' "
    "work is lost: upload() sends what was received, or aggregate() forgets what is shared beside the model.",
)
def direction(subject: Subject) -> str:
    """In the first round the server goes towards the clients' mean, and no shared parameter that they train is reset
    in every round.
    """
    seen, watch = subject.first_aggregation, subject.watch
    learned = [name for name, _ in subject.main.training.networks.named_parameters() if name in seen.before]
    if not learned:
        raise NotApplicable("no parameter is shared")
    for name in learned:
        if all(_reset(subject, number, name) for number in range(len(watch.aggregations))):
            raise Broken(f"the clients train '{name}', and after every round it is what it was before")
    held = [watch.ended[seen.round, u.client] for u in seen.uploads]
    mean = weighted_mean(held, [u.samples for u in seen.uploads], learned)
    way, gone = (_flat(seen.before, state, learned) for state in (mean, seen.after))
    if not way.any():
        raise NotApplicable("what is shared is not trained")
    cosine = float(torch.nn.functional.cosine_similarity(way, gone, dim=0))
    if cosine <= TOWARDS:
        raise Broken(f"round {seen.round}: the server goes away from the clients, or nowhere (cosine {cosine:.2f})")
    return f"the server goes towards the clients' mean (cosine {cosine:.2f})"


def _reset(subject: Subject, number: int, name: str) -> bool:
    """Whether every client changed a parameter in a round and the server has what it had."""
    seen = subject.watch.aggregations[number]
    ended = [subject.watch.ended[seen.round, u.client] for u in seen.uploads]
    changed = all(differing({name: seen.before[name]}, {name: state[name]}) for state in ended)
    return changed and name in seen.after and not differing({name: seen.before[name]}, {name: seen.after[name]})


def _flat(before: State, after: State, names: list[str]) -> Tensor:
    return torch.cat([(after[name].double() - before[name].double()).flatten() for name in names])


RULES = (fixed_point, direction)
