"""Phantoms stand for no patient: beside images of patients they decide no answer, and are told apart."""

from __future__ import annotations

import pytest

from fedbench.analysis.evidence import Condition, Evidence, merge
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.paper import sections
from fedbench.analysis.paper.answers import all_answers
from fedbench.analysis.paper.answers.ground import Ground
from fedbench.analysis.paper.convergence import Ending
from fedbench.analysis.paper.glance import glance
from fedbench.analysis.paper.norms.section import norms_section
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.phantoms import beside, of_patients
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.results_page import results_page
from fedbench.analysis.paper.sections import write_sections
from fedbench.analysis.paper.study import Study, study_of
from fedbench.analysis.paper.training import measure
from tests.analysis.evidence_rows import evidence
from tests.analysis.paper.test_paper import quick  # noqa: F401  # a fixture
from tests.analysis.test_norms import trained

HEART = Condition("phantom-heart")


@pytest.fixture(scope="module")
def patients() -> Evidence:
    """Of the 0.03 that the reconstruction gains by default nothing is left."""
    return trained("batch", {"fedda-joint": -0.03})


@pytest.fixture(scope="module")
def phantoms() -> Evidence:
    return trained("batch", {"fedda-joint": 0.05}, condition=HEART)


@pytest.fixture(scope="module")
def both(patients, phantoms) -> Study:
    return study_of([("", merge([phantoms, patients]))])


def answered(study) -> dict[str, str]:
    numbers = Numbers()
    trainings = {part.key: measure(Scene(part.analyses, part.condition, ())) for part in study.parts}
    all_answers.answer(numbers, study, trainings)
    names = ("Short", "Phantoms", "In", "Cross", "Federation", "Scope", "Longer")
    return {name: plain(numbers, f"\\Answer{name}{{}}") for name in names}


def test_a_gain_on_phantoms_alone_is_no_gain_on_patients(both):
    texts = answered(both)
    assert texts["Short"].startswith("we found no evidence that it does") and "none of 1 comparison" in texts["Short"]
    assert "on them" in texts["Phantoms"].lower() and "phantom-heart" in texts["Phantoms"]
    assert "better than fedavg in 1, worse in 0 and not distinguishable in 0 of 1 comparison" in texts["Phantoms"]
    assert "another aggregation algorithm was better than fedavg in no condition" in texts["In"]
    assert "2 conditions" not in texts["Federation"]
    assert texts["Scope"] == "; the answers below rest on 15 of them, in 1 condition of toy"


def test_a_reference_that_was_still_improving_on_phantoms_is_named_with_them(both):
    rising, resting = (Ending(16, 0.8, end, end - 0.81, end - 0.79, 5) for end in (0.9, 0.8))
    numbers = Numbers()
    (part,) = Ground.of(both).phantoms
    told = plain(numbers, all_answers.on_phantoms(numbers, [(part, {"fedavg": rising})]))
    assert "of 1 comparison. The reference was still improving on phantom-heart (+0.100 [" in told
    numbers = Numbers()
    told = plain(numbers, all_answers.on_phantoms(numbers, [(part, {"fedavg": resting})]))
    assert "converged" not in told


def test_what_more_rounds_did_on_phantoms_is_told_with_them(patients):
    few, many = (
        trained("batch", condition=HEART, training={"rounds": rounds, "lr": 0.1}, **gain)
        for rounds, gain in ((24, {}), (48, {"gains": {"": 0.1}}))
    )
    study = study_of([("", merge([few, patients])), ("long", many)])
    texts = answered(study)
    assert (
        "By cross-modality Dice, 48 rounds in place of 24 on phantom-heart moved that of fedavg by +0.1"
        in texts["Phantoms"]
    )
    assert texts["Longer"] == ""


