"""What is tried, how it is scored and what is written, worked by hand; the command is in tests/commands."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.algorithms.fedadam import FedAdam
from fedbench.algorithms.fedprox import FedProx
from fedbench.config import DataConfig
from fedbench.errors import UserError
from fedbench.execution.planning import plan
from fedbench.federation import partition
from fedbench.parameters import hyperparameter
from fedbench.registry import parse_spec
from fedbench.store import FAILURE, ROUNDS, Store, write_json, write_parquet
from fedbench.suite import make_suite
from fedbench.tuning.search import Space, algorithm_space, draw, shared_space
from fedbench.tuning.suite_file import header, toml, tuned_values
from fedbench.tuning.table import conditions, trials_frame, trials_markdown
from fedbench.tuning.trials import Trial, Tuned, reference_of, tune, validation_score, without_test
from tests.toys import ROOT, full, listing, write_toy

# -- what is tried ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [1, 3, 11, 12, 99])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_first_and_nothing_twice(trials, seed):
    space = Space({"a": [0.5, 0.1, 2.0], "b": ["x", "y"], "c": [True, False]})
    points = draw(space, trials, seed, "some algorithm")
    assert points[0] == {"a": 0.5, "b": "x", "c": True}
    assert len({tuple(point.items()) for point in points}) == len(points) == min(trials, 12)
    assert draw(space, trials + 5, seed, "some algorithm")[: len(points)] == points
    assert points == draw(space, trials, seed, "some algorithm")


def test_seed_and_name_change_what_is_drawn():
    space = Space({"a": list(range(100))})
    draws = [draw(space, 6, seed, name)[1:] for seed, name in ((0, "x"), (1, "x"), (0, "y"))]
    assert draws[0] != draws[1] != draws[2] != draws[0]


def test_nothing_to_tune_is_one_trial():
    assert draw(Space({}), 8, 0, "fedavg") == [{}] and Space({}).size == 1


def test_an_algorithms_space_is_what_it_declares_without_what_the_suite_fixes():
    assert algorithm_space(parse_spec("fedprox"), FedProx).values == {"mu": [0.01, 0.001, 0.1, 1.0]}
    assert algorithm_space(parse_spec("fedprox[mu=0.5]"), FedProx).values == {}
    assert list(algorithm_space(parse_spec("fedadam[tau=0.5]"), FedAdam).values) == ["eta"]


class Odd(FedProx):
    name = "odd"

    class Params(FedProx.Params):
        mu: float = hyperparameter(7.0, search=[1, 2, 1.0], ge=0)
        free: int = hyperparameter(3)


class Wrong(FedProx):
    name = "wrong"

    class Params(FedProx.Params):
        mu: float = hyperparameter(1.0, search=[1.0, -1.0], ge=0)


def test_a_default_outside_its_range_is_tried_too():
    assert algorithm_space(parse_spec("odd"), Odd).values == {"mu": [7.0, 1.0, 2.0]}


def test_a_range_that_the_algorithm_itself_refuses_is_named():
    with pytest.raises(UserError, match=r"search range of algorithm 'wrong': parameter 'mu' = -1\.0 is refused"):
        algorithm_space(parse_spec("wrong"), Wrong)


@pytest.mark.parametrize("value", [[1, 2], "a,b", "a]", " a"])
def test_a_range_of_what_no_suite_can_name_is_refused(value):
    class Unnamed(FedProx):
        name = "unnamed"

        class Params(FedProx.Params):
            what: list[int] | str = hyperparameter("plain", search=["plain", value])

    with pytest.raises(
        UserError, match=r"algorithm 'unnamed': parameter 'what': .* is refused: NAME\[param=value\] takes"
    ):
        algorithm_space(parse_spec("unnamed"), Unnamed)


def suite(**values):
    return make_suite({"algorithms": ["fedavg", "fedprox"], "datasets": ["phantom-heart"]} | values)


@pytest.mark.parametrize("written", [{"training.lr": [0.1, 0.01]}, {"training": {"lr": [0.1, 0.01]}}])
def test_shared_values_come_after_the_suites_own(written):
    chosen = suite(training={"lr": 0.01}, tuning={"shared": written})
    assert shared_space(chosen).values == {"training.lr": [0.01, 0.1]}


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (
            {"shared": {"training.ler": [1]}},
            r"'training\.ler' is no shared hyper-parameter; did you mean 'training\.lr'",
        ),
        ({"shared": {"model.norm": ["batch"]}}, r"'model\.norm' is no shared hyper-parameter"),
        ({"shared": {"training.threads": [1, 2]}}, r"'training\.threads' is no shared hyper-parameter"),
        ({"shared": {"training.deterministic": [True]}}, r"'training\.deterministic' is no shared hyper-parameter"),
        ({"shared": {"lr": [1]}}, r"'lr' is no shared hyper-parameter\. Known: [^:]*\.weight_decay\.$"),
        (
            {"shared": {"training.lr": [1], "training": {"lr": [2]}}},
            r"listed twice, with quotes and without: training\.lr",
        ),
        ({"shared": {"training.lr": [0.1, -1]}}, r"'training\.lr' cannot be -1: it must be greater than 0"),
        ({"shared": {"training.lr": []}}, r"'training\.lr' has no values to try"),
        ({"shared": {"training.lr": [1, 1.0]}}, r"'training\.lr' lists a value twice"),
        ({"shared": {"training.rounds": [3, 9]}, "rounds": 2}, "drop one of them"),
        ({"rule": "test-dice"}, r"'tuning\.rule' = 'test-dice' is refused"),
        ({"trials": 0}, r"'tuning\.trials' = 0 is refused"),
        ({"seeds": [1, 1]}, "a seed is listed twice"),
        ({"rle": 1}, r"no key 'tuning\.rle'; did you mean 'rule'"),
    ],
)
def test_mistakes_in_the_section_are_named(tuning, message):
    with pytest.raises(UserError, match=message):
        suite(tuning=tuning)


def test_shared_values_are_tuned_on_the_reference_as_the_suite_lists_it():
    assert reference_of(suite(evaluation={"reference": "fedprox"})) == "fedprox"
    listed = suite(algorithms=["fedprox[mu=0.10]"], evaluation={"reference": "fedprox[mu=0.1]"})
    assert reference_of(listed) == "fedprox[mu=0.10]"
    assert reference_of(suite(algorithms=["fedprox"])) == "fedavg"
    one = suite(algorithms=["fedbn[norms=all]"], evaluation={"reference": "fedbn[norms=all] (averaged)"})
    assert reference_of(one) == "fedbn[norms=all]"
    for wrong, message in (
        ("fedavgg", "no algorithm named 'fedavgg'"),
        ("fedprox[mux=1]", "no parameter 'mux'"),
        ("", "cannot read ''"),
    ):
        with pytest.raises(UserError, match=re.escape(f"[evaluation] reference = '{wrong}': ") + f".*{message}"):
            reference_of(suite(evaluation={"reference": wrong}))


# -- on what ----------------------------------------------------------------------------------------------------------


def test_a_tuning_federation_has_the_same_clients_and_no_test_cases():
    data = listing(full(20))
    plain, hidden = (partition(data, DataConfig(hide_test=hide), 0) for hide in (False, True))
    assert plain.test and not hidden.test
    assert hidden.clients == plain.clients and hidden.digest != plain.digest


def test_a_suite_cannot_hide_its_test_cases():
    with pytest.raises(UserError, match="hide_test is for `fedbench tune`"):
        suite(data={"hide_test": True})


def test_trials_are_of_the_plain_partition():
    tuned = without_test(suite(data={"leave_out": "each", "folds": 5}, tuning={"rounds": 2, "seeds": [7]}))
    assert (tuned.data.leave_out, tuned.data.fold, tuned.data.hide_test) == (None, 0, True)
    assert tuned.seeds == (7,) and tuned.training.rounds == 2


def test_a_tuning_run_is_never_taken_for_a_result(tmp_path):
    """Another id, which says what it is; and [tuning] itself changes no run."""
    toy = f"{ROOT}/tests/toys.py:Toy={write_toy(tmp_path / 'toy', full(9))}"
    values = {
        "datasets": [toy],
        "seeds": [0],
        "model": {"name": "unet", "channels": [4, 8]},
        "data": {"val_fraction": 0.34},
    }
    plain, other = (suite(**values, tuning=tuning) for tuning in ({}, {"trials": 3, "seeds": [0], "rounds": 30}))
    ids, same, tuning = ([cell.id for cell in plan(s, tmp_path / "cache")] for s in (plain, other, without_test(other)))
    assert ids == same and not set(ids) & set(tuning)
    assert all(".tuning." in run_id for run_id in tuning) and not any(".tuning." in run_id for run_id in ids)


# -- how it is judged -------------------------------------------------------------------------------------------------


def test_both_rules_by_hand(tmp_path):
    """Means over the two clients by round: 0.3, 0.6, 0.5."""
    values = {"CT": (0.2, 0.9, 0.5), "MR": (0.4, 0.3, 0.5)}
    rows = [
        {"round": round, "client": client, "metric": "validation dice", "value": value}
        for client, series in values.items()
        for round, value in enumerate(series)
    ]
    rows += [{"round": 2, "client": "", "metric": "validation seconds", "value": 99.0}]
    write_parquet(tmp_path / ROUNDS, rows)
    assert validation_score(tmp_path, "last-validation-dice") == pytest.approx(0.5)
    assert validation_score(tmp_path, "best-validation-dice") == pytest.approx(0.6)
    write_json(tmp_path / FAILURE, {"error": "TrainingDiverged: round 1, client 'CT': term 'segmentation' is nan"})
    assert validation_score(tmp_path, "last-validation-dice") is None


def test_what_diverged_with_one_seed_is_not_chosen_and_what_was_chosen_is_what_others_are_tried_with(tmp_path):
    """A rate of 0.1 is better by far where it does not diverge; of FedProx's values all score the same."""
    toy = f"{ROOT}/tests/toys.py:Toy={write_toy(tmp_path / 'toy', full(9))}"
    chosen = suite(
        datasets=[toy], model={"name": "unet", "channels": [4, 8]}, data={"val_fraction": 0.34},
        training={"lr": 0.5}, tuning={"trials": 3, "seeds": [1, 2], "shared": {"training.lr": [0.1, 0.01]}},
    )  # fmt: skip
    results = Store(tmp_path / "runs")
    scores = {0.5: 0.3, 0.1: 0.9, 0.01: 0.6}
    rates = []

    def execute(_heading, cells):
        """Leave what such runs would leave."""
        for cell in cells:
            folder = results.root / cell.id
            folder.mkdir(parents=True, exist_ok=True)
            rates.append(rate := cell.identity["training"]["lr"])
            if rate == 0.1 and cell.identity["seed"] == 2:
                write_json(folder / FAILURE, {"error": "TrainingDiverged: round 1"})
            row = {"round": 0, "client": "CT", "metric": "validation dice", "value": scores[rate]}
            write_parquet(folder / ROUNDS, [row])

    tuned = tune(chosen, lambda each: plan(each, tmp_path / "cache"), execute, results)
    assert tuned.shared == {"training.lr": 0.01}
    assert {t.point["training.lr"]: t.score for t in tuned.trials if t.stage == "shared"} == {
        0.5: 0.3, 0.1: None, 0.01: 0.6
    }  # fmt: skip
    assert set(rates[6:]) == {0.01} and len(rates) == 3 * 2 + (1 + 3) * 2
    assert tuned.settings == {"fedavg": "fedavg", "fedprox": "fedprox"}  # the first of equal ones: the default


