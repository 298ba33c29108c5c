"""What may be tried, and which of it is: spaces of declared values, and draws that depend on nothing that was measured.

Optuna draws (random search: Bergstra & Bengio, JMLR 2012). Every trial is asked for before any is told of, so the
trials are the same on any number of workers, and the first n of more trials are the n trials of fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from fedbench import registry
from fedbench.algorithm import Algorithm
from fedbench.errors import UserError
from fedbench.parameters import validate
from fedbench.streams import derive_seed
from fedbench.suite import Suite

Point = dict[str, Any]  # hyper-parameter -> value


@dataclass(frozen=True)
class Space:
    """The values of each hyper-parameter, the default first; empty if there is nothing to tune."""

    values: Mapping[str, Sequence[Any]]

    @property
    def size(self) -> int:
        """How many combinations there are: 1 if there is nothing to tune."""
        return math.prod(len(values) for values in self.values.values())


def shared_space(suite: Suite) -> Space:
    """Return the values of ``[tuning.shared]``, the suite's own value first."""
    return Space(
        {key: _first(getattr(suite.training, key.partition(".")[2]), v) for key, v in suite.tuning.shared.items()}
    )


def algorithm_space(spec: registry.Spec, cls: type[Algorithm]) -> Space:
    """Return the declared search ranges of an algorithm without the parameters that ``spec`` fixes.

    Raises:
        UserError: the algorithm does not take a value of its own range, or no suite could name it.
    """
    fixed = dict(spec.params)
    default = cls.Params(**fixed)
    values: dict[str, Sequence[Any]] = {}
    for name, field in cls.Params.model_fields.items():
        extra = field.json_schema_extra
        search = extra.get("search") if isinstance(extra, dict) else None
        if isinstance(search, list) and search and name not in fixed:
            owner = f"search range of algorithm '{cls.name}'"
            read = [getattr(validate(cls.Params, fixed | {name: value}, owner), name) for value in search]
            if odd := [value for value in read if not registry.can_be_written(name, value)]:
                raise UserError(f"{owner}: parameter '{name}': {odd[0]!r} is refused: {registry.UNWRITABLE}.")
            values[name] = _first(getattr(default, name), read)
    return Space(values)


def _first(default: Any, values: Sequence[Any]) -> list[Any]:
    """Return the default and then the other values, each once."""
    ordered: list[Any] = [default]
    ordered += [value for i, value in enumerate(values) if value != default and value not in values[:i]]
    return ordered


def draw(space: Space, trials: int, seed: int, name: str) -> list[Point]:
    """Return ``trials`` different points, the default first; all there are if these are fewer.

    Args:
        seed: of the draw, together with ``name``: of what is tuned.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=derive_seed("tuning", seed, name) % 2**32)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(dict.fromkeys(space.values, 0))
    places: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(tuple(range(len(values)))) for key, values in space.values.items()
    }
    drawn: dict[tuple[int, ...], Point] = {}
    while len(drawn) < min(trials, space.size):
        asked = study.ask(places).params
        point = {key: values[asked[key]] for key, values in space.values.items()}
        drawn.setdefault(tuple(asked[key] for key in space.values), point)
    return list(drawn.values())
