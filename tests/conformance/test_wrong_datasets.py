"""Wrong datasets are caught, each by the rules that should; a sound one passes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
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


@pytest.mark.parametrize(
    ("cls", "question"),
    [
        ("TwoNames", "sure that 'CT-P00' and 'MR-P00' are two people?"),
        ("Padded", "sure that 'P0' and 'P00' are two people?"),
        ("Slices", "sure that 'P00_slice0' and 'P00_slice1' are two people?"),
        ("Collide", "12 at several sites: sure that 'P00' at 'north' and at 'south' is one person?"),
    ],
)
def test_names_that_look_like_a_mistake_are_asked_about(patients, cls, question):
    (finding,) = dataset_findings(getattr(wrong_datasets, cls), path=patients, only=["names"])
    assert finding.passed
    assert finding.message.endswith(question)


def test_names_that_look_well_are_not_asked_about(patients):
    (finding,) = dataset_findings(wrong_datasets.Sound, path=patients, only=["names"])
    assert finding.message == "every modality occurs; 12 patients have several"


def test_a_class_that_never_occurs_is_a_note_until_all_cases_are_read(patients):
    (few,) = dataset_findings(wrong_datasets.TwoClasses, path=patients, only=["classes"])
    (all_cases,) = dataset_findings(wrong_datasets.TwoClasses, path=patients, only=["classes"], cases=None)
    assert few.passed and "none of the cases read has 'vessel'" in few.message
    assert not all_cases.passed and "class 'vessel' occurs in no case" in all_cases.message


def test_values_that_become_background_are_asked_about(tmp_path):
    for mask in wrong_datasets.write(tmp_path).glob("*/*_mask.nii.gz"):
        stored = nib.load(mask)
        content = np.asarray(stored.dataobj).copy()
        content[:12] *= 2
        nib.save(nib.Nifti1Image(content, stored.affine), mask)
    (finding,) = dataset_findings(wrong_datasets.Halves, path=tmp_path, only=["masks"])
    assert finding.passed
    assert "sure that 2 in the masks is background?" in finding.message


def test_pictures_run_to_the_right_and_upwards(tmp_path):
    pictures = wrong_datasets.write_pictures(tmp_path)
    check_dataset(wrong_datasets.Pictures, path=pictures)
    (finding,) = dataset_findings(wrong_datasets.RowsForX, path=pictures, only=["orientation"])
    assert finding.passed is False
    assert "X does not run to the right and Y upwards" in finding.message and "YX in place of XY" in finding.message


def test_an_instance_is_checked_as_it_is(patients):
    dataset = wrong_datasets.Sound(patients)
    assert check_dataset(dataset, only=["lists"])
    with pytest.raises(AssertionError, match="dataset no-citation breaks 1 of 1 rules"):
        check_dataset(wrong_datasets.NoCitation(patients), only=["declaration"])


def test_every_rule_is_broken_by_a_wrong_dataset():
    broken = {rule for rules in wrong_datasets.CAUGHT_BY.values() for rule in rules} | {"classes"}  # see above
    assert broken == {rule.name for rule in kit_datasets.RULES}
