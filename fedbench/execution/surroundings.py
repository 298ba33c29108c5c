"""What a run's plugin may change of its process that is not torch's, and may not hand on to the next run in it.

Torch's settings are put back as a run begins (:mod:`fedbench.engine.settings`); the rest as one ends, also for what the
command does afterwards in this process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedbench.algorithm import Algorithm
from fedbench.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAZY = ("__annotations__", "__annotations_cache__")  # which Python adds to a class when they are first asked for


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """Put back umask, working folder, variables, signals, garbage collection, and what numpy and warnings raise.

    What cannot be read is left as it is.
    """
    mask = os.umask(0)
    os.umask(mask)
    variables, numpys, collecting = dict(os.environ), np.geterr(), gc.isenabled()
    filters = list(warnings.filters)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in SIGNALS} if in_main_thread else {}
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # it is gone
            here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, here)
            held.callback(_go_back, here)
        try:
            yield
        finally:
            os.umask(mask)
            np.seterr(**numpys)
            _put_back_filters(filters)
            (gc.enable if collecting else gc.disable)()
            for number, handler in handlers.items():
                if signal.getsignal(number) is not handler and handler is not None:
                    signal.signal(number, handler)
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})


def _put_back_filters(then: Sequence[Any]) -> None:
    """Put back what is done about warnings; what has been passed over since, as by libraries at import, still is."""
    news = [each for each in warnings.filters if each not in then and each[0] != "error"]
    if [*news, *then] != list(warnings.filters):
        warnings.resetwarnings()
        warnings.filters[:] = [*news, *then]  # type: ignore[index]


def _go_back(folder: int) -> None:
    with contextlib.suppress(OSError):
        os.fchdir(folder)


class Classes:
    """The classes of algorithms as they are now: methods of others that a plugin replaces would change others' runs."""

    def __init__(self) -> None:
        self._then = {cls: dict(vars(cls)) for cls in _with_subclasses(Algorithm)}

    def put_back(self, own: type[Algorithm]) -> list[str]:
        """Undo what was changed in classes of other modules than ``own``; return the names of what it was."""
        found = []
        for cls, then in self._then.items():
            now: dict[str, Any] = dict(vars(cls))
            for name in sorted(now.keys() | then.keys()) if cls.__module__ != own.__module__ else ():
                if name in LAZY or (name in now and name in then and now[name] is then[name]):
                    continue
                found.append(f"{cls.__name__}.{name}")
                setattr(cls, name, then[name]) if name in then else delattr(cls, name)
        return found

    def refuse_changed(self, own: type[Algorithm]) -> None:
        """Undo what was changed in classes of other modules than ``own``.

        Raises:
            UserError: something was.
        """
        if found := self.put_back(own):
            raise UserError(
                f"'{own.name}' replaced {', '.join(found)} while it ran, which would change the runs of others; it "
                "was put back. Override what is to be other in a class of its own."
            )


def _with_subclasses(cls: type[Algorithm]) -> Iterator[type[Algorithm]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _with_subclasses(child)
