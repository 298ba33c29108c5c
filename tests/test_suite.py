"""Suites are read, checked and turned into runs whose ids change exactly when a result could."""

from __future__ import annotations

import copy
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.errors import UserError
from fedbench.execution.planning import plan
from fedbench.registry import discover, parse_spec
from fedbench.suite import Suite, builtin_suites, make_suite, parse_seeds, read_suite
from tests.toys import MODALITIES, ROOT, full, in_another_process, write_toy

MINIMAL = 'algorithms = ["fedavg"]\ndatasets = ["sts=/data"]\n'


def suite_file(folder, text):
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_and_the_rest_is_default(tmp_path):
    suite = read_suite(suite_file(tmp_path, MINIMAL + "[training]\nrounds = 7\n[data]\nspacing = [1.0, 1, 4]\n"))
    assert (suite.name, suite.algorithms, suite.datasets, suite.seeds) == (
        "mine",
        ("fedavg",),
        ("sts=/data",),
        (0, 1, 2),
    )
    assert suite.training.rounds == 7 and suite.training.batch_size == 8
    assert suite.data.spacing == (1.0, 1.0, 4.0) and suite.data.leave_out is None


def test_a_suite_that_extends_another_says_only_what_differs(tmp_path):
    suite_file(tmp_path, "seeds = [4]\n" + MINIMAL + "[training]\nrounds = 7\nlr = 0.1\n[model]\nnorm = 'group'\n")
    (tmp_path / "middle.toml").write_text('extends = "mine.toml"\nseeds = [5]\n')
    (tmp_path / "last.toml").write_text('extends = "middle.toml"\n[training]\nlr = 0.2\n')
    suite = read_suite(str(tmp_path / "last.toml"), {"training.batch_size": 3})
    assert (suite.name, suite.seeds, suite.algorithms) == ("last", (5,), ("fedavg",))
    assert (suite.training.rounds, suite.training.lr, suite.training.batch_size) == (7, 0.2, 3)
    assert suite.model.norm == "group"


