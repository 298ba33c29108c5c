"""What ``plan`` says of the time that runs will take."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fedbench.execution import estimate, scheduler
from tests import plugins
from tests.test_cli import TINY_SUITE
from tests.toys import TOY, full, refused, write_volume


def test_plan_reckons_with_what_runs_can_use(fedbench, tmp_path, monkeypatch):
    """On 64 cores: as many workers as runs, and the clients of each side by side on what cores are left."""
    tiny, asked = str(tmp_path / "tiny.toml"), []
    Path(tiny).write_text(TINY_SUITE)

    def seconds_left(cells, root, workers, at_once):
        asked.append((len(cells), workers, at_once))
        return 75.0, "as told"

    monkeypatch.setattr(scheduler, "default_workers", lambda threads, cores=None: max(1, 64 // threads))
    monkeypatch.setattr(estimate, "seconds_left", seconds_left)
    assert "about 1:15 with 1 worker (as told)" in fedbench("plan", "--suite", tiny)[1]
    assert "about 1:15 with 3 workers (as told)" in fedbench("plan", "--suite", tiny, "--seeds", "0-2")[1]
    assert "with 40 workers" in fedbench("plan", "--suite", tiny, "--seeds", "0-39")[1]
    assert "with 32 workers" in fedbench("plan", "--suite", tiny, "--seeds", "0-39", "--set", "training.threads=2")[1]
    assert asked == [(1, 1, 64), (3, 3, 21), (40, 40, 1), (40, 32, 1)]


@pytest.mark.parametrize(
    ("plugin", "arguments", "message"),
    [
        (plugins.RAISING, (), r"RuntimeError \(broken\.py:11\): the plugin broke"),
        (None, ("--set", "training.lr=1e30"), r"TrainingDiverged \(\w+\.py:\d+\): round \d+, client"),
    ],
)
def test_a_first_run_that_fails_leaves_no_estimate(fedbench, tmp_path, plugin, arguments, message):
    (tmp_path / "tiny.toml").write_text(TINY_SUITE)
    algorithm = ("-a", plugins.write(tmp_path, "broken", plugin)) if plugin else ()
    status, out, err = fedbench("plan", "--suite", "tiny.toml", *algorithm, *arguments)
    assert (status, err) == (0, "") and "1 run: 1 to do" in out
    assert re.search(r"^no estimate: phantom-heart\.\S+ fails when it is tried: " + message, out, re.MULTILINE), out
    assert "about" not in out and not list(Path("results/runs").glob("*/failure.json"))


@pytest.mark.parametrize("command", ["plan", "run", "tune"])
@pytest.mark.parametrize("where", ["__init__", "side_networks"])
def test_a_plugin_that_cannot_be_set_up_is_refused_with_its_line(fedbench, tmp_path, command, where):
    (tmp_path / "tiny.toml").write_text(TINY_SUITE)
    plugin = plugins.write(tmp_path, "unready", plugins.UNREADY.format(where=where))
    chosen = ("tiny.toml",) if command == "tune" else ("--suite", "tiny.toml")
    line = r"cannot be set up: KeyError (unready.py:10): 'no such key'"
    listed = ("--set", f'algorithms=["{plugin}[mu=0.5]", "fedprox"]')
    refused(fedbench(command, *chosen, *listed), "algorithm 'unready[mu=0.5]'", line)


def test_a_client_that_is_alone_is_told_of(fedbench, tmp_path):
    """Of two modalities one is left out; of what is finished nothing is said again."""
    (tmp_path / "tiny.toml").write_text(TINY_SUITE)
    alone = ("--suite", "tiny.toml", "--leave-out", "MR")
    assert (
        "one client alone in phantom-heart without MR (CT): there is nothing to federate" in fedbench("plan", *alone)[2]
    )
    status, _, err = fedbench("run", *alone, "--workers", "0")
    assert status == 0 and "one client alone" in err
    assert fedbench("run", *alone, "--workers", "0")[2] == "" == fedbench("plan", "--suite", "tiny.toml")[2]


def test_a_network_of_three_axes_is_refused_for_images_of_two(fedbench, tmp_path):
    rng, label = np.random.default_rng(0), np.zeros((32, 32), np.uint8)
    label[8:16, 8:16], label[20:28, 20:28] = 1, 2
    for patient, modalities in full(24).items():
        for modality in modalities:
            image = 40.0 * label[None] + rng.normal(0, 5, (1, 32, 32))
            write_volume(tmp_path / "flat", patient, modality, image.astype(np.float32), label, (1.0, 1.0))
    flat = ("-a", "fedavg", "-d", f"{TOY}={tmp_path / 'flat'}", "--seeds", "0", "--rounds", "1")
    deep = ("--set", "model.spatial_dims=3", "--set", "data.size=[32,32,16]")
    refused(fedbench("plan", *flat, *deep), "spatial_dims = 3, but the images of 'toy' have two axes")
    status, _, err = fedbench("plan", *flat, "--set", "data.size=[32,32]")
    assert (status, err) == (0, "")
