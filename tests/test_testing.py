"""The conformance kit: our own plugins pass; every wrong one is caught by the rules that should, and by no other."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import resource
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.processes import family
from fedbench import registry
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedprox import FedProx
from fedbench.errors import UserError
from fedbench.testing import (
    algorithm_findings,
    check_algorithm,
    check_dataset,
    dataset_findings,
    elsewhere,
    kit,
    kit_datasets,
)
from fedbench.testing.laboratory import Scenario, differing, fingerprint
from fedbench.testing.subject import Subject, train
from tests import plugins, wrong_plugins
from tests.datasets.test_amos import write_amos
from tests.datasets.test_brats import write_brats
from tests.datasets.test_chaos import write_chaos
from tests.datasets.test_mmotu import write_mmotu
from tests.datasets.test_mmwhs import write_mmwhs
from tests.datasets.test_nnunet import write_nnunet
from tests.datasets.test_nuclei import write_nuclei
from tests.datasets.test_sts import write_sts
from tests.wrong_plugins import datasets as wrong_datasets

# The options that change what an algorithm does; the defaults are checked by name.
OTHERWISE = ("moon[feature=decoder]", "fedda-cyclic[exchange=features,bank=3]", "fedda-joint[exchange=features,bank=3]")
# Mistakes that were seen in published code; all rules are tried on them, and only on them.
KNOWN_MISTAKES = (
    "UnsquaredNorm", "UnsquaredRoot", "NormsByName", "ParametersOnly", "LateReference", "LiveReference",
    "MoonInTrainMode", "LeakingDiscriminator", "ByBatches",
)  # fmt: skip
QUICK = ("declaration", "trains", "finite", "global-state", "same-bits", "messages", "batches", "modes", "in-place",
         "deployments", "buffers", "samples", "by-type")  # fmt: skip


def _wrong() -> list:
    found = []
    for module in pkgutil.iter_modules(wrong_plugins.__path__):
        if module.name != "datasets":
            loaded = importlib.import_module(f"tests.wrong_plugins.{module.name}")
            found += [pytest.param(getattr(loaded, cls), rules, id=cls) for cls, rules in loaded.CAUGHT_BY.items()]
    return found


def failed(findings) -> list[str]:
    return [finding.rule for finding in findings if finding.passed is False]


# -- algorithms ----------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """What this process has computed so far, with the children that it has had and those that it has."""
    ended, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid, _ in family(os.getpid()):
        with contextlib.suppress(OSError):  # it ended since, and counts among those
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", [*registry.discover("algorithm"), *OTHERWISE])
def test_our_own_algorithms_keep_the_contract_and_to_see_it_takes_seconds(name):
    """A minute of CPU is many times what it takes; the clock on the wall would measure what else the machine does."""
    before = cpu_seconds()
    findings = check_algorithm(name)
    assert [finding.rule for finding in findings] == [rule.name for rule in kit.RULES]
    assert cpu_seconds() - before < 60


@pytest.mark.parametrize(("cls", "rules"), _wrong())
def test_a_wrong_algorithm_is_caught_by_the_right_rule(cls, rules):
    only = () if cls.__name__ in KNOWN_MISTAKES else {*QUICK, *rules}
    findings = algorithm_findings(cls, only=only)
    assert failed(findings) == rules
    assert all(finding.message and finding.hint for finding in findings if finding.passed is False)


def test_every_rule_is_broken_by_a_wrong_plugin():
    broken = {rule for parameters in _wrong() for rule in parameters.values[1]}
    assert broken == {rule.name for rule in kit.RULES}
    broken = {rule for rules in wrong_datasets.CAUGHT_BY.values() for rule in rules}
    assert broken == {rule.name for rule in kit_datasets.RULES}


def test_what_failed_is_said_with_rule_and_hint():
    from tests.wrong_plugins.forgotten_buffers import ParametersOnly

    with pytest.raises(
        AssertionError, match=r"(?s)ParametersOnly breaks 1 of 2 rules:.*FAIL buffers: round 0.*forgott"
    ):
        check_algorithm(ParametersOnly, only=["trains", "buffers"])
    assert not failed(check_algorithm(ParametersOnly, only=["trains", "buffers"], skip=["buffers"]))


def test_an_exception_is_a_finding_that_names_the_line(tmp_path):
    plugin = plugins.write(tmp_path, "raising", plugins.RAISING)
    findings = algorithm_findings(f"{plugin}:Raising")
    assert failed(findings) == ["trains"]
    (message,) = (finding.message for finding in findings if finding.rule == "trains")
    assert "RuntimeError (raising.py:11): the plugin broke" in message
    assert {f.message for f in findings if f.passed is None} == {"not tried, since 'trains' failed"}


def test_nan_is_found_with_round_client_and_term(tmp_path):
    plugin = plugins.write(tmp_path, "diverging", plugins.DIVERGING)
    findings = algorithm_findings(f"{plugin}:Diverging")
    assert failed(findings) == ["finite"]
    assert "round 1, client CT" in next(finding.message for finding in findings if finding.rule == "finite")


@pytest.mark.parametrize(
    ("plugin", "options", "message"),
    [
        (FedAvg, {"only": ["bufers"]}, "no rule named 'bufers'; did you mean 'buffers'"),
        (FedAvg, {"only": ["buffers"], "skip": ["buffers"]}, "every rule is skipped"),
        ("fedprox[mu=-1]", {}, "'mu' = -1 is refused"),
        (FedProx, {"params": {"nu": 1}}, "no parameter 'nu'"),
        ("fedpox", {}, "did you mean 'fedprox'"),
    ],
)
def test_a_mistake_of_the_callers_is_no_finding(plugin, options, message):
    with pytest.raises(UserError, match=message):
        algorithm_findings(plugin, **options)


def test_being_watched_changes_no_bit():
    watched, plain = Subject(FedBN).main, train(Scenario().start(FedBN()))
    assert not differing(watched.training.state()[0], plain.training.state()[0])
    assert len(watched.states) == 3


def test_what_is_shared_may_depend_on_the_place_in_the_network():
    class Encoder(FedAvg):
        """Shares the encoder."""

        name = "encoder-only"

        def is_shared(self, owner, name):
            return name.removeprefix("model.") in self.setup.model.encoder_entries()

    assert not failed(algorithm_findings(Encoder, only=["by-type", "deployments", "buffers", "samples", "order"]))


def test_the_other_process_answers_a_line_with_a_line(monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    question = {"module": FedProx.__module__, "name": "FedProx", "file": "", "params": {"mu": 1.0}, "path": sys.path}
    answers = io.StringIO()
    lines = [json.dumps(question), json.dumps(question | {"name": "Fedprox"})]
    elsewhere.serve(io.StringIO("\n".join(lines)), answers)
    right, wrong = (json.loads(line) for line in answers.getvalue().splitlines())
    assert right == {"fingerprint": fingerprint(Subject(FedProx, {"mu": 1.0}).main.training), "touched": []}
    assert "AttributeError" in wrong["error"]


def test_a_class_within_a_function_is_not_sent_to_another_process():
    class Here(FedAvg):
        """Averages."""

        name = "here"

    (finding,) = algorithm_findings(Here, only=["other-process"])
    assert finding.passed is None
    assert "not in a file" in finding.message


def test_what_importing_changes_is_found_in_the_other_process(tmp_path):
    source = plugins.SLOW.replace("import time", "import time, torch\ntorch.set_num_threads(3)").replace("0.1", "0")
    plugin = plugins.write(tmp_path, "importing", source)
    (finding,) = algorithm_findings(f"{plugin}:Slow", only=["other-process"])
    assert "importing its file changed torch's thread count" in finding.message


def test_a_dead_other_process_is_a_finding_and_the_next_one_lives(tmp_path):
    source = plugins.SLOW.replace("import time", "import os, time").replace(
        "        time.sleep(0.1)", "        os.environ.get('FEDBENCH_CHECK_INSIDE') and os._exit(3)"
    )
    plugin = plugins.write(tmp_path, "dying", source)
    (finding,) = algorithm_findings(f"{plugin}:Slow", only=["other-process"])
    assert "the other process died" in finding.message
    assert not failed(algorithm_findings("fedavg", only=["other-process"]))
    elsewhere.stop()


def test_settings_of_a_plugin_do_not_outlive_the_check():
    class Precise(FedAvg):
        """Sets the default dtype."""

        name = "precise"

        def begin_round(self, client):
            torch.set_default_dtype(torch.float64)

    assert failed(algorithm_findings(Precise, only=["trains", "global-state"]))
    assert torch.get_default_dtype() == torch.float32


# -- datasets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["phantom-heart", "phantom-abdomen", "phantom-tumour"])
def test_our_phantoms_keep_the_contract(name):
    findings = check_dataset(f"{name}[size=32]", skip=["orientation"])
    assert [f.rule for f in findings if f.passed is False] == [] and len(findings) >= 10


LOADERS = {  # who writes a miniature, and the rules that it cannot keep
    "amos": (write_amos, ()),
    "brats": (write_brats, ()),
    "chaos": (write_chaos, ["leaks"]),  # the test's patients have squares alike
    "mmotu": (write_mmotu, ["leaks"]),  # ... tumours alike in both modalities
    "mmwhs": (write_mmwhs, ["leaks"]),  # ... hearts alike in both modalities
    "nnunet": (write_nnunet, ()),
    "nuclei": (write_nuclei, ()),
    "sts": (write_sts, ()),
}


@pytest.mark.parametrize("name", LOADERS)
def test_our_loaders_keep_the_contract(tmp_path, name):
    write, skip = LOADERS[name]
    written = write(tmp_path)
    check_dataset(name, path=written or tmp_path, cases=1, skip=skip)


def test_none_of_our_loaders_is_forgotten():
    """Phantoms, which need no folder, are checked above."""
    ours = {name for name, each in registry.discover("dataset").items() if registry.load("dataset", each).needs_path}
    assert ours == set(LOADERS)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return wrong_datasets.write(tmp_path_factory.mktemp("patients"))


def test_a_sound_dataset_passes_with_all_its_cases(patients):
    findings = check_dataset(wrong_datasets.Sound, path=patients, cases=None)
    assert all(finding.passed for finding in findings)
    assert "24 of 24 cases" in next(finding.message for finding in findings if finding.rule == "volumes")


@pytest.mark.parametrize(("cls", "rules"), wrong_datasets.CAUGHT_BY.items())
def test_a_wrong_dataset_is_caught_by_the_right_rule(patients, cls, rules):
    findings = dataset_findings(getattr(wrong_datasets, cls), path=patients)
    assert failed(findings) == rules
    assert all(finding.message and finding.hint for finding in findings if finding.passed is False)


def test_names_that_differ_in_the_modality_alone_are_asked_about(patients):
    (finding,) = dataset_findings(wrong_datasets.TwoNames, path=patients, only=["names"])
    assert finding.passed
    assert "sure that 'CT-P00' and 'MR-P00' are two people?" in finding.message


def test_an_instance_is_checked_as_it_is(patients):
    dataset = wrong_datasets.Sound(patients)
    assert check_dataset(dataset, only=["lists"])
    with pytest.raises(AssertionError, match="dataset no-citation breaks 1 of 1 rules"):
        check_dataset(wrong_datasets.NoCitation(patients), only=["declaration"])
