"""Whole hearts in CT and MR: Multi-Modality Whole Heart Segmentation (MM-WHS), a challenge of MICCAI 2017.

Zhuang and Shen, Med Image Anal 31:77-87, 2016, https://doi.org/10.1016/j.media.2016.02.006; Zhuang et al., Med Image
Anal 58:101537, 2019, https://doi.org/10.1016/j.media.2019.101537.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fedbench.data.folders import by_stem, pair, visible
from fedbench.data.imaging import read_pair
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError
from fedbench.parameters import Parameters, hyperparameter

VALUES = {  # in the label files
    "myocardium": (205,),
    "left-atrium": (420, 421),  # 421: stray voxels in the public files
    "left-ventricle": (500,),
    "ascending-aorta": (820,),
    "right-ventricle": (600,),
    "right-atrium": (550,),
    "pulmonary-artery": (850,),
}
COMMON = tuple(VALUES)[:4]
DEPTH = 4  # MM-WHS 2017 Dataset/ct_train/ct_train/ct_train_1001_image.nii.gz


class WholeHeart(Dataset):
    """Whole hearts in CT and MR of different patients (MM-WHS 2017).

    The folder holds ``ct_train/ct_train_1NNN_image.nii.gz`` and ``ct_train_1NNN_label.nii.gz``, and the same with
    ``mr``; these folders may lie deeper (``MM-WHS 2017 Dataset/ct_train/ct_train``), and files may be unpacked
    (``.nii``). ``ct_test`` and ``mr_test``, which have no public labels, are ignored. CT and MR use the same numbers
    for different people, so patients are called ``ct-1001`` and ``mr-1001``.

    Labelled are the blood cavities of the four chambers, the myocardium of the left ventricle, the ascending aorta and
    the pulmonary artery. By default the classes are the four that work across modalities commonly uses, and the rest is
    background; ``structures=all`` makes classes of all seven. CT is angiography, in HU; MR is balanced steady-state
    free precession, and its slices are often not axial, nor quite along the axes of the body.
    """

    name = "mmwhs"
    modalities = ("CT", "MR")
    classes = COMMON
    intensity = {"CT": Intensity("window", -200.0, 500.0), "MR": Intensity("percentile", 0.5, 99.5)}
    spacing = (2.0, 2.0, 4.0)
    size = (96, 96)
    licence = "terms of the MM-WHS challenge, accepted at registration"
    citation = (
        "Zhuang X, Shen J. Multi-scale patch and multi-modality atlases for whole heart segmentation of MRI. "
        "Medical Image Analysis 31:77-87, 2016, doi:10.1016/j.media.2016.02.006. "
        "Zhuang X, Li L, Payer C, et al. Evaluation of algorithms for Multi-Modality Whole Heart Segmentation: "
        "An open-access grand challenge. Medical Image Analysis 58:101537, 2019, doi:10.1016/j.media.2019.101537."
    )
    expected = "20 patients in CT and 20 other patients in MR"
    where = "It is handed out by the organisers of the challenge MM-WHS (Fudan University) after registration."

    class Params(Parameters):
        structures: Literal["common", "all"] = hyperparameter(
            "common", doc="common: myocardium, left atrium and ventricle, aorta; all: the seven labelled structures"
        )

    def __init__(self, path: Path | str | None = None, **params: Any) -> None:
        super().__init__(path, **params)
        if self.params.structures == "all":
            self.classes = tuple(VALUES)

    def cases(self) -> Iterator[Case | UserError]:
        """Yield the CT, then the MR, by number; a :class:`UserError` where an image or its labels are missing.

        Raises:
            UserError: CT or MR is missing altogether.
        """
        for modality, (images, labels, problems) in [(name, self._files(name)) for name in self.modalities]:
            yield from problems
            for found in pair(images, labels):
                yield found if isinstance(found, UserError) else self._case(modality, *found)

    def _files(self, modality: str) -> tuple[dict[str, Path], dict[str, Path], list[UserError]]:
        """Return images and labels by number, and a problem for every file found twice."""
        assert self.path is not None
        train = f"{modality.lower()}_train"
        paths = [path for depth in range(DEPTH) for path in visible(self.path, "*/" * depth + f"{train}_*")]
        stems, problems = by_stem(paths)
        named = [(re.fullmatch(rf"{train}_(\d+)_(image|label)", stem), path) for stem, path in stems.items()]
        images, labels = (
            {match[1]: path for match, path in named if match and match[2] == kind} for kind in ("image", "label")
        )
        if not images and not labels:
            raise UserError(
                f"dataset '{self.name}': no {train}_*_image.nii.gz in {self.path}, nor in a folder {train} below it; "
                f"give the folder that holds both ct_train and mr_train. {self.where}"
            )
        return images, labels, problems

    def _case(self, modality: str, number: str, image: Path, label: Path) -> Case:
        known = {value: name for name, values in VALUES.items() for value in values}
        chosen = {value: self.classes.index(name) + 1 if name in self.classes else 0 for value, name in known.items()}
        read = partial(read_pair, image, label, chosen)
        return Case(f"{modality.lower()}-{number}", modality, read, sources=(image, label))
