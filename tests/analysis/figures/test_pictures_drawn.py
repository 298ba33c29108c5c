"""Pictures: the cases a rule chooses, in one window, with the Dice of the model that is shown."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fedbench.analysis.evidence import Condition
from fedbench.analysis.figures import FIGURES, choice, style
from fedbench.analysis.figures.gallery import structure_names
from fedbench.analysis.figures.qualitative import dice_of, prediction_of, window
from fedbench.analysis.figures.scene import Scene, Skipped
from fedbench.views import CaseView
from tests.analysis.figures.scenes import DAMAGE, drawn, full_evidence, scene_of, truth


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(full_evidence())


def texts(scene: Scene, name: str) -> list[str]:
    """All text of a figure, outside and inside its panels."""
    figure = drawn(scene, name)
    return [t.get_text() for t in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]


def test_rows_are_best_median_and_worst_of_the_run_that_is_shown_and_say_what_its_panels_show(scene: Scene):
    own = scene.cases[(scene.cases["seed"] == 0) & (scene.cases["relation"] == "cross")]
    means = own.pivot_table("dice", "patient", "label")
    order = (means["fedda-joint"] - means["fedavg"]).sort_values().index
    shown = choice.qualitative(scene.analyses, scene.condition)
    assert [(row.role, row.patient) for row in shown] == [("best", order[5]), ("median", order[2]), ("worst", order[0])]
    rows = [text for text in texts(scene, "qualitative") if "models of" in text]
    for row, text in zip(shown, rows, strict=True):
        of_patient = means.loc[row.patient, "fedda-joint"] - means.loc[row.patient, "fedavg"]  # rows are ordered by it
        assert text.startswith(f"{row.role} (mean {of_patient:+.3f})".replace("-", "−"))
        assert row.patient in text


def test_the_caption_says_how_the_seed_that_is_shown_compares_with_all(scene: Scene):
    with style.apply_style():
        caption = FIGURES["qualitative"].draw(scene).caption
        one = FIGURES["qualitative"].draw(scene_of(full_evidence(seeds=(0,)))).caption
    scores = scene.analyses.get(scene.condition).matrix.by_seed
    differences = scores["fedda-joint"] - scores["fedavg"]
    here, overall = differences.xs(0, level="seed").mean(), differences.mean()
    said = f"the mean difference is {here:+.3f} with this seed and {overall:+.3f} over all seeds.".replace("-", "−")
    assert said in caption and here != pytest.approx(overall, abs=1e-3) and "with this seed" not in one


def test_with_pictures_of_other_cases_it_chooses_among_those_and_says_so(scene: Scene):
    best = choice.qualitative(scene.analyses, scene.condition)[0]
    views = {case: view for case, view in scene.views.items() if view.patient != best.patient}
    few = scene_of(dataclasses.replace(scene.evidence, _views=lambda _: views))
    assert len([text for text in texts(few, "qualitative") if "models of" in text]) == 3
    assert not any(best.patient in text for text in texts(few, "qualitative"))
    with style.apply_style():
        assert "among the 5 patients of whom pictures were kept" in FIGURES["qualitative"].draw(few).caption
        assert "among the" not in FIGURES["qualitative"].draw(scene).caption


def test_every_panel_says_the_dice_of_its_model_on_its_case(scene: Scene):
    figure = drawn(scene, "qualitative")
    shown = choice.qualitative(scene.analyses, scene.condition)
    across = len(scene.labels) + 1
    assert len(figure.axes) == across * len(shown)
    for i, row in enumerate(shown):
        for label, axes in zip(scene.labels, figure.axes[i * across + 1 : (i + 1) * across], strict=True):
            own = scene.cases[(scene.cases["label"] == label) & (scene.cases["seed"] == 0)]
            own = own[(own["case"] == row.case) & (own["client"] == row.client)]
            assert f"Dice {own['dice'].mean():.2f}" in [t.get_text() for t in axes.texts]
            assert dice_of(scene, row)[label] == own["dice"].mean()
            assert axes.get_title().replace("\n", "").strip("†") == label


def test_prediction_is_of_the_clients_own_model_where_it_has_one(scene: Scene):
    row = choice.qualitative(scene.analyses, scene.condition)[0]
    for label in scene.labels:
        np.testing.assert_array_equal(
            prediction_of(scene, label, row), np.roll(truth(), DAMAGE.get(label, 0), axis=1)
        )  # fmt: skip


def test_panels_of_a_row_show_the_same_window(scene: Scene):
    figure = drawn(scene, "qualitative")
    first = figure.axes[: len(scene.labels) + 1]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in first}) == 1
    left, right = first[0].get_xlim()
    assert left > right  # the patient's right is on the left


def test_pictures_are_not_mirrored():
    scene = scene_of(full_evidence(picture=True))
    left, right = drawn(scene, "qualitative").axes[0].get_xlim()
    assert left < right
    assert any(text.endswith(" px") for text in texts(scene, "qualitative"))
    assert not {"R", "A"} & set(texts(scene, "gallery"))


def view(shape: tuple[int, int], spacing: tuple[float, float]) -> CaseView:
    mask = np.zeros((1, *shape), np.uint8)
    return CaseView("A", "CT", np.zeros((1, *shape, 1), np.uint8), mask, (0,), 0, spacing, "mm", False)


def test_the_window_holds_truth_and_all_predictions():
    """Pixels 4 to 8 and 20 of 2 mm: from 8 to 42 mm; a quarter more is 42.5 mm, centred at 25 mm."""
    masks = [np.zeros((40, 40)), np.zeros((40, 40))]
    masks[0][4:9, 10], masks[1][20, 10] = 1, 2
    found = window(view((40, 40), (2.0, 1.0)), masks)
    assert found.side == pytest.approx(1.25 * 34) and found.x == pytest.approx(25 - found.side / 2)
    assert found.y == pytest.approx((40 - found.side) / 2)  # higher than the image: centred on it


def test_the_window_is_not_larger_than_needed_nor_tiny_nor_outside():
    small = np.zeros((40, 40))
    assert window(view((40, 40), (1.0, 1.0)), [small]).side == 40  # nothing there: the whole image
    small[0, 0] = 1
    assert window(view((40, 40), (1.0, 1.0)), [small]) == (0, 0, 10)


def test_nothing_kept_nothing_drawn(scene: Scene):
    empty = scene_of(dataclasses.replace(scene.evidence, _views=lambda _: {}, _features=lambda _: {}))
    for name in ("gallery", "qualitative", "alignment"):
        with pytest.raises(Skipped, match="kept"):
            drawn(empty, name)


def test_a_prediction_that_was_not_kept_is_an_empty_panel(scene: Scene):
    lost = dataclasses.replace(
        scene.evidence,
        _predictions=lambda run: {} if ".fedbn." in run else scene.evidence.predictions(run),
    )
    assert texts(scene_of(lost), "qualitative").count("not kept") == 3


def test_the_gallery_shows_every_modality_once_with_the_unseen_named():
    scene = scene_of(full_evidence([Condition("toy", "PET")], modalities=("CT", "MR", "PET")))
    titles = [axes.get_title() for axes in drawn(scene, "gallery").axes]
    assert [title for title in titles if title] == ["CT", "MR", "PET (unseen)"]
    cases = choice.gallery(scene.evidence, scene.condition)
    image = drawn(scene, "gallery").axes[0].images[0].get_array()
    shown = scene.views[cases["CT"]]
    np.testing.assert_array_equal(np.asarray(image)[..., 0], shown.image[shown.best, ..., 0].T)


def test_structures_are_named_only_where_that_is_certain(scene: Scene):
    """Two scored structures may be unions of two labels."""
    assert structure_names(scene) == ["label 1", "label 2"]
    said = scene.evidence.runs.assign(provenance=json.dumps({"classes": ["liver", "spleen"]}))
    assert structure_names(scene_of(dataclasses.replace(scene.evidence, runs=said))) == ["liver", "spleen"]
