"""Curves, cost and discriminators show what was logged."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.figures import FIGURES, style
from fedbench.analysis.figures.cost import costs, progress
from fedbench.analysis.figures.scene import Scene, Skipped, number_of_seeds
from tests.analysis.figures.scenes import drawn, full_evidence, named, panel, scene_of


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(full_evidence(seeds=(0, 1, 2)))


def test_a_line_is_the_mean_over_seeds_and_the_band_goes_from_lowest_to_highest(scene: Scene):
    """Clients differ by 0.02, so their mean is 0.01 above the first: 0.11 + seeds' 0, 0.01, 0.02 in the first round."""
    axes = panel(drawn(scene, "curves"), "fedavg")
    line = named(axes, "fedavg")
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), [0.12, 0.22, 0.32])
    corners = axes.collections[0].get_paths()[0].vertices
    first = corners[corners[:, 0] == 1, 1]
    np.testing.assert_allclose([first.min(), first.max()], [0.11, 0.13])


@pytest.mark.parametrize(
    ("rounds", "said"), [((0, 1, 2), "each round"), ((3, 7, 11, 13), "every 4th round"), ((0, 1, 5, 9), "some of the")]
)
def test_the_caption_says_after_which_rounds_models_were_validated(scene: Scene, rounds: tuple[int, ...], said: str):
    first = scene.rounds[scene.rounds["round"] == 0]
    changed = pd.concat([first.assign(round=number) for number in rounds], ignore_index=True)
    other = scene_of(dataclasses.replace(scene.evidence, rounds=changed))
    with style.apply_style():
        assert f"validation cases after {said}" in FIGURES["curves"].draw(other).caption


def test_markers_of_a_flat_curve_have_room_above_them(scene: Scene):
    rounds = scene.rounds
    flat = rounds.assign(value=rounds["value"].where(rounds["metric"] != "validation dice", 0.8))
    axes = panel(drawn(scene_of(dataclasses.replace(scene.evidence, rounds=flat)), "curves"), "fedavg")
    assert axes.get_ylim() == pytest.approx((0, 0.8 * 1.04))


def test_unequal_numbers_of_seeds_are_said(scene: Scene):
    rounds = scene.rounds
    assert number_of_seeds(rounds) == "3 seeds"
    few = rounds[(rounds["setting"] != "local") | (rounds["seed"] == 0)]
    assert number_of_seeds(few) == "3 seeds (local: 1)"
    assert number_of_seeds(rounds.assign(fold=0)) == "3 runs"


def test_costs_add_up_over_clients_and_rounds(scene: Scene):
    """Two clients, 3 MB and 2 s a round each."""
    found = costs(scene.rounds)
    run = found[(found["setting"] == "fedavg") & (found["seed"] == 1)]
    np.testing.assert_allclose(run["bytes"], [6e6, 12e6, 18e6])
    np.testing.assert_allclose(run["seconds"], [4, 8, 12])
    np.testing.assert_allclose(run["dice"], [0.12, 0.22, 0.32])


def test_rounds_without_validation_cost_too(scene: Scene):
    rounds = scene.rounds[(scene.rounds["metric"] != "validation dice") | (scene.rounds["round"] == 2)]
    found = costs(rounds)
    assert set(found["round"]) == {2} and set(found["bytes"]) == {18e6}


def test_dice_reached_never_falls(scene: Scene):
    spent = costs(scene.rounds)
    spent.loc[spent["round"] == 1, "dice"] = 0.05
    np.testing.assert_allclose(progress(spent[spent["setting"] == "fedavg"])["dice"], [0.12, 0.12, 0.32])


def test_final_scores_stand_at_the_bytes_of_a_run(scene: Scene):
    figure = drawn(scene, "cost")
    means = scene.analyses.get(scene.condition).means
    point, _, (bars,) = named(figure.axes[2], "fedavg")
    assert point.get_xdata()[0] == pytest.approx(18) and point.get_ydata()[0] == means.loc["fedavg", "mean"]
    (low, high) = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((means.loc["fedavg", "low"], means.loc["fedavg", "high"]))
    assert figure.axes[0].get_xlabel() == "sent so far (MB)"


def test_local_training_sends_nothing(scene: Scene):
    """It is a level in the panel of bytes, a curve in that of seconds."""
    figure = drawn(scene, "cost")
    assert list(named(figure.axes[0], "local").get_xdata()) == [0, 1]
    np.testing.assert_allclose(named(figure.axes[1], "local").get_xdata(), [4, 8, 12])


def test_discriminators_per_client(scene: Scene):
    figure = drawn(scene, "discriminators")
    accuracy, loss = figure.axes[1], figure.axes[0]
    assert [axes.get_ylabel() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    np.testing.assert_allclose(named(loss, "MR").get_ydata(), [0.68] * 3)
    np.testing.assert_allclose(named(accuracy, "CT").get_ydata(), [0.51] * 3)
    assert math.log(2) in loss.lines[0].get_ydata() and 0.5 in accuracy.lines[0].get_ydata()


def test_clients_of_one_colour_are_told_apart_by_their_lines(scene: Scene, monkeypatch):
    monkeypatch.setattr(style, "GROUPS", style.GROUPS[:1])
    loss = drawn(scene, "discriminators").axes[0]
    assert len({named(loss, client).get_color() for client in ("CT", "MR")}) == 1
    assert named(loss, "CT").get_linestyle() == "-" != named(loss, "MR").get_linestyle()


def test_what_was_not_logged_is_not_drawn(scene: Scene):
    rounds = scene.evidence.rounds
    for metric, name in (
        ("validation dice", "curves"),
        ("validation dice", "cost"),
        ("discriminator", "discriminators"),
    ):
        kept = rounds[~rounds["metric"].str.startswith(metric)]
        with pytest.raises(Skipped):
            drawn(scene_of(dataclasses.replace(scene.evidence, rounds=kept)), name)
