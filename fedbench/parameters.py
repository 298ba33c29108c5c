"""Declared parameters of a plugin: default and search range on one line, checked when set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fedbench.errors import UserError, nearest

WORDS = {
    "tuple_type": "it must be a list",
    "dict_type": "it must be a section",
    "model_type": "it must be a section",
    "string_type": "it must be text",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it has too many digits",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
}  # why a value is refused, by pydantic's types of errors
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


class Parameters(BaseModel):
    """Base of every ``Params`` class. Unknown names are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        truths = [part for part in (value if isinstance(value, list | tuple) else [value]) if isinstance(part, bool)]
        if truths and not kinds & {Any, bool}:
            raise ValueError(f"{str(truths[0]).lower()} is no number and no text")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield a type and all that it is made of: of ``tuple[int, ...] | None`` also ``int``."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            if part.__hash__ is not None:
                yield from _kinds(part)


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
    kind, value = error["type"], error.get("input")
    if kind == "too_short":
        least = error["ctx"]["min_length"]
        return f"it needs at least {least} entr{'y' if least == 1 else 'ies'} and has {len(value or ())}"
    if kind.startswith("float_") and isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
        return f"write the number with a decimal point: {value.strip().replace(',', '.')}"
    if kind in WORDS:
        return WORDS[kind]
    said = error["msg"].removeprefix("Value error, ")
    return said.replace("Input should be ", "it must be ", 1) if said.startswith("Input should be ") else said


def parse_value(text: str) -> Any:
    """Read ``text`` as a TOML/JSON scalar or list; what is neither stays a string."""
    try:
        return json.loads(text)
    except ValueError:  # no JSON, or a number of more digits than Python reads
        return text.strip("'\"")
