"""Which commit holds the harness of a run: real repositories, and this project's own where its history is there."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from fedbench import registry
from fedbench.analysis.publishing.commits import COMMITS, commits_of, note
from fedbench.sources import code_digest
from tests.toys import ROOT

PUBLISHED = ROOT / "results" / "published"


def git(folder: Path, *arguments: str) -> str:
    named = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *named, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / "fedbench" / f"{name}.py").write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def sha(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@pytest.fixture
def checkout(tmp_path):
    """Two modules make a harness; where they are named has moved, and what else a commit changes does not matter."""
    folder = tmp_path / "checkout"
    (folder / "fedbench").mkdir(parents=True)
    git(folder, "init", "-q")
    commits = [
        committed(folder, registry='RESULT_MODULES = ("b", "a")', a="a = 1", b="b = 1"),
        committed(folder, a="a = 2"),
        committed(folder, registry="", sources='RESULT_MODULES = ("b", "a")', other="1"),
        committed(folder, b="b = 2"),
        committed(folder, sources='RESULT_MODULES = ("b", "gone")'),
    ]
    return folder, commits


def test_the_newest_commit_that_holds_a_harness_is_found(checkout):
    folder, commits = checkout
    first, second, third = sha("b = 1", "a = 1"), sha("b = 1", "a = 2"), sha("b = 2", "a = 2")
    assert commits_of([first, second, third, "0"], folder) == {first: commits[0], second: commits[2], third: commits[3]}


def test_without_a_history_nothing_is_known(tmp_path):
    assert commits_of([sha("x")], tmp_path) == {}
    assert note(tmp_path, tmp_path) == {} and not (tmp_path / COMMITS).exists()


def test_what_is_published_is_noted_and_what_was_noted_stays(checkout, tmp_path):
    folder, commits = checkout
    first, second = sha("b = 1", "a = 1"), sha("b = 1", "a = 2")
    (tmp_path / "published" / "ours").mkdir(parents=True)
    manifest = {
        "runs by": {"harness": first},
        "added": [{"runs by": {"harness": second}}, {"runs by": {"harness": "0"}}],
    }
    (tmp_path / "published" / "ours" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "published" / COMMITS).write_text(json.dumps({"earlier": "c"}))
    expected = {first: commits[0], second: commits[2], "earlier": "c"}
    assert note(tmp_path / "published", folder) == expected
    assert json.loads((tmp_path / "published" / COMMITS).read_text()) == expected


def test_the_commits_that_are_noted_hold_the_harnesses_of_what_is_published():
    noted = json.loads((PUBLISHED / COMMITS).read_text())
    if not (ROOT / ".git").exists():
        pytest.skip("no history of this project is here, so what results/published/commits.json says is not checked")
    missing = [c for c in noted.values() if subprocess.run(["git", "cat-file", "-e", c], cwd=ROOT).returncode]
    if missing:
        pytest.skip(f"the history here is cut off before {missing}, so what commits.json says is not checked")
    assert set(commits_of(noted, ROOT)) == set(noted)


def test_published_runs_can_be_repeated_by_the_algorithms_as_they_are():
    """`verify` refuses a run of another source; whoever edits an algorithm has to make its published runs again."""
    made = {
        (identity["algorithm"], identity["algorithm_code"])
        for file in PUBLISHED.glob("*/runs.parquet")
        for identity in map(json.loads, pd.read_parquet(file, columns=["identity"])["identity"])
    }
    names = {name for name, _ in made}
    now = {(name, code_digest(registry.load("algorithm", registry.find("algorithm", name)))) for name in names}
    assert made == now and len(names) > 6
