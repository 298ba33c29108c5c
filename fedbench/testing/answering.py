"""The other process of :mod:`fedbench.testing.elsewhere`: it trains the standard run of the plugin it is asked for."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from fedbench import registry
from fedbench.algorithm import Algorithm
from fedbench.testing.findings import raised
from fedbench.testing.global_state import changed, observe
from fedbench.testing.laboratory import fingerprint
from fedbench.testing.subject import Subject

_touched: dict[str, list[str]] = {}  # module -> what importing it changed


def imported(kind: registry.Kind, question: dict[str, Any]) -> Any:
    """Return the plugin's class that :func:`fedbench.testing.elsewhere.naming` told of."""
    module, name = question["module"], question["name"]
    sys.path[:] = question["path"]
    if module in sys.modules or not module.startswith("fedbench_plugin_"):
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found
    return registry.load(kind, registry.find(kind, f"{Path(question['file'])}:{name}"))


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        before = observe()
        cls: type[Algorithm] = imported("algorithm", question)
        touched = _touched.setdefault(cls.__module__, changed(before))
        return {"fingerprint": fingerprint(Subject(cls, question["params"]).run().training), "touched": touched}
    except Exception as error:
        return {"error": raised(error)}


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer until the questions end."""
    for line in questions:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    private = os.fdopen(os.dup(1), "w")  # a plugin that prints must not break the answers
    os.dup2(2, 1)
    serve(sys.stdin, private)
    os._exit(0)  # whatever threads a plugin has left