def test_where_every_trial_diverged_a_run_is_named_that_did(tmp_path):
    """The first seed of each is finished."""
    toy = f"{ROOT}/tests/toys.py:Toy={write_toy(tmp_path / 'toy', full(9))}"
    chosen = suite(
        algorithms=["fedprox"], datasets=[toy], model={"name": "unet", "channels": [4, 8]},
        data={"val_fraction": 0.34}, tuning={"trials": 2, "seeds": [1, 2]},
    )  # fmt: skip
    results = Store(tmp_path / "runs")

    def execute(_heading, cells):
        for cell in cells:
            folder = results.root / cell.id
            folder.mkdir(parents=True)
            row = {"round": 0, "client": "CT", "metric": "validation dice", "value": 0.5}
            write_parquet(folder / ROUNDS, [row])
            if cell.identity["seed"] == 2:
                write_json(folder / FAILURE, {"error": "TrainingDiverged: round 1"})

    with pytest.raises(UserError, match=r"every trial of fedprox diverged \(.*, failure\.json of toy\.fedprox\.s2\."):
        tune(chosen, lambda each: plan(each, tmp_path / "cache"), execute, results)


def trial(algorithm, number, point, setting, dice=0.5, stage="own", possible=4, chosen=False):
    return Trial(stage, algorithm, number, point, setting, possible, ("run",), {"heart": dice}, chosen)


