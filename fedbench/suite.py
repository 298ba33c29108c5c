"""Suites: TOML -> validated configuration. A run's id is a hash of all that determines its result."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from fedbench.config import DataConfig, EvaluationConfig, ModelConfig, TrainingConfig, digest
from fedbench.errors import UserError, nearest
from fedbench.names import safe
from fedbench.parameters import Parameters


class Suite(Parameters):
    """Datasets x algorithms x seeds, and one budget for all of them."""

    name: str = "command line"
    title: str = ""
    algorithms: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    data: DataConfig = DataConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("algorithms", "datasets", "seeds")
    @classmethod
    def _no_duplicates(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return values


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
        """``dataset.algorithm.sSEED[.foldN][.no-MODALITY].hash``: readable, and unique by the hash."""
        i = self.identity
        fold = "" if i["data"]["fold"] is None else f".fold{i['data']['fold']}"
        unseen = "" if i["data"]["leave_out"] is None else f".no-{safe(i['data']['leave_out'])}"
        return f"{i['dataset']}.{i['algorithm']}.s{i['seed']}{fold}{unseen}.{digest(i)[:12]}"


def builtin_suites() -> dict[str, Path]:
    """Return the suites that come with fedbench, by name."""
    folder = Path(str(resources.files("fedbench.suites")))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_suite(source: str, overrides: dict[str, Any] | None = None) -> Suite:
    """Read a suite by name or from a TOML file, with some values replaced.

    Args:
        overrides: ``{"seeds": (0, 1), "training.rounds": 5}``; None values are ignored.

    Raises:
        UserError: no such suite, not TOML, or a key or value that does not exist or fit.
    """
    known = builtin_suites()
    if source not in known and not source.endswith(".toml"):
        raise UserError(f"no suite named '{source}'{nearest(source, known)} Or give a file: --suite FILE.toml")
    file = known.get(source, Path(source))
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read suite {file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"suite {file} is not valid TOML: {error}.") from None
    return make_suite({"name": file.stem} | values, overrides, f"suite {file}")


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
        raise UserError(f"{where}: {_first_problem(error, values)}") from None


def _first_problem(error: ValidationError, values: dict[str, Any]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        sections: dict[str, Any] = {name: f.annotation for name, f in Suite.model_fields.items()}
        parent = sections[str(first["loc"][0])] if len(first["loc"]) > 1 else Suite
        return f"there is no key '{key}'{nearest(str(first['loc'][-1]), parent.model_fields)}"
    if first["type"] == "missing":
        return f"key '{key}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    return f"'{key}' = {first['input']!r} is refused: {message}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0-4``, ``0,2,5`` or a mix of both."""
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise UserError(f"--seeds {text}: write a range such as 0-4 or a list such as 0,2,5.")
        if dash and int(low) > int(high):
            raise UserError(f"--seeds {text}: the range {part.strip()} is empty.")
        seeds += range(int(low), int(high) + 1) if dash else [int(low)]
    return tuple(seeds)
