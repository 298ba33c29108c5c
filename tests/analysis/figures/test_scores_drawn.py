"""What a reader reads off figures of scores is what the analysis says."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.evidence import Condition
from fedbench.analysis.figures import FIGURES, style
from fedbench.analysis.figures.forest import filled, limits
from fedbench.analysis.figures.ranks import cliques, mean_ranks
from fedbench.analysis.figures.scene import Scene, Skipped
from fedbench.analysis.figures.transfer import transfers
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.verdicts import Comparison, Verdict, judge
from fedbench.errors import UserError
from tests.analysis.evidence_rows import evidence, of_cases
from tests.analysis.figures.scenes import drawn, full_evidence, named, panel, scene_of
from tests.analysis.score_rows import row


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(full_evidence(patients=12))


# -- distributions -------------------------------------------------------------------------------------------------


def test_a_point_is_a_patient(scene: Scene):
    figure = drawn(scene, "distributions")
    values = scene.analyses.get(scene.condition, Endpoint("cross", "dice")).matrix.values
    axes = panel(figure, "cross-modality")
    for place, label in enumerate(scene.labels):
        points = named(axes, label).get_offsets()
        np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(values[label]))
        assert (np.abs(points[:, 1] - place) < 0.5).all()
    assert [t.get_text().strip("†") for t in figure.axes[0].get_yticklabels()] == scene.labels


def test_columns_of_one_metric_have_one_scale_and_hd95_its_unit():
    figure = drawn(
        scene_of(full_evidence([Condition("toy", "PET")], modalities=("CT", "MR", "PET"), unit="px")), "distributions"
    )
    assert [axes.get_title() for axes in figure.axes[:3]] == ["in-modality", "cross-modality", "PET (unseen)"]
    for across in (figure.axes[:3], figure.axes[3:]):
        assert len({axes.get_xlim() for axes in across}) == 1
    assert {axes.get_xlabel() for axes in figure.axes} == {"Dice", "HD95 (px)"}


# -- transfer ------------------------------------------------------------------------------------------------------


def test_cells_hold_the_mean_over_patients_of_means_over_seeds():
    """Hand-worked: client CT on MR, patients A (0.2 and 0.4 over two seeds) and B (0.6 and 0.6): 0.45."""
    rows = [
        row(patient, dice, setting, seed, client="CT", client_modality="CT", modality="MR", case=f"{patient}/MR")
        for setting in ("fedavg", "moon")
        for patient, scores in (("A", (0.2, 0.4)), ("B", (0.6, 0.6)))
        for seed, dice in enumerate(scores)
    ]
    found = transfers(scene_of(of_cases(pd.DataFrame(rows))))
    assert found["fedavg"].loc["CT", "MR"] == pytest.approx(0.45)


def test_numbers_in_cells_are_the_means_of_their_rows_and_columns(scene: Scene):
    figure = drawn(scene, "transfer")
    for label in scene.labels:
        axes = panel(figure, label)
        own = scene.cases[scene.cases["label"] == label]
        means = own.groupby(["client", "modality", "patient"])["dice"].mean().groupby(["client", "modality"]).mean()
        rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
        columns = [t.get_text() for t in figure.axes[-2].get_xticklabels()]
        expected = [f"{means[client, modality]:.2f}" for client in rows for modality in columns]
        assert [t.get_text() for t in axes.texts] == expected
    assert rows == columns == ["CT", "MR"]


def test_a_clients_own_modality_is_framed(scene: Scene):
    assert [p.get_xy() for p in panel(drawn(scene, "transfer"), "fedavg").patches] == [(0, 0), (1, 1)]


def test_a_modality_that_is_a_sites_own_in_some_folds_only_is_one_cell():
    """Hospital 1 has MR of few patients in fold 1 (0.4 and 0.6), none in fold 0 (0.8 and 1.0): 0.7 over all four."""
    rows = [
        row(p, dice, s, client="H1", client_modality="CT", relation=relation, fold=fold, partition=f"f{fold}",
            run_id=f"{s}{fold}")
        for s in ("fedavg", "moon")
        for fold, relation, scores in ((0, "cross", (0.8, 1.0)), (1, "minor", (0.4, 0.6)))
        for p, dice in zip((f"A{fold}", f"B{fold}"), scores, strict=True)
    ]  # fmt: skip
    assert transfers(scene_of(of_cases(pd.DataFrame(rows))))["moon"].loc["H1", "MR"] == pytest.approx(0.7)


def test_numbers_can_be_read_beside_an_empty_cell():
    """On the dark end of the colours text is white, on the bright end black, wherever a cell without a number is."""
    dice = {"CT": {"CT": 0.05, "T2": 0.95}, "MR": {"CT": 0.95, "MR": 0.05, "T2": 0.05}}  # CT on MR: nothing
    rows = [
        row(p, value, s, client=client, client_modality=client, modality=m, case=f"{p}/{m}",
            relation="in" if client == m else "cross")
        for s in ("fedavg", "moon") for p in "AB" for client, own in dice.items() for m, value in own.items()
    ]  # fmt: skip
    texts = panel(drawn(scene_of(of_cases(pd.DataFrame(rows))), "transfer"), "moon").texts
    assert [(t.get_text(), t.get_color()) for t in texts] == [
        ("0.05", "white"), ("0.95", "black"), ("0.95", "black"), ("0.05", "white"), ("0.05", "white"),
    ]  # fmt: skip


def test_one_patient_in_a_cell_is_no_mean():
    rows = [row(p, 0.5, s) for p in "AB" for s in ("fedavg", "moon")]
    lone = [row("A", 0.5, s, modality="T2", case="A/T2") for s in ("fedavg", "moon")]
    found = transfers(scene_of(of_cases(pd.DataFrame([*rows, *lone]))))["fedavg"]
    assert found.loc["CT", "MR"] == 0.5 and np.isnan(found.loc["CT", "T2"])


def test_incomparable_runs_are_not_drawn():
    rows = [row(p, 0.5, s) for p in "AB" for s in ("fedavg", "moon")][:-1]
    with pytest.raises(UserError, match="--missing"):
        drawn(scene_of(of_cases(pd.DataFrame(rows))), "transfer")


# -- forest --------------------------------------------------------------------------------------------------------


def test_positions_are_the_differences_of_the_analysis(scene: Scene):
    figure = drawn(scene, "forest")
    analysis = scene.analyses.get(scene.condition, Endpoint("cross", "dice"))
    axes = panel(figure, "cross-modality")
    inside = 0
    for label in scene.labels:
        if label == analysis.reference:
            assert label not in [t.get_text() for t in axes.get_yticklabels()]
            continue
        found = analysis.comparison(label, "fedavg")
        low, high = axes.get_xlim()
        if not low < found["mean"] < high:
            continue
        inside += 1
        marker = named(axes, label)
        assert marker.get_xdata()[0] == found["mean"]
        assert marker.get_fillstyle() == filled(judge(analysis, label, "fedavg"))
        ends = [tuple(line.get_xdata()) for line in axes.lines if line.get_ydata()[0] == marker.get_ydata()[0]]
        for name in ("mean", "runs"):
            assert (found[f"{name}_low"], found[f"{name}_high"]) in ends
    assert inside >= 2


@pytest.mark.parametrize(
    ("verdict", "p", "drawn_as"),
    [
        (Verdict.BETTER, 0.01, "full"),
        (Verdict.WORSE, 0.01, "full"),
        (Verdict.SAME, 0.01, "left"),  # one seed, or the test over runs says nothing, or the other way
        (Verdict.SAME, 0.2, "none"),
    ],
)
def test_a_marker_is_filled_as_the_words_are(verdict, p, drawn_as):
    assert filled(Comparison("moon", "fedavg", "fedavg", pd.Series(dtype=float), p, 0.5, verdict)) == drawn_as


def test_what_lies_beyond_the_axis_is_written(scene: Scene):
    """Local training is 0.2 worse than the rest, which differ by some 0.03."""
    figure = drawn(scene, "forest")
    analysis = scene.analyses.get(scene.condition, Endpoint("cross", "dice"))
    mean = analysis.comparison("local", "fedavg")["mean"]
    assert f"◀ {mean:+.3f}".replace("-", "−") in [t.get_text() for t in panel(figure, "cross-modality").texts]


def test_the_axis_is_made_for_federated_algorithms_and_zero():
    names = ["mean", "mean_low", "mean_high", "runs_low", "runs_high"]
    table = pd.DataFrame([[-0.5] * 5, [0.1, 0.08, 0.12, np.nan, np.nan]], ["local", "moon"], names)
    low, high = limits(table)
    assert -0.1 < low < 0 and 0.12 < high < 0.2
    assert limits(table[:1])[0] < -0.5


# -- ranks ---------------------------------------------------------------------------------------------------------


def test_markers_stand_at_the_mean_ranks(scene: Scene):
    axes = drawn(scene, "ranks").axes[0]
    values = scene.analyses.get(scene.condition).matrix.values
    expected = values.rank(axis=1, ascending=False).mean()
    for label in scene.labels:
        assert named(axes, label).get_xdata()[0] == pytest.approx(expected[label])
        assert {f"{expected[label]:.2f}", style.display_name(label)} <= {t.get_text() for t in axes.texts}


def test_names_beside_the_diagram_keep_the_parameter_that_tells_them_apart():
    names = [f"fedda-cyclic[exchange=features,lam={lam}]" for lam in (0.001, 0.005)]
    scene = scene_of(evidence(algorithms=("fedavg", *names), patients=6))
    written = {t.get_text().replace("\n", "") for t in drawn(scene, "ranks").axes[0].texts}
    assert {style.display_name(name) for name in names} <= written


def test_lower_distances_rank_first(scene: Scene):
    ranks = mean_ranks(scene.analyses.get(scene.condition, Endpoint("cross", "hd95")))
    dice = mean_ranks(scene.analyses.get(scene.condition, Endpoint("cross", "dice")))
    assert list(ranks.index) == list(dice.index)


def fake(different: list[str]) -> SimpleNamespace:
    """An analysis of a, b, c, d in which these pairs differ."""
    return SimpleNamespace(comparison=lambda a, b: {"p_holm_all": 0.01 if a + b in different else 0.5})


@pytest.mark.parametrize(
    ("different", "expected"),
    [
        ([], ["abcd"]),
        (["ad"], ["abc", "bcd"]),
        (["ab", "bc", "bd"], ["acd"]),  # b differs from all, though it ranks between a and c
        (["ac", "ad", "bd"], ["ab", "bc", "cd"]),
        ([a + b for a, b in combinations("abcd", 2)], []),
    ],
)  # fmt: skip
def test_a_bar_joins_what_does_not_differ_pairwise(different, expected):
    assert ["".join(group) for group in cliques(fake(different), list("abcd"))] == expected


def test_bars_are_drawn_from_their_first_to_their_last_member(scene: Scene):
    analysis = scene.analyses.get(scene.condition)
    ranks = mean_ranks(analysis)
    bars = [line for line in drawn(scene, "ranks").axes[0].lines if line.get_gid() == "clique"]
    expected = [(ranks[list(g)].min(), ranks[list(g)].max()) for g in cliques(analysis, list(ranks.index))]
    assert [tuple(bar.get_xdata()) for bar in bars] == expected


def test_blobs_are_the_rank_distribution(scene: Scene):
    figure = drawn(scene, "stability")
    ranks = scene.analyses.get(scene.condition).ranks
    for axes, method in zip(figure.axes, ("aggregate-then-rank", "rank-then-aggregate"), strict=True):
        shares = ranks.distribution[ranks.distribution["method"] == method].set_index(["algorithm", "rank"])
        for label in scene.labels:
            blob = named(axes, label)
            areas = dict(zip(blob.get_offsets()[:, 1].round(), blob.get_sizes(), strict=True))
            assert sum(areas.values()) == pytest.approx(81)
            for rank, area in areas.items():
                assert area / 81 == pytest.approx(shares.loc[(label, rank), "probability"])


# -- all of them ---------------------------------------------------------------------------------------------------


def test_an_algorithm_has_its_colour_in_every_figure():
    """Also where others are absent: the second condition has only two algorithms."""
    whole = full_evidence([Condition("a"), Condition("b")])
    few = whole.runs["setting"].isin(["fedavg", "fedda-joint"]) | (whole.runs["dataset"] == "a")
    keep = set(whole.runs.loc[few, "run_id"])
    parts = {name: f[f["run_id"].isin(keep)] for name, f in
             (("runs", whole.runs), ("cases", whole.cases), ("rounds", whole.rounds))}  # fmt: skip
    found = dataclasses.replace(whole, **parts)
    for number in (0, 1):
        scene = scene_of(found, number)
        colour = style.colour_of("fedda-joint", ["fedda-joint"])
        curves, cost = panel(drawn(scene, "curves"), "fedda-joint"), drawn(scene, "cost").axes[1]
        forest, box = drawn(scene, "forest").axes[0], drawn(scene, "distributions").axes[0]
        for axes in (curves, cost, forest):
            assert named(axes, "fedda-joint").get_color() == colour
        assert style.to_hex(named(box, "fedda-joint").get_facecolor()[0]).upper() == colour


def test_no_scores_no_figure():
    rows = [row(p, 0.5, s, relation="minor") for p in "AB" for s in ("fedavg", "moon")]
    scene = scene_of(of_cases(pd.DataFrame(rows)))
    for name in ("distributions", "forest"):
        with pytest.raises(Skipped), style.apply_style():
            FIGURES[name].draw(scene)
