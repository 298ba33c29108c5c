"""The answers to the paper's questions: what may be said, and where nothing may be; numbers by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import log

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.analyses import Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.paper.answers.alignment import UNSETTLED, UNSTUDIED, alignment, alignment_short, idle
from fedbench.analysis.paper.answers.all_answers import undecided
from fedbench.analysis.paper.answers.cost import UNKNOWN, cost, cost_short
from fedbench.analysis.paper.answers.cross import (
    beside,
    by_rival,
    dependent,
    family,
    in_words,
    most_for,
    short,
    studied,
    studied_in,
    the_reference,
    with_common_models,
)
from fedbench.analysis.paper.answers.ground import Ground
from fedbench.analysis.paper.answers.luck import ONE_SEED, luck
from fedbench.analysis.paper.answers.own import alone, by_modality, control, own_modality, own_open, own_short
from fedbench.analysis.paper.answers.unseen import NOTHING, best_mean, seen_only, unseen_modalities
from fedbench.analysis.paper.moved import MOVED, by_dataset, rivals_moved, variants
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.readings import reading
from fedbench.analysis.paper.scatter import scatters
from fedbench.analysis.paper.study import Part, study_of
from fedbench.analysis.paper.training import Pace, Training, paces
from fedbench.analysis.verdicts import Verdict, focus
from tests.analysis import evidence_rows
from tests.analysis.evidence_rows import evidence
from tests.analysis.test_norms import FEW, trained

TOY = Condition("toy")
FEATURES = "fedda-joint[exchange=features]"
FEDDA = ("fedda-cyclic", "fedda-joint[lam=0.001]")
LABELS = ("local", "centralised", "fedavg", "fedprox", "fedda-joint", FEATURES)


def part_of(found: Evidence) -> Part:
    return study_of([("", found)]).parts[0]


def told(make: Callable[..., str], *of: object) -> str:
    """An answer as it is read."""
    numbers = Numbers()
    return plain(numbers, make(numbers, *of))


def exchanging(found: Evidence) -> Evidence:
    """Evidence whose runs of FedDA say which reading they follow."""
    identities = []
    for setting, text in found.runs[["setting", "identity"]].itertuples(index=False):
        kind = "features" if "features" in setting else "weights"
        parameters = {"exchange": kind} if setting.startswith("fedda") else {}
        identities.append(json.dumps(json.loads(text) | {"algorithm_params": parameters}))
    return replace(found, runs=found.runs.assign(identity=identities))


def measured(
    part: Part, distances=None, loss=None, accuracy=None, pace=None, sent=None, spans=None
) -> list[tuple[Part, Training]]:
    given = (sent, {}, pace, distances, spans, accuracy, loss, {})
    return [(part, Training(*(each or {} for each in given)))]


@pytest.fixture(scope="module")
def both() -> Part:
    """A condition with both readings of FedDA."""
    return part_of(exchanging(evidence((TOY,), LABELS, (0, 1, 2), 14)))


# -- (i), (ii) -------------------------------------------------------------------------------------------------------


def test_the_largest_gain_is_told_with_its_interval_and_both_p():
    part = part_of(trained("batch", {"fedda-joint": 0.05}))
    numbers = Numbers()
    found = [(p, c) for p, c in studied_in([part], "cross") if c.other == "fedavg"]
    text = plain(numbers, most_for(numbers, found))
    row = part.get("cross").comparison("fedda-joint", "fedavg")
    bounds = f"[{row['runs_low']:+.3f}, {row['runs_high']:+.3f}]"
    assert f"{row['mean']:+.3f} ({bounds} over patients and seeds), corrected p" in text
    assert "over patients and p" in text and "it was better than fedavg" in text and "on toy" in text
    assert most_for(numbers, []) == ""


def test_what_was_seen_where_a_modality_was_left_out_is_told_beside_and_counted_apart():
    conditions = (TOY, Condition("toy", "CT"), Condition("toy", "MR"))
    found = evidence(conditions, ("local", "fedavg", "fedda-cyclic"), (0, 1), 14, modalities=("CT", "MR", "PET"))
    ground = Ground.of(study_of([("", found)]))
    assert len(ground.to_reference) == 1 and len(ground.beside) == 2
    assert "none of 1 comparison with every modality in training" in told(short, ground.to_reference, ground.everything)
    text = told(beside, ground.beside)
    means = sorted(part.get("cross").comparison("fedda-cyclic", "fedavg")["mean"] for part, _ in ground.beside)
    counts = re.search(r"better than fedavg in (.), worse in (.) and not distinguishable in (.) of 2 comparisons", text)
    found = [c.verdict for _, c in ground.beside]
    verdicts = (Verdict.BETTER, Verdict.WORSE, Verdict.SAME)
    assert counts and [*map(int, counts.groups())] == [found.count(verdict) for verdict in verdicts]
    assert "which no other answer counts" in text
    assert f"(mean differences of {means[0]:+.3f} to {means[1]:+.3f} Dice)".replace("-", "\u2212") in text
    found = evidence(conditions, ("local", "fedavg", "fedda-cyclic"), (0, 1), 4, modalities=("CT", "MR", "PET"))
    few = Ground.of(study_of([("", found)]))
    pairs = [part.get("cross").pairwise for part, _ in few.beside]
    widest = max(abs(table.loc[table["declared"], "mean"]).max() for table in pairs)
    text = told(undecided, few.whole, few.parts)
    assert f"Where a modality was left out even one of {widest:.3f} is not (between" in text and "2 seeds)" in text
    alone = Ground.of(study_of([("", evidence((TOY,), ("local", "fedavg", "fedda-cyclic"), (0, 1), 14))]))
    assert alone.everything == "" and told(beside, alone.beside) == ""
    assert "left out even" not in told(undecided, alone.whole, alone.parts)


def test_where_a_modality_was_left_out_better_is_not_told_as_worse(monkeypatch):
    monkeypatch.setattr(evidence_rows, "GAINS", {"fedda-cyclic": 0.2})
    conditions = (Condition("toy", "CT"), Condition("toy", "MR"))
    found = evidence(conditions, ("fedavg", "fedda-cyclic"), (0, 1, 2), 30, modalities=("CT", "MR", "PET"))
    text = told(beside, Ground.of(study_of([("", found)])).beside)
    assert "better than fedavg in 2, worse in 0 and not distinguishable in 0 of 2 comparisons" in text


def test_worse_in_one_condition_is_not_told_as_worse_in_all():
    studies = [("", trained("batch", {"fedda-joint": -0.3})), ("other", trained("instance", {"fedda-joint": -0.03}))]
    text = told(short, studied_in(study_of(studies).parts, "cross", the_reference))
    assert text.startswith("no; it was better than fedavg in no condition and variant, and worse in 1 of 2 comparisons")


def test_a_rival_that_was_better_is_no_rival_that_fedda_was_never_told_from():
    part = part_of(trained("batch", {"fedprox": 0.3, "fedda-joint": -0.03}))
    text = told(with_common_models, studied([part], "cross"))
    assert text.startswith("With fedavg and fedbn, 2 comparisons") and "fedprox" not in text


def both_kept(found: Evidence) -> Evidence:
    """Evidence whose fedbn deploys two models: one for everybody and the clients' own."""
    own = found.cases["setting"] == "fedbn"
    kinds = [found.cases[own].assign(deployment=kind) for kind in ("averaged", "personal")]
    return replace(found, cases=pd.concat([found.cases[~own], *kinds], ignore_index=True))