def test_every_dataset_counts_the_same_and_none_may_be_missing():
    both = Trial("own", "fedavg", 0, {}, "fedavg", 1, (), {"heart": 0.2, "abdomen": 0.6})
    assert both.score == pytest.approx(0.4)
    assert Trial("own", "fedavg", 0, {}, "fedavg", 1, (), {"heart": 0.9, "abdomen": None}).score is None


# -- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned():
    """FedProx was tuned to what the suite also lists, and it is the reference."""
    chosen = suite(
        title="T", algorithms=["local", "fedprox", "fedprox[mu=0.1]"], training={"rounds": 9, "lr": 0.5},
        evaluation={"reference": "fedprox"}, data={"folds": 5, "fold": 2},
        tuning={"rounds": 3, "shared": {"training.lr": [0.1]}},
    )  # fmt: skip
    trials = (
        trial("fedprox", 0, {"training.lr": 0.5}, "fedprox", None, "shared", 2),
        trial("fedprox", 1, {"training.lr": 0.1}, "fedprox", 0.4, "shared", 2, True),
        trial("local", 0, {}, "local", possible=1, chosen=True),
        trial("fedprox", 0, {"mu": 0.01}, "fedprox", 0.5),
        trial("fedprox", 1, {"mu": 0.1}, "fedprox[mu=0.1]", 0.6, chosen=True),
        trial("fedprox[mu=0.1]", 0, {}, "fedprox[mu=0.1]", 0.6, possible=1, chosen=True),
    )
    settings = {"local": "local", "fedprox": "fedprox[mu=0.1]", "fedprox[mu=0.1]": "fedprox[mu=0.1]"}
    return Tuned(chosen, "fedprox", trials, {"training.lr": 0.1}, settings)


