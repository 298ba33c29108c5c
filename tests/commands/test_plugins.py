"""``check`` and ``new`` as a user meets them; the tutorials are run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedbench.testing import kit
from fedbench.testing.datasets import kit as kit_datasets
from tests import plugins
from tests.conformance.wrong_plugins import datasets as wrong_datasets
from tests.faults.machine import finish
from tests.toys import ROOT, refused

QUICK = ["--only", "trains", "--only", "buffers"]
FORGOTTEN = str(ROOT / "tests" / "conformance" / "wrong_plugins" / "forgotten_buffers.py:ParametersOnly")


# -- check ---------------------------------------------------------------------------------------------------------


def test_an_algorithm_that_passes(fedbench):
    status, out, _ = fedbench("check", "fedprox[mu=1]", *QUICK)
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["pass", "trains"], ["pass", "buffers"]]
    assert lines[-1].startswith("fedprox: 2 rules pass, 0 fail, 0 do not apply")


def test_a_wrong_one_exits_with_1_and_says_what_to_do(fedbench):
    status, out, err = fedbench("check", FORGOTTEN, *QUICK)
    assert status == 1
    assert not err
    assert re.search(r"FAIL buffers +round 0: 'model\..*' is what it was before the round: it was forgotten\n", out)
    assert "     -> aggregate every entry of the state dict, not parameters() alone" in out
    assert "1 rules pass, 1 fail" in out


def test_a_rule_may_be_skipped_and_one_that_does_not_apply_is_said(fedbench):
    status, out, _ = fedbench("check", "fedavg", "--only", "reduction", "--only", "trains", "--skip", "trains")
    assert status == 0
    assert re.match(r" -   reduction +does not apply: it declares no is_fedavg_with", out)


def test_a_dataset_with_its_folder(fedbench, tmp_path):
    folder = wrong_datasets.write(tmp_path / "patients")
    plugin = f"{ROOT}/tests/conformance/wrong_plugins/datasets.py:"
    status, out, _ = fedbench("check", f"{plugin}Sound={folder}", "--all-cases", "--only", "volumes")
    assert status == 0
    assert "24 of 24 cases read" in out
    status, out, _ = fedbench("check", f"{plugin}Mirrored={folder}", "--only", "orientation")
    assert status == 1
    assert "X mirrored" in out
    assert fedbench("check", "phantom-heart", "--only", "lists")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fedpox"], ["no algorithm and no dataset named 'fedpox'", "did you mean 'fedprox'"]),
        (["nowhere.py:Mine"], ["no such plugin file"]),
        (["fedavg", "--only", "bufers"], ["no rule named 'bufers'", "did you mean 'buffers'"]),
        (["fedavg=somewhere"], ["takes no =PATH"]),
        (["fedavg", "--all-cases"], ["takes no --all-cases"]),
        (["fedprox[mu=-1]"], ["'mu' = -1 is refused"]),
        (["sts"], ["write sts=PATH"]),
        (["sts=nowhere"], ["no such folder"]),
        ([f"sts={__file__}"], ["test_plugins.py is a file; give the folder that holds the data"]),
    ],
)
def test_mistakes_end_in_a_message_and_2(fedbench, arguments, words):
    refused(fedbench("check", *arguments), *words)


def test_files_that_are_no_plugins_end_in_a_message_and_2(fedbench, tmp_path):
    broken = plugins.write(tmp_path, "broken", plugins.SLOW.replace("import time", "import tiem"))
    refused(fedbench("check", f"{broken}:Slow"), "cannot be imported", "ModuleNotFoundError (broken.py:3)")
    unparsable = plugins.write(tmp_path, "unparsable", "class Slow(:")
    refused(fedbench("check", f"{unparsable}:Slow"), "not valid Python")
    neither = plugins.write(tmp_path, "neither", 'class Neither:\n    name = "neither"\n')
    refused(fedbench("check", f"{neither}:Neither"), "is not a fedbench.dataset.Dataset")


# -- new -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("algorithm", "MyAlgo", ["'MyAlgo' cannot be a name", "lower-case"]),
        ("algorithm", "2nd", ["'2nd' cannot be a name"]),
        ("algorithm", "my--algo", ["cannot be a name"]),
        ("algorithm", "../algo", ["cannot be a name"]),
        ("algorithm", "fedavg", ["there is an algorithm 'fedavg' already"]),
        ("dataset", "sts", ["there is a dataset 'sts' already"]),
        ("algorithm", "random", ["would hide", "'random'"]),
        ("dataset", "torch", ["would hide", "'torch'"]),
        ("algorithm", "class", ["choose another name"]),
        ("algorithm", "step", ["a class Step would hide"]),
        ("model", "mine", ["cannot begin a 'model'", "algorithm, dataset"]),
    ],
)
def test_names_that_would_not_work_are_refused(fedbench, tmp_path, kind, name, words):
    refused(fedbench("new", kind, name), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("existing", ["my_algo.py", "test_my_algo.py"])
def test_nothing_is_overwritten(fedbench, tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    refused(fedbench("new", "algorithm", "my-algo"), existing, "exists already")
    assert (tmp_path / existing).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [existing]


@pytest.mark.parametrize("kind", ["algorithm", "dataset"])
def test_what_is_written_passes_the_check_the_linters_and_its_own_test(fedbench, tmp_path, kind):
    status, out, _ = fedbench("new", kind, "my-own")
    assert status == 0
    assert "fedbench check my_own.py:MyOwn" in out
    if kind == "dataset":
        subprocess.run([sys.executable, "test_my_own.py", "example"], check=True)
    arguments = {"dataset": ["my_own.py:MyOwn=example"], "algorithm": ["my_own.py:MyOwn", *QUICK]}  # its test asks all
    assert fedbench("check", *arguments[kind])[0] == 0
    ruff = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "."]
    for command in (["ruff", "check", *ruff], ["ruff", "format", "--check", *ruff]):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    status, out, err = finish([sys.executable, "-m", "pytest", "test_my_own.py"], tmp_path)
    assert status == 0, out + err


# -- tutorials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "expected"), [("algorithms", "[beta=0.5]"), ("datasets", "personal")])
def test_the_tutorial_does_what_it_says(fedbench, tmp_path, folder, expected):
    """Python blocks are files, named in their first line; bash blocks run line by line, fedbench in this process."""
    printed = ""
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / folder / "README.md").read_text(), re.S | re.M):
        if language == "python":
            (tmp_path / body.splitlines()[0].removeprefix("# ")).write_text(body)
        for line in body.splitlines() if language == "bash" else []:
            words = shlex.split(line)
            if words[:3] == ["python", "-m", "fedbench"]:
                status, out, err = fedbench(*words[3:])
            elif words[:2] == ["python", "-m"]:
                status, out, err = finish([sys.executable, *words[1:]], tmp_path)
            else:
                assert words[0] == "python"
                done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
                status, out, err = done.returncode, done.stdout, done.stderr
            assert status == 0, f"{line}\n{out}\n{err}"
            printed += out
    assert expected in printed
    assert "(last round)" in printed


@pytest.mark.parametrize(("folder", "rules"), [("algorithms", kit.RULES), ("datasets", kit_datasets.RULES)])
def test_the_tutorial_lists_the_rules(folder, rules):
    text = (ROOT / folder / "README.md").read_text()
    table = text.partition("## What the check asks")[2]
    listed = [name for line in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`([\w-]+)`", line)]
    assert sorted(listed) == sorted(rule.name for rule in rules)


def test_the_mistake_in_the_tutorial_is_found_as_it_says(fedbench, tmp_path):
    text = (ROOT / "algorithms" / "README.md").read_text()
    (code,) = (body for body in re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M) if "# fedavgm.py" in body)
    wrong = code.replace("[MODEL + name for name, _ in self.setup.model.named_parameters()]", "list(server.weights)")
    assert wrong != code
    Path("wrong.py").write_text(wrong)
    status, out, _ = fedbench("check", "wrong.py:Fedavgm", *QUICK)
    assert status == 1
    (said,) = re.findall(r"^```text\n(.*?)\n```$", text, re.S | re.M)
    assert re.search(".*".join(map(re.escape, said.split("…"))), out), out
