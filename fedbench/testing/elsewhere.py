"""The standard run in another process (:mod:`fedbench.testing.answering`), which shares nothing with this one but the
plugin's source.

The process is started once, answers one line of JSON per line of JSON, and ends when its input does. It has another
hash seed and other thread settings, as another worker's machine may.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import select
import subprocess
import sys
from typing import Any

from fedbench.algorithm import Algorithm
from fedbench.testing.findings import NotApplicable

PATIENCE = 90  # seconds for a run that takes about one
INSIDE = "FEDBENCH_CHECK_INSIDE"

_process: subprocess.Popen[str] | None = None


def ask(cls: type[Algorithm], params: dict[str, Any]) -> dict[str, Any]:
    """Return what the other process says of the standard run: ``fingerprint``, ``touched`` (by importing), ``error``.

    Where no answer came in time it holds ``silent``, too.

    Raises:
        NotApplicable: the class cannot be imported there.
    """
    question = naming(cls) | {"params": params}
    process = _started()
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        ready = select.select([process.stdout], [], [], PATIENCE)[0]
        answer = process.stdout.readline() if ready else None
    except OSError:
        answer = ""
    except BaseException:
        stop()  # interrupted: it may hang, and would outlive this process
        raise
    if answer is None:
        stop()
        return {"error": f"the other process was silent for {PATIENCE} s", "silent": True}
    if not answer:
        stop()
        return {"error": "the other process died"}
    return json.loads(answer)


def naming(cls: type) -> dict[str, Any]:
    """Return where another process finds a plugin's class.

    Raises:
        NotApplicable: it cannot be imported there, or this is the other process.
    """
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotApplicable("the class is not in a file that another process can import")
    if INSIDE in os.environ:
        raise NotApplicable("this is the other process")
    return {"module": cls.__module__, "name": cls.__qualname__, "file": inspect.getfile(cls), "path": sys.path}


def surroundings() -> dict[str, str]:
    """Return the variables of another process: this one's, with another hash seed."""
    seed = "8" if os.environ.get("PYTHONHASHSEED") == "7" else "7"
    return os.environ | {"PYTHONHASHSEED": seed, INSIDE: "1"}


def start() -> None:
    """Start the other process in time, so that it imports what it needs meanwhile."""
    if INSIDE not in os.environ:
        _started()


def stop() -> None:
    """End the other process, if there is one."""
    global _process
    if _process is not None:
        _process.kill()
        with contextlib.suppress(OSError):
            _process.communicate()
        _process = None


def _started() -> subprocess.Popen[str]:
    global _process
    if _process is None or _process.poll() is not None:
        environment = surroundings() | {"OMP_NUM_THREADS": "2"}
        _process = subprocess.Popen(
            [sys.executable, "-m", "fedbench.testing.answering"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
    return _process
