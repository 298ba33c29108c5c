"""Rules, and what trying them on a plugin finds: one :class:`Finding` per rule, never an exception of the plugin's."""

from __future__ import annotations

import contextlib
import signal
import sysconfig
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from fedbench.errors import UserError, nearest

S = TypeVar("S")
LIBRARIES = (Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")))


@dataclass(frozen=True)
class Finding:
    """What one rule says about a plugin.

    Attributes:
        passed: None where the rule does not apply; the message says why.
        message: what was found, in one line.
        hint: the likely mistake and what to do; empty unless the rule failed.
        untried: another rule failed, without which this one is not worth trying.
    """

    rule: str
    passed: bool | None
    message: str
    hint: str = ""
    untried: bool = False


class Broken(Exception):
    """The plugin breaks the rule.

    Args:
        message: what was found.
        hint: the likely mistake; empty for the rule's own.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class NotApplicable(Exception):
    """The rule says nothing about this plugin; the message says why."""


class Hangs(BaseException):
    """The plugin does not come back; no Exception, or the plugin might catch it."""


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One promise of the contract.

    Attributes:
        name: one word that names it on the command line.
        promise: what holds, in one line.
        hint: the likely mistake of whoever breaks it.
        test: returns what to say of a plugin that keeps it; raises :class:`Broken` or :class:`NotApplicable`.
    """

    name: str
    promise: str
    hint: str
    test: Callable[[S], str | None]


def rule(name: str, hint: str) -> Callable[[Callable[[S], str | None]], Rule[S]]:
    """Make a :class:`Rule` of a function whose docstring is the promise."""

    def make(test: Callable[[S], str | None]) -> Rule[S]:
        return Rule(name, " ".join((test.__doc__ or "").split()).rstrip("."), hint, test)

    return make


def chosen(rules: Sequence[Rule[S]], only: Collection[str], skip: Collection[str]) -> list[Rule[S]]:
    """Return the rules named by ``only`` (all if it is empty) and not by ``skip``.

    Raises:
        UserError: a name that no rule has, or no rule left.
    """
    names = [each.name for each in rules]
    for name in [*only, *skip]:
        if name not in names:
            raise UserError(f"no rule named '{name}'{nearest(name, names)}")
    left = [each for each in rules if (not only or each.name in only) and each.name not in skip]
    if not left:
        raise UserError("every rule is skipped; there is nothing to check.")
    return left


def examine(
    rules: Sequence[Rule[S]], subject: S, gates: Collection[str], tell: Callable[[Finding], None], patience: int
) -> list[Finding]:
    """Try ``rules`` one by one; after one that hangs, no other is tried.

    Args:
        gates: rules without which those after them are not worth trying.
        tell: hears every finding at once.
        patience: seconds for a rule; 0 for as long as it takes.
    """
    findings: list[Finding] = []
    closed = ""
    for each in rules:
        if closed:
            finding, hangs = Finding(each.name, None, f"not tried, since '{closed}' failed", untried=True), False
        else:
            finding, hangs = _finding(each, subject, patience)
        if finding.passed is False and (hangs or finding.rule in gates):
            closed = finding.rule
        findings.append(finding)
        tell(finding)
    return findings


def _finding(each: Rule[S], subject: S, patience: int) -> tuple[Finding, bool]:
    """Return what the rule says, and whether the plugin had to be interrupted."""
    try:
        with _limited(patience):
            return Finding(each.name, True, each.test(subject) or each.promise), False
    except Broken as broken:
        return Finding(each.name, False, broken.message, broken.hint or each.hint), False
    except NotApplicable as reason:
        return Finding(each.name, None, f"does not apply: {reason}"), False
    except UserError as error:
        return Finding(each.name, False, f"refused: {error}", each.hint), False
    except Hangs as error:
        message = f"did not come back within {patience} s{_place(error)}"
        return Finding(
            each.name, False, message, "a loop without an end, or a wait for something that never comes."
        ), True
    except (Exception, SystemExit) as error:
        return Finding(each.name, False, raised(error), f"this rule asks: {each.promise}."), False


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise :class:`Hangs` in the block after ``seconds``, if not 0; in the main thread, where signals arrive."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _hangs(_signal: int, _frame: FrameType | None) -> None:
    raise Hangs


def raised(error: BaseException) -> str:
    """Return an exception in one line, with the place in the plugin where it came from."""
    text, place = " ".join(str(error).split()), _place(error)
    return f"raises {type(error).__name__}{place}: {text[:300]}" if text else f"raises {type(error).__name__}{place}"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _of_harness(frame.filename)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _of_harness(file: str) -> bool:
    """Whether a file is the harness's or a library's, in which a plugin's author looks last."""
    path = Path(file)
    return "site-packages" in path.parts or file.startswith("<") or any(path.is_relative_to(p) for p in LIBRARIES)


def complaint(what: str, findings: Sequence[Finding]) -> str:
    """Return all failures as one text, for an assertion; empty if there are none."""
    failed = [finding for finding in findings if finding.passed is False]
    lines = "".join(f"\n  FAIL {f.rule}: {f.message}\n       {f.hint}" for f in failed)
    return f"{what} breaks {len(failed)} of {len(findings)} rules:{lines}" if failed else ""
