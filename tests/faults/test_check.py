"""Plugins that misbehave under ``fedbench check``: it ends with a line that says so, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from fedbench.testing import global_state, kit
from fedbench.testing.datasets import kit as kit_datasets
from tests import plugins
from tests.faults.machine import PATIENCE, all_gone, descendants, finish, make_hanging, start, wait_for

SLEEPING_DATASET = '''
"""Never comes back from listing its cases."""
import time
from tests.conformance.wrong_plugins.datasets import Sound

class Sleeping(Sound):
    """Sleeps."""

    name = "sleeping"

    def cases(self):
        time.sleep(10_000)
'''


def check(plugin: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "fedbench", "check", plugin, *arguments]


def test_an_algorithm_that_hangs_is_a_finding_with_its_line(fedbench, tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "PATIENCE", 10)
    plugin = plugins.write(tmp_path, "hanging", plugins.HANGING)
    line = 1 + plugins.HANGING.splitlines().index("        time.sleep(10_000)")
    status, out, _ = fedbench("check", f"{plugin}:Hanging", "--only", "trains", "--only", "buffers")
    assert status == 1
    assert f"FAIL trains           did not come back within 10 s (hanging.py:{line})" in out
    assert "-> a loop without an end" in out
    assert "buffers          not tried, since 'trains' failed" in out
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.alarm(0) == 0  # none was left to ring later


def test_one_that_catches_every_exception_cannot_hide_it(fedbench, tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "PATIENCE", 10)
    stubborn = plugins.HANGING.replace(
        "        time.sleep(10_000)",
        "        while True:\n            try:\n                time.sleep(10_000)\n"
        "            except Exception:\n                pass",
    )
    assert stubborn != plugins.HANGING
    plugin = plugins.write(tmp_path, "stubborn", stubborn)
    status, out, _ = fedbench("check", f"{plugin}:Hanging", "--only", "trains")
    assert status == 1
    assert "FAIL trains           did not come back within 10 s (stubborn.py:" in out


def test_one_that_exits_is_a_finding(fedbench, tmp_path):
    """With the status of success, by which the command would have said nothing."""
    plugin = plugins.write(tmp_path, "exiting", plugins.EXITING)
    status, out, _ = fedbench("check", f"{plugin}:Exiting", "--only", "trains", "--only", "buffers")
    assert status == 1
    assert "FAIL trains           raises SystemExit (exiting.py:" in out
    assert "buffers          not tried, since 'trains' failed" in out


def test_one_whose_threads_never_end_does_not_keep_the_check_from_ending(tmp_path):
    """Nor the kit's other process, which has such a thread as well."""
    plugin = plugins.write(tmp_path, "lingering", plugins.LINGERING)
    rules = [word for rule in ("trains", "global-state", "other-process") for word in ("--only", rule)]
    process = start(check(f"{plugin}:Lingering", *rules), tmp_path)
    deadline, family = time.monotonic() + PATIENCE, set[int]()
    while process.poll() is None and time.monotonic() < deadline:
        family |= descendants(process.pid)
        time.sleep(0.2)
    assert process.returncode == 1 and family
    out, err = process.communicate(timeout=PATIENCE)
    assert all_gone(family)
    assert "FAIL global-state" in out and "the threads that run" in out
    assert "lingerer; not waited for" in err


def test_a_dataset_that_hangs(fedbench, tmp_path, monkeypatch):
    monkeypatch.setattr(kit_datasets, "PATIENCE", 3)
    plugin, data = plugins.write(tmp_path, "sleeping", SLEEPING_DATASET), tmp_path / "patients"
    data.mkdir()
    status, out, err = fedbench("check", f"{plugin}:Sleeping={data}", "--only", "lists", "--only", "names")
    assert status == 1, err
    assert "did not come back within 3 s (sleeping.py:" in out


def test_a_check_can_be_interrupted(tmp_path):
    """In the middle of a plugin that hangs, while the kit's other process waits for work."""
    process = start(check(f"{make_hanging(tmp_path)}:Hanging"), tmp_path)
    wait_for(tmp_path, "hangs", process)
    family = descendants(process.pid)
    assert family
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err == "interrupted.\n"
    assert all_gone(family | {process.pid})


def test_megabytes_of_output_hide_no_finding(tmp_path):
    """The plugin prints in the kit's other process as well, which speaks through its standard output."""
    rules = ("trains", "buffers", "other-process")
    plugin = plugins.write(tmp_path, "noisy", plugins.NOISY)
    only = [word for rule in rules for word in ("--only", rule)]
    status, out, err = finish(check(f"{plugin}:Noisy", *only), tmp_path)
    assert status == 0
    assert len(out) + len(err) > 10**6
    said = [line.split()[:2] for line in out.splitlines() if not line.startswith("x")]
    assert said[:3] == [["pass", "trains"], ["pass", "buffers"], ["pass", "other-process"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Leaking", "the threads that run"),
        ("Selfish", "the state of Python's random, the state of numpy's global generator"),
        ("Selfish", "torch's flushing of denormal numbers"),
        ("Lasting", "torch's mixed precision"),
        ("Lasting", "torch's use of oneDNN, oneDNN's deterministic mode"),
        ("Lasting", "oneDNN's precision of matmul, oneDNN's precision of conv"),
        ("Lasting", "torch's hooks for all modules and optimisers"),
    ],
)
def test_a_leaked_thread_and_a_changed_setting_are_findings(fedbench, tmp_path, name, words):
    source = getattr(plugins, name.upper()).replace("torch.set_default_dtype(torch.float64)", "pass")  # it would raise
    plugin = plugins.write(tmp_path, name.lower(), source)
    before = global_state.observe()
    status, out, _ = fedbench("check", f"{plugin}:{name}", "--only", "global-state")
    assert status == 1
    assert words in out
    left = set(global_state.changed(before)) - {global_state.THREADS}  # nobody can stop a thread
    assert not left, "the check left what the plugin set to whoever called it"