def test_that_personal_models_are_not_meant_for_other_modalities_is_said_where_one_is_a_rival():
    found = trained("batch", {"fedda-joint": -0.03})
    said = "Models that clients keep to themselves are not meant for modalities that these clients do not hold"
    assert said in told(by_rival, studied([part_of(both_kept(found))], "cross"))
    assert said not in told(by_rival, studied([part_of(found)], "cross"))


def test_whom_fedda_was_better_than_is_counted_by_rival():
    part = part_of(
        trained("batch", {"fedprox": -0.3, "fedbn": -0.3}, algorithms=("fedavg", "fedprox", "fedbn", *FEDDA))
    )
    text = told(in_words, "cross", studied([part], "cross"), "there")
    assert "better in 4 (than fedbn in 2 and than fedprox in 2), worse in 0 and not distinguishable in 2" in text


def ablated(**gains: float) -> list[Part]:
    """A study of FedDA's default, and an ablation of it that holds the default's runs again."""
    labels = ("fedavg", "fedda-joint", "fedda-joint[lam=0.5]", "fedda-joint[lam=0.1]")
    found = trained("batch", gains, algorithms=labels)
    default = found.runs["setting"].isin(["fedavg", "fedda-joint"])
    cases = found.cases["setting"].isin(["fedavg", "fedda-joint"])
    main = replace(found, runs=found.runs[default], cases=found.cases[cases])
    return study_of([("", main), ("ablation", found)]).parts


def test_values_that_an_ablation_tries_are_no_part_of_the_main_span():
    gains = {"fedda-joint": -0.07, "fedda-joint[lam=0.5]": -0.2, "fedda-joint[lam=0.1]": 0.01}
    parts = ablated(**gains)
    assert [part.ablation for part in parts] == [False, True]
    found = [(p, c) for p, c in studied_in(parts, "cross") if c.other == "fedavg"]
    means = {c.algorithm: f"{c.row['mean']:+.3f}".replace("-", "\u2212") for _, c in found}
    text = told(short, found)
    assert f"(mean differences of {means['fedda-joint']} Dice in 1, and of {means['fedda-joint[lam=0.5]']} to " in text
    assert f"{means['fedda-joint[lam=0.1]']} in 2 more of an ablation, with other hyper-parameters)" in text
    best = told(most_for, found)
    assert (
        "most in favour of FedDA is that of fedda-joint[lam=0.1]\u2020 on toy (ablation), in an ablation: +0.0" in best
    )
    alone = told(short, found[:1])
    assert f"(mean differences of {means['fedda-joint']} Dice)" in alone


