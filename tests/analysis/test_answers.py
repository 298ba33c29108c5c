"""The answers to the paper's questions: what may be said, and where nothing may be; numbers by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.analyses import Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.paper.answer_alignment import alignment, alignment_short, variants
from fedbench.analysis.paper.answer_cost import UNKNOWN, cost, cost_short
from fedbench.analysis.paper.answer_cross import by_rival, family, most_for, studied, studied_in, with_common_models
from fedbench.analysis.paper.answer_luck import ONE_SEED, luck
from fedbench.analysis.paper.answer_own import by_modality, own_modality, own_open
from fedbench.analysis.paper.answer_unseen import NOTHING, seen_only, unseen_modalities
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.plain import plain
from fedbench.analysis.paper.readings import reading
from fedbench.analysis.paper.scatter import scatters
from fedbench.analysis.paper.study import Part, study_of
from fedbench.analysis.paper.training import Pace, Training, paces
from tests.analysis.evidence_rows import evidence
from tests.analysis.test_norms import trained

TOY = Condition("toy")
FEATURES = "fedda-joint[exchange=features]"
LABELS = ("local", "centralised", "fedavg", "fedprox", "fedda-joint", FEATURES)


def part_of(found: Evidence) -> Part:
    return study_of([("", found)]).parts[0]


def exchanging(found: Evidence) -> Evidence:
    """Evidence whose runs of FedDA say which reading they follow."""
    identities = []
    for setting, text in found.runs[["setting", "identity"]].itertuples(index=False):
        kind = "features" if "features" in setting else "weights"
        parameters = {"exchange": kind} if setting.startswith("fedda") else {}
        identities.append(json.dumps(json.loads(text) | {"algorithm_params": parameters}))
    return replace(found, runs=found.runs.assign(identity=identities))


def measured(part: Part, distances=None, loss=None, accuracy=None, pace=None, sent=None) -> list[tuple[Part, Training]]:
    return [(part, Training(sent or {}, {}, pace or {}, distances or {}, {}, accuracy or {}, loss or {}, {}))]


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
    assert f"{row['mean']:+.3f} [{row['runs_low']:+.3f}, {row['runs_high']:+.3f}]" in text
    assert "over patients and p" in text and "it was better than fedavg" in text and "on toy" in text
    assert most_for(numbers, []) == ""


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
    assert f"in the one condition (toy: fedprox, by {row['mean']:+.3f} [" in text
    assert "fedprox" not in own_open(numbers, [part])
    few = part_of(evidence((TOY,), LABELS, (0,), 14))
    assert "no condition." in own_modality(Numbers(), [few]).replace(r"\InWon{}", "no condition")
    assert own_open(Numbers(), [few]).startswith("The largest gain there that is not distinguishable")


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
    assert "cannot be answered here: in the one condition patients are too few" in text and "(MR 4)" in text
    assert "not distinguishable" not in text
    assert plain(numbers, seen_only(numbers, held_out(4))).startswith("Seen, not shown: mean differences of FedDA")


def test_where_every_aggregation_algorithm_fails_there_is_nothing_to_compare():
    numbers = Numbers()
    text = plain(numbers, unseen_modalities(numbers, held_out(14, 0.01)))
    assert "cannot be answered here: on MR (14 patients) no aggregation algorithm reached a mean Dice above 0.0" in text
    assert "not distinguishable" not in text and seen_only(numbers, held_out(14, 0.01)) == ""


def test_unseen_modalities_are_answered_where_they_can_be():
    numbers = Numbers()
    assert "on a modality that nobody trained on" in unseen_modalities(numbers, held_out(14))
    assert unseen_modalities(numbers, []) == NOTHING


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


@pytest.mark.parametrize(
    ("loss", "accuracy", "idle"),
    [(log(2), 0.5, True), (log(2) + 0.009, 0.519, True), (0.65, 0.5, False), (log(2), 0.56, False)],
)
def test_guessing_discriminators_are_no_working_game_and_no_evidence(both, loss, accuracy, idle):
    pairs = measured(both, DISTANCES, {"fedda-joint": loss, FEATURES: 0.5}, {"fedda-joint": accuracy, FEATURES: 0.8})
    assert [v.undecided for v in variants(pairs)] == [idle, False]
    numbers = Numbers()
    text = plain(numbers, alignment(numbers, pairs))
    assert ("no working game" in text) is idle and ("(on toy)" in text) is idle
    assert f"nearer than the reference's in {'the one comparison' if idle else '1 of 2 comparisons'}" in text
    brief = alignment_short(Numbers(), pairs)
    assert ("only guessed" in brief) is idle


def test_without_features_nothing_is_said_of_alignment(both):
    assert alignment(Numbers(), measured(both)).startswith("No features were kept")
    assert alignment_short(Numbers(), measured(both)).startswith("No features were kept")


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


def test_the_scatter_is_that_of_the_means_of_single_seeds():
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    lucky = found.cases["setting"].eq("fedprox") * (found.cases["seed"] - 1) * 0.2
    part = part_of(replace(found, cases=found.cases.assign(dice=(found.cases["dice"] + lucky).clip(0, 1))))
    matrix = part.get("cross").matrix
    means = matrix.by_seed["fedprox"].groupby("seed").mean()
    own = next(s for s in scatters(part.primary) if s.algorithm == "fedprox")
    assert (own.sd, own.low, own.high) == pytest.approx((means.std(), means.min(), means.max()))
    numbers = Numbers()
    text = plain(numbers, luck(numbers, [part], [c for c in studied([part], "cross") if c.other == "fedavg"]))
    assert f"to {means.std():.3f} (fedprox on toy, seeds {means.min():.3f} to {means.max():.3f})" in text
    assert "is larger than the largest mean difference" in text and "by luck alone" in text
    assert "centralised" not in text


def test_luck_is_told_in_dice_whatever_the_primary_endpoint_is():
    found = evidence((TOY,), LABELS, (0, 1, 2), 14)
    by_distance = replace(found, runs=found.runs.assign(declared=json.dumps({"relation": "cross", "metric": "hd95"})))
    parts = [part_of(each) for each in (found, by_distance)]
    assert parts[1].primary.matrix.endpoint.metric == "hd95"
    numbers = [Numbers(), Numbers()]
    one, other = (plain(n, luck(n, [part], [])) for n, part in zip(numbers, parts, strict=True))
    assert "the mean Dice of an algorithm" in one and one == other


def test_one_seed_tells_nothing_of_luck():
    assert luck(Numbers(), [part_of(evidence((TOY,), LABELS, (0,), 14))], []) == ONE_SEED
