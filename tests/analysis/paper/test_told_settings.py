"""What the paper says of settings: by data set, by the endpoint a condition is there for, and what it discloses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.paper.building import MAIN
from fedbench.analysis.paper.data import datasets_section
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.setup import Settings, describe_setup, split_of
from fedbench.analysis.paper.study import study_of
from fedbench.analysis.paper.teller import Teller
from fedbench.analysis.paper.telling import tell
from fedbench.analysis.paper.tuning import describe_tuning
from fedbench.engine import augmentation
from tests.analysis import evidence_rows
from tests.analysis.evidence_rows import evidence
from tests.analysis.paper.test_paper import PAPER

TOY = Condition("toy")
HEART, LABELS = Condition("phantom-heart"), ("local", "centralised", "fedavg", "fedprox", "fedda-joint", "fedda-cyclic")


def with_identity(found: Evidence, **more) -> Evidence:
    identities = [json.dumps(json.loads(text) | more) for text in found.runs["identity"]]
    return replace(found, runs=found.runs.assign(identity=identities))


def settings(*data: dict) -> Settings:
    return Settings([{"data": each} for each in data], [])


def test_the_split_is_that_of_the_runs():
    folds, fixed = {"folds": 5, "test_fraction": 0.3}, {"folds": None, "test_fraction": 0.3}
    assert split_of(settings(folds)) == "each of 5 folds tests in turn"
    assert split_of(settings(fixed)) == r"30\% of the patients test, the same with every seed"
    assert split_of(settings(folds, fixed)).startswith("each of 5 folds tests in turn and 30")
    assert split_of(settings({})) == "who tests is not known"


def test_each_data_set_has_its_own_settings():
    training = {"lr": 0.003, "rounds": 30}
    found = with_identity(evidence((HEART,), LABELS), training=training, data={"spacing": [3, 3, 6.54], "folds": 5})
    text = plain(Numbers(), datasets_section(study_of([("", found)])).replace("\\times", "x"))
    assert "learning rate 0.003, 30 rounds and 2 seeds" in text and "each of 5 folds tests in turn" in text
    assert "Common grid: 3 x 3 x 6.54 mm" in text.replace("$", "").replace("  ", " ")
    assert "Intensities: CT" in text and "Training samples: " in text


def test_what_a_loader_declares_of_its_images_and_labels_is_told():
    text = plain(Numbers(), datasets_section(study_of([("", evidence((Condition("sts"),), LABELS))])))
    assert "cropped to 5 cm around the tumour" in text and "carried over between modalities" in text
    assert "ibsi_validation" not in text


def test_where_pooled_training_is_weak_it_is_said_with_how_often_nothing_is_found(monkeypatch):
    """Of 2 seeds, 2 clients, 8 patients and 2 classes on the own modality; one patient's masks are empty."""
    monkeypatch.setattr(evidence_rows, "GAINS", {"centralised": -0.4})
    found = evidence((TOY,), LABELS)
    numbers = Numbers()
    describe_setup(numbers, study_of([("", found)]))
    mean = study_of([("", found)]).parts[0].get("cross").means["mean"]["centralised"]
    said = f"\\textsf{{centralised}} reaches a cross-modality Dice of no more than {mean:.3f} on toy: there"
    assert said in numbers.spelled(numbers.text("limit", "weak"))
    empty = (found.cases["setting"] == "fedavg") & (found.cases["patient"] == "P000")
    cases = found.cases.assign(flag=np.where(empty, "missed", ""), dice=found.cases["dice"].where(~empty, 0.0))
    cases["nsd"] = cases["nsd"].where(~empty, 0.0)
    describe_setup(numbers := Numbers(), study_of([("", replace(found, cases=cases))]))
    text = numbers.spelled(numbers.text("limit", "weak"))
    assert "leaves 8 of 64 masks of a client's own modality empty)" in text
    monkeypatch.setattr(evidence_rows, "GAINS", {})
    describe_setup(numbers := Numbers(), study_of([("", evidence((TOY,), LABELS))]))
    assert numbers.text("limit", "weak") == ""


def test_a_condition_is_described_by_the_endpoint_that_its_suite_declared():
    """Of the modality left out there are four patients, of CT and PET eight."""
    found = evidence((Condition("toy", "MR"),), LABELS, modalities=("CT", "MR", "PET"))
    few = (found.cases["modality"] != "MR") | found.cases["patient"].isin([f"P{n:03}" for n in range(4)])
    runs = found.runs.assign(declared=json.dumps({"relation": "unseen"}))
    study = study_of([("", replace(found, runs=runs, cases=found.cases[few].reset_index(drop=True)))])
    (part,) = study.parts
    numbers = Numbers()
    describe_setup(numbers, study)
    assert numbers.text("limit", "patients") == "A condition has 4 test patients."
    certain = tell(Teller(Numbers(), part))[-1]
    assert "By unseen modality Dice" in certain