def test_the_tuned_suite_says_what_the_suite_said_and_what_was_chosen(tuned):
    values = tuned_values(tuned)
    assert values["algorithms"] == ["local", "fedprox[mu=0.1]"]
    assert values["training"] == {"rounds": 9, "lr": 0.1}
    assert values["evaluation"] == {"reference": "fedprox[mu=0.1]"}
    assert values["title"] == "T (tuned)" and values["data"] == {"folds": 5, "fold": 2} and "model" not in values
    again = make_suite(tomllib.loads(toml(values)))
    assert again.tuning == tuned.suite.tuning and again.training.lr == 0.1


def test_a_reference_that_is_one_deployment_stays_that_one(tuned):
    suite = tuned.suite.model_copy(
        update={"evaluation": tuned.suite.evaluation.model_copy(update={"reference": "fedprox (averaged)"})}
    )
    values = tuned_values(Tuned(suite, tuned.reference, tuned.trials, tuned.shared, tuned.settings))
    assert values["evaluation"]["reference"] == "fedprox[mu=0.1] (averaged)"


def test_its_header_says_how(tuned):
    lines = "\n".join(header(tuned, "abc"))
    assert "training.lr = 0.1: the best of 2 trials (all there are) with fedprox" in lines
    assert "fedprox: fedprox[mu=0.1], the best of 2 trials\n" in lines
    assert "local: nothing to tune" in lines and "the same run as fedprox, listed once" in lines
    assert "sha256 abc" in lines and "last-validation-dice" in lines


def test_what_the_choice_does_not_guard_against_is_said(tuned):
    text = conditions(tuned)
    assert "3 rounds" in text and "The suite itself trains for 9 rounds." in text
    assert "Tuned on fold 2 alone" in text and "Tuned with every modality" not in text
    left_out = tuned.suite.model_copy(update={"data": DataConfig(leave_out="each")})
    text = conditions(Tuned(left_out, tuned.reference, tuned.trials, tuned.shared, tuned.settings))
    assert "Tuned with every modality: also one that the suite's runs never see was validated on." in text


def test_the_table_of_trials_says_of_each_whether_it_diverged(tuned):
    frame = trials_frame(tuned)
    assert frame["diverged"].tolist() == [True, False, False, False, False, False]
    assert frame["score"].isna().tolist() == frame["diverged"].tolist()


def test_the_page_of_trials_shows_what_diverged_and_what_is_exhausted(tuned):
    page = trials_markdown(tuned)
    assert "| fedprox | 0 | training.lr = 0.5 | diverged |  |" in page
    assert "| fedprox | 1 | mu = 0.1 | 0.6000 | chosen |" in page
    assert "Every combination there is was tried (in brackets: how many): local (1), fedprox" in page
    assert "fedprox (2)" not in page.partition("Hyper-parameters of each")[2]  # of four


PLAIN = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
LEAF = st.one_of(PLAIN, st.lists(PLAIN, max_size=3))
TREE = st.recursive(
    st.dictionaries(st.text(), LEAF, max_size=3), lambda t: st.dictionaries(st.text(), LEAF | t, max_size=3)
)


@given(TREE)
def test_what_is_written_as_toml_reads_back(values):
    assert tomllib.loads(toml(values)) == values
