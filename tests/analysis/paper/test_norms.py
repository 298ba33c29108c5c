"""What a paper says and tabulates of the same federation with other norm layers."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.norms import side_by_side
from fedbench.analysis.paper.norms.answer import answer_norms_brief, answer_norms_short
from fedbench.analysis.paper.norms.compared import compare_norms
from fedbench.analysis.paper.norms.section import norms_section
from fedbench.analysis.paper.norms.tables import effects_table, scores_table
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.study import study_of
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.verdicts import judge
from tests.analysis.test_norms import FEW, TOY, on_a_cpu_with, three_norms, trained

CROSS = Endpoint("cross", "dice")


def test_numbers_are_those_of_each_groups_own_analysis():
    groups = three_norms()
    (found,), _ = side_by_side(groups, TOY)
    scores = scores_table(found, "toy", "toy", "")
    effects = effects_table(found, "toy", "toy", "")
    rows = {row[0].text: row for row in scores.rows}, {row[0].text: row for row in effects.rows}
    for number, of in ((1, groups[1]), (3, groups[2]), (4, groups[0])):
        own = of.analyses.get(TOY, CROSS)
        label = "fedda-joint"
        assert rows[0][label][number].values == tuple(own.means.loc[label, ["mean", "low", "high"]])
        pair = judge(own, label, "fedavg")
        ends = ("mean", "mean_low", "mean_high")
        assert rows[1][label][number].values == (*(pair.row[end] for end in ends), pair.verdict.value)


def told(**parts: Evidence) -> tuple[str, str]:
    """The section and the answer, as read."""
    numbers = Numbers()
    made = norms_section(numbers, study_of([(name if i else "", e) for i, (name, e) in enumerate(parts.items())]))
    return plain(numbers, made.text), plain(numbers, numbers.text("answer", "norms"))


def test_the_words_follow_the_data():
    batch, instance = trained("batch", {"": -0.2, "fedda-joint": 0.06}), trained("instance", {"fedda-joint": -0.03})
    text, said = told(a=batch, b=instance)
    assert "with batch normalisation, fedda-joint† is better" in text
    assert "with affine instance normalisation, none of 3 is distinguishable from it" in text
    assert "compared with the largest of these, the largest step between norms was larger." in text
    assert (
        "In 2 comparisons of a variant of FedDA with fedavg of the same norm it came out better in 1 and worse" in said
    )
    assert "and worse in 0; the norm changed the verdict of the one variant" in said
    text, said = told(a=trained("batch", {"fedda-joint": -0.2}), b=trained("instance", {"fedda-joint": -0.2}))
    assert "the largest step between norms was no larger." in text
    assert "it came out better in 0 and worse in 2; the norm changed no verdict" in said


def test_models_that_clients_keep_are_no_step_between_algorithms():
    """What they lose on modalities of others is no matter of aggregation; the tests speak of them all the same."""
    every = [trained("batch", {"": -0.2}), trained("instance")]
    both = []
    for found in every:
        is_fedbn = found.cases["setting"] == "fedbn"
        shared, own = (found.cases[is_fedbn].assign(deployment=kind) for kind in ("averaged", "personal"))
        parts = [found.cases[~is_fedbn], shared, own.assign(dice=own["dice"] / 4)]
        both.append(replace(found, cases=pd.concat(parts, ignore_index=True)))
    text, said = told(a=both[0], b=both[1])
    assert "fedbn (personal) is worse" in text
    assert "the largest step between norms was larger." in text
    without = told(a=every[0], b=every[1])[1]
    assert "With the norm held" in said and said.split(". Of ")[0] == without.split(". Of ")[0]


def shortly(**parts: Evidence) -> str:
    """The sizes of the steps, as read."""
    numbers = Numbers()
    made, _ = compare_norms(study_of([(name if i else "", e) for i, (name, e) in enumerate(parts.items())]))
    return plain(numbers, answer_norms_short(numbers, made))


def test_a_step_is_told_with_its_interval_and_where_none_shows():
    """fedavg is 0.2 better with the other norm, or the same; a third norm differs in the code too."""
    text = shortly(a=trained("batch", {"": -0.2}), b=trained("instance"))
    assert text.startswith("With another kind of normalisation layer the cross-modality Dice of fedavg moved by +0.2")
    assert (
        "] on toy (instance) (intervals over patients and seeds, by a step's own scatter, not corrected)." in text
        and "no step" not in text
    )
    text = shortly(a=trained("batch", {"": -0.2}), b=trained("instance"), c=trained("group", {"": -0.2}, harness="b"))
    assert "on toy (instance); no step shows on toy (group: " in text
    assert "]; not the norm alone) (intervals" in text
    alone = shortly(a=trained("batch"), b=trained("instance", {"": -0.06}))
    assert "fedavg did not move clearly: no step shows on toy (instance: " in alone and "moved by" not in alone


def test_an_abstract_has_the_steps_that_show_without_intervals():
    def told(**parts: Evidence) -> str:
        numbers = Numbers()
        made, _ = compare_norms(study_of([(name if i else "", e) for i, (name, e) in enumerate(parts.items())]))
        return plain(numbers, answer_norms_brief(numbers, made))

    batch = trained("batch", {"": -0.2}, anew=0.1)
    text = told(a=batch, b=trained("instance"), c=trained("group", {"": -0.2}))
    assert re.fullmatch(
        r"The cross-modality Dice of fedavg was moved by another kind of normalisation layer by \+0\.2\d\d on toy "
        r"\(instance\), and in 1 other step by nothing that shows, and by BatchNorm statistics taken anew from .* of "
        r"the scored modality by \+0\.100 \(no corrected test: a step shows if its interval leaves zero out\)\.", text
    )  # fmt: skip
    alone = told(a=trained("batch"), b=trained("instance", {"": -0.06}))
    assert "moved by another kind of normalisation layer by nothing that shows (in 1 step) (no corrected test" in alone
    assert told(a=trained("batch")) == ""


def test_what_the_groups_do_not_share_is_said_under_the_tables():
    other = on_a_cpu_with(trained("instance", harness="b"), "AVX2")
    tables = norms_section(Numbers(), study_of([("", trained("batch")), ("b", other)])).tables
    for name in ("norms.toy", "norm-effects.toy"):
        assert (
            "Not the norm alone: b and the main study differ in the version of the code too; the CPU's vector "
            "instructions (AVX2; unknown) of b and the main study are not known to be the same."
            in plain(Numbers(), tables[name])
        )


def test_pooled_training_is_compared_like_with_like():
    """What both reach with statistics taken anew, beside pooled training as trained."""
    found = trained("batch", anew=0.1, algorithms=("centralised", *FEW))
    _, said = told(a=found)
    analyses = Analyses(found)
    anew = analyses.get(replace(TOY, reestimated=True)).means["mean"]
    means = analyses.get(TOY).means["mean"]
    assert (
        f"fedavg went from {means['fedavg']:.3f} to {anew['fedavg']:.3f}, where centralised as trained reached "
        f"{means['centralised']:.3f}, and with statistics taken anew too {anew['centralised']:.3f} (toy)." in said
    )


def test_with_one_norm_one_sentence_says_so():
    text, said = told(a=trained("batch"))
    assert "stays open" in said and said in text and "input" not in text
    assert compare_norms(study_of([("", trained("batch"))])) == ([], [])


def test_statistics_taken_anew_are_a_column_without_another_group():
    text, said = told(a=trained("batch", anew=0.1))
    assert "with batch normalisation with re-estimated statistics" in text and "by +0.100 [" in said
    assert "between norms" not in text and "that of statistics taken anew was larger." in text


def test_statistics_taken_anew_are_no_other_norm():
    """With them FedDA is worse; its verdict, and the step between norms, are those of what was trained."""
    found = trained("batch", {"fedda-joint": 0.06}, anew=0.1)
    both = found.cases["setting"].eq("fedda-joint") & found.cases["deployment"].eq("reestimated")
    found = replace(found, cases=found.cases.assign(dice=found.cases["dice"] - 0.2 * both))
    text, said = told(a=found)
    assert (
        "In 1 comparison of a variant of FedDA with fedavg of the same norm it came out better in 1 and worse" in said
    )
    assert "the norm changed" not in said and "with statistics taken anew for both by \u22120.1" in said
    text, said = told(a=found, b=trained("instance", {"fedda-joint": 0.06}))
    assert "In 2 comparisons" in said and "the norm changed no verdict" in said
    assert "the largest step between norms was no larger and that of statistics taken anew was no larger." in text


def test_modalities_left_out_are_told_elsewhere():
    without = Condition("toy", "MR")
    parts = [("", trained(norm, condition=without)) for norm in ("batch", "instance")]
    assert compare_norms(study_of(parts)) == ([], [])
