"""Trials: the shared hyper-parameters once, on the reference algorithm, then each algorithm's own with these.

A trial is one run per dataset and tuning seed: an ordinary run of a federation that has no test cases. Its score is the
validation Dice that the suite's rule names; nothing but ``rounds.parquet`` is read of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from fedbench import registry
from fedbench.config import DataConfig, TrainingConfig, canonical
from fedbench.engine.task import TrainingDiverged
from fedbench.errors import UserError
from fedbench.execution import named
from fedbench.reading import read_table
from fedbench.store import FAILURE, ROUNDS, Store, read_json
from fedbench.suite import Cell, Suite
from fedbench.tuning.search import Point, Space, algorithm_space, draw, shared_space
from fedbench.wording import counted

Stage = Literal["shared", "own"]
SHARED: Stage = "shared"
OWN: Stage = "own"

Plan = Callable[[Suite], list[Cell]]
Execute = Callable[[str, list[Cell]], None]  # a heading, and the runs; returns when each is done or has diverged


@dataclass(frozen=True)
class Trial:
    """One point of a space, tried.

    Attributes:
        stage: ``shared`` or ``own``.
        algorithm: as the suite names it.
        number: from 0, the default.
        point: the values tried.
        setting: the algorithm with them, as one writes it in a suite.
        possible: how many different trials its space allows.
        runs: ids.
        dice: the rule's score per dataset, mean over seeds; None if a run diverged.
    """

    stage: Stage
    algorithm: str
    number: int
    point: Point
    setting: str
    possible: int
    runs: tuple[str, ...]
    dice: dict[str, float | None]
    chosen: bool = False

    @property
    def score(self) -> float | None:
        """Mean over datasets; None, which is worse than any number, if a run diverged."""
        known = [value for value in self.dice.values() if value is not None]
        return mean(known) if len(known) == len(self.dice) else None


@dataclass(frozen=True)
class Tuned:
    """What was tried, and what was chosen.

    Attributes:
        shared: the chosen value of each key of ``[tuning.shared]``.
        settings: each algorithm of the suite, as the suite names it -> as it is to be run.
    """

    suite: Suite
    reference: str
    trials: tuple[Trial, ...]
    shared: Point
    settings: dict[str, str]


def tune(suite: Suite, plan: Plan, execute: Execute, results: Store) -> Tuned:
    """Tune the hyper-parameters of ``suite``: first what is shared, then each algorithm's own.

    Raises:
        UserError: there is nothing to tune, an algorithm or value does not exist, or every trial of a choice diverged.
    """
    shared, spaces = shared_space(suite), {text: algorithm_space(*_plugin(text)) for text in suite.algorithms}
    if shared.size == 1 and all(space.size == 1 for space in spaces.values()):
        raise UserError(
            "nothing to tune: no algorithm of the suite declares a search range, hyperparameter(..., search=[...]), "
            "for a parameter that the suite leaves open, and [tuning.shared] names no other value than the suite's."
        )
    base, reference = without_test(suite), reference_of(suite)
    own = {text: draw(space, base.tuning.trials, base.tuning.draw_seed, text) for text, space in spaces.items()}
    trials: list[Trial] = []
    if shared.values:
        plan(_with_settings(base, own))  # what is impossible is refused before anything is trained
        trials = _try_shared(base, reference, shared, plan, execute, results)
    chosen = next((trial.point for trial in trials if trial.chosen), {})
    trials += _try_own(_with(base, chosen), spaces, own, plan, execute, results)
    settings = {t.algorithm: t.setting for t in trials if t.stage == OWN and t.chosen}
    return Tuned(suite, reference, tuple(trials), chosen, settings)


def without_test(suite: Suite) -> Suite:
    """Return the suite as it is tuned: the tuning seeds, no test case, no modality left out, the first fold."""
    tuning, data = suite.tuning, suite.data
    fold = None if data.folds is None else data.fold or 0
    hidden = DataConfig(**data.model_dump() | {"leave_out": None, "fold": fold, "hide_test": True})
    training = suite.training.model_copy(update={"rounds": tuning.rounds or suite.training.rounds})
    return suite.model_copy(update={"seeds": tuning.seeds, "data": hidden, "training": training})


def reference_of(suite: Suite) -> str:
    """Return the algorithm that shared values are tuned on: the reference as the suite lists it, or by its name.

    Where the suite compares with one deployment of an algorithm (``fedbn (averaged)``), it is that algorithm.

    Raises:
        UserError: there is no such algorithm.
    """
    by_label = {label_of(text): text for text in suite.algorithms}
    name = suite.evaluation.reference.partition(" (")[0]
    text = by_label.get(name, name)
    try:
        _plugin(text)
    except UserError as error:
        raise UserError(f"[evaluation] reference = '{suite.evaluation.reference}': {error}") from None
    return text


def label_of(text: str) -> str:
    """Return what tables call the algorithm that ``text`` names."""
    return named.label_of(*_plugin(text))


def same_run(text: str) -> str:
    """Return what two ways to write one algorithm and its parameters have in common."""
    spec, cls = _plugin(text)
    return canonical([cls.__module__, cls.__qualname__, named.make_algorithm(spec, cls).params.model_dump(mode="json")])


def _plugin(text: str) -> tuple[registry.Spec, type[Any]]:
    spec, cls = registry.named("algorithm", text)
    named.make_algorithm(spec, cls)
    return spec, cls


def _with(suite: Suite, point: Point) -> Suite:
    values = {key.partition(".")[2]: value for key, value in point.items()}
    return suite.model_copy(update={"training": TrainingConfig(**suite.training.model_dump() | values)})


# -- the two stages --------------------------------------------------------------------------------------------------


def _try_shared(base: Suite, reference: str, space: Space, plan: Plan, execute: Execute, results: Store) -> list[Trial]:
    """Try shared values with the reference algorithm at its defaults."""
    points = draw(space, base.tuning.trials, base.tuning.draw_seed, "shared")
    alone = base.model_copy(update={"algorithms": (reference,)})
    cells = [plan(_with(alone, point)) for point in points]
    execute(f"shared hyper-parameters ({counted(len(points), 'trial')} of {reference})", _each_once(cells))
    return _judge(SHARED, reference, points, [reference] * len(points), space.size, cells, base, results)


def _try_own(
    base: Suite, spaces: dict[str, Space], points: dict[str, list[Point]], plan: Plan, execute: Execute,
    results: Store,
) -> list[Trial]:  # fmt: skip
    """Try each algorithm's own values; equal ones of two algorithms are the same run."""
    settings = {text: _settings(text, points[text]) for text in spaces}
    trained = _with_settings(base, points)
    planned, distinct = plan(trained), [same_run(setting) for setting in trained.algorithms]
    runs = {key: planned[i :: len(distinct)] for i, key in enumerate(distinct)}  # a plan's innermost loop
    cells = {text: [runs[same_run(setting)] for setting in settings[text]] for text in spaces}
    execute(f"own hyper-parameters ({counted(sum(map(len, settings.values())), 'trial')})", planned)
    judged = [
        _judge(OWN, text, points[text], settings[text], space.size, cells[text], base, results)
        for text, space in spaces.items()
    ]
    return [trial for trials in judged for trial in trials]


