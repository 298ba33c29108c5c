"""Every loader against every kind of broken file: one line that names the file and says what to do, nothing prepared.

The damage is done to real files of a miniature in the public layout; what is particular to a set has tests of its own.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedbench import registry
from fedbench.config import DataConfig
from fedbench.data.inspection import inventory
from fedbench.data.preparation import check, prepare
from fedbench.data.prepared import load
from fedbench.dataset import Case, Dataset
from fedbench.errors import UserError
from fedbench.federation import partition
from tests.datasets import test_amos, test_brats, test_chaos, test_mmotu, test_mmwhs, test_nnunet, test_nuclei, test_sts


def write_sts(folder: Path) -> Path:
    for number in range(8):
        test_sts.write_patient(folder / "ibsi_validation" / "nifti" / f"STS_{number:03d}", number)
    return folder


MINIATURES: dict[str, Callable[[Path], Path]] = {
    "amos": test_amos.write_amos,
    "brats": test_brats.write_2021,
    "chaos": test_chaos.write_chaos,
    "mmotu": test_mmotu.write_mmotu,
    "mmwhs": test_mmwhs.write_mmwhs,
    "nnunet": test_nnunet.write_nnunet,
    "nuclei": test_nuclei.write_nuclei,
    "sts": write_sts,
}
NIFTI = ("amos", "brats", "mmwhs", "nnunet", "sts")
every = pytest.mark.parametrize("name", MINIATURES)
nifti = pytest.mark.parametrize("name", NIFTI)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Each miniature, written once."""
    written: dict[str, tuple[Path, Path]] = {}

    def get(name: str) -> tuple[Path, Path]:
        if name not in written:
            top = tmp_path_factory.mktemp(name)
            written[name] = (top, MINIATURES[name](top / "data"))
        return written[name]

    return get


@pytest.fixture
def opened(originals, tmp_path) -> Callable[[str], tuple[Dataset, list[Case]]]:
    """A copy of a miniature, in a folder with spaces and letters beyond ASCII, and its cases."""

    def open_(name: str) -> tuple[Dataset, list[Case]]:
        top, root = originals(name)
        shutil.copytree(top, tmp_path / "Ünïcode 数据 folder", symlinks=True)
        return again(name, tmp_path / "Ünïcode 数据 folder" / root.relative_to(top))

    return open_


def again(name: str, root: Path) -> tuple[Dataset, list[Case]]:
    dataset = registry.load("dataset", registry.find("dataset", name))(root)
    return dataset, list(inventory(dataset).cases)


def image_of(case: Case) -> Path:
    """The first file of a case that is an image."""
    return next(path for path in case.sources if re.search(r"\.(nii\.gz|dcm|png|jpg)$", path.name, re.IGNORECASE))


def problems(dataset: Dataset, name: str, root: Path, tmp_path: Path, preparing: bool = False) -> list[str]:
    """What ``prepare --check`` says of the damaged folder.

    Args:
        preparing: see that ``prepare``, which reads in the same way, refuses it too and leaves no store.
    """
    try:
        damaged, _ = again(name, root)
        found = check(damaged, "v1", tmp_path / "cache").problems
        if preparing:
            with pytest.raises(UserError):
                prepare(damaged, "v1", tmp_path / "cache")
    except UserError as error:  # so broken that nothing can be listed
        found = [str(error)]
    assert not list((tmp_path / "cache").glob(f"{dataset.name}-*/dataset.json"))
    assert found and all("\n" not in problem and "Traceback" not in problem for problem in found)
    return found


@every
def test_an_untouched_copy_is_sound_and_makes_a_federation(name, opened, tmp_path):
    """The tests below mean nothing if the miniature is refused anyway."""
    dataset, cases = opened(name)
    assert check(dataset, "v1", tmp_path / "cache").problems == []
    prepared = load(prepare(dataset, "v1", tmp_path / "cache"))
    assert len(prepared.cases) == len(cases)
    federation = partition(prepared, DataConfig(test_fraction=0.2, val_fraction=0.4), 0)
    assert len(federation.clients) == len(dataset.modalities)
    assert {case.modality for case in prepared.cases} == set(dataset.modalities)
    assert all(len(case.voxels) == len(dataset.classes) for case in prepared.cases)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_format(path: Path) -> None:
    path.write_bytes(b"<html>404 not found</html>" * 40)


