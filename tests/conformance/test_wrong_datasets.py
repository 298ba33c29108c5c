"""Wrong datasets are caught, each by the rules that should; a sound one passes."""

from __future__ import annotations

import pytest

from fedbench.testing import check_dataset, dataset_findings
from fedbench.testing.datasets import kit as kit_datasets
from tests.conformance.wrong_plugins import datasets as wrong_datasets


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
    assert [finding.rule for finding in findings if finding.passed is False] == rules
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


def test_every_rule_is_broken_by_a_wrong_dataset():
    broken = {rule for rules in wrong_datasets.CAUGHT_BY.values() for rule in rules}
    assert broken == {rule.name for rule in kit_datasets.RULES}
