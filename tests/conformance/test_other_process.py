"""What another process that gives no answer is said to have done."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from fedbench.testing import elsewhere

PLUGIN = """
import os, time
from fedbench.algorithm import Algorithm
if "FEDBENCH_CHECK_INSIDE" in os.environ:
    {what}

class Odd(Algorithm):
    "Odd."
    name = "odd"
"""


@pytest.mark.parametrize(
    ("what", "error", "silent"),
    [("os._exit(1)", "the other process died", False), ("time.sleep(600)", "was silent for 15 s", True)],
)
def test_a_process_that_died_is_told_from_a_silent_one(tmp_path, monkeypatch, what, error, silent):
    file = tmp_path / "odd_plugin.py"
    file.write_text(PLUGIN.format(what=what))
    spec = importlib.util.spec_from_file_location("odd_plugin", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "odd_plugin", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(elsewhere, "PATIENCE", 15 if silent else 90)
    try:
        answer = elsewhere.ask(module.Odd, {})
    finally:
        elsewhere.stop()
    assert error in answer["error"] and ("silent" in answer) is silent