def test_a_suite_can_extend_one_that_comes_with_fedbench(tmp_path):
    suite = read_suite(suite_file(tmp_path, 'extends = "smoke"\nseeds = [9]\n'))
    assert suite == read_suite("smoke").model_copy(update={"seeds": (9,), "name": "mine"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "mine.toml"', "extends itself"),
        ('extends = "folder/../mine.toml"', "extends itself"),
        (
            'extends = "smoek"',
            r"mine\.toml: 'extends' = 'smoek' is refused: no suite named 'smoek'; did you mean 'smoke'",
        ),
        (
            'extends = "none.toml"',
            r"cannot read suite .*none\.toml, which .*mine\.toml names in 'extends': No such file",
        ),
        ('extends = ["smoke"]', "'extends' = .* is refused"),
    ],
)
def test_a_suite_that_extends_nothing_is_refused(tmp_path, text, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        read_suite(suite_file(tmp_path, text))


def test_overrides_replace_single_values(tmp_path):
    file = suite_file(tmp_path, MINIMAL + "[training]\nrounds = 7\nlr = 0.1\n")
    changes = {"seeds": (5,), "training.rounds": 2, "data.leave_out": "CT", "model.name": None, "algorithms": None}
    suite = read_suite(file, changes)
    assert (suite.seeds, suite.training.rounds, suite.training.lr) == ((5,), 2, 0.1)
    assert suite.data.leave_out == "CT" and suite.model.name == "basicunet" and suite.algorithms == ("fedavg",)
    with pytest.raises(UserError, match=r"'training\.rounds' = 0 is refused"):
        read_suite(file, {"training.rounds": 0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "seed = [1]", "no key 'seed'; did you mean 'seeds'"),
        (MINIMAL + "[training]\nround = 3", r"no key 'training\.round'; did you mean 'rounds'"),
        (MINIMAL + "lr = 0.01", r"there is no key 'lr'; did you mean training\.lr\?"),
        (MINIMAL + "rounds = 3", r"no key 'rounds'; did you mean training\.rounds or tuning\.rounds\?"),
        (
            MINIMAL + "[training]\npatches_per_case = 8",
            r"no key 'training\.patches_per_case'; did you mean data\.patches_per_case\?",
        ),
        (MINIMAL + "[training]\nseeds = [1]", r"no key 'training\.seeds'; did you mean seeds or tuning\.seeds\?"),
        (MINIMAL + "[trainning]\nrounds = 3", "no key 'trainning'; did you mean 'training'"),
        (MINIMAL + "[training]\nrounds = 0", r"'training\.rounds' = 0 is refused: .*greater than or equal to 1"),
        (MINIMAL + "[training]\nrounds = 'many'", r"'training\.rounds' = 'many' is refused: it must be a whole number"),
        (MINIMAL + "[training]\nrounds = true", r"'training\.rounds' = True is refused: true is no number"),
        (MINIMAL + "seeds = [true]", r"'seeds' = \[True\] is refused: true is no number"),
        (MINIMAL + "[model]\nchannels = [true, 8]", r"'model\.channels' = \[True, 8\] is refused: true is no number"),
        (MINIMAL + f"[training]\nrounds = {'9' * 5000}", r"is not valid TOML: .* digits"),
        (MINIMAL + "[data]\nspacing = 3", r"'data\.spacing' = 3 is refused: it must be a list"),
        (MINIMAL + "[training]\nlr = nan", r"'training\.lr' = nan is refused"),
        (MINIMAL + "[training]\noptimizer = 'adamw'", r"'training\.optimizer' = 'adamw' is refused: .*'adam' or 'sgd'"),
        (MINIMAL + "[model]\nname = 'unett'", r"no model named 'unett'; did you mean 'unet'"),
        (MINIMAL + "[data]\nspacing = [1.0]", r"'data\.spacing' = \[1\.0\] is refused: needs 2 or 3 positive numbers"),
        (MINIMAL + "[data]\ntest_fraction = 0.9\nval_fraction = 0.2", "no patient is left to train on"),
        (MINIMAL + "seeds = []", r"'seeds' = \[\] is refused: it needs at least 1 entry and has 0$"),
        ('algorithms = []\ndatasets = ["d"]', r"'algorithms' = \[\] is refused: it needs at least 1 entry and has 0$"),
        (MINIMAL + "[model]\nchannels = [8]", r"'model\.channels' = \[8\] is refused: it needs at least 2 entries and"),
        (MINIMAL + "[training]\nlr = '0,01'", "is refused: write the number with a decimal point: 0.01$"),
        (MINIMAL + "[training]\nlr = 'small'", r"'training\.lr' = 'small' is refused: it must be a number$"),
        (MINIMAL + "[training]\nlr = -1", r"'training\.lr' = -1 is refused: it must be greater than 0$"),
        (MINIMAL + "[training]\naugment = 'maybe'", "is refused: it must be true or false$"),
        (MINIMAL + "title = 3", "'title' = 3 is refused: it must be text$"),
        (
            MINIMAL + "[data]\nfolds = 2\nfold = 2",
            r"toml: \[data\] is refused: there is no fold 2 of 2: they count from 0, so the last one is 1; give folds",
        ),
        (MINIMAL + "[data]\nfold = 2", r"\[data\] is refused: fold 2 is one of how many\? Set folds"),
        (MINIMAL + "seeds = [1, 2, 1]", "'seeds' = .* is refused: listed twice: 1"),
        ('algorithms = ["a", "a"]\ndatasets = ["d"]', "'algorithms' = .* is refused: listed twice: a"),
        ('algorithms = ["a"]\ndatasets = ["d", "d"]', "'datasets' = .* is refused: listed twice: d"),
        ('algorithms = ["a"]', "key 'datasets' is missing"),
        (MINIMAL + "[model]\nchannels = [8, -8]", r"'model\.channels\.1' = -8 is refused"),
        ("algorithms = [", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_its_file(tmp_path, text, message):
    file = suite_file(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read_suite(file)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.lr": -1}, r"^command line: 'training\.lr' = -1 is refused"),
        ({"training.ler": 1}, r"^command line: there is no key 'training\.ler'"),
        ({"trainning.lr": 1}, "^command line: there is no key 'trainning'"),
        ({"model.channels": [8, -8]}, r"^command line: 'model\.channels\.1' = -8 is refused"),
        ({"training.lr": 0.1}, r"^suite .*mine\.toml: 'training\.rounds' = 0 is refused"),
    ],
)
def test_a_mistake_is_looked_for_where_it_was_made(tmp_path, changes, message):
    rounds = 0 if changes == {"training.lr": 0.1} else 3
    with pytest.raises(UserError, match=message):
        read_suite(suite_file(tmp_path, MINIMAL + f"[training]\nrounds = {rounds}\n"), changes)


def test_an_unknown_suite_suggests_the_nearest(tmp_path):
    (tmp_path / "mine.tml").write_text(MINIMAL)
    with pytest.raises(UserError, match=r"mine\.tml is no suite: give a file whose name ends in \.toml"):
        read_suite(str(tmp_path / "mine.tml"))
    with pytest.raises(UserError, match="no suite named 'defualt'; did you mean 'default'"):
        read_suite("defualt")
    with pytest.raises(UserError, match=r"cannot read suite .*none\.toml: No such file"):
        read_suite(str(tmp_path / "none.toml"))


def test_a_value_where_a_section_belongs_is_refused(tmp_path):
    with pytest.raises(UserError, match="'training' = 3 is refused: it must be a section"):
        read_suite(suite_file(tmp_path, "training = 3\n" + MINIMAL), {"training.rounds": 3})


@pytest.mark.parametrize("name", builtin_suites())
def test_builtin_suites_are_valid_and_name_what_exists(name):
    suite = read_suite(name)
    assert suite.name == name and suite.title
    assert {parse_spec(text).name for text in suite.algorithms} <= discover("algorithm").keys()
    assert {parse_spec(text).name for text in suite.datasets} <= discover("dataset").keys()


def test_every_key_is_documented_with_its_default():
    """docs/suites.md: a table for the top and one for each section; a dash where there is no default."""
    tables = re.split(r"^## `?\[?([a-zA-Z ]+)\]?`?$", (ROOT / "docs" / "suites.md").read_text(), flags=re.MULTILINE)[1:]
    sections = dict(zip(tables[::2], tables[1::2], strict=True))
    assert list(sections) == ["At the top", "model", "training", "data", "evaluation", "tuning"]
    suite = Suite(algorithms=("a",), datasets=("b",))
    for name, text in sections.items():
        config = suite if name == "At the top" else getattr(suite, name)
        told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE))
        hidden = {"model", "training", "data", "evaluation", "tuning", "unlabelled_share", "hide_test"}
        assert set(told) == set(type(config).model_fields) - hidden, name
        for key, default in told.items():
            value = getattr(config, key)
            if default == "—":
                assert value is None or key in ("algorithms", "datasets"), key
            elif key != "name":
                told_value = tomllib.loads(f"x = {default.strip('`')}")["x"]
                assert told_value == (list(value) if isinstance(value, tuple) else value), key


