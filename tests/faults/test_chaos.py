"""The eyes of ``benchmarks.chaos``: what it counts is seen when it is there. The long run itself is no test."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from benchmarks.chaos import Matrix, _fitting
from benchmarks.processes import alive_after, family
from fedbench.store import seal
from tests.test_store import write_run

FIRST, SECOND = "toy.fedavg.s0.abc", "toy.fedavg.s1.def"


@pytest.fixture
def matrix(tmp_path):
    """Two finished runs that were looked at once."""
    matrix = Matrix(tmp_path / "suite.toml", tmp_path / "runs")
    write_run(matrix.root, FIRST)
    write_run(matrix.root, SECOND, seed=1)
    matrix.look()
    assert not counted(matrix)
    return matrix


def counted(matrix):
    return {name: n for name, n in matrix.seen.items() if n and name != "look"}


def test_what_stays_as_it_is_is_not_counted(matrix):
    matrix.look()
    assert not counted(matrix)


def test_a_lost_result_is_seen(matrix):
    (matrix.root / FIRST / "done").unlink()
    matrix.look()
    assert counted(matrix) == {"lost": 1}


def test_an_altered_result_is_seen_even_if_its_seal_fits(matrix):
    (matrix.root / FIRST / "features.npz").write_bytes(b"others")
    seal(matrix.root / FIRST)
    matrix.look()
    assert counted(matrix) == {"altered": 1}


@pytest.mark.parametrize("name", ["predictions.npz", ".cases.parquet.x1.part"])
def test_a_half_written_result_is_seen(matrix, name):
    folder = write_run(matrix.root, "toy.fedavg.s2.ghi", seed=2)
    (folder / name).write_bytes(b"hal")
    matrix.look()
    assert counted(matrix)["half-written"] >= 1


def test_runs_that_end_otherwise_than_undisturbed_are_seen(matrix, tmp_path):
    calm = Matrix(tmp_path / "suite.toml", tmp_path / "calm")
    write_run(calm.root, FIRST, seed=3)  # other scores
    write_run(calm.root, "toy.fedavg.s9.xyz", seed=9)
    calm.look()
    for root in (calm.root, matrix.root):  # what is no table here cannot be compared
        for name in ("checkpoint.safetensors", "predictions.npz", "features.npz"):
            for file in root.glob(f"*/{name}"):
                file.unlink()
    matrix.compare(calm)
    assert counted(matrix) == {"lost": 1, "altered": 1}


@pytest.mark.parametrize(
    ("status", "ended", "text", "fits"),
    [
        (-signal.SIGKILL, "kill driver", "", True),
        (130, "interrupt", "interrupted; the same command goes on", True),
        (-6, "terminate", "*** SIGTERM received", False),
        (130, "terminate", "Traceback (most recent call last)", False),
        (1, "", "failed: x: worker lost: ActorDiedError 3 times", True),
        (1, "", "failed: x: ValueError", False),
        (-9, "hung", "", False),
    ],
)
def test_the_end_of_a_start_is_judged(matrix, status, ended, text, fits):
    matrix.log.write_text(text)
    assert _fitting(status, ended, matrix) is fits


def test_a_process_left_behind_is_seen():
    """A grandchild that outlives its parent."""
    line = "print(subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL).pid, flush=True)"
    code = f"import subprocess, sys; {line}; sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    found = family(parent.pid)
    assert {child for child, _ in found} == {pid}
    parent.kill()
    parent.communicate()
    try:
        assert alive_after(found, 0) == found
    finally:
        subprocess.run(["kill", "-9", str(pid)], check=True)
    assert not alive_after(found, 10)
