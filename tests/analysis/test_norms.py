"""The same federation with other norm layers: what is put side by side, with which numbers, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.norms import Group, SideBySide, norms_of, side_by_side, step
from fedbench.analysis.paper.norms.tables import effects_table, scores_table
from fedbench.analysis.verdicts import judge
from tests.analysis.evidence_rows import evidence

TOY = Condition("toy")
FEW = ("local", "fedavg", "fedbn", "fedprox", "fedda-joint")


def trained(
    norm: str, gains: dict[str, float] | None = None, anew: float | None = None, algorithms=FEW, condition=TOY,
    patients=14, **identity,
) -> Evidence:  # fmt: skip
    """Evidence of one kind of norm: ``gains`` in Dice by setting, ``""`` for all; ``anew``: by new statistics."""
    found = evidence((condition,), algorithms, (0, 1, 2), patients, random=len(norm))
    cases, gains = found.cases, gains or {}
    gained = cases["dice"] + gains.get("", 0.0) + cases["setting"].map(gains).fillna(0.0)
    noise = np.random.default_rng(len(norm)).normal(0, 0.002, len(cases))
    cases = cases.assign(dice=(gained + noise).clip(0, 1))
    if anew is not None:
        extra = cases[cases["deployment"] == "global"].assign(deployment="reestimated")
        cases = pd.concat([cases, extra.assign(dice=(extra["dice"] + anew).clip(0, 1))], ignore_index=True)
    model = {"model": {"name": "basicunet", "norm": norm}} | identity
    runs = found.runs.assign(identity=[json.dumps(json.loads(text) | model) for text in found.runs["identity"]])
    frames = (frame.assign(run_id=frame["run_id"] + norm) for frame in (runs, cases, found.rounds))
    return replace(found, **dict(zip(("runs", "cases", "rounds"), frames, strict=True)))


def group(name: str, found: Evidence, **choices) -> Group:
    return Group(name, Analyses(found, Choices(**choices)))


def three_norms() -> list[Group]:
    """Batch norm, which loses 0.2 of which new statistics give back 0.1; affine instance norm; group norm."""
    renamed = tuple("fedbn[norms=all]" if name == "fedbn" else name for name in FEW)
    return [
        group("study-group", trained("group", {"": -0.02}, algorithms=renamed)),
        group("study", trained("batch", {"": -0.2, "fedbn": 0.15, "fedda-joint": 0.05}, anew=0.1)),
        group("study-instance", trained("instance", {"fedda-joint": -0.03}, algorithms=renamed)),
    ]


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return three_norms()


@pytest.fixture(scope="module")
def found(groups) -> SideBySide:
    (only,), reasons = side_by_side(groups, TOY)
    assert reasons == []
    return only


# -- side by side ----------------------------------------------------------------------------------------------------


def test_columns_stand_in_one_order_whatever_order_groups_are_in(groups, found):
    headings = ["batch", "batch, re-estimated", "instance", "group"]
    assert [column.heading for column in found.columns] == headings
    assert [column.group for column in found.columns] == ["study", "study", "study-instance", "study-group"]
    (turned,), _ = side_by_side(groups[::-1], TOY)
    assert [column.heading for column in turned.columns] == headings
    assert norms_of(groups[0], TOY) == ["group"]


def test_an_algorithm_that_follows_the_norm_is_one_row(found):
    batch, anew, instance, _ = found.columns
    assert found.names == ["local", "fedavg", "fedbn", "fedda-joint", "fedprox"]
    assert (batch.labels["fedbn"], instance.labels["fedbn"]) == ("fedbn", "fedbn[norms=all]")
    assert "fedbn" not in anew.labels  # its models are the clients' own: there is nothing to take anew
    assert anew.labels["fedavg"] == "fedavg"


def test_both_forms_in_one_group_stay_two_rows():
    both = (*FEW, "fedbn[norms=all]")
    parts = [group("one", trained("batch", algorithms=both)), group("two", trained("instance", algorithms=both))]
    (only,), _ = side_by_side(parts, TOY)
    assert {"fedbn", "fedbn[norms=all]"} <= set(only.names)


def test_what_was_re_estimated_is_compared_with_the_re_estimated_reference(found):
    batch, anew = found.columns[:2]
    plainly = judge(batch.analysis, "fedda-joint", "fedavg")
    again = judge(anew.analysis, "fedda-joint", "fedavg")
    assert anew.analysis is not batch.analysis and anew.analysis.reference == "fedavg" and again.row["declared"]
    assert again.row["mean"] == pytest.approx(plainly.row["mean"], abs=0.005)  # 0.1 of both, not of one
    row = next(row for row in effects_table(found, "toy", "toy", "").rows if row[0].text == "fedda-joint")
    assert row[2].values[0] == again.row["mean"]


def test_the_step_of_the_norm_is_paired_over_patients_and_shown_first(found):
    batch, anew, instance, _ = found.columns
    gain = step(batch, instance, "fedavg")
    own, other = (column.analysis.matrix.values["fedavg"] for column in (instance, batch))
    assert gain.mean == pytest.approx((own - other).mean()) and gain.patients == 14
    assert gain.low < gain.mean < gain.high and gain.runs_low < gain.mean < gain.runs_high
    assert step(batch, anew, "fedavg").mean == pytest.approx(0.1, abs=1e-6)
    first = effects_table(found, "toy", "toy", "").rows[0]
    assert first[0].text == "fedavg: the norm or its statistics" and first[1].text == "–"
    assert first[3].values[:3] == (gain.mean, gain.low, gain.high)


def test_luck_of_runs_widens_the_interval_over_seeds_alone():
    """With instance norm one seed of three fell behind in every patient: over patients nothing shows of that."""
    other = trained("instance")
    unlucky = other.cases.assign(dice=other.cases["dice"] - 0.2 * (other.cases["seed"] == 2))
    (shown,), _ = side_by_side([group("study", trained("batch")), group("other", replace(other, cases=unlucky))], TOY)
    gain = step(*shown.columns, "fedavg")
    assert gain.high - gain.low < 0.15 < gain.runs_high - gain.runs_low


# -- what is not -----------------------------------------------------------------------------------------------------


def refusal(other: Evidence, **choices) -> str:
    shown, (reason,) = side_by_side([group("study", trained("batch")), group("other", other, **choices)], TOY)
    assert shown == []
    return reason


def moved(found: Evidence, seed: int) -> Evidence:
    def partition(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(partition=frame["partition"].where(frame["seed"] != seed, "elsewhere"))

    return replace(found, runs=partition(found.runs), cases=partition(found.cases))


def without_seed(found: Evidence, seed: int) -> Evidence:
    return replace(found, **{k: f[f["seed"] != seed] for k in ("runs", "cases", "rounds") for f in [getattr(found, k)]})


def test_what_cannot_be_compared_is_not_and_says_why():
    instance = trained("instance")
    finer = {"fold": None, "leave_out": None, "spacing": [1, 1, 1]}
    assert refusal(moved(instance, 1)) == "other is not put beside study: its partitions are others (seed 1)."
    assert "its seeds or folds are others" in refusal(without_seed(instance, 2))
    assert "prepared otherwise (data.spacing)" in refusal(trained("instance", data=finer))
    assert "prepared otherwise (dataset_content)" in refusal(trained("instance", dataset_content="b" * 64))
    assert "another reference" in refusal(instance, reference="fedprox")
    assert refusal(trained("batch")) == "other is not shown: it has the norm of study."
    mixed = instance.runs["identity"].where(instance.runs["setting"] != "fedprox", trained("group").runs["identity"])
    assert "several norms (group, instance)" in refusal(replace(instance, runs=instance.runs.assign(identity=mixed)))


def test_other_differences_are_noted():
    longer = trained("instance", training={"rounds": 60})
    parts = [group("study", trained("batch", training={"rounds": 30})), group("other", longer)]
    (shown,), _ = side_by_side(parts, TOY)
    note = "Not the norm alone: other and study differ in training.rounds too."
    assert shown.notes == (note,) and note in scores_table(shown, "toy", "toy", "").notes


def test_a_device_and_parameters_are_differences_too():
    own = {"device": "cpu", "algorithm_params": {"mu": 0.1}}
    other = {"device": "cuda", "algorithm_params": {"mu": 0.2}}
    few = ("fedavg", "fedprox")
    parts = [
        group("study", trained("batch", algorithms=few, **own)),
        group("other", trained("instance", algorithms=few, **other)),
    ]
    (shown,), _ = side_by_side(parts, TOY)
    (note,) = shown.notes
    assert note.endswith("differ in device, the parameters of fedavg, the parameters of fedprox too.")


def on_a_cpu_with(found: Evidence, *instructions: str) -> Evidence:
    """Evidence whose runs say which vector instructions the CPU had, seed by seed; those without a word do not."""
    kept = [{"instructions": each} if each else {} for each in instructions]
    provenance = [
        json.dumps(json.loads(text) | {"hardware": {"cores": 2, **kept[seed % len(kept)]}})
        for text, seed in zip(found.runs["provenance"], found.runs["seed"], strict=True)
    ]
    return replace(found, runs=found.runs.assign(provenance=provenance))


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([""], [""], None),
        (["AVX2"], ["AVX2"], None),
        (["AVX512"], ["AVX2"], "other and study differ in the CPU's vector instructions (AVX2; AVX512) too."),
        ([""], ["AVX2"], "the CPU's vector instructions (AVX2; unknown) of other and study are not known"),
        (
            ["AVX2", ""],
            ["AVX2"],
            "the CPU's vector instructions (AVX2; AVX2, unknown) of other and study are not known",
        ),
    ],
)
def test_the_cpu_of_the_runs_is_a_difference_too(ours, theirs, said):
    first, second = on_a_cpu_with(trained("batch"), *ours), on_a_cpu_with(trained("instance"), *theirs)
    (shown,), _ = side_by_side([group("study", first), group("other", second)], TOY)
    assert [note.removesuffix(" to be the same.") for note in shown.notes] == (
        [] if said is None else [f"Not the norm alone: {said}"]
    )


# -- statistics taken anew -------------------------------------------------------------------------------------------


def test_scores_with_statistics_taken_anew_are_a_condition_of_their_own():
    found = trained("batch", anew=0.1)
    anew = replace(TOY, reestimated=True)
    assert found.conditions == [TOY, anew] and found.trained == [TOY]
    assert (anew.title, anew.name, anew.whole) == ("toy, statistics re-estimated", "toy-reestimated", False)
    plain, again = found.of(TOY), found.of(anew)
    assert set(plain.cases["deployment"]) == {"global", "personal"} and set(again.cases["deployment"]) == {"global"}
    assert len(plain.cases) + len(again.cases) == len(found.cases)
    assert set(again.runs["setting"]) == {"fedavg", "fedprox", "fedda-joint"} == set(again.rounds["setting"])
    analyses = Analyses(found)
    assert analyses.algorithms(anew) == ["fedavg", "fedda-joint", "fedprox"]
    gain = analyses.get(anew).means["mean"] - analyses.get(TOY).means["mean"].loc[["fedavg", "fedda-joint", "fedprox"]]
    assert gain.to_list() == pytest.approx([0.1] * 3, abs=2e-3)


def test_the_family_of_comparisons_does_not_grow_with_statistics_taken_anew():
    with_them, without = (Analyses(trained("batch", anew=anew)).get(TOY).pairwise for anew in (0.1, None))
    pd.testing.assert_frame_equal(with_them, without)


def test_without_the_reference_there_is_nothing_to_compare_anew():
    found = trained("batch", anew=0.1)
    assert Analyses(found, Choices(reference="local")).conditions == [TOY]
    assert group("one", found, reference="local").analyses.conditions == [TOY]