def test_comparisons_on_the_same_patients_are_told():
    parts = ablated(**{"fedda-joint": -0.07})
    found = [(p, c) for p, c in studied_in(parts, "cross") if c.other == "fedavg"]
    text = told(dependent, found)
    patients = len(parts[0].get("cross").matrix.values)
    assert f"no independent pieces of evidence: 3 on the same {patients} patients of toy, and those of one" in text
    fewer = part_of(evidence((TOY,), ("fedavg", "fedda-joint"), (0, 1), patients - 1))
    both = [*found, *((p, c) for p, c in studied_in([fewer], "cross"))]
    assert f"4 on the same at most {patients} patients of toy" in told(dependent, both)
    assert told(dependent, found[:1]) == ""


def test_sizes_where_it_was_better_are_told_apart_from_those_where_it_was_not():
    gains = {"clear": 0.3, "more": 0.4, "none": -0.05}
    labels = ("centralised", "fedavg", "fedda-joint")
    parts = {
        name: part_of(
            trained("batch", {"centralised": gain, "fedda-joint": 0.0}, algorithms=labels, training={"lr": lr})
        )  # with one learning rate they would be the same runs, which count once
        for lr, (name, gain) in zip((0.1, 0.2, 0.3), gains.items(), strict=True)
    }
    sizes = {
        name: f"{part.get('cross').comparison('centralised', 'fedavg')['mean']:+.3f}".replace("-", "\u2212")
        for name, part in parts.items()
    }
    studies = study_of([(name, part.analyses.evidence) for name, part in parts.items()]).parts
    text = told(control, studies)
    assert text.endswith(
        f"centralised was better than fedavg by cross-modality Dice in 2 of 3 conditions (mean differences of "
        f"{sizes['clear']} to {sizes['more']} Dice there, of {sizes['none']} elsewhere)."
    )
    assert told(control, studies[:1]).endswith(f"in the one condition (mean difference of {sizes['clear']} Dice).")
    assert told(control, [part_of(trained("batch", algorithms=("fedavg", "fedprox")))]) == ""


def test_where_nothing_is_in_favour_the_least_bad_is_told():
    part = part_of(trained("batch", {"fedda-joint": -0.3}))
    found = [(p, c) for p, c in studied_in([part], "cross") if c.other == "fedavg"]
    assert "least against FedDA is that of fedda-joint" in told(most_for, found)


def test_rivals_are_told_by_name_whatever_their_parameters():
    assert [family(x) for x in ("fedprox[mu=0.1]", "fedbn[norms=all] (personal)", "moon", "fedbn (averaged)")] == [
        "fedprox", "fedbn (personal)", "moon", "fedbn (averaged)",
    ]  # fmt: skip
    part = part_of(trained("batch", {"fedprox": -0.2, "fedda-joint": -0.03}))
    numbers, found = Numbers(), studied([part], "cross")
    text = plain(numbers, by_rival(numbers, found))
    assert "fedprox, better in 1 and worse in 0 of 1" in text and "fedavg, better in 0 and worse in 0 of 1" in text
    rest = plain(numbers, with_common_models(numbers, found))
    assert rest.startswith("With fedavg and fedbn, 2 comparisons") and "fedprox" not in rest


def test_a_gain_on_the_own_modality_is_told_with_its_size_and_the_open_one_named():
    numbers, part = Numbers(), part_of(trained("batch", {"fedprox": 0.1, "fedda-joint": -0.03}))
    row = part.get("in").comparison("fedprox", "fedavg")
    text = plain(numbers, own_modality(numbers, [part]))
    assert f"fedavg: fedprox in the one condition with it (toy, by {row['mean']:+.3f} ([" in text
    assert "fedprox" not in own_open(numbers, [part])
    few = part_of(evidence((TOY,), LABELS, (0,), 14))
    assert own_modality(Numbers(), [few]).endswith("in no condition.")
    assert own_open(Numbers(), [few]).startswith("Among aggregation algorithms, the largest gain there that is not")


