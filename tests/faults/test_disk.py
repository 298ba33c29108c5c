"""Disks that are full, read-only or taken away, and files that are damaged: one message, nothing finished is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fedbench.store import load_results
from tests.faults.machine import (
    PATIENCE,
    all_gone,
    at_the_gate,
    bits,
    descendants,
    finish,
    here,
    kill_at_the_gate,
    make,
    make_gated,
    nothing_half_written,
    open_gate,
    start,
)
from tests.test_store import GOOD, RUN, write_run
from tests.toys import TOY, full, write_toy


@contextlib.contextmanager
def small_disk(folder, size: str):
    """A tmpfs of ``size`` mounted at ``folder``; skipped where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"a full disk is NOT tested: mounting a small one is not allowed here ({done.stderr.decode()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bits of the three runs on a disk with room."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert here(make(folder), folder)[0] == 0
    return bits(folder / "runs")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk(undisturbed, tmp_path, workers):
    """Room for some runs; the others fail with the reason, and go on to the same bits once there is room."""
    command = make(tmp_path, workers=workers)
    with small_disk(tmp_path / "runs", "900k"):
        status, out, err = finish(command, tmp_path)
        assert status in (1, 2) and "No space left" in " ".join((out + err).split())
        assert "Traceback" not in out + err
        assert ("failed: toy." in err) if status == 1 else (err.count("error:") == 1)
        kept = bits(tmp_path / "runs")
        nothing_half_written(tmp_path / "runs")
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "runs")], check=True)
        assert here(make(tmp_path), tmp_path)[0] == 0
        assert kept.items() <= undisturbed.items()
        assert bits(tmp_path / "runs") == undisturbed


def test_a_disk_that_fills_while_data_is_prepared(tmp_path):
    """Room for one case of six; once there is more, the others follow, to the same bytes as ``np.save`` writes."""
    data = write_toy(tmp_path / "toy", full(2), shape=(64, 64, 8))  # an image takes 128 KiB, its mask 32
    command = [sys.executable, "-m", "fedbench", "prepare", f"{TOY}={data}", "--workers", "1", "--out"]
    runs = tmp_path / "runs"
    with small_disk(runs, "250k"):
        status, out, err = here([*command, str(runs)], tmp_path)
        text = " ".join((out + err).split())
        assert status == 2 and "Traceback" not in text and err.count("error:") == 1, text
        assert "cannot write to" in text and "No space left" in text and "make room" in text, text
        assert len(list(runs.rglob("*.case.json"))) == 1
        subprocess.run(["mount", "-o", "remount,size=100m", str(runs)], check=True)
        assert here([*command, str(runs)], tmp_path)[0] == 0
        assert (data / "reads.log").read_text().splitlines().count("P00.CT.A.npz") == 1  # it is not read again
        files = sorted(runs.rglob("*.npy"))
        assert len(files) == 12
        for file in files:
            np.save(tmp_path / "array.npy", np.load(file))
            assert file.read_bytes() == (tmp_path / "array.npy").read_bytes()


def test_a_read_only_results_folder(tmp_path):
    """What is finished in it can be read, and stays what it is."""
    runs = tmp_path / "runs"
    with small_disk(runs, "100m"):
        assert here(make(tmp_path, "fedavg", rounds=2), tmp_path)[0] == 0
        before = bits(runs)
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        status, _, err = here(make(tmp_path, "fedavg", "fedprox", rounds=2), tmp_path)
        assert status == 2 and "cannot write results to" in err and "Traceback" not in err
        assert list(load_results(runs).runs["run_id"]) == list(before)
        subprocess.run(["mount", "-o", "remount,rw", str(runs)], check=True)
        assert len(before) == 1 and bits(runs) == before


@pytest.mark.parametrize("locks", ["read-only", "writable"])
def test_status_tells_the_damage_in_a_read_only_results_folder(fedbench, tmp_path, locks):
    """Nothing can be moved aside there, even where locks can be taken: every run has its line, the damaged one too."""
    runs = tmp_path / "runs"
    with contextlib.ExitStack() as disks:
        disks.enter_context(small_disk(runs, "1m"))
        if locks == "writable":
            disks.enter_context(small_disk(runs / ".locks", "1m"))
        write_run(runs, GOOD)
        (write_run(runs, RUN) / "cases.parquet").write_bytes(b"")
        before = sorted(runs.rglob("*"))
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        status, out, err = fedbench("status", "--out", "runs")
        states = {line.split()[-1]: line.split()[0] for line in out.splitlines()}
        assert status == 0 and (states[GOOD], states[RUN]) == ("done", "damaged"), out + err
        assert err == (
            f"damaged: {RUN}: cases.parquet does not match its checksum; left in runs/{RUN}: runs cannot be written "
            "(Read-only file system)\n"
        )
        assert f"{RUN}: damaged" in fedbench("show", RUN, "--out", "runs")[1]
        assert [path for path in sorted(runs.rglob("*")) if path.parent != runs / ".locks"] == before
        subprocess.run(["mount", "-o", "remount,rw", str(runs)], check=True)
        status, out, err = fedbench("status", "--out", "runs")
        assert status == 0 and "to do" in out and f"moved to runs/.quarantine/{RUN}" in err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_results_folder_deleted_while_running(calm, tmp_path, workers):
    """The prepared data goes with it: what has not begun fails and says so; the next call makes all of them."""
    command, environment = make_gated(tmp_path, "fedavg", workers=workers)
    process = start(command, tmp_path, **environment)
    at_the_gate(tmp_path, process)
    family = descendants(process.pid)
    shutil.rmtree(tmp_path / "runs")
    open_gate(tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, err
    assert "failed: toy.fedavg." in err
    assert "Traceback" not in out + err
    assert all_gone(family | {process.pid})
    status, _, err = here(make_gated(tmp_path, "fedavg")[0], tmp_path, **environment)
    assert status == 0, err
    found = bits(tmp_path / "runs")
    assert len(found) == 2
    assert found.items() <= calm.items()


def test_a_file_cut_short_while_nobody_looked(calm, tmp_path):
    """Of a run that was killed: its checkpoint in one copy of the results, its progress in another."""
    command, environment = make_gated(tmp_path)
    kill_at_the_gate(tmp_path, command, environment)
    for victim in ("checkpoint.safetensors", "progress.json"):
        copy = shutil.copytree(tmp_path / "runs", tmp_path / victim.partition(".")[0])
        cut = list(copy.glob(f"*/{victim}"))
        for file in cut:
            os.truncate(file, file.stat().st_size // 2)
        assert cut
        command[command.index("--out") + 1] = str(copy)
        status, _, err = here(command, tmp_path, **environment)
        assert status == 0, err
        found = bits(copy)
        assert len(found) == 1
        assert found.items() <= calm.items()
