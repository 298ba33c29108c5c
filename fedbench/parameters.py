"""Declared parameters of a plugin: default and search range on one line, checked when set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fedbench.errors import UserError, nearest


class Parameters(BaseModel):
    """Base of every ``Params`` class. Unknown names are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not Any and bool not in (kind, *get_args(kind)):
            raise ValueError(f"{str(value).lower()} is no number and no text")
        return value


def hyperparameter(default: Any, *, search: Sequence[Any] | None = None, doc: str = "", **limits: Any) -> Any:
    """Declare a hyper-parameter.

    Args:
        default: the value used unless the user says otherwise.
        search: the values a tuning command may draw from.
        doc: one line shown by ``fedbench show``.
        limits: pydantic limits such as ``ge``, ``gt``, ``le``, ``lt``.
    """
    extra: Any = {"search": list(search)} if search is not None else None
    return Field(default, description=doc, json_schema_extra=extra, **limits)


def validate(cls: type[Parameters], values: Mapping[str, Any], owner: str) -> Any:
    """Return ``cls(**values)``; a user's mistake becomes a :class:`UserError` naming ``owner`` and the parameter."""
    for name in values:
        if name not in cls.model_fields:
            raise UserError(f"{owner} has no parameter '{name}'{nearest(name, cls.model_fields)}")
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "value"
        raise UserError(f"{owner}: parameter '{where}' = {first['input']!r} is refused: {refusal(first)}.") from None


def refusal(error: Mapping[str, Any]) -> str:
    """Return in a user's words why pydantic refused a value."""
    return "it must be a list" if error["type"] == "tuple_type" else error["msg"].removeprefix("Value error, ")


def parse_value(text: str) -> Any:
    """Read ``text`` as a TOML/JSON scalar or list; what is neither stays a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip("'\"")