def remove(path: Path) -> None:
    path.unlink()


def link_out(path: Path) -> None:
    outside = path.parents[len(path.parents) - 4] / f"outside-{path.name}"
    shutil.move(path, outside)
    path.symlink_to(outside)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


@every
@pytest.mark.parametrize("damage", [truncate, empty, other_format, remove, link_out, broken_link])
@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_damaged_file_is_named(name, damage, which, opened, tmp_path):
    dataset, cases = opened(name)
    case = cases[len(cases) // 2]
    victim = image_of(case) if which == "image" else case.sources[-1]
    damage(victim)
    found = problems(dataset, name, dataset.path, tmp_path, preparing=damage in (truncate, remove))
    involved = [victim.parent.name, *(path.name for path in case.sources)]  # of a removed file, its partner is named
    assert any(name in problem for problem in found for name in involved), found


@every
def test_two_damaged_files_are_both_named(name, opened, tmp_path):
    dataset, cases = opened(name)
    first, last = image_of(cases[0]), image_of(cases[-1])
    assert first != last
    empty(first)
    truncate(last)
    found = " ".join(problems(dataset, name, dataset.path, tmp_path))
    assert first.name in found and last.name in found


@every
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(name, opened, tmp_path):
    dataset, cases = opened(name)
    victim = image_of(cases[0])
    victim.chmod(0)
    assert victim.name in " ".join(problems(dataset, name, dataset.path, tmp_path))


@every
def test_an_empty_folder_and_a_wrong_one(name, tmp_path):
    cls = registry.load("dataset", registry.find("dataset", name))
    (tmp_path / "wrong" / "notes").mkdir(parents=True)
    (tmp_path / "wrong" / "notes" / "readme.txt").write_text("nothing here")
    (tmp_path / "empty").mkdir()
    for folder in ("wrong", "empty"):
        with pytest.raises(UserError, match=folder) as caught:
            inventory(cls(tmp_path / folder))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such folder"):
        cls(tmp_path / "nowhere")


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    stored = nib.load(path)
    array = change(np.asanyarray(stored.dataobj))
    nib.save(nib.Nifti1Image(array, stored.affine if affine is None else affine), path)


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    array.flat[0] = np.nan
    return array


@nifti
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_nan, "NaN or infinite"),
        (lambda array: np.stack([array, array], axis=-1), "needs a 2-D or 3-D image"),
        (lambda array: np.zeros_like(array), "every voxel is 0"),
        (lambda array: array[..., :-1], "voxels, its image"),
    ],
)
def test_an_image_that_is_none(name, change, words, opened, tmp_path):
    dataset, cases = opened(name)
    victim = image_of(cases[0])
    rewrite(victim, change)
    assert any(
        victim.name in problem and words in problem for problem in problems(dataset, name, dataset.path, tmp_path)
    )


@nifti
def test_an_unknown_label_and_another_place(name, opened, tmp_path):
    dataset, cases = opened(name)
    mask = next(path for path in cases[0].sources if path.name.endswith(".nii.gz") and path != image_of(cases[0]))
    original = gzip.decompress(mask.read_bytes())

    def stray(array: np.ndarray) -> np.ndarray:
        array = np.array(array)
        array.flat[3] = 99
        return array

    rewrite(mask, stray)
    found = problems(dataset, name, dataset.path, tmp_path)
    assert any(mask.name in problem and "99" in problem for problem in found), found
    mask.write_bytes(gzip.compress(original))
    rewrite(mask, lambda array: array, nib.load(mask).affine + shift(50.0))
    found = problems(dataset, name, dataset.path, tmp_path)
    assert any(mask.name in problem and "affines differ" in problem for problem in found), found


def shift(mm: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[0, 3] = mm
    return matrix


@every
def test_a_case_listed_twice_is_refused(name, opened):
    """As by two files that differ in their ending only."""
    dataset, cases = opened(name)
    listed = [*cases, replace(cases[0], site=cases[0].site)]
    dataset.cases = lambda: listed
    (problem,) = inventory(dataset).problems
    assert f"case {cases[0].id} is there twice" in problem