def test_who_wins_on_the_own_modality_is_counted_over_the_conditions_that_have_it():
    """Two conditions; fedprox was run in one of them."""
    without = tuple(label for label in FEW if label != "fedprox")
    parts = study_of([
        ("", trained("batch", {"fedprox": 0.1, "local": 0.3, "fedda-joint": -0.03})),
        ("", trained("batch", {"local": 0.3, "fedda-joint": -0.03}, condition=Condition("zoo"), algorithms=without)),
    ]).parts  # fmt: skip
    text = told(own_modality, parts)
    assert "of the aggregation algorithms one was better than fedavg: fedprox in the one condition with it (toy" in text
    brief = told(own_short, parts)
    assert brief.startswith("On its own modality, a client that trains alone was better than fedavg in both conditions")
    assert brief.endswith("only fedprox (in the one condition with it) was better there than fedavg.")
    plainly = [part_of(trained("batch", {"local": 0.3, "fedda-joint": -0.03}))]
    assert "algorithms none was better there" in told(own_short, plainly)
    assert own_short(Numbers(), [part_of(trained("batch", algorithms=("fedavg", "fedprox")))]) == ""


def test_without_a_federated_algorithm_clients_alone_are_compared_with_the_reference_only():
    found = evidence((TOY,), ("local", "centralised"), (0, 1, 2), 14)
    (part,) = study_of([("", found)], Choices(reference="centralised")).parts
    text = told(alone, [part])
    assert text.startswith("Clients that train alone were better there than centralised in ") and "highest" not in text
    assert "their mean was the highest; that of the best aggregation algorithm (fedprox)" in told(
        alone, [part_of(trained("batch", {"fedprox": 0.1, "local": 0.3}))]
    )


def test_the_largest_difference_left_open_is_told_with_its_condition_and_norm():
    rows = {name: part_of(trained("instance", {"fedprox": gain})) for name, gain in (("few", 0.01), ("none", 0.0))}
    text = told(undecided, rows.values())
    assert text.startswith("These tests are cautious: on toy, affine instance normalisation, a difference of 0.0")
    assert "in cross-modality Dice between" in text
    assert "the largest left open where no modality was left out of training, is not" in text


def test_the_modality_where_pooled_training_is_furthest_ahead():
    found = evidence((TOY,), LABELS, (0, 1), 14)
    worse = (found.cases["setting"] == "fedavg") & (found.cases["modality"] == "MR")
    cases = found.cases.assign(dice=np.where(worse, 0.1, found.cases["dice"]))
    gaps = by_modality(part_of(replace(found, cases=cases)))
    assert gaps["gap"].idxmax() == "MR" and gaps["reference"]["MR"] == pytest.approx(0.1)
    assert gaps["patients"]["CT"] == 14


def test_a_reference_that_is_one_of_two_deployments_is_found_in_every_modality():
    found = evidence((TOY,), LABELS, (0, 1), 14)
    ditto = found.cases["setting"] == "fedprox"
    both = [found.cases[ditto].assign(deployment=d, setting="ditto", algorithm="ditto") for d in ("global", "personal")]
    runs = found.runs.replace({"setting": {"fedprox": "ditto"}, "algorithm": {"fedprox": "ditto"}})
    cases = pd.concat([found.cases[~ditto], *both], ignore_index=True)
    cases["dice"] = np.where(cases["deployment"].eq("personal") & cases["setting"].eq("ditto"), 0.3, cases["dice"])
    part = study_of([("", replace(found, runs=runs, cases=cases))], Choices(reference="ditto (personal)")).parts[0]
    assert by_modality(part)["reference"].to_dict() == pytest.approx({"CT": 0.3, "MR": 0.3})


# -- (iii) -----------------------------------------------------------------------------------------------------------


def held_out(patients: int, factor: float = 1.0) -> list[Part]:
    found = evidence((Condition("toy", "MR"),), LABELS, (0, 1), patients, ("CT", "MR", "PET"))
    shared = found.cases["setting"] != "local"
    cases = found.cases.assign(dice=np.where(shared, factor, 1.0) * found.cases["dice"])
    return study_of([("", replace(found, cases=cases))]).parts


def test_unseen_modalities_of_few_patients_have_no_answer():
    numbers = Numbers()
    text = plain(numbers, unseen_modalities(numbers, held_out(4)))
    assert "cannot be answered here: in the one condition patients are too few" in text and "(MR of toy 4)" in text
    assert "not distinguishable" not in text
    assert plain(numbers, seen_only(numbers, held_out(4))).startswith("Seen, not shown: mean differences of FedDA")


