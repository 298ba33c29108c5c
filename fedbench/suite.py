"""Suites: TOML -> validated configuration. A run's id is a hash of all that determines its result."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fedbench.config import DataConfig, EvaluationConfig, ModelConfig, TrainingConfig, digest
from fedbench.errors import UserError, nearest
from fedbench.names import safe
from fedbench.parameters import Parameters, refusal

TECHNICAL = ("validate_every", "precision", "channels_last", "deterministic", "threads")  # of [training], not tuned


Seed = Annotated[int, Field(ge=0)]
MOST_SEEDS = 10_000  # of one range; a slip of the pen, more likely than a wish
MOST_DIGITS = 100


class TuningConfig(Parameters):
    """How ``fedbench tune`` chooses hyper-parameters; no part of any run's identity.

    ``rule``: the validation Dice, mean over clients, of the last round or of the best one; then the mean over ``seeds``
    and over datasets. ``trials``: for the shared values and for each algorithm, drawn with ``draw_seed``. ``seeds`` are
    by default none that a study reports, so that no algorithm is chosen by the luck of a reported run. ``rounds``: of a
    trial; None is the suite's. ``shared``: values to try of keys of [training], ``{"training.lr": (1e-3, 1e-2)}``.
    """

    rule: Literal["last-validation-dice", "best-validation-dice"] = "last-validation-dice"
    trials: int = Field(8, ge=1)
    seeds: tuple[Seed, ...] = Field((1000,), min_length=1)
    draw_seed: int = Field(0, ge=0)
    rounds: int | None = Field(None, ge=1)
    shared: dict[str, tuple[Any, ...]] = {}

    @field_validator("seeds")
    @classmethod
    def _no_duplicates(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    @field_validator("shared", mode="before")
    @classmethod
    def _flat(cls, shared: Any) -> Any:
        """Take ``training.lr = [...]`` without quotes for what it means."""
        if not isinstance(shared, dict):
            return shared
        nested = {key: value for key, value in shared.items() if isinstance(value, dict)}
        flat = {f"{section}.{key}": values for section, keys in nested.items() for key, values in keys.items()}
        if twice := sorted(flat.keys() & shared.keys()):
            raise ValueError(f"listed twice, with quotes and without: {', '.join(twice)}")
        return {key: value for key, value in shared.items() if key not in nested} | flat

    @field_validator("shared")
    @classmethod
    def _exist(cls, shared: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        return {key: _values_of(key, values) for key, values in shared.items()}

    @model_validator(mode="after")
    def _one_budget(self) -> TuningConfig:
        if self.rounds is not None and "training.rounds" in self.shared:
            raise ValueError("rounds fixes what shared says to tune (training.rounds); drop one of them")
        return self


def _values_of(key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check the values to try of one key of [training]; returns them as the key's type."""
    known = [f"training.{name}" for name in TrainingConfig.model_fields if name not in TECHNICAL]
    if key not in known:
        raise ValueError(f"'{key}' is no shared hyper-parameter{nearest(key, known)}")
    name = key.partition(".")[2]
    if not values:
        raise ValueError(f"'{key}' has no values to try")
    try:
        read = tuple(getattr(TrainingConfig(**{name: value}), name) for value in values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"'{key}' cannot be {first['input']!r}: {refusal(first)}") from None
    if len(set(read)) < len(read):
        raise ValueError(f"'{key}' lists a value twice")
    return read


