"""How long runs will take: by hand, from stored runs of which each says seconds and steps."""

from __future__ import annotations

import pytest

from fedbench import store
from fedbench.execution import estimate
from fedbench.execution.estimate import last_end, seconds_left
from tests.execution.test_runner import plan

STEP = 3.0  # seconds of a step that is timed
STEPS = 100  # of every stored run


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Runs of two clients each, of whom fedavg trains two and centralised one that holds everything."""
    return plan(tmp_path_factory.mktemp("planned"), "fedavg", "fedprox", "centralised")


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """The labels of the runs of which a step was timed."""
    found = []
    monkeypatch.setattr(estimate, "_timed_step", lambda cell: found.append(cell.label) or STEP)
    return found


def keep(root, cell, seconds, **changes):
    """Store a finished run of ``cell``; changes are of its identity, or of how many clients trained at once."""
    at_once = changes.pop("clients_at_once", 1)
    identity = cell.identity | changes
    folder = root / f"{cell.id}{len(list(root.iterdir()))}"
    folder.mkdir()
    for name in store.SEALED:
        (folder / name).touch()
    store.write_json(
        folder / store.RUN, {"identity": identity, "seconds": seconds, "steps": STEPS, "clients_at_once": at_once}
    )
    store.seal(folder)


def steps_of(cell, root, timed):
    """The steps of a run: what it takes where nothing is finished, by the seconds of one."""
    seconds, basis = seconds_left([cell], root, 1, 1)
    assert timed.pop() == cell.label and basis.startswith("from a timed round of the first run")
    return seconds / STEP


def test_the_first_free_worker_takes_the_next_run():
    assert last_end([5, 1, 1, 1], 2) == 5
    assert last_end([2, 2, 2], 2) == 4
    assert last_end([3, 4], 64) == 4
    assert last_end([3, 4], 1) == 7


def test_a_run_takes_no_more_clients_at_once_than_it_trains(tmp_path, cells, timed):
    fedavg, _, centralised = cells
    whole = [STEP * steps_of(cell, tmp_path, timed) for cell in (fedavg, centralised)]
    assert seconds_left([fedavg], tmp_path, 1, 64)[0] == pytest.approx(whole[0] / 2)
    assert seconds_left([centralised], tmp_path, 1, 64)[0] == pytest.approx(whole[1])
    assert seconds_left([fedavg, centralised], tmp_path, 64, 1)[0] == pytest.approx(max(whole))
    assert timed == ["fedavg", "centralised", "fedavg"]


def test_clients_side_by_side_take_as_long_together_as_one_after_the_other(tmp_path, cells, timed):
    """40 seconds of one client at a time, 10 of four: 0.4 a step."""
    steps = steps_of(cells[0], tmp_path, timed)
    for name, at_once, seconds in (("one", 1, 40.0), ("four", 4, 10.0)):
        root = tmp_path / name
        root.mkdir()
        keep(root, cells[0], seconds, clients_at_once=at_once)
        found, basis = seconds_left(cells[:1], root, 1, 1)
        assert found == pytest.approx(0.4 * steps) and basis == "from finished runs"
    assert not timed


def test_the_median_of_an_algorithm_else_the_mean_of_others_of_the_same_kind(tmp_path, cells, timed):
    steps = [steps_of(cell, tmp_path, timed) for cell in cells]
    for seconds in (10.0, 20.0, 90.0):
        keep(tmp_path, cells[0], seconds)
    keep(tmp_path, cells[1], 60.0)
    for number, rate in enumerate((0.2, 0.6, (0.2 + 0.6) / 2)):
        found, basis = seconds_left(cells[number : number + 1], tmp_path, 1, 1)
        assert found == pytest.approx(rate * steps[number]) and basis == "from finished runs"
    assert not timed


@pytest.mark.parametrize("what", ["device", "dataset_content", "model", "training", "data"])
def test_a_run_of_another_kind_tells_nothing(tmp_path, cells, timed, what):
    """A GPU, another store, another network, another batch and another size of samples."""
    fedavg = cells[0]
    steps = steps_of(fedavg, tmp_path, timed)
    identity = fedavg.identity
    others = {
        "device": "cuda",
        "dataset_content": "others",
        "model": identity["model"] | {"channels": [8, 16]},
        "training": identity["training"] | {"batch_size": 2},
        "data": identity["data"] | {"size": [16, 16]},
    }
    keep(tmp_path, fedavg, 40.0, **{what: others[what]})
    assert seconds_left([fedavg], tmp_path, 1, 1)[0] == pytest.approx(STEP * steps)
    assert timed.pop() == "fedavg"


def test_what_changes_no_step_is_no_other_kind(tmp_path, cells, timed):
    fedavg = cells[0]
    steps = steps_of(fedavg, tmp_path, timed)
    longer, another = fedavg.identity["training"] | {"rounds": 90}, fedavg.identity["data"] | {"leave_out": "MR"}
    keep(tmp_path, fedavg, 40.0, training=longer, data=another, seed=7)
    assert seconds_left([fedavg], tmp_path, 1, 1) == (pytest.approx(0.4 * steps), "from finished runs")


def test_known_and_unknown_runs_are_added_up_and_told_apart(tmp_path, cells, timed):
    (other,) = plan(tmp_path, "fedavg", model={"name": "unet", "channels": [4, 4]})
    steps = [steps_of(cell, tmp_path, timed) for cell in (cells[0], other)]
    keep(tmp_path, cells[0], 40.0)
    found, basis = seconds_left([cells[0], other], tmp_path, 1, 1)
    assert found == pytest.approx(0.4 * steps[0] + STEP * steps[1])
    assert basis.startswith("from finished runs, and for 1 unlike them from a timed round")
    assert timed == ["fedavg"]


def test_a_damaged_run_tells_nothing(tmp_path, cells, timed):
    keep(tmp_path, cells[0], 40.0)
    (folder,) = tmp_path.iterdir()
    (folder / store.CASES).write_bytes(b"more")
    seconds_left(cells[:1], tmp_path, 1, 1)
    assert timed == ["fedavg"]
