"""The built wheel, installed in an environment of its own, works outside the repository."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from fedbench import load_results

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a fresh environment that holds the wheel, and borrows only the dependencies of this one."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    kept = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in kept:
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "dist"), str(source)]
    subprocess.run(build, capture_output=True, check=True)
    (wheel,) = (place / "dist").glob("*.whl")
    venv.create(place / "env", with_pip=False, symlinks=True)
    python = place / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    (packages,) = (place / "env" / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")  # paths only: no editable install
    return python


def call(python: Path, folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_runs_and_brings_its_plugins_and_suites(python, tmp_path):
    code = "import fedbench; from fedbench.datasets.nuclei import LISTED; print(fedbench.__file__, LISTED.is_file())"
    where, has_data = call(python, tmp_path, "-c", code).split()
    assert Path(where).is_relative_to(python.parent.parent) and has_data == "True"
    assert "fedda-joint" in call(python, tmp_path, "-m", "fedbench", "list", "algorithms")
    assert "phantom-tumour" in call(python, tmp_path, "-m", "fedbench", "list", "datasets")
    assert "smoke" in call(python, tmp_path, "-m", "fedbench", "list", "suites")


def test_the_wheel_runs_the_smoke_suite_with_ray(python, tmp_path):
    out = call(python, tmp_path, "-m", "fedbench", "run", "--suite", "smoke", "--workers", "1")
    assert "4 to do" in out
    assert len(load_results(tmp_path / "results" / "runs").runs) == 4
    assert (tmp_path / "results" / "runs" / "figures" / "phantom-heart" / "overlays.png").exists()


def test_no_test_and_no_result_is_in_the_wheel(python):
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    assert not {"tests", "algorithms", "datasets", "results", "benchmarks"} & {p.name for p in packages.iterdir()}
