"""Wrong algorithms are caught, each by the rules that should; what the kit says of what it finds."""

from __future__ import annotations

import importlib
import io
import json
import math
import pkgutil
import sys

import pytest
import torch

from fedbench.algorithm import weighted_mean
from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedbn import FedBN
from fedbench.algorithms.fedprox import FedProx
from fedbench.errors import UserError
from fedbench.testing import algorithm_findings, answering, check_algorithm, elsewhere, kit
from fedbench.testing.laboratory import Scenario, differing, fingerprint
from fedbench.testing.subject import Subject, train
from tests import plugins
from tests.conformance import wrong_plugins
from tests.conformance.wrong_plugins.misdeclared import NoSuchReduction
from tests.conformance.wrong_plugins.wrong_weights import NotDivided

# Mistakes that were seen in published code; all rules are tried on them, and only on them.
KNOWN_MISTAKES = (
    "UnsquaredNorm", "UnsquaredRoot", "NormsByName", "ParametersOnly", "LateReference", "LiveReference",
    "MoonInTrainMode", "LeakingDiscriminator", "ByBatches",
)  # fmt: skip
QUICK = ("declaration", "trains", "finite", "global-state", "batches", "modes", "in-place", "deployments", "buffers",
         "samples", "by-type", "learning-rate")  # fmt: skip


def _wrong() -> list:
    found = []
    for module in pkgutil.iter_modules(wrong_plugins.__path__):
        if module.name != "datasets":
            loaded = importlib.import_module(f"tests.conformance.wrong_plugins.{module.name}")
            found += [pytest.param(getattr(loaded, cls), rules, id=cls) for cls, rules in loaded.CAUGHT_BY.items()]
    return found


def failed(findings) -> list[str]:
    return [finding.rule for finding in findings if finding.passed is False]


@pytest.mark.parametrize(("cls", "rules"), _wrong())
def test_a_wrong_algorithm_is_caught_by_the_right_rule(cls, rules):
    only = () if cls.__name__ in KNOWN_MISTAKES else {*QUICK, *rules}
    findings = algorithm_findings(cls, only=only)
    assert failed(findings) == rules
    assert all(finding.message and finding.hint for finding in findings if finding.passed is False)


@pytest.mark.parametrize("rule", ["finite", "batches", "modes", "in-place", "buffers", "deployments"])
def test_a_rule_that_is_tried_alone_sees_a_run(rule):
    cls = next(each.values[0] for each in _wrong() if each.values[1] == [rule])
    assert failed(algorithm_findings(cls, only=[rule])) == [rule]


def test_every_rule_is_broken_by_a_wrong_algorithm():
    broken = {rule for parameters in _wrong() for rule in parameters.values[1]}
    assert broken == {rule.name for rule in kit.RULES}


def test_what_failed_is_said_with_rule_and_hint():
    from tests.conformance.wrong_plugins.forgotten_buffers import ParametersOnly

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
    answering.serve(io.StringIO("\n".join(lines)), answers)
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


def test_weights_that_are_no_shares_are_told_from_those_that_do_not_sum_to_one():
    class ByLogarithm(FedAvg):
        """Weighs by the logarithm of the samples."""

        name = "by-logarithm"

        def aggregate(self, server, uploads):
            weights = [math.log(1 + upload.samples) for upload in uploads]
            server.weights = weighted_mean([upload.message for upload in uploads], weights)

    (by_logarithm,) = algorithm_findings(ByLogarithm, only=["samples"])
    (not_divided,) = algorithm_findings(NotDivided, only=["samples"])
    assert "the weights are no shares of the samples" in by_logarithm.message
    assert "the weights do not sum to 1" in not_divided.message


def test_gradients_that_pile_up_are_named():
    class PilesUp(FedAvg):
        """Never clears its gradients."""

        name = "piles-up"

        def local_step(self, step):
            self.loss(step).backward()
            step.client.optimizers["main"].step()

    (finding,) = algorithm_findings(PilesUp, only=["reference"])
    assert "pile up" in finding.message and "zero_grad" in finding.hint


def test_a_misspelt_reduction_is_told_once():
    findings = algorithm_findings(NoSuchReduction, only=["declaration", "one-client", "reduction", "effect"])
    assert "did you mean 'mu'" in findings[0].message
    assert [finding.passed for finding in findings] == [False, None, None, None]