def test_where_every_aggregation_algorithm_fails_there_is_nothing_to_compare():
    numbers = Numbers()
    text = plain(numbers, unseen_modalities(numbers, held_out(14, 0.01)))
    start = "here: on MR of toy (14 patients) the highest mean Dice of an aggregation algorithm was "
    assert start in text and "we ask for 0.05" in text
    (part,) = held_out(14, 0.01)
    assert float(text.partition(start)[2].split()[0]) == pytest.approx(best_mean(part), abs=0.0005)
    assert "not distinguishable" not in text and seen_only(numbers, held_out(14, 0.01)) == ""
    two = told(unseen_modalities, [part, *held_out(15, 0.02)])
    best = max(best_mean(part), best_mean(*held_out(15, 0.02)))
    assert "here: on MR of toy (14 patients) and MR of toy (15 patients) the highest mean" in two
    assert float(two.partition("algorithm was ")[2].split()[0]) == pytest.approx(best, abs=0.0005)


def test_unseen_modalities_are_answered_where_they_can_be():
    numbers = Numbers()
    text = plain(numbers, unseen_modalities(numbers, held_out(14)))
    assert "by Dice on a modality that nobody trained on (MR of toy, 14 patients), of a variant of FedDA" in text
    assert "The mean differences to fedavg were" in text and "cannot be answered" not in text
    assert "on the same 14 patients of toy" in text
    (part,) = held_out(14)
    assert f"The highest mean Dice that an aggregation algorithm reached there was {best_mean(part):.3f}." in text
    assert unseen_modalities(numbers, []) == NOTHING


def test_low_scores_that_a_test_tells_apart_are_something_to_compare(monkeypatch):
    """Below what is worth comparing, but better than the reference: to say there is nothing would hide it."""
    monkeypatch.setattr(evidence_rows, "GAINS", {"fedda-joint": 0.3})
    parts = held_out(30, 0.05)
    assert best_mean(parts[0]) < 0.05
    text = told(unseen_modalities, parts)
    assert "FedDA was better in" in text and "nothing to compare" not in text


def test_with_one_seed_nothing_is_told_of_unseen_modalities():
    (part,) = held_out(14)
    results = part.analyses.results(part.condition)
    runs, cases = (frame[frame["seed"] == 0] for frame in (results.runs, results.cases))
    study = study_of([("", replace(part.analyses.evidence, runs=runs, cases=cases))])
    text = told(unseen_modalities, study.parts)
    assert "with one seed no difference can be told from luck (MR of toy)" in text


@pytest.mark.parametrize("reference", ["centralised", "local"])
def test_a_reference_point_may_be_the_reference(reference):
    study = study_of([("", evidence((TOY,), LABELS, (0, 1), 14))], Choices(reference=reference))
    found = Ground.of(study).to_reference
    assert {c.other for _, c in found} == {reference} and {c.algorithm for _, c in found} == set(focus(LABELS))
    assert reference in told(short, found)


# -- (iv) ------------------------------------------------------------------------------------------------------------

DISTANCES = {"fedavg": 1.0, "fedda-joint": 1.5, FEATURES: 0.8, "centralised": 1.2}


def test_readings_are_told_apart_by_what_the_runs_say(both):
    assert reading(both, "fedda-joint") == "weights" and reading(both, FEATURES) == "features"
    assert reading(both, "fedavg") == ""
    numbers = Numbers()
    played = {"fedda-joint": 0.7, FEATURES: 0.7}
    text = plain(numbers, alignment(numbers, measured(both, DISTANCES, dict.fromkeys(played, 0.6), played)))
    weights, features = text.split("Where feature maps travel")
    assert "rose above the reference's in 1 and fell below it in 0 of 1" in weights
    assert "rose above the reference's in 0 and fell below it in 1 of 1" in features
    assert "mostly so where feature maps travel too" in features and "None of them was reduced to guessing" in features
    assert (
        "centralised, which has seen every modality, against the reference's was on toy 1.20 against 1.00" in features
    )


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_what_batch_normalisation_alone_gives_away_is_told_with_what_discriminators_judged(norm):
    part = part_of(trained(norm, {"fedda-joint": 0.05}))
    (label,) = focus(part.labels)
    pairs = measured(part, {"fedavg": 1.0, label: 1.5}, {label: 0.5}, {label: 0.7})
    long, brief = told(alignment, pairs), told(alignment_short, pairs)
    by_batch = norm == "batch"
    assert ("With batch normalisation the accuracy was 0.70." in long) is by_batch
    assert ("In 1 of 1 comparison batch normalisation alone gave them something to tell" in brief) is by_batch
    assert ("0 tested alignment without either" in brief) is by_batch


def test_what_rivals_without_a_discriminator_did_to_the_distance_stands_beside():
    part = part_of(trained("instance", algorithms=("fedavg", "fedprox", "fedbn", "moon", "fedda-joint")))
    distances = {"fedavg": 1.0, "fedprox": 1.47, "moon": 0.94, "fedbn": 1.2, "fedda-joint": 1.5}
    pairs = measured(part, distances, {"fedda-joint": 0.5}, {"fedda-joint": 0.7})
    for text in (told(alignment, pairs), told(alignment_short, pairs)):
        assert re.search("Rivals, which have no discriminator, moved it by .0.06 to [+]0.47 on toy[.]", text)
    assert "Rivals" not in told(alignment, measured(part, {"fedavg": 1.0, "fedda-joint": 1.5}))
    assert rivals_moved([*pairs, *pairs]) == {"toy": pytest.approx([0.2, 0.47, -0.06])}