# -- seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_by_hand():
    assert parse_seeds("0-4") == (0, 1, 2, 3, 4)
    assert parse_seeds("7") == (7,)
    with pytest.raises(UserError, match="more than 10000 seeds"):
        parse_seeds("0-1000000000")
    assert parse_seeds("0, 2,10-12") == (0, 2, 10, 11, 12)


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1--3", "1.5", "1,,2", "3-1", "²"])
def test_other_seeds_are_refused(text):
    with pytest.raises(UserError, match=re.escape(f"--seeds {text}")):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["9" * 5000, "0-" + "9" * 5000])
def test_a_seed_without_end_is_refused_in_a_short_line(text):
    with pytest.raises(UserError, match=r"a seed has at most 100 digits\.$") as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 200


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_a_list_of_seeds_reads_as_written(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


# -- run ids ----------------------------------------------------------------------------------------------------------

PLUGIN = """
from fedbench.algorithms.fedprox import FedProx

class Mine(FedProx):
    "{doc}"
    name = "mine"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A toy data set of nine patients and an algorithm of the user's own."""
    folder = tmp_path_factory.mktemp("suite")
    write_toy(folder / "toy", full(9))
    (folder / "mine.py").write_text(PLUGIN.format(doc="First."))
    return folder


def values(place):
    return {
        "algorithms": ("fedavg", f"{place}/mine.py"),
        "datasets": (f"{ROOT}/tests/toys.py:Toy={place}/toy",),
        "seeds": (0,),
        "model": {"name": "unet", "channels": (4, 8)},
        "training": {"precision": "fp32"},
        "data": {"test_fraction": 0.34, "val_fraction": 0.34},
    }


def ids(place, **overrides) -> list[str]:
    suite = make_suite(copy.deepcopy(values(place)), overrides)
    return [cell.id for cell in plan(suite, place / "cache")]


def test_ids_are_those_of_another_process(place):
    code = f"""
        from pathlib import Path
        from tests.test_suite import ids
        print(*ids(Path({str(place)!r})))
    """
    assert in_another_process(code, hash_seed=7).split() == ids(place)


@pytest.mark.parametrize(
    "change",
    [
        {"algorithms": ("fedavg", "{place}/mine.py[mu=0.5]")},
        {"seeds": (1,)},
        {"training.rounds": 3},
        {"training.lr": 0.5},
        {"model.channels": (4, 16)},
        {"data.split_seed": 1},
        {"data.leave_out": "PET", "data.val_fraction": 0.2},
        {"data.spacing": (2.0, 2.0, 4.0)},
        {"evaluation.nsd_tolerance_mm": 1.0},
    ],
    ids=lambda change: ",".join(change),
)
def test_what_changes_a_result_changes_the_id(place, change):
    if "algorithms" in change:
        change = {"algorithms": tuple(text.format(place=place) for text in change["algorithms"])}
    before, after = ids(place), ids(place, **change)
    assert len(before) == len(after) == 2
    assert before[1] != after[1]
    assert (before[0] == after[0]) == ("algorithms" in change)  # the other algorithm's run is still the same


@pytest.mark.parametrize(
    "change", [{"name": "x", "title": "y"}, {"seeds": (0, 1)}, {"evaluation.selection": "best-validation"}]
)
def test_what_changes_no_result_keeps_the_id(place, change):
    assert set(ids(place)) <= set(ids(place, **change))


def test_the_default_written_out_is_the_same_run(place):
    assert ids(place, algorithms=("fedavg", f"{place}/mine.py[mu=0.01]")) == ids(place)


def test_plugin_code_changes_the_id_of_its_runs_only(place):
    before = ids(place)
    (place / "mine.py").write_text(PLUGIN.format(doc="Second."))
    after = ids(place)
    (place / "mine.py").write_text(PLUGIN.format(doc="First."))
    assert before[0] == after[0] and before[1] != after[1]
    assert ids(place) == before


def test_data_changes_the_id(place, tmp_path):
    other = copy.deepcopy(values(place))
    write_toy(tmp_path / "toy", full(10))
    other["datasets"] = (f"{ROOT}/tests/toys.py:Toy={tmp_path}/toy",)
    assert not {cell.id for cell in plan(make_suite(other), tmp_path / "cache")} & set(ids(place))


def test_adding_an_algorithm_changes_no_other_run(place):
    more = (*values(place)["algorithms"], "fedprox[mu=0.3]")
    assert set(ids(place)) < set(ids(place, algorithms=more))


def test_the_same_run_twice_is_refused(place):
    with pytest.raises(UserError, match="same run"):
        ids(place, algorithms=("fedprox", "fedprox[mu=0.01]"))


def test_two_algorithms_of_one_name_are_refused(place):
    (place / "ours.py").write_text(PLUGIN.format(doc="Another.").replace('"mine"', '"fedavg"'))
    with pytest.raises(UserError, match=r"named 'fedavg': 'fedavg' and '.*ours\.py'"):
        ids(place, algorithms=("fedavg", f"{place}/ours.py"))
    assert len(ids(place, algorithms=(f"{place}/ours.py",))) == 1


def test_a_path_behind_an_algorithm_is_refused(place):
    with pytest.raises(UserError, match=r"'fedprox=0.1': an algorithm takes no =PATH; .*fedprox\[param=value"):
        ids(place, algorithms=("fedavg", "fedprox=0.1"))


def test_a_plugin_may_lie_in_a_folder_with_any_name(place, monkeypatch):
    folder = place / "a=b [c]"
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(PLUGIN.format(doc="First."))
    monkeypatch.chdir(folder)
    mine, other = (ids(place, algorithms=(text,)) for text in ("mine.py[mu=0.5]", f"{place}/mine.py[mu=0.5]"))
    assert mine == other


def test_a_sample_that_the_network_cannot_halve_is_refused(place):
    with pytest.raises(UserError, match=r"size \[16, 16\]: .* multiples of 32"):
        ids(place, **{"model.channels": (4,) * 6})
    assert ids(place, **{"model.channels": (4,) * 6, "data.size": (32, 64)})


def test_a_bottleneck_of_one_voxel_without_anything_to_normalise_over_is_refused(place):
    deep = {"model.channels": (4,) * 5}  # halves 16 voxels to one
    with pytest.raises(UserError, match=r"\[16, 16\]: .* to a single voxel, of which norm 'instance' makes nothing"):
        ids(place, **deep, **{"model.norm": "instance"})
    assert ids(place, **deep, **{"model.norm": "instance", "data.size": (16, 32)})
    assert ids(place, **deep)


def test_a_bottleneck_of_one_voxel_needs_two_samples_in_every_batch_of_batch_norm(place, tmp_path):
    """Batches of one; batches of 2 of an odd number of slices, which one client has with one of the seeds alone."""
    deep = {"model.channels": (4,) * 5}
    with pytest.raises(UserError, match=r"\[16, 16\]: .* norm 'batch' makes nothing in a batch of one .* client 'CT'"):
        ids(place, **deep, **{"training.batch_size": 1})
    assert ids(place, **deep, **{"training.batch_size": 1, "data.size": (16, 32)})
    for slices, patients in ((2, full(18)), (3, {f"P{n:02}": MODALITIES for n in (4, 5, 8, 9)})):
        write_toy(tmp_path / "toy", patients, shape=(16, 16, slices))
    more = {"datasets": values(tmp_path)["datasets"], "algorithms": ("fedavg",), "data.leave_out": "PET"}
    given = deep | more | {"training.batch_size": 2}
    assert len(ids(place, **given, seeds=(0, 2))) == 2  # 6 and 8 slices
    with pytest.raises(UserError, match="a batch of one sample, as client 'CT' has"):
        ids(place, **given, seeds=(0, 1))  # 7 and 7


def test_all_algorithms_of_a_seed_share_a_partition(place):
    cells = plan(make_suite(copy.deepcopy(values(place)), {"seeds": (0, 1)}), place / "cache")
    held = {(cell.identity["seed"], cell.identity["partition"]) for cell in cells}
    assert sorted(seed for seed, _ in held) == [0, 1] and len({digest for _, digest in held}) == 2


def test_an_id_is_a_plain_folder_name(place):
    assert all(re.fullmatch(r"toy\.[a-z0-9-]+\.s0\.[0-9a-f]{12}", run_id) for run_id in ids(place))


def test_an_id_names_fold_and_unseen_modality(place):
    cells = plan(make_suite(copy.deepcopy(values(place)), {"data.leave_out": "each"}), place / "cache")
    assert {cell.id.split(".")[3] for cell in cells} == {"no-CT", "no-MR", "no-PET"}
    cells = plan(make_suite(copy.deepcopy(values(place)), {"data.folds": 4}), place / "cache")
    assert {cell.id.split(".")[3] for cell in cells} == {"fold0", "fold1", "fold2", "fold3"}


def test_two_datasets_of_one_name_are_refused(place, tmp_path):
    other = copy.deepcopy(values(place))
    other["datasets"] = (*other["datasets"], f"{ROOT}/tests/toys.py:ToyBackwards={place}/toy")
    with pytest.raises(UserError, match="two datasets of the suite are named 'toy'"):
        plan(make_suite(other), place / "cache")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [-1]}, "seeds"),
        ({"tuning": {"seeds": [-1]}}, "tuning.seeds"),
        ({"evaluation": {"relation": "unseen"}}, r"^command line: [^{}]*data.leave_out[^{}]*$"),
        ({"training": {"threads": 100_000}}, "training.threads"),
    ],
)
def test_what_could_only_fail_later_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        make_suite({"algorithms": ["fedavg"], "datasets": ["phantom-heart"]} | changes)