def test_a_modality_of_phantoms_left_out_is_told_beside(patients, phantoms):
    left_out = evidence((Condition(HEART.dataset, "CT"),), ("fedavg", "fedda-joint"), patients=14)
    study = study_of([("", merge([phantoms, patients])), ("heart-unseen", left_out)])
    (part,) = [part for part in study.parts if part.condition.unseen]
    reached = f"{part.get('unseen').means['mean']['fedavg']:.3f}"
    told = answered(study)["Phantoms"]
    assert "On a modality of theirs that nobody trained on it was better in" in told and "of 1 comparison" in told
    assert f"there fedavg reached a mean Dice of {reached}." in told


def test_phantoms_alone_are_answered_from(phantoms):
    texts = answered(study_of([("", phantoms)]))
    assert texts["Short"].startswith("yes, it was better than fedavg in every condition and variant (mean difference")
    assert texts["Phantoms"] == "" == texts["Scope"]


def test_without_phantoms_nothing_is_said_of_them(patients):
    study = study_of([("", patients)])
    assert answered(study)["Phantoms"] == ""
    assert "hantom" not in glance(study)


def test_results_at_a_glance_show_patients_alone_and_say_where_phantoms_are(both):
    text = glance(both)
    assert "| algorithm | toy |" in text and "HD95, in-modality Dice and phantoms;" in text
    titles = [line for line in results_page(both).splitlines() if line.startswith("### ")]
    assert [title.split()[1] for title in titles] == ["toy", "phantom-heart"]
    assert "In our hands: we found no evidence" in text and "Generated phantoms stand for no patient" in text


def test_norms_on_phantoms_do_not_move_the_answer():
    sources = [
        ("", trained("batch")),
        ("toy-instance", trained("instance", {"": 0.02})),
        ("heart", trained("batch", condition=HEART)),
        ("heart-instance", trained("instance", {"": 0.3}, condition=HEART)),
    ]
    numbers = Numbers()
    made = norms_section(numbers, study_of(sources))
    told = plain(numbers, "\\AnswerNorms{}")
    assert told.startswith("On the same partitions of 1 federation,") and "+0.3" not in told
    assert "{toy.}" in made.text and "phantom-heart" not in made.text and "{phantom-heart.}" in made.more
    assert {"norms.toy", "norm-effects.toy", "norms.phantom-heart", "norm-effects.phantom-heart"} <= set(made.tables)
    shown = {name: made.text.count(f"tables/{name}.tex") for name in made.tables}
    assert shown.pop("norm-effects.toy") == 1 and not any(shown.values())
    assert all(made.more.count(f"tables/{name}.tex") == 1 for name in shown)


def test_ranks_are_not_pooled_with_phantoms(patients, phantoms, both, monkeypatch):
    monkeypatch.setattr(sections, "_details", lambda *_: None)  # the supplement
    zoo = trained("batch", condition=Condition("zoo"))
    study = study_of([("", merge([phantoms, patients, zoo]))])
    assert [part.condition.dataset for part in study.parts] == ["toy", "zoo", "phantom-heart"]
    trainings = {part.key: measure(Scene(part.analyses, part.condition, ())) for part in study.parts}
    written = write_sections(Numbers(), study, {part.key: [] for part in study.parts}, trainings)
    (pooled,) = [text for name, text in written.tables.items() if "pooled" in name]
    assert "Mean over 2 datasets" in pooled
    written = write_sections(Numbers(), both, {"toy": [], "phantom-heart": []}, trainings)
    assert not any("pooled" in name for name in written.tables)
    assert "phantom-heart" in written.tables["overview-phantoms"]
    assert written.supplement.count("{tables/overview-phantoms.tex}") == 1 and "overview" not in written.body


def test_what_is_left_out_is_what_is_told_beside():
    def name(text):
        return text

    assert of_patients(["toy", "phantom-heart", "toy"], name) == ["toy", "toy"]
    assert beside(["toy", "phantom-heart", "toy"], name) == ["phantom-heart"]
    assert of_patients(["phantom-heart"], name) == ["phantom-heart"] and beside(["phantom-heart"], name) == []