def test_models_that_clients_keep_are_no_rivals_whose_features_are_compared():
    """The reference is one model for everybody; models of single clients lie apart for that alone."""
    part = part_of(both_kept(trained("batch")))
    distances = {"fedavg": 1.0, "fedbn (averaged)": 1.25, "fedbn (personal)": 1.9, "fedda-joint": 1.5}
    assert rivals_moved(measured(part, distances)) == {"toy": pytest.approx([0.25])}


def test_variants_that_only_guessed_or_could_win_by_batch_normalisation_are_counted_once_each():
    part = part_of(trained("batch", algorithms=("fedavg", *FEDDA, "fedda-joint[lam=0.1]")))
    guessing, winning, unjudged = focus(part.labels)
    pairs = measured(part, {"fedavg": 1.0}, {guessing: log(2), winning: 0.5}, {guessing: 0.5, winning: 0.7})
    text = told(idle, pairs)
    assert text.startswith("In 1 of 3 comparisons the discriminators only guessed late in training and in 1 more batch")
    assert text.endswith("whatever the modality; 1 tested alignment without either.")
    assert told(idle, measured(part, {"fedavg": 1.0, unjudged: 1.5})) == ""


@pytest.mark.parametrize(
    ("loss", "accuracy", "guessing"),
    [(log(2), 0.5, True), (log(2) + 0.009, 0.519, True), (0.65, 0.5, False), (log(2), 0.56, False)],
)
def test_guessing_discriminators_are_no_working_game_and_no_evidence(both, loss, accuracy, guessing):
    pairs = measured(both, DISTANCES, {"fedda-joint": loss, FEATURES: 0.5}, {"fedda-joint": accuracy, FEATURES: 0.8})
    assert [v.undecided for v in variants(pairs)] == [guessing, False]
    numbers = Numbers()
    text = plain(numbers, alignment(numbers, pairs))
    assert ("no working game" in text) is guessing and ("(on toy)" in text) is guessing
    assert f"Features were nearer than the reference's in {'the one comparison' if guessing else '1 of 2 comp'}" in text
    brief = alignment_short(Numbers(), pairs)
    assert ("only guessed" in brief) is guessing


@pytest.fixture(scope="module")
def two() -> list[Part]:
    """Two data sets with both readings; on zoo each patient was imaged in one modality."""
    found = evidence((TOY, Condition("zoo")), LABELS, (0, 1, 2), 14)
    even = found.cases["patient"].str[1:].astype(int) % 2 == 0
    apart = (found.cases["dataset"] != "zoo") | (even == (found.cases["modality"] == "CT"))
    return study_of([("", exchanging(replace(found, cases=found.cases[apart].reset_index(drop=True))))]).parts


def on_both(two: list[Part], toy: dict[str, float], zoo: dict[str, float]) -> list[tuple[Part, Training]]:
    """Both conditions, with the distance of each variant above that of the reference, which is 1."""
    return [
        pair
        for part, rises in zip(two, (toy, zoo), strict=True)
        for pair in measured(
            part, {"fedavg": 1.0, **{name: 1 + rise for name, rise in rises.items()}},
            dict.fromkeys(rises, 0.5), dict.fromkeys(rises, 0.8), spans={"fedavg": (0.7, 1.3, 3)},
        )
    ]  # fmt: skip


def test_data_sets_that_disagree_settle_nothing_about_alignment(two):
    """On toy both are nearer, on zoo both are farther."""
    pairs = on_both(two, {"fedda-joint": -0.2, FEATURES: -0.1}, {"fedda-joint": 0.2, FEATURES: 0.4})
    brief = told(alignment_short, pairs)
    assert "in 0 and nearer in 2 of 2 comparisons on toy (\u22120.20 to \u22120.10, within the span of the" in brief
    assert "in 2 and 0 of 2 comparisons on zoo (+0.20 to +0.40; each patient was imaged in one modality" in brief
    assert brief.endswith(f": {UNSETTLED}.")
    text = told(alignment, pairs)
    assert f"Data sets disagree: {UNSETTLED} here." in text and "alignment that" not in text
    assert "2 of the 2 on toy and 2 of the 2 on zoo are with the same runs of the reference" in text


