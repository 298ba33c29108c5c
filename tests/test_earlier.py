"""Runs and stores older than a choice, which do not say it: they did what fedbench did then."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from fedbench.config import EARLIER, DataConfig
from fedbench.data.prepared import FACTS, load
from fedbench.data.sealing import SEAL
from fedbench.engine.compute import Compute
from fedbench.engine.training import Training
from fedbench.errors import UserError
from fedbench.execution.comparison import differences
from fedbench.execution.planning import make_task, plan
from fedbench.execution.prepared_data import prepared_of
from fedbench.streams import derive_seed
from fedbench.suite import make_suite
from tests.toys import TOY, full, prepare_toy, write_toy

THEN = {f"{section}.{key}": value for section, values in EARLIER.items() for key, value in values.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Structures that samples of 16 x 16 often cut off, so that it matters what lies beyond an edge."""
    folder = tmp_path_factory.mktemp("earlier")
    write_toy(folder / "toy", full(9), shape=(24, 24, 2))
    return folder


def planned(place, **changes):
    values = {"algorithms": ("fedavg",), "datasets": (f"{TOY}={place}/toy",), "seeds": (0,)}
    values |= {"model": {"name": "unet", "channels": (4, 8)}, "data": {"test_fraction": 0.34, "val_fraction": 0.34}}
    (cell,) = plan(make_suite(values, changes), place / "cache")
    return cell


def older(identity):
    """Return the identity as it was before there was a choice."""
    found = copy.deepcopy(identity)
    for section, values in EARLIER.items():
        for key in values:
            del found[section][key]
    return found


def batches(cell):
    """One epoch of every client."""
    task = make_task(cell)
    sets = Training(task, Compute.start(task.training, "cpu")).sets
    streams = [torch.Generator().manual_seed(derive_seed("test", n)) for n in range(len(sets))]
    return [b for own, stream in zip(sets, streams, strict=True) for b in own.batches(stream, augmented=True)]


def test_a_run_that_does_not_say_computes_as_one_that_says_what_was_done_then(place):
    cell = planned(place, **THEN)
    found, expected = (batches(each) for each in (replace(cell, identity=older(cell.identity)), cell))
    now = batches(planned(place, **THEN | {"training.label_edges": "repeat"}))
    assert len(found) == len(expected) == len(now)
    assert all(
        torch.equal(a, b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True)
    )
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(expected, now, strict=True))
    tasks = [make_task(each) for each in (replace(cell, identity=older(cell.identity)), cell)]
    assert (tasks[0].training, tasks[0].data) == (tasks[1].training, tasks[1].data)


def test_what_was_done_then_is_no_difference_to_a_run_that_says_it(place):
    said = {"identity": planned(place, **THEN).identity}
    unsaid = {"identity": older(said["identity"])}
    assert differences(unsaid, said) == differences(said, unsaid) == differences(unsaid, unsaid) == []
    (found,) = differences(unsaid, {"identity": planned(place, **THEN | {"training.label_edges": "repeat"}).identity})
    assert (found.what, found.first, found.second) == ("training.label_edges", "background", "repeat")


def test_a_store_that_does_not_say_holds_labels_of_the_nearest_voxel(place, tmp_path):
    store = prepare_toy(place / "toy", tmp_path, label_resampling="nearest")
    facts = json.loads((store / FACTS).read_text())
    del facts[SEAL]
    assert facts.pop("label_resampling") == load(store).label_resampling == "nearest"
    (store / FACTS).write_text(json.dumps(facts))
    assert load(store).label_resampling == "nearest"
    text = f"{TOY}={store}"
    assert prepared_of(text, DataConfig(label_resampling="nearest"), tmp_path).content == facts["content"]
    with pytest.raises(
        UserError, match=r"was prepared with label_resampling = nearest, not majority; set it in \[data"
    ):
        prepared_of(text, DataConfig(label_resampling="majority"), tmp_path)
