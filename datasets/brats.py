"""Gliomas in four MR sequences: BraTS 2021, and the adult gliomas (GLI) of BraTS 2023.

Baid et al., 2021, https://arxiv.org/abs/2107.02314; Menze et al., IEEE Trans Med Imaging 34:1993-2024, 2015,
https://doi.org/10.1109/TMI.2014.2377694; Bakas et al., Sci Data 4:170117, 2017, https://doi.org/10.1038/sdata.2017.117.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedbench.data.folders import by_stem, visible
from fedbench.data.imaging import read_pair
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError

DEPTH = 3  # training/ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-00000-000


@dataclass(frozen=True, eq=False)
class Edition:
    """How one year's set is named and labelled.

    Attributes:
        folder: pattern of a patient's folder: the patient, and the time point where the edition has one.
        joint: what stands between the folder's name and the sequence in a file's name.
        sequences: what the modalities are called in the names of files.
        labels: of the necrotic core, the oedema and the enhancing tumour in the mask file.
    """

    name: str
    folder: re.Pattern[str]
    joint: str
    sequences: dict[str, str]
    labels: tuple[int, int, int]


EDITIONS = (
    Edition(
        "BraTS 2021",
        re.compile(r"(?P<patient>BraTS2021_\d{5})(?P<part>)"),
        "_",
        {"T1": "t1", "T1ce": "t1ce", "T2": "t2", "FLAIR": "flair"},
        (1, 2, 4),
    ),
    Edition(
        "BraTS 2023",
        re.compile(r"(?P<patient>BraTS-GLI-\d{5})-(?P<part>\d{3})"),
        "-",
        {"T1": "t1n", "T1ce": "t1c", "T2": "t2w", "FLAIR": "t2f"},
        (1, 2, 3),
    ),
)


class BrainTumours(Dataset):
    """Gliomas in T1, T1 with contrast agent, T2 and FLAIR MR (BraTS 2021, or 2023 GLI).

    The folder holds the training set, one folder per patient, of one of the two editions:
    ``BraTS2021_NNNNN/BraTS2021_NNNNN_{t1,t1ce,t2,flair,seg}.nii.gz`` (labels 1, 2, 4), or
    ``BraTS-GLI-NNNNN-NNN/BraTS-GLI-NNNNN-NNN-{t1n,t1c,t2w,t2f,seg}.nii.gz`` (labels 1, 2, 3), where the last three
    digits are the time point: several scans of one patient stay together. Patients' folders may lie up to two folders
    deeper; what lies below a folder with "validation" in its name has no masks and is ignored. Files may be unpacked
    (``.nii``), and each may lie in a folder of its name, as in copies on Kaggle
    (``BraTS2021_00000_flair.nii/00000057_brain_flair.nii``). BraTS 2023 contains the patients of 2021, so the two are
    never mixed; the labels of another edition, such as the 4 of BraTS 2024 (resection cavity), are refused.

    The four sequences lie on one grid of 1 mm, without the skull, and share one mask. Labels exclude one another;
    scored are the usual, overlapping regions: the whole tumour, its core (necrotic and enhancing) and what enhances.
    """

    name = "brats"
    modalities = ("T1", "T1ce", "T2", "FLAIR")
    classes = ("necrotic-core", "oedema", "enhancing")
    regions = {"whole-tumour": (1, 2, 3), "tumour-core": (1, 3), "enhancing": (3,)}
    # Of the whole volume, five sixths of which are zeros around the brain: 99.9 is about 99.4 within the brain.
    intensity = dict.fromkeys(("T1", "T1ce", "T2", "FLAIR"), Intensity("percentile", 0.0, 99.9))
    spacing = (2.0, 2.0, 4.0)
    size = (96, 96)
    mirror_axes = (0,)  # a brain has two alike halves
    licence = "BraTS 2021: CC BY 4.0 (as on TCIA); 2023: terms of the challenge, accepted at registration"
    citation = (
        "Baid U, Ghodasara S, Mohan S, et al. The RSNA-ASNR-MICCAI BraTS 2021 Benchmark on Brain Tumor Segmentation "
        "and Radiogenomic Classification. arXiv:2107.02314, 2021. "
        "Menze BH, Jakab A, Bauer S, et al. The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). "
        "IEEE Transactions on Medical Imaging 34(10):1993-2024, 2015, doi:10.1109/TMI.2014.2377694. "
        "Bakas S, Akbari H, Sotiras A, et al. Advancing The Cancer Genome Atlas glioma MRI collections with expert "
        "segmentation labels and radiomic features. Scientific Data 4:170117, 2017, doi:10.1038/sdata.2017.117."
    )
    expected = "1251 scans in all four sequences; in BraTS 2021 each of another patient"
    where = (
        "The training sets are on Synapse (challenges BraTS 2021 and BraTS 2023) after registration; BraTS 2021 also "
        "on The Cancer Imaging Archive, collection RSNA-ASNR-MICCAI-BraTS-2021."
    )

    def cases(self) -> Iterator[Case | UserError]:
        """Yield the four sequences of every scan, by patient and time; a :class:`UserError` for what is missing.

        Raises:
            UserError: there is no patient, the folder mixes editions, or no patient has a mask.
        """
        edition, folders = self._scans()
        files = [by_stem(visible(folder)) for folder in folders]
        masks = [
            found.get(f"{folder.name}{edition.joint}seg") for folder, (found, _) in zip(folders, files, strict=True)
        ]
        if not any(masks):
            raise UserError(
                f"dataset '{self.name}': none of the {len(folders)} patients in {self.path} has a mask "
                f"(*{edition.joint}seg.nii.gz); give the training set, not the validation set. {self.where}"
            )
        seen: dict[str, Path] = {}
        for folder, (found, twice), mask in zip(folders, files, masks, strict=True):
            other = seen.setdefault(folder.name, folder)
            if other != folder:
                yield UserError(f"{folder}: the same scan lies in {other} too; keep one of the two.")
                continue
            yield from twice
            if mask is None:
                yield UserError(f"{_missing(folder, edition, 'seg')}; add it, or remove the patient's folder.")
                continue
            for modality, sequence in edition.sequences.items():
                image = found.get(f"{folder.name}{edition.joint}{sequence}")
                if image is None:
                    yield UserError(f"{_missing(folder, edition, sequence)}; add it, or remove the patient's folder.")
                else:
                    yield _case(edition, folder.name, modality, image, mask)

    def _scans(self) -> tuple[Edition, list[Path]]:
        """Return the edition, and the folder of every scan sorted by name."""
        assert self.path is not None
        found: dict[Edition, list[Path]] = {}
        for path in (path for depth in range(DEPTH) for path in visible(self.path, "*/" * depth + "BraTS*")):
            above = path.relative_to(self.path).parts[:-1]
            if path.is_dir() and not any("validation" in name.lower() for name in above):
                for edition in EDITIONS:
                    if edition.folder.fullmatch(path.name):
                        found.setdefault(edition, []).append(path)
        if not found:
            raise UserError(
                f"dataset '{self.name}': no patient folders BraTS2021_NNNNN or BraTS-GLI-NNNNN-NNN in {self.path}, nor "
                f"up to two folders below it; give the folder of the training set. {self.where}"
            )
        if len(found) > 1:
            one, other = (folders[0] for folders in found.values())
            raise UserError(
                f"dataset '{self.name}': {self.path} mixes editions, such as {one} and {other}; they share patients: "
                "give the folder of one edition."
            )
        edition, folders = found.popitem()
        return edition, sorted(folders, key=lambda folder: (folder.name, folder))


def _case(edition: Edition, name: str, modality: str, image: Path, mask: Path) -> Case:
    match = edition.folder.fullmatch(name)
    assert match is not None
    read = partial(read_pair, image, mask, edition.labels)
    return Case(match["patient"], modality, read, sources=(image, mask), part=match["part"])


def _missing(folder: Path, edition: Edition, sequence: str) -> str:
    return f"{folder / f'{folder.name}{edition.joint}{sequence}.nii.gz'} is missing"
