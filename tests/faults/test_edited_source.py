"""fedbench is edited, or checked out anew, while it runs: whatever computes a run is what the run says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fedbench.sources import harness_digest
from fedbench.store import DONE, RUN, read_json
from tests import plugins
from tests.faults.machine import finish_fresh, make, start_fresh, wait_for
from tests.toys import ROOT, refused

EDITED = "models.py"  # part of what computes


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder under version control with all of fedbench, of which nothing else is a copy."""
    folder = tmp_path / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fedbench", folder / "fedbench", ignore=unwanted)
    for name in ("algorithms", "datasets"):
        shutil.copytree(ROOT / name, folder / "fedbench" / name, ignore=unwanted)
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def commit(folder: Path) -> str:
    """Commit everything; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a state")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("workers", [0, 1])
def test_edited_and_committed_while_data_is_prepared(checkout, tmp_path, workers):
    """This process computes with what it imported; workers would import what is there now, and are not hired."""
    first = git(checkout, "rev-parse", "HEAD").strip()
    command = make(tmp_path, "fedavg", rounds=1, workers=workers)
    (tmp_path / "toy" / "slow").touch()
    process = start_fresh(command, tmp_path, PYTHONPATH=str(checkout))
    wait_for(tmp_path / "toy", "reads.log", process)
    with open(checkout / "fedbench" / EDITED, "a") as file:
        file.write("# edited\n")
    assert commit(checkout) != first
    out, err = process.communicate()
    if workers:
        refused((process.returncode, out, err), "changed since the runs were planned", "put it back", "start again")
        return
    assert process.returncode == 0, err
    (file,) = (tmp_path / "runs").glob(f"*/{RUN}")
    run = read_json(file)
    assert run["identity"]["harness"] == harness_digest()
    assert run["git"] == {"commit": first, "modified": False}


def test_a_worker_hired_after_an_edit_computes_nothing(checkout, tmp_path):
    """The first one dies in round 2; put back, the source goes on with its run."""
    source = checkout / "fedbench" / EDITED
    edits = f"marker.touch(); open({str(source)!r}, 'a').write('# edited\\n')"
    fragile = plugins.FRAGILE.replace("marker.touch()", edits)
    assert edits in fragile
    command = make(tmp_path, plugins.write(tmp_path, "fragile", fragile), rounds=4, workers=1)
    variables = {"PYTHONPATH": str(checkout), "FEDBENCH_TEST_MARKER": str(tmp_path / "marker")}
    before = source.read_bytes()
    ended = finish_fresh(command, tmp_path, **variables)
    refused(ended, "no worker can be started: fedbench's source is", "since this command began", "put it back")
    assert source.read_bytes() != before and not list((tmp_path / "runs").glob(f"*/{DONE}"))

    source.write_bytes(before)
    status, _, err = finish_fresh(command, tmp_path, **variables)
    assert status == 0, err
    (run,) = (tmp_path / "runs").glob(f"*/{DONE}")
    assert read_json(run.with_name(RUN))["identity"]["harness"] == harness_digest()
