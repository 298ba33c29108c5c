"""What ``plan`` says of the time that runs will take."""

from __future__ import annotations

from pathlib import Path

from fedbench.execution import estimate, scheduler
from tests.test_cli import TINY_SUITE


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
