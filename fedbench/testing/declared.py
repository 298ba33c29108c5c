"""What an algorithm declares about itself: name, hooks, hyper-parameters with limits and search ranges."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_origin

from fedbench.algorithm import Algorithm
from fedbench.errors import UserError
from fedbench.parameters import Parameters
from fedbench.registry import NAME, UNWRITABLE, can_be_written
from fedbench.testing.findings import Broken, rule
from fedbench.testing.subject import Subject

ALIKE = 0.85  # how like a hook's name a name must be to be taken for a slip of the pen


@rule("declaration", "a hook with another name is never called, and an algorithm without a name is never found.")
def declaration(subject: Subject) -> str:
    """It has a name, a summary and a Params class, and every hook is spelt as the contract spells it."""
    cls = subject.cls
    hooks = {name for name in vars(Algorithm) if not name.startswith("_")}
    for owner in cls.__mro__[: cls.__mro__.index(Algorithm)]:
        for name in vars(owner):
            near = difflib.get_close_matches(name, hooks, n=1, cutoff=ALIKE)
            if near and name not in hooks:
                raise Broken(f"'{name}' is no hook of the contract", f"nobody calls it; did you mean '{near[0]}'?")
    check_name(getattr(cls, "name", None), cls.__doc__, cls.Params, "algorithm")
    if cls.terms_move not in ("everything", "encoder"):
        raise Broken(f"terms_move = {cls.terms_move!r}", "write 'everything' or 'encoder'.")
    try:
        subject.make(**cls.is_fedavg_with)
    except UserError as error:
        raise Broken(
            f"is_fedavg_with = {dict(cls.is_fedavg_with)}: {error}", "name parameters and values that they accept."
        ) from None
    return f"'{cls.name}': {inspect.cleandoc(cls.__doc__ or '').partition(chr(10))[0]}"


def check_name(name: Any, doc: str | None, params: Any, kind: str) -> None:
    """Raise :class:`Broken` unless a plugin's name, docstring and Params class are such as the harness needs."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Broken(f"name = {name!r}", 'write name = "..." in lower-case letters, digits and dashes.')
    if not (doc or "").strip():
        raise Broken("no docstring", f"its first line is what `fedbench list {kind}s` shows: say what it is.")
    if not (isinstance(params, type) and issubclass(params, Parameters)):
        raise Broken("Params is not a fedbench.parameters.Parameters", "derive it from the base class's Params.")


@rule("parameters", "declare limits in hyperparameter(..., ge=0) and leave __init__ to the base class.")
def parameters(subject: Subject) -> str:
    """Wrong parameters are refused with a message: unknown names, values out of their limits or of another type."""
    return check_parameters(lambda values: subject.make(**values), subject.fields)


def check_parameters(make: Callable[[dict[str, Any]], object], fields: Any) -> str:
    """Raise :class:`Broken` unless ``make(values)`` accepts every default and refuses what it should."""
    wrong = [("no_such_parameter", 1)]
    for name, field in fields.items():
        wrong += [(name, value) for value in _refusable(field)]
        try:
            make({name: field.default})
        except UserError as error:
            raise Broken(f"its own default is refused: {error}") from None
    for name, value in wrong:
        try:
            make({name: value})
        except UserError:
            continue
        except Exception as error:
            raise Broken(f"{name} = {value!r} ends in {type(error).__name__}, not in a message") from None
        raise Broken(f"{name} = {value!r} is accepted")
    return f"{len(wrong)} wrong values are refused with a message"


def _refusable(field: Any) -> Iterator[Any]:
    """Yield values that a declared field must refuse."""
    if get_origin(field.annotation) is Literal:
        yield "no such choice"
        return
    if field.annotation in (int, float):
        yield "text"
        if field.annotation is float:
            yield float("nan")
    for limit in field.metadata:
        for kind, beyond in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
            if (bound := getattr(limit, kind, None)) is not None:
                yield bound + beyond


@rule("search", "a tuning command draws from search=[...]; keep it inside ge, gt, le, lt.")
def search(subject: Subject) -> str:
    """Every value of a search range is one that the parameter accepts and that a suite can name."""
    ranges = without = 0
    for name, field in subject.fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        values: Any = extra.get("search") or []
        ranges += bool(values)
        without += not values and field.annotation is float
        for value in values:
            try:
                subject.make(**{name: value})
            except UserError as error:
                raise Broken(f"search range of '{name}': {error}") from None
            if not can_be_written(name, getattr(subject.make(**{name: value}).params, name)):
                raise Broken(
                    f"search range of '{name}': {value!r} cannot be named in a suite",
                    f"{UNWRITABLE}.",
                )
    if not ranges and not without:
        return "no parameter that is tuned"
    return f"{ranges} search ranges inside their limits" + (f"; {without} numbers have none" if without else "")


RULES = (declaration, parameters, search)