class Suite(Parameters):
    """Datasets x algorithms x seeds, and one budget for all of them."""

    name: str = "command line"
    title: str = ""
    algorithms: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    data: DataConfig = DataConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tuning: TuningConfig = TuningConfig()

    @field_validator("algorithms", "datasets", "seeds")
    @classmethod
    def _no_duplicates(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return values

    @field_validator("data")
    @classmethod
    def _has_test_cases(cls, data: DataConfig) -> DataConfig:
        if data.hide_test:
            raise ValueError("hide_test is for `fedbench tune`, which sets it; a suite's runs are scored on test cases")
        return data

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Suite:
        if self.evaluation.relation == "unseen" and self.data.leave_out is None:
            raise ValueError("evaluation.relation = 'unseen' needs a modality that is left out: data.leave_out")
        return self


@dataclass(frozen=True)
class Cell:
    """One run of a suite: what determines its result, and where a worker finds its inputs.

    Attributes:
        identity: plain values; everything that determines the result, digests of code and data included.
        algorithm: as the user wrote it, with an absolute path if it is a file.
        prepared: folder of the prepared dataset.
        declared: the suite's name and what it says will be compared; no part of the identity.
    """

    identity: dict[str, Any]
    algorithm: str
    prepared: str
    label: str
    declared: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``dataset.algorithm.sSEED[.foldN][.no-MODALITY][.tuning].hash``: readable, and unique by the hash."""
        i = self.identity
        fold = "" if i["data"]["fold"] is None else f".fold{i['data']['fold']}"
        unseen = "" if i["data"]["leave_out"] is None else f".no-{safe(i['data']['leave_out'])}"
        tuning = ".tuning" if i["data"].get("hide_test") else ""
        return f"{i['dataset']}.{i['algorithm']}.s{i['seed']}{fold}{unseen}{tuning}.{digest(i)[:12]}"


def builtin_suites() -> dict[str, Path]:
    """Return the suites that come with fedbench, by name."""
    folder = Path(str(resources.files("fedbench.suites")))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_suite(source: str, overrides: dict[str, Any] | None = None) -> Suite:
    """Read a suite by name or from a TOML file, with some values replaced.

    ``extends = "NAME"`` (or a file, seen from the suite's folder) takes all that the suite does not say from another;
    sections are merged key by key.

    Args:
        overrides: ``{"seeds": (0, 1), "training.rounds": 5}``; None values are ignored.

    Raises:
        UserError: no such suite, not TOML, or a key or value that does not exist or fit.
    """
    values = _values_in(_file_of(source, Path()), ())
    return make_suite(values, overrides, f"suite {_file_of(source, Path())}")


def _file_of(source: str, folder: Path) -> Path:
    known = builtin_suites()
    if source not in known and not source.endswith(".toml"):
        if (folder / source).exists():
            raise UserError(f"{folder / source} is no suite: give a file whose name ends in .toml.")
        raise UserError(f"no suite named '{source}'{nearest(source, known)} Or give a file, FILE.toml.")
    return known.get(source, folder / source)


def _values_in(file: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    """Read a suite's values, and beneath them those of the suite that it extends."""
    if file.resolve() in [other.resolve() for other in extended_by]:
        raise UserError(f"suite {extended_by[0]} extends itself, by way of {file.name}; drop one `extends`.")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        named = f", which {extended_by[-1]} names in 'extends'" if extended_by else ""
        raise UserError(f"cannot read suite {file}{named}: {error.strerror}.") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of more digits than Python reads
        raise UserError(f"suite {file} is not valid TOML: {error}.") from None
    base = values.pop("extends", None)
    if base is None:
        return {"name": file.stem} | values
    if not isinstance(base, str):
        raise UserError(f"suite {file}: 'extends' = {base!r} is refused: it names one suite or file.")
    try:
        beneath_it = _file_of(base, file.parent)
    except UserError as error:
        raise UserError(f"suite {file}: 'extends' = '{base}' is refused: {error}") from None
    beneath = _values_in(beneath_it, (*extended_by, file))
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(beneath.get(key), dict):
            values[key] = {**beneath[key], **value}
    return beneath | {"name": file.stem} | values


def make_suite(values: dict[str, Any], overrides: dict[str, Any] | None = None, where: str = "command line") -> Suite:
    """Validate ``values`` as a suite; see :func:`read_suite`."""
    values = dict(values)
    for key, value in (overrides or {}).items():
        section, _, name = key.rpartition(".")
        if value is None:
            continue
        if not section:
            values[name] = value
        elif isinstance(values.get(section, {}), dict):  # anything else is refused below, as what it is
            values[section] = {**values.get(section, {}), name: value}
    try:
        return Suite(**values)
    except ValidationError as error:
        place = "command line" if _was_given(error, overrides or {}) else where
        raise UserError(f"{place}: {_first_problem(error, values)}") from None


def _was_given(error: ValidationError, overrides: dict[str, Any]) -> bool:
    """Say whether the first key that is refused is one that replaced what a suite says."""
    first = error.errors()[0]
    place, unknown = tuple(map(str, first["loc"])), first["type"] == "extra_forbidden"
    given = [tuple(key.split(".")) for key, value in overrides.items() if value is not None]
    return any(place[: len(key)] == key or (unknown and key[: len(place)] == place) for key in given)


SECTIONS: dict[str, type[Parameters]] = {
    name: kind
    for name, field in Suite.model_fields.items()
    if isinstance(kind := field.annotation, type) and issubclass(kind, Parameters)
}


def _keys_named(name: str) -> list[str]:
    """Return the keys of a suite that are called ``name``, with their sections."""
    own = [name] if name in Suite.model_fields else []
    return own + [f"{section}.{name}" for section, kind in SECTIONS.items() if name in kind.model_fields]


def _first_problem(error: ValidationError, values: dict[str, Any]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section = SECTIONS.get(str(first["loc"][0]), Suite) if len(first["loc"]) > 1 else Suite
        name = str(first["loc"][-1])
        if elsewhere := _keys_named(name):
            return f"there is no key '{key}'; did you mean {' or '.join(elsewhere)}?"
        return f"there is no key '{key}'{nearest(name, section.model_fields)}"
    if not key:  # of no single key: what does not go together
        return refusal(first)
    if key in SECTIONS and isinstance(first["input"], dict):  # the same within a section
        return f"[{key}] is refused: {refusal(first)}"
    if first["type"] == "missing":
        return f"key '{key}' is missing."
    return f"'{key}' = {first['input']!r} is refused: {refusal(first)}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0-4``, ``0,2,5`` or a mix of both."""
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise UserError(f"--seeds {text}: write a range such as 0-4 or a list such as 0,2,5.")
        if max(len(low), len(high)) > MOST_DIGITS:
            raise UserError(f"--seeds {text[:MOST_DIGITS]}...: a seed has at most {MOST_DIGITS} digits.")
        if dash and int(low) > int(high):
            raise UserError(f"--seeds {text}: the range {part.strip()} is empty.")
        if dash and int(high) - int(low) >= MOST_SEEDS:
            raise UserError(f"--seeds {text}: the range {part.strip()} has more than {MOST_SEEDS} seeds.")
        seeds += range(int(low), int(high) + 1) if dash else [int(low)]
    return tuple(seeds)