@pytest.mark.parametrize(
    ("rise", "said", "brief"),
    [(0.4, "no reading of ours mostly", "on no data set did most variants bring them nearer"),
     (-0.4, "mostly so where", "most came nearer on every data set")],
)  # fmt: skip
def test_data_sets_that_agree_allow_a_conclusion(two, rise, said, brief):
    pairs = on_both(two, *[{"fedda-joint": rise, FEATURES: rise}] * 2)
    text = told(alignment, pairs)
    assert said in text and UNSETTLED not in text and told(alignment_short, pairs).endswith(f": {brief}.")
    assert "within the span" not in text


def test_no_clear_way_on_one_data_set_contradicts_none_on_another(two):
    """On toy one is nearer and one has not moved by enough to count; on zoo both are farther."""
    pairs = on_both(two, {"fedda-joint": -0.2, FEATURES: MOVED - 0.01}, {"fedda-joint": 0.2, FEATURES: 0.4})
    assert [(m.farther, m.nearer, m.direction) for m in by_dataset(variants(pairs))] == [(0, 1, 0), (2, 0, 1)]
    text = told(alignment, pairs)
    assert "Features were nearer than the reference's in 1 of 4 comparisons: no reading of ours mostly" in text
    assert told(alignment_short, pairs).endswith(": on no data set did most variants bring them nearer.")


def test_discriminators_that_all_guess_are_told_in_short_too(both):
    pairs = measured(
        both, DISTANCES, {"fedda-joint": log(2), FEATURES: log(2)}, dict.fromkeys(("fedda-joint", FEATURES), 0.5)
    )
    assert told(alignment_short, pairs) == "In 2 of 2 comparisons the discriminators only guessed late in training."


@pytest.mark.parametrize(
    ("pooled", "said"), [(1.2, "In the one condition pooled training scored higher"), (0.9, "The distance")]
)
def test_pooled_training_is_told_with_how_often_it_does_without_near_features(both, pooled, said):
    text = told(alignment, measured(both, DISTANCES | {"centralised": pooled}))
    assert f"{said}" in text and ("farther apart" in text) is (pooled > 1)


def test_pooled_training_that_scored_lower_is_not_told_as_higher():
    part = part_of(trained("batch", {"centralised": -0.3}, algorithms=("centralised", "fedavg", "fedda-joint")))
    text = told(alignment, measured(part, DISTANCES))
    assert "The distance of centralised" in text and "scored higher" not in text


def test_one_patient_with_every_modality_is_enough_to_tell_modality_and_patient_apart():
    """Of the others each was imaged in one."""
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    number = found.cases["patient"].str[1:].astype(int)
    kept = (number == 0) | ((number % 2 == 0) == (found.cases["modality"] == "CT"))
    part = part_of(exchanging(replace(found, cases=found.cases[kept].reset_index(drop=True))))
    (moves,) = by_dataset(variants(measured(part, DISTANCES)))
    assert not moves.confounded


def test_what_idle_discriminators_leave_unexplained_is_said(both):
    """The idle variant holds the largest rise: it is no rise where discriminators played."""
    pairs = measured(
        both, {"fedavg": 1.0, "fedda-joint": 1.6, FEATURES: 1.2}, {"fedda-joint": log(2), FEATURES: 0.5},
        {"fedda-joint": 0.5, FEATURES: 0.8},
    )  # fmt: skip
    text = told(alignment, pairs)
    assert "rose above the reference's by up to +0.60, more than where discriminators played, which we cannot" in text
    assert "adversarial term says nothing" not in text
    assert text.count("+0.60") == 1
    near = measured(both, {"fedavg": 1.0, "fedda-joint": 1.0, FEATURES: 1.2}, pairs[0][1].loss, pairs[0][1].accuracy)
    assert "cannot explain" not in alignment(Numbers(), near)


def test_without_features_nothing_is_said_of_alignment(both):
    assert alignment(Numbers(), measured(both)).startswith("No features were kept")
    assert alignment_short(Numbers(), measured(both)).startswith("No features were kept")


def test_without_fedda_nothing_is_said_of_its_alignment():
    part = study_of([("", evidence((TOY,), ("fedavg", "moon"), (0, 1), 14))]).parts[0]
    pairs = measured(part, {"fedavg": 1.0, "moon": 1.1})
    assert alignment(Numbers(), pairs) == UNSTUDIED and alignment_short(Numbers(), pairs) == ""


# -- (v) -------------------------------------------------------------------------------------------------------------


def seconds(**runs: list[list[float]]) -> pd.DataFrame:
    """Rounds of settings: a list per seed, of two clients' seconds in each round."""
    return pd.DataFrame([
        {"setting": setting, "seed": seed, "fold": -1, "round": r, "client": client, "metric": "seconds", "value": v}
        for setting, seeds in runs.items() for seed, values in enumerate(seeds) for r, v in enumerate(values)
        for client in ("CT", "MR")
    ])  # fmt: skip


