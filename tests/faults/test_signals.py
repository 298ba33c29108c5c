"""Real processes that are killed, stopped and interrupted: what is finished stays, the rest ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from fedbench.execution.dispatch import BUSY_SECONDS
from fedbench.store import Store, read_json
from tests.faults.machine import (
    PATIENCE,
    all_gone,
    at_the_gate,
    begun,
    bits,
    descendants,
    here,
    kill_at_the_gate,
    make,
    make_gated,
    make_hanging,
    nothing_half_written,
    open_gate,
    start,
    start_fresh,
    wait_for,
)
from tests.toys import MODALITIES


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bits of the matrix when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = here(make(folder), folder)
    assert status == 0, err
    return {name.partition(".s0.")[0]: value for name, value in bits(folder / "runs").items()}


def same_as(undisturbed: dict[str, str], found: dict[str, str]) -> bool:
    return {name.partition(".s0.")[0]: value for name, value in found.items()} == undisturbed


def test_killed_at_random_moments_it_ends_with_the_same_bits(undisturbed, tmp_path):
    """SIGKILL three times, after a random number of moments each; then to the end. Many more: benchmarks.chaos."""
    command, random_ = make(tmp_path), random.Random(0)
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
    assert here(command, tmp_path)[0] == 0
    assert same_as(undisturbed, bits(tmp_path / "runs"))


@pytest.mark.parametrize("workers", [0, 1])
def test_stopped_and_continued(calm, tmp_path, workers):
    """SIGSTOP, as by Ctrl-Z, of whoever trains; a second driver passes by its run, does the other one and waits."""
    command, environment = make_gated(tmp_path, "fedavg", workers=workers)
    first = start(command, tmp_path, **environment)
    at_the_gate(tmp_path, first)
    (trains,) = (read_json(file)["pid"] for file in (tmp_path / "runs").glob("*/progress.json"))
    assert (trains == first.pid) is (workers == 0)
    os.kill(trains, signal.SIGSTOP)
    second = start(make_gated(tmp_path, "fedavg")[0], tmp_path, **environment)
    wait_for(tmp_path / "runs", "*fedavg*/done", second)
    open_gate(tmp_path)
    time.sleep(BUSY_SECONDS)
    assert second.poll() is None
    assert list((tmp_path / "runs").glob("*/done")) == list((tmp_path / "runs").glob("*fedavg*/done"))
    os.kill(trains, signal.SIGCONT)
    ends = [driver.communicate(timeout=PATIENCE) for driver in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], ends
    assert each_trained_once(tmp_path, numbers="0")
    found = bits(tmp_path / "runs")
    assert len(found) == 2
    assert found.items() <= calm.items()


@pytest.mark.parametrize("workers", [0, 1])
def test_two_drivers_on_one_folder_share_the_work(calm, tmp_path, workers):
    """Each of them has one of the runs that wait at the gate; whoever is first takes the third. One may have Ray."""
    drivers = []
    for number in (workers, 0):
        command, environment = make_gated(tmp_path, "[number=1]", "fedavg", workers=number)
        drivers.append(start(command, tmp_path, **environment))
    at_the_gate(tmp_path, drivers[0], numbers="01")
    open_gate(tmp_path)
    ends = [driver.communicate(timeout=PATIENCE) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], ends
    assert each_trained_once(tmp_path, numbers="01")
    assert bits(tmp_path / "runs") == calm


def each_trained_once(tmp_path: Path, numbers: str) -> bool:
    """Three rounds of each of the runs that wait at the gate, and none of them twice."""
    return begun(tmp_path) == Counter((n, r, client) for n in numbers for r in "012" for client in MODALITIES)


def named(pid: int) -> str:
    """The name of a process; of one that is gone, none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_a_ray_that_is_too_slow_to_start_is_told_in_words(tmp_path, rays_folder):
    """Its node is stopped as soon as it is there, as if other work had the CPU; Ray waits for half a minute."""
    process = start_fresh(make(tmp_path, "fedavg", workers=1), tmp_path, RAY_TMPDIR=rays_folder)
    while not (node := [pid for pid in descendants(process.pid) if named(pid) == "raylet"]):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(node[0], signal.SIGSTOP)
    seen = descendants(process.pid)
    _, err = process.communicate(timeout=PATIENCE)
    words = " ".join(err.replace("│", " ").split())
    assert process.returncode == 2 and "Traceback" not in err
    assert "Ray did not start on this machine: " in words and "add --workers 0" in words and rays_folder in words
    assert all_gone(seen | {process.pid})
    assert here(make(tmp_path, "fedavg", workers=0), tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("kill", "workers", "clients"),
    [(signal.SIGINT, 2, 1), (signal.SIGTERM, 1, 1), (signal.SIGTERM, 0, 1), (signal.SIGINT, 0, 2)],
)
def test_interrupted_it_goes_on_to_the_same_bits(calm, tmp_path, rays_folder, kill, workers, clients):
    """In mid-run, from its checkpoint: the round that was over is not trained again, and nothing is left behind."""
    command, environment = make_gated(tmp_path, "fedavg", workers=workers)
    process = start([*command, "--clients-at-once", str(clients)], tmp_path, **environment, RAY_TMPDIR=rays_folder)
    at_the_gate(tmp_path, process)
    family = descendants(process.pid)
    assert bool(list(Path(rays_folder).rglob("session_*"))) is (workers > 0)
    os.kill(process.pid, kill)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "The same command goes on from the last checkpoints." in " ".join(err.split())
    assert "Traceback" not in err
    assert all_gone(family | {process.pid})
    assert not list(Path(rays_folder).rglob("session_*"))
    interrupted = Store(tmp_path / "runs")
    assert {interrupted.status(name) for name in interrupted.run_ids() if ".gated." in name} == {"interrupted"}
    finished = bits(tmp_path / "runs")
    assert finished.items() <= calm.items()
    open_gate(tmp_path)
    status, _, err = here(make_gated(tmp_path, "fedavg")[0], tmp_path, **environment)
    assert status == 0, err
    assert {begun(tmp_path)["0", "0", client] for client in MODALITIES} == {1}
    found = bits(tmp_path / "runs")
    assert len(found) == 2
    assert found.items() <= calm.items()


def test_a_clock_that_is_moved_changes_nothing(calm, tmp_path):
    """Files from the future and from long ago: checkpoints and stores are recognised by content."""
    command, environment = make_gated(tmp_path)
    kill_at_the_gate(tmp_path, command, environment)
    assert list((tmp_path / "runs").glob("*/checkpoint.safetensors"))
    for number, file in enumerate(sorted((tmp_path / "runs").rglob("*"))):
        moment = 10 if number % 2 else 4_000_000_000
        os.utime(file, (moment, moment))
    status, _, err = here(command, tmp_path, **environment)
    assert status == 0, err
    assert {begun(tmp_path)["0", "0", client] for client in MODALITIES} == {1}
    found = bits(tmp_path / "runs")
    assert len(found) == 1
    assert found.items() <= calm.items()


def test_a_hanging_plugin_can_be_interrupted(tmp_path):
    process = start(make(tmp_path, "fedavg", make_hanging(tmp_path), rounds=3), tmp_path)
    wait_for(tmp_path, "hangs", process)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in err
    assert len(bits(tmp_path / "runs")) == 1
