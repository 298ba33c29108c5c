"""What hyper-parameters do: an algorithm trains with all values that they allow, and what is tuned matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from fedbench.errors import UserError
from fedbench.testing.findings import Broken, raised, rule
from fedbench.testing.subject import Subject, Trained, completes, differ


@rule(
    "values",
    "exclude a bound that is divided by or taken a logarithm of (gt=0, lt=1), keep search ranges away from where "
    "training diverges, and try every choice once.",
)
def values(subject: Subject) -> str:
    """It trains with every choice, at both ends of every search range and at every bound that is allowed; what is
    tuned changes the result.
    """
    tried = 0
    for name, field in subject.fields.items():
        for value in _extremes(field):
            tried += _trains(subject, {name: value}) is not None
        judged = name in subject.cls.is_fedavg_with  # by 'effect'
        if len(_searched(field)) > 1 and not judged and not _matters(subject, name, field):
            raise Broken(
                f"'{name}' makes no difference between {_text(_searched(field))}",
                "does anybody read self.params? A search over it tries the same thing again and again.",
            )
    return f"trains with {tried} other values of {len(subject.fields)} parameters" if tried else "no value to try"


def _searched(field: Any) -> list[Any]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return list(extra.get("search") or [])


def _extremes(field: Any) -> list[Any]:
    """Return the values at which an algorithm may fail, without the default."""
    if choices := _choices(field):
        found = choices
    else:
        found = _searched(field)
        if all(isinstance(value, int | float) for value in found):
            found = sorted({min(found), max(found)}) if found else []
        for limit in field.metadata if field.annotation in (int, float) else ():
            found += [bound for kind in ("ge", "le") if (bound := getattr(limit, kind, None)) is not None]
    return [value for number, value in enumerate(found) if value != field.default and value not in found[:number]]


def _choices(field: Any) -> list[Any]:
    if field.annotation is bool:
        return [False, True]
    return list(get_args(field.annotation)) if get_origin(field.annotation) is Literal else []


def _trains(subject: Subject, changes: Mapping[str, Any]) -> Trained | None:
    """Return the run with other parameters, or None if they are refused together."""
    try:
        trained = subject.run(**changes)
    except UserError:
        return None
    except Exception as error:
        raise Broken(f"with {_named(changes)} it {raised(error)}") from None
    completes(trained, f"with {_named(changes)}")
    return trained


def _matters(subject: Subject, name: str, field: Any) -> bool:
    """Whether the ends of a search range lead to different results, with one of the other parameters' choices."""
    first, *others = [value for value in (*_extremes(field), field.default) if value in _searched(field)] or [None]
    for elsewhere in _elsewhere(subject, name):
        start = _trains(subject, {**elsewhere, name: first})
        for value in others if start else ():
            other = _trains(subject, {**elsewhere, name: value})
            if start and other and differ(start, other):
                return True
    return not others


def _elsewhere(subject: Subject, name: str) -> Iterator[dict[str, Any]]:
    """Yield nothing, and then every other choice of another parameter, with which this one may begin to count."""
    yield {}
    for other, field in subject.fields.items():
        if other != name:
            yield from ({other: choice} for choice in _choices(field) if choice != field.default)


def _named(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in changes.items())


def _text(found: list[Any]) -> str:
    return ", ".join(map(str, found))


RULES = (values,)