def provenance_of(found: Evidence, modified: dict[int, bool], harness: dict[int, str]) -> Evidence:
    """Evidence whose runs say, by seed, whether the working tree had changes and which harness they had."""
    seeds = found.runs["seed"]
    provenance = [
        json.dumps(json.loads(text) | {"git": {"commit": "c", "modified": modified[seed]} if seed in modified else {}})
        for text, seed in zip(found.runs["provenance"], seeds, strict=True)
    ]
    identity = [
        json.dumps(json.loads(text) | {"harness": harness[seed]})
        for text, seed in zip(found.runs["identity"], seeds, strict=True)
    ]
    return replace(found, runs=found.runs.assign(provenance=provenance, identity=identity))


@pytest.mark.parametrize(
    ("harness", "said", "limit"),
    [
        ("aaa", "whose digest every run keeps, is in all of them that of a commit.", ""),
        ("bca", "whose digest every run keeps, is that of no commit that we know (ours).", "For 12 of 18 runs (ours)"),
        ("aba", "is in 6 of them that of a commit, in the other 6 that of none that we know (ours).",
         "For 6 of 18 runs (ours)"),
        ("dba", "is in 6 of them that of a commit, in the other 6 that of none that we know (ours).",
         "For 6 of 18 runs (ours)"),
    ],
)  # fmt: skip
def test_runs_at_a_commit_with_changes_are_told_digest_by_digest(harness, said, limit):
    """Seeds 0 and 1 with changes, seed 2 without; of harness d it is noted which commit holds it."""
    found = provenance_of(
        evidence((TOY,), LABELS, (0, 1, 2)), {0: True, 1: True, 2: False}, dict(enumerate(harness))
    )  # fmt: skip
    numbers = Numbers()
    describe_setup(numbers, replace(study_of([("", found)], folders={TOY: "ours"}), commits={"d": "c"}))
    text = numbers.text("modified")
    assert text.startswith("12 of 18 runs were made where") and said in text
    assert numbers.text("limit", "code").startswith(limit) and bool(numbers.text("limit", "code")) is bool(limit)


def test_runs_that_say_nothing_of_a_commit_vouch_for_none():
    found = provenance_of(evidence((TOY,), LABELS), {0: True}, {0: "a", 1: "a"})
    numbers = Numbers()
    describe_setup(numbers, study_of([("", found)]))
    assert "is that of no commit that we know." in numbers.text("modified")
    describe_setup(numbers := Numbers(), study_of([("", evidence((TOY,), LABELS))]))
    assert numbers.text("modified") == "" == numbers.text("limit", "code")


def test_patients_that_trials_saw_and_other_folds_test_are_disclosed():
    found = evidence((Condition("toy"),), LABELS)
    trials = pd.DataFrame([{
        "stage": "own", "algorithm": "fedprox", "possible": 4, "asked": 4, "trial": 0, "parameters": "{}",
        "rule": "last-validation-dice", "score": 0.5, "chosen": True,
        "dice toy": 0.5,
    }])  # fmt: skip
    for fold, said in ((-1, False), (0, True)):
        own = replace(found, runs=found.runs.assign(fold=fold), cases=found.cases.assign(fold=fold))
        study = replace(study_of([("", own)], None, {"ours": ""}, {Condition("toy"): "ours"}), trials={"tuned": trials})
        numbers = Numbers()
        describe_tuning(numbers, study)
        assert ("test patients of the other folds" in numbers.text("tuning")) is said
        assert "the choice has seen it" not in numbers.text("tuning")
    held_out = study_of([("", evidence((Condition("toy", "MR"),), LABELS, modalities=("CT", "MR", "PET")))])
    describe_tuning(numbers := Numbers(), replace(held_out, trials={"tuned": trials}))
    assert "a modality of \\textsf{toy} was left out of training" in numbers.text("tuning")


def test_variants_stand_in_a_table_and_only_differences_are_told(monkeypatch):
    monkeypatch.setattr(evidence_rows, "GAINS", {})
    part = study_of([("", evidence((Condition("toy"),), LABELS, (0, 1, 2), 14))]).parts[0]
    numbers = Numbers()
    cross = tell(Teller(numbers, part))[1]
    assert cross.count(r"\multicolumn{6}") == 2 and cross.count("n.d.") == 1
    row = part.get("cross").comparison("fedda-joint", "fedavg")
    assert f"${row['mean']:+.3f}$" in numbers.spelled(cross)
    assert "None of these was distinguishable from any federated algorithm other than \\textsf{fedavg}." in cross


def test_the_text_says_of_augmentation_what_the_code_does():
    text = (PAPER / MAIN).read_text(encoding="utf-8")
    assert f"turn by up to ${math.degrees(augmentation.ROTATION):.0f}^\\circ$" in text
    assert f"scale by up to ${100 * augmentation.SCALE:.0f}\\,\\%$" in text