def _with_settings(base: Suite, points: dict[str, list[Point]]) -> Suite:
    """Return the suite of all algorithms with each of their points; of what is the same run, the last."""
    distinct = {same_run(setting): setting for text, own in points.items() for setting in _settings(text, own)}
    return base.model_copy(update={"algorithms": tuple(distinct.values())})


def _settings(text: str, points: list[Point]) -> list[str]:
    return [_setting(text, point) for point in points]


def _setting(text: str, point: Point) -> str:
    """Write an algorithm with the values that are not its defaults."""
    spec, cls = _plugin(text)
    default = cls.Params(**dict(spec.params))
    changed = [(name, value) for name, value in point.items() if value != getattr(default, name)]
    return registry.Spec(spec.name, (*spec.params, *changed)).text if changed else text


def _each_once(cells: Sequence[Sequence[Cell]]) -> list[Cell]:
    return list({cell.id: cell for own in cells for cell in own}.values())


def _judge(
    stage: Stage, algorithm: str, points: Sequence[Point], settings: Sequence[str], possible: int,
    cells: Sequence[Sequence[Cell]], base: Suite, results: Store,
) -> list[Trial]:  # fmt: skip
    """Score the trials of one choice and mark the best, of equal ones the first."""
    trials = []
    for number, (point, setting, own) in enumerate(zip(points, settings, cells, strict=True)):
        dice: dict[str, list[float | None]] = {}
        for cell in own:
            value = validation_score(results.root / cell.id, base.tuning.rule)
            dice.setdefault(cell.identity["dataset"], []).append(value)
        means = {name: None if None in values else mean(v for v in values if v is not None)
                 for name, values in dice.items()}  # fmt: skip
        runs = tuple(cell.id for cell in own)
        trials.append(Trial(stage, algorithm, number, point, setting, possible, runs, means))
    scored = [trial for trial in trials if trial.score is not None]
    if not scored:
        first = next(run for trial in trials for run in trial.runs if diverged(results.root / run))
        raise UserError(
            f"every trial of {algorithm} diverged ({results.root}, failure.json of {first}); nothing to "
            "choose from: offer a lower training.lr in [tuning.shared], or drop the algorithm."
        )
    best = max(scored, key=lambda trial: trial.score or 0.0)  # the first of equal ones
    return [Trial(**vars(trial) | {"chosen": trial is best}) for trial in trials]


# -- what a run says -------------------------------------------------------------------------------------------------


def diverged(folder: Path) -> bool:
    """Say whether the run in ``folder`` ended because it diverged, as it would again."""
    failure = read_json(folder / FAILURE) or {}
    return str(failure.get("error", "")).startswith(f"{TrainingDiverged.__name__}:")


def validation_score(folder: Path, rule: str) -> float | None:
    """Return the validation Dice of a finished run, mean over clients, of the round that ``rule`` names.

    None if the run diverged.
    """
    if diverged(folder):
        return None
    rounds = read_table(folder / ROUNDS)
    by_round = rounds[rounds["metric"] == "validation dice"].groupby("round")["value"].mean()
    return float(by_round.iloc[-1] if rule == "last-validation-dice" else by_round.max())