def test_the_pace_is_that_of_runs_with_the_same_seed_and_a_slow_round_weighs_little():
    rounds = seconds(fedavg=[[1, 1, 1], [2, 2, 2], [1, 1, 1]], fedda=[[2, 2, 90], [3, 3, 3], [1, 1, 1]])
    assert paces(rounds, "fedavg") == {"fedda": Pace(1.5, 1.0, 2.0, 3)}
    assert paces(rounds, "moon") == {} and paces(rounds[:0], "fedavg") == {}


def test_cost_is_told_by_reading(both):
    pace = {"fedda-joint": Pace(1.2, 0.4, 2.8, 3), FEATURES: Pace(1.4, 0.9, 1.5, 3)}
    sent = {"fedavg": 100.0, "fedda-joint": 100.0, FEATURES: 190.0}
    numbers = Numbers()
    text = plain(numbers, cost(numbers, measured(both, pace=pace, sent=sent)))
    assert "sent 1.00 times the reference's bytes where weights alone travel and 1.90 times" in text
    assert "took 1.30 times the reference's time" in text and "1.20 to 1.40" in text and "0.40 to 2.80" in text
    assert "1.00 to 1.90 times" in plain(numbers, cost_short(numbers, measured(both, pace=pace, sent=sent)))
    assert cost(Numbers(), measured(both)) == UNKNOWN and cost_short(Numbers(), measured(both)) == ""


# -- (vi) ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["fedprox", "fedavg"])
def test_the_scatter_is_that_of_the_means_of_single_seeds(who):
    """Luck of the reference is as large as a difference to it; luck of another is no reason to doubt one."""
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    lucky = found.cases["setting"].eq(who) * (found.cases["seed"] - 1) * 0.2
    part = part_of(replace(found, cases=found.cases.assign(dice=(found.cases["dice"] + lucky).clip(0, 1))))
    matrix = part.get("cross").matrix
    means = matrix.by_seed[who].groupby("seed").mean()
    own = next(s for s in scatters(part.primary) if s.algorithm == who)
    assert (own.sd, own.low, own.high) == pytest.approx((means.std(), means.min(), means.max()))
    numbers = Numbers()
    text = plain(numbers, luck(numbers, [part], [c for c in studied([part], "cross") if c.other == "fedavg"]))
    assert f"to {means.std():.3f} ({who} on toy, seeds {means.min():.3f} to {means.max():.3f})" in text
    most = max((float(c.row["mean"]) for c in studied([part], "cross") if c.other == "fedavg"), key=abs)
    signed = f"{most:+.3f}".replace("-", "\u2212")
    assert f"for fedavg and up to {means.max() - means.min():.3f} for {who} on toy; the largest mean difference" in text
    assert f"between FedDA and the reference, whatever its sign, is {signed}" in text
    assert ("by luck alone" in text) is (who == "fedavg")
    assert "centralised" not in text


def test_what_is_left_open_is_told_with_its_metric_and_millimetres_are_not_compared_with_dice():
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    by_distance = replace(found, runs=found.runs.assign(declared=json.dumps({"relation": "cross", "metric": "hd95"})))
    by_dice, by_mm = (part_of(each) for each in (found, by_distance))
    assert re.search(r"a difference of 0\.\d{3} in cross-modality Dice between", told(undecided, [by_dice]))
    assert re.search(r"a difference of \d+\.\d{3} mm in cross-modality HD95 between", told(undecided, [by_mm]))
    assert told(undecided, [by_mm, by_dice]) == told(undecided, [by_dice])


def test_luck_is_told_in_dice_whatever_the_primary_endpoint_is():
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    by_distance = replace(found, runs=found.runs.assign(declared=json.dumps({"relation": "cross", "metric": "hd95"})))
    parts = [part_of(each) for each in (found, by_distance)]
    assert parts[1].primary.matrix.endpoint.metric == "hd95"
    numbers = [Numbers(), Numbers()]
    one, other = (plain(n, luck(n, [part], [])) for n, part in zip(numbers, parts, strict=True))
    assert "the mean Dice of an algorithm" in one and one == other


def test_a_seed_of_folds_is_said_to_be_several_runs():
    numbers, found = Numbers(), evidence((TOY,), LABELS, (0, 1, 2), 14)
    assert "each fold" not in plain(numbers, luck(numbers, [part_of(found)], []))
    fold = found.cases["patient"].map({name: i % 2 for i, name in enumerate(sorted(set(found.cases["patient"])))})
    numbers, folded = Numbers(), part_of(replace(found, cases=found.cases.assign(fold=fold.astype(int))))
    assert "On toy a seed is one run for each fold, whose mean moves less" in plain(
        numbers, luck(numbers, [folded], [])
    )


def test_one_seed_tells_nothing_of_luck():
    assert luck(Numbers(), [part_of(evidence((TOY,), LABELS, (0,), 14))], []) == ONE_SEED
