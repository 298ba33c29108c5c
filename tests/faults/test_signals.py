"""Real processes that are killed, stopped and interrupted: what is finished stays, the rest ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from fedbench.store import Store, read_json
from tests import plugins
from tests.faults.machine import all_gone, bits, descendants, finish, make, nothing_half_written, start, wait_for


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bits of the matrix when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = finish(make(folder), folder)
    assert status == 0, err
    return {name.partition(".s0.")[0]: value for name, value in bits(folder / "runs").items()}


def same_as(undisturbed: dict[str, str], found: dict[str, str]) -> bool:
    return {name.partition(".s0.")[0]: value for name, value in found.items()} == undisturbed


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_ends_with_the_same_bits(undisturbed, tmp_path, seed):
    """SIGKILL three times, after a random number of moments each; then to the end."""
    command, random_ = make(tmp_path), random.Random(seed)
    kept: dict[str, str] = {}
    for _ in range(3):
        process = start(command, tmp_path)
        wait_for(tmp_path / "runs", "*/progress.json", process)
        time.sleep(random_.uniform(0, 1.5))
        process.kill()
        process.communicate()
        now = bits(tmp_path / "runs")
        assert kept.items() <= now.items()
        kept = now
        nothing_half_written(tmp_path / "runs")
    assert finish(command, tmp_path)[0] == 0
    assert same_as(undisturbed, bits(tmp_path / "runs"))


def test_a_killed_worker_is_replaced(undisturbed, tmp_path):
    """With Ray: SIGKILL a worker in mid-run; the driver goes on by itself, and leaves no process behind."""
    process = start(make(tmp_path, workers=2), tmp_path)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    family = descendants(process.pid)
    running = [p for f in (tmp_path / "runs").glob("*/progress.json") if (p := (read_json(f) or {}).get("pid"))]
    os.kill(running[0], signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert same_as(undisturbed, bits(tmp_path / "runs"))
    assert all_gone(family | {process.pid})


def test_a_killed_driver_leaves_no_worker_at_work(tmp_path):
    process = start(make(tmp_path, rounds=200, workers=2), tmp_path)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    workers = {(read_json(f) or {}).get("pid") for f in (tmp_path / "runs").glob("*/progress.json")}
    process.kill()
    process.communicate()
    assert all_gone({pid for pid in workers if pid}, 60)


def test_stopped_and_continued(undisturbed, tmp_path):
    """SIGSTOP for two seconds, as by Ctrl-Z; another driver leaves the run that is at work alone."""
    command = make(tmp_path)
    process = start(command, tmp_path)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    os.kill(process.pid, signal.SIGSTOP)
    states = [Store(tmp_path / "runs").running(run_id) for run_id in Store(tmp_path / "runs").run_ids()]
    time.sleep(1)
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=120)
    assert any(states) and process.returncode == 0, err
    assert same_as(undisturbed, bits(tmp_path / "runs"))


def test_two_drivers_on_one_folder_share_the_work(undisturbed, tmp_path):
    command = make(tmp_path)
    drivers = [start(command, tmp_path) for _ in range(2)]
    ends = [driver.communicate(timeout=240) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], ends
    assert same_as(undisturbed, bits(tmp_path / "runs"))


def test_a_clock_that_is_moved_changes_nothing(undisturbed, tmp_path):
    """Files from the future and from long ago: checkpoints and stores are recognised by content."""
    command = make(tmp_path)
    process = start(command, tmp_path)
    wait_for(tmp_path / "runs", "*/checkpoint.safetensors", process)
    process.kill()
    process.communicate()
    for number, file in enumerate(sorted((tmp_path / "runs").rglob("*"))):
        moment = 10 if number % 2 else 4_000_000_000
        os.utime(file, (moment, moment))
    assert finish(command, tmp_path)[0] == 0
    assert same_as(undisturbed, bits(tmp_path / "runs"))


def test_a_hanging_plugin_can_be_interrupted(tmp_path):
    hanging = plugins.write(tmp_path, "hanging", plugins.HANGING)
    process = start(make(tmp_path, "fedavg", hanging, rounds=3, workers=2), tmp_path)
    wait_for(tmp_path / "runs", "*fedavg*/done", process)
    family = descendants(process.pid)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert all_gone(family | {process.pid})
    assert len(bits(tmp_path / "runs")) == 1
