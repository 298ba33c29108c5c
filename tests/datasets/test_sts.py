"""A miniature in the layout of the real set, and the real set where it is at hand."""

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedbench.datasets.sts import SoftTissueSarcoma
from fedbench.errors import UserError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "sts"
GRIDS = {  # as stored (left, posterior, superior): shape, spacing
    "CT": ((12, 14, 6), (0.977, 0.977, 3.27)),
    "MR_T1": ((8, 9, 5), (1.172, 1.172, 3.27)),
    "PET": ((4, 5, 6), (5.469, 5.469, 3.27)),
}


def write_patient(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name, (shape, spacing) in GRIDS.items():
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
        mask = np.zeros(shape, np.uint8)
        mask[1:3, 1:4, 2:4] = 1
        nib.save(nib.Nifti1Image(rng.normal(size=shape).astype(np.float32), affine), folder / f"{name}_image.nii.gz")
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{name}_mask.nii.gz")


def write_sts(folder: Path, patients: Iterable[int] = range(24)) -> Path:
    """The patients with these numbers, under ``ibsi_validation/nifti``."""
    for seed, number in enumerate(patients):
        write_patient(folder / "ibsi_validation" / "nifti" / f"STS_{number:03d}", seed)
    (folder / "ibsi_validation" / "LICENSE.md").write_text("CC BY 3.0")
    (folder / "index.csv").touch()
    return folder


@pytest.fixture
def root(tmp_path):
    return write_sts(tmp_path, (10, 2))


@pytest.mark.parametrize("below", ["", "ibsi_validation", "ibsi_validation/nifti"])
def test_lists_patients_by_modality(root, below):
    cases = list(SoftTissueSarcoma(root / below).cases())
    assert [case.id for case in cases] == [f"{p}/{m}" for p in ("STS_002", "STS_010") for m in ("CT", "MR", "PET")]
    folder = root / "ibsi_validation" / "nifti" / "STS_002"
    assert cases[1].sources == (folder / "MR_T1_image.nii.gz", folder / "MR_T1_mask.nii.gz")


def test_reads_in_ras_on_the_grid_of_the_modality(root):
    for case, (name, (shape, spacing)) in zip(SoftTissueSarcoma(root).cases(), GRIDS.items(), strict=False):
        volume = case.read()
        assert volume.image.shape == (1, *shape) and volume.label.shape == shape
        assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
        assert volume.spacing == pytest.approx(spacing, rel=1e-6)
        stored = nib.load(root / "ibsi_validation" / "nifti" / "STS_002" / f"{name}_image.nii.gz").get_fdata()
        np.testing.assert_allclose(volume.image[0], stored[::-1, ::-1], rtol=1e-6)
        assert volume.label[shape[0] - 3 : shape[0] - 1, shape[1] - 4 : shape[1] - 1, 2:4].all()
        assert volume.label.sum() == 2 * 3 * 2


def test_cases_reads_no_image(root):
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(b"")
    cases = list(SoftTissueSarcoma(root).cases())
    assert len(cases) == 6
    with pytest.raises(UserError, match=r"CT_image\.nii\.gz: the file is empty"):
        cases[0].read()


@pytest.mark.parametrize("name", ["PET_mask.nii.gz", "MR_T1_image.nii.gz"])
def test_missing_file(root, name):
    (root / "ibsi_validation" / "nifti" / "STS_010" / name).unlink()
    problems = [str(found) for found in SoftTissueSarcoma(root).cases() if isinstance(found, UserError)]
    assert len(problems) == 1 and f"STS_010/{name} is missing" in problems[0]


def test_truncated_file(root):
    path = root / "ibsi_validation" / "nifti" / "STS_002" / "CT_mask.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"STS_002/CT_mask\.nii\.gz: cut short"):
        SoftTissueSarcoma(root).cases()[0].read()


def test_no_patients(tmp_path):
    with pytest.raises(UserError, match="no patient folders STS_"):
        list(SoftTissueSarcoma(tmp_path).cases())
    with pytest.raises(UserError, match="no such folder"):
        SoftTissueSarcoma(tmp_path / "none")
    with pytest.raises(UserError, match="needs its folder"):
        SoftTissueSarcoma()


def test_real_data():
    if not REAL.is_dir():
        reason = f"the real soft-tissue sarcoma data are NOT tested: no folder {REAL}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with (REAL / "index.csv").open(newline="") as file:
        index = {row["patient"]: row for row in csv.DictReader(file)}
    dataset = SoftTissueSarcoma(REAL)
    cases = list(dataset.cases())
    assert len(cases) == 24 * 3 and {case.patient for case in cases} == set(index)
    for case in cases:
        volume, row = case.read(), index[case.patient]
        name = {"MR": "MR_T1"}.get(case.modality, case.modality)
        assert "x".join(map(str, volume.label.shape)) == row[f"{name}_shape"]
        assert "x".join(f"{size:.2f}" for size in volume.spacing) == row[f"{name}_spacing_mm"]
        assert np.count_nonzero(volume.label) == int(row[f"{name}_mask_voxels"]) > 0
        assert set(np.unique(volume.label)) == {0, 1}
        scaled = dataset.intensity[case.modality](volume.image)
        assert abs(scaled.mean()) < 1e-3 and abs(scaled.std() - 1) < 1e-3
        # The tumour is seen: it keeps a spread of grey levels, and most of it is inside the range.
        tumour = scaled[0][volume.label == 1]
        assert tumour.std() > 0.02 and np.mean((tumour > scaled.min()) & (tumour < scaled.max())) > 0.5
