"""Fifteen abdominal organs in CT and MR: AMOS 2022, the Abdominal Multi-Organ Segmentation challenge.

Ji et al., NeurIPS 2022 Datasets and Benchmarks, https://arxiv.org/abs/2206.08023.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedbench.data.folders import by_stem, pair, visible
from fedbench.data.imaging import read_pair
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError

CT_UP_TO, MR_UP_TO = 500, 600  # numbers of the scans
FILES = "amos_[0-9][0-9][0-9][0-9].nii*"
SPELLED = {"arota": "aorta"}  # in the official dataset.json


class AbdominalOrgans(Dataset):
    """Fifteen abdominal organs in CT and MR of different patients (AMOS 2022).

    The folder holds ``imagesTr/amos_NNNN.nii.gz``, ``labelsTr`` with files of the same names, and ``dataset.json``; the
    folder above it will do too, and files may be unpacked (``.nii``). ``imagesVa`` is read as well where ``labelsVa``
    is there; ``imagesTs``, which has no public labels, is ignored. The number tells the modality: up to 500 CT, above
    MR. Where ``dataset.json`` is there, its labels must be the official ones. Not every scan shows every organ: many
    end above the bladder, and some organs have been removed. CT is in HU.
    """

    name = "amos"
    modalities = ("CT", "MR")
    classes = (
        "spleen", "right-kidney", "left-kidney", "gall-bladder", "esophagus", "liver", "stomach", "aorta", "postcava",
        "pancreas", "right-adrenal-gland", "left-adrenal-gland", "duodenum", "bladder", "prostate-uterus",
    )  # fmt: skip
    intensity = {"CT": Intensity("window", -160.0, 240.0), "MR": Intensity("percentile", 0.5, 99.5)}
    spacing = (2.0, 2.0, 5.0)
    size = (160, 160)
    licence = "CC BY 4.0 (as on Zenodo), https://creativecommons.org/licenses/by/4.0/"
    citation = (
        "Ji Y, Bai H, Ge C, et al. AMOS: A Large-Scale Abdominal Multi-Organ Benchmark for Versatile Medical Image "
        "Segmentation. Advances in Neural Information Processing Systems 35, Datasets and Benchmarks Track, 2022, "
        "arXiv:2206.08023. Data: Zenodo, 2022, doi:10.5281/zenodo.7262581."
    )
    expected = "300 CT and 60 MR: 200 and 40 for training, 100 and 20 for validation"
    where = "It is on Zenodo, record 7262581, file amos22.zip."

    def cases(self) -> Iterator[Case | UserError]:
        """Yield every labelled scan, by number; a :class:`UserError` where an image or its labels are missing.

        Raises:
            UserError: the folder is another, a modality is missing altogether, or ``dataset.json`` names other labels.
        """
        root = self._root()
        yield from self._check_labels(root / "dataset.json")
        images, twice = _scans(root, "images")
        labels, twice_labels = _scans(root, "labels")
        for modality in self.modalities:
            if not any(_modality(name) == modality for name in images):
                numbers = f"up to {CT_UP_TO}" if modality == "CT" else f"{CT_UP_TO + 1} to {MR_UP_TO}"
                raise UserError(
                    f"dataset '{self.name}': no {modality} (numbers {numbers}) in {root / 'imagesTr'}; "
                    f"add its images and labels. {self.where}"
                )
        yield from (*twice, *twice_labels)
        for found in pair(images, labels):
            yield found if isinstance(found, UserError) else self._case(*found)

    def _root(self) -> Path:
        assert self.path is not None
        here = [folder for folder in (self.path, *visible(self.path)) if visible(folder / "imagesTr", FILES)]
        if not here:
            raise UserError(
                f"dataset '{self.name}': no imagesTr/amos_NNNN.nii.gz in {self.path} nor in a folder below it; "
                f"give the folder that holds imagesTr and labelsTr. {self.where}"
            )
        if len(here) > 1 and here[0] != self.path:
            raise UserError(f"dataset '{self.name}': {here[0]} and {here[1]} both hold scans; give one of them.")
        if not (here[0] / "labelsTr").is_dir():
            raise UserError(
                f"dataset '{self.name}': the folder {here[0] / 'labelsTr'} is missing; add it. {self.where}"
            )
        return here[0]

    def _check_labels(self, file: Path) -> Iterator[UserError]:
        """Yield a problem where ``file`` cannot be read.

        Raises:
            UserError: it names other labels than ``classes``.
        """
        if not file.is_file():
            return
        try:
            labels = json.loads(file.read_text(encoding="utf-8")).get("labels", {})
            given = dict(_entry(key, value) for key, value in labels.items())
        except (OSError, ValueError, AttributeError):
            yield UserError(f"{file}: cannot be read as JSON with labels by number; download it again, or remove it.")
            return
        official = dict(enumerate(("background", *self.classes)))
        for number in sorted(official.keys() | given.keys()) if given else ():
            if _letters(given.get(number, "")) != _letters(official.get(number, "")):
                raise UserError(
                    f"{file}: label {number} is '{given.get(number, 'missing')}', of AMOS 2022 it is "
                    f"'{official.get(number, 'missing')}': these labels are coded in another way. {self.where}"
                )

    def _case(self, name: str, image: Path, label: Path) -> Case | UserError:
        modality = _modality(name)
        if not modality:
            return UserError(f"{image}: numbers above {MR_UP_TO} are not among the labelled scans; remove it.")
        values = tuple(range(1, len(self.classes) + 1))
        return Case(name, modality, partial(read_pair, image, label, values), sources=(image, label))


def _scans(root: Path, kind: str) -> tuple[dict[str, Path], list[UserError]]:
    """Return images or labels by name, of training and (where it is labelled) validation; and what is there twice."""
    parts = ("Tr", "Va") if (root / "labelsVa").is_dir() else ("Tr",)
    return by_stem(path for part in parts for path in visible(root / f"{kind}{part}", FILES))


def _modality(name: str) -> str:
    number = int(name.removeprefix("amos_"))
    return "CT" if number <= CT_UP_TO else "MR" if number <= MR_UP_TO else ""


def _entry(key: str, value: object) -> tuple[int, str]:
    """Return label and organ of an entry ``"1": "spleen"``, or ``"spleen": 1`` as newer tools write it."""
    return (value, key) if isinstance(value, int) else (int(key), str(value))


def _letters(organ: str) -> str:
    name = re.sub("[^a-z]", "", organ.lower())
    return SPELLED.get(name, name)
