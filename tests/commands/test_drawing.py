"""``figures`` as a user meets it: what is written, what is refused, and that published results give the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fedbench.analysis import figures
from fedbench.analysis.evidence import Condition
from tests.analysis.evidence_rows import evidence, write_store

RUNS = Path("results/runs")
SKIPPED = "no discriminators of toy: no algorithm here trains a discriminator\n"


@pytest.fixture
def runs(fedbench, tmp_path) -> Path:
    """Three algorithms on six patients; ``fedbench`` has moved to ``tmp_path``."""
    return write_store(RUNS, evidence((Condition("toy"),), ("fedavg", "moon", "local"), seeds=(0, 1), patients=6))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_published_results_give_the_same_files(fedbench, runs, monkeypatch):
    some = ("gallery", "curves", "transfer", "forest", "qualitative", "cost")
    monkeypatch.setattr(figures, "FIGURES", {n: figures.FIGURES[n] for n in (*some, "discriminators")})
    status, out, err = fedbench("figures")
    assert (status, err) == (0, "")
    assert out == f"{SKIPPED}6 figures, 12 files in results/runs/figures\n"
    assert fedbench("publish", "all")[0] == 0
    only = [word for name in some for word in ("--only", name)]
    assert fedbench("figures", *only, "--from", "results/published/all", "--to", "elsewhere")[0] == 0
    ours, theirs = digests(RUNS / "figures"), digests(Path("elsewhere"))
    assert len(ours) == 12 + 1
    del ours["captions.txt"], theirs["captions.txt"]
    assert theirs == ours
    assert "toy.forest.pdf · toy.forest.png\nMean paired difference to fedavg" in (
        Path("elsewhere/captions.txt").read_text(encoding="utf-8")
    )


def test_one_figure_against_another_reference(fedbench, runs):
    assert fedbench("figures", "--only", "forest", "--reference", "moon", "--to", "here")[0] == 0
    assert sorted(digests(Path("here"))) == ["captions.txt", "toy.forest.pdf", "toy.forest.png"]
    assert "difference to moon" in Path("here/captions.txt").read_text(encoding="utf-8")


def test_mistakes_are_named(fedbench, runs):
    for words, expected in (
        (["--only", "forst"], "--only forst: no such figure; did you mean 'forest'?"),
        (["--from", "nowhere"], "no results in nowhere"),
        (["--reference", "fedsgd"], "no scores of the reference algorithm 'fedsgd'"),
    ):
        status, _, err = fedbench("figures", *words)
        assert status == 2 and expected in err
