"""Livers in CT and in three MR sequences: CHAOS, combined (CT-MR) healthy abdominal organ segmentation, ISBI 2019.

Kavur et al., Med Image Anal 69:101950, 2021, https://doi.org/10.1016/j.media.2020.101950.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedbench.data.dicom import read_series
from fedbench.data.folders import visible
from fedbench.data.imaging import as_volume, to_ras
from fedbench.dataset import Case, Dataset, Intensity, Volume
from fedbench.errors import UserError

SERIES = {  # modality -> below a patient's folder, the folders of the slices and of the ground truth
    "CT": ("DICOM_anon", "Ground"),
    "T1-in": ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground"),
    "T1-out": ("T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground"),
    "T2": ("T2SPIR/DICOM_anon", "T2SPIR/Ground"),
}
SCANNERS = {"CT": ("CT",), "MR": ("T1-in", "T1-out", "T2")}  # folder -> modalities
Levels = tuple[tuple[int, int, int], ...]  # of a ground truth picture: from, to, label; no other level may occur
LEVELS: dict[str, Levels] = {
    "CT": ((0, 0, 0), (1, 1, 1), (255, 255, 1)),
    "MR": ((0, 0, 0), (55, 70, 1), (110, 135, 0), (175, 200, 0), (240, 255, 0)),
}


class Chaos(Dataset):
    """The liver in CT, and in other people in MR: T1 in phase, T1 out of phase and T2 (CHAOS).

    The folder is ``Train_Sets`` as unpacked, or one that holds it (``CHAOS_Train_Sets`` too); the labels of
    ``Test_Sets`` are not public. It holds ``CT/<number>`` and ``MR/<number>``, which are different people under the
    same numbers: patients are called ``CT-1`` and ``MR-1``. Below a CT patient lie ``DICOM_anon/*.dcm`` and
    ``Ground/*.png``, below an MR patient ``T1DUAL/DICOM_anon/InPhase`` and ``OutPhase``, ``T1DUAL/Ground`` for both
    phases, ``T2SPIR/DICOM_anon`` and ``T2SPIR/Ground``. MR also shows kidneys and spleen, which are background here.

    A ground truth picture does not say where it lies. The first picture by name belongs to the first slice by name
    (numbers in names counting as numbers), and so on: ``liver_GT_000.png`` to ``i0000,0000b.dcm``,
    ``IMG-0004-00002.png`` to ``IMG-0004-00002.dcm`` in phase and to ``IMG-0004-00001.dcm`` out of phase. Only then are
    both put in the order of the slices' positions, which in CT runs against that of the names.
    """

    name = "chaos"
    modalities = tuple(SERIES)
    classes = ("liver",)
    intensity = {"CT": Intensity("window", -160.0, 240.0)} | dict.fromkeys(
        SCANNERS["MR"], Intensity("percentile", 0.5, 99.5)
    )
    spacing = (3.0, 3.0, 6.0)  # CT about 0.7 x 0.7 x 1-2 mm, MR about 1.4-2 x 1.4-2 x 5.5-9 mm
    size = (128, 128)  # 38 cm: the whole body
    licence = "CC BY-NC-SA 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0/"
    citation = (
        "Kavur AE, Gezer NS, Barış M, et al. CHAOS Challenge - combined (CT-MR) healthy abdominal organ segmentation. "
        "Medical Image Analysis 69:101950, 2021, doi:10.1016/j.media.2020.101950. "
        "Data: Kavur AE, Selver MA, Dicle O, Barış M, Gezer NS. CHAOS - Combined (CT-MR) Healthy Abdominal Organ "
        "Segmentation Challenge Data, v1.03. Zenodo, 2019, doi:10.5281/zenodo.3431873."
    )
    expected = "20 patients in CT, and 20 other patients in MR, each of them in all three sequences"
    where = "It is CHAOS_Train_Sets.zip on Zenodo, record 3431873."

    def __init__(self, path: Path | str | None = None, **params: Any) -> None:
        super().__init__(path, **params)
        assert self.path is not None
        self.path = _locate(self.path)

    def cases(self) -> Iterator[Case | UserError]:
        """Yield CT, then MR, patients by number; a :class:`UserError` where slices and pictures are not as many.

        Raises:
            UserError: CT or MR is missing altogether, or no patient has ground truth.
        """
        patients = {scanner: self._patients(scanner) for scanner in SCANNERS}
        grounds = [
            patient / SERIES[modality][1]
            for scanner, modalities in SCANNERS.items()
            for patient in patients[scanner]
            for modality in modalities
        ]
        if not any(ground.is_dir() for ground in grounds):
            raise UserError(
                f"dataset '{self.name}': no patient in {self.path} has a folder Ground; give Train_Sets, since the "
                "labels of Test_Sets are not public."
            )
        for scanner, modalities in SCANNERS.items():
            for patient in patients[scanner]:
                if patient.name.isdecimal():
                    yield from (_case(scanner, patient, modality) for modality in modalities)
                else:
                    yield UserError(f"{patient}: not a patient, whose folders are numbers; remove or rename it.")

    def _patients(self, scanner: str) -> list[Path]:
        assert self.path is not None
        folders = [entry for entry in visible(self.path / scanner) if entry.is_dir()]
        if not folders:
            raise UserError(
                f"dataset '{self.name}': no patients in {self.path / scanner}; give the folder Train_Sets with both CT "
                f"and MR, unpacked. {self.where}"
            )
        return sorted(folders, key=_by_name)


def read_case(slices: Sequence[Path], pictures: Sequence[Path], levels: Levels) -> Volume:
    """Read a series and its ground truth: ``pictures[i]`` shows the rows and columns of ``slices[i]``, in any order.

    Raises:
        UserError: a file is damaged, the slices are not one series or it is tilted, a picture has another size than its
            slice or holds grey levels that ``levels`` does not.
    """
    picture = dict(zip(slices, pictures, strict=True))
    series = read_series(slices)
    size = series.array.shape[:2]
    label = np.stack([_read_picture(picture[file], file, size, levels) for file in series.files], axis=-1)
    if not label.any():
        raise UserError(f"{pictures[0].parent}: no liver in any of its pictures; unpack the patient again.")
    image, affine = to_ras(series.array, series.affine, slices[0].parent)
    return as_volume(image, to_ras(label, series.affine)[0], affine)


def _read_picture(path: Path, of: Path, size: tuple[int, ...], levels: Levels) -> np.ndarray:
    """Return the labels ``(columns, rows)``, uint8."""
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            image.verify()  # compares checksums, which reading does not: a flipped bit else goes unseen
        with Image.open(BytesIO(content)) as image:
            shown = image.convert("L") if image.mode == "P" else image
            mode, grey = shown.mode, np.asarray(shown).astype(np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or 'damaged'}); copy or download it again.") from None
    except Exception as error:  # Pillow answers damaged files with many types: SyntaxError, ValueError, struct's own
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); copy or download it again.") from None
    if mode not in ("1", "L"):
        raise UserError(f"{path}: a picture of mode {mode}; ground truth is 8-bit grey. Download it again.")
    if grey.T.shape != size:
        raise UserError(
            f"{path}: {grey.shape[1]}x{grey.shape[0]} pixels, its slice {of} {size[0]}x{size[1]}; download both again."
        )
    table = np.full(256, -1)
    for low, high, label in levels:
        table[low : high + 1] = label
    found = table[grey]
    unknown = np.unique(grey[found < 0])
    if unknown.size:
        allowed = ", ".join(f"{low}-{high}" if high > low else f"{low}" for low, high, _ in levels)
        more = ", ..." if unknown.size > 10 else ""
        raise UserError(
            f"{path}: it holds the grey levels {', '.join(map(str, unknown[:10]))}{more}; only {allowed} are allowed. "
            "Was it resized or edited? Download it again."
        )
    return found.astype(np.uint8).T


def _case(scanner: str, patient: Path, modality: str) -> Case | UserError:
    folder, ground = (patient / below for below in SERIES[modality])
    slices, pictures = _files(folder, ".dcm"), _files(ground, ".png")
    if not slices or not pictures:
        lacking = f"{folder}: no slices (.dcm)" if not slices else f"{ground}: no ground truth (.png)"
        return UserError(f"{lacking}; unpack patient {patient.name} again, or remove the patient's folder.")
    if len(slices) != len(pictures):
        return UserError(
            f"{ground}: {len(pictures)} pictures (.png) for the {len(slices)} slices (.dcm) in {folder}, so which "
            f"belongs to which is unknown; unpack patient {patient.name} again."
        )
    read = partial(read_case, slices, pictures, LEVELS[scanner])
    return Case(f"{scanner}-{patient.name}", modality, read, sources=slices + pictures)


def _files(folder: Path, ending: str) -> tuple[Path, ...]:
    return tuple(sorted((path for path in visible(folder) if path.suffix.lower() == ending), key=_by_name))


def _by_name(path: Path) -> list[str | int]:
    """Sort as people do: IMG-2 before IMG-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name.lower())]


def _locate(path: Path) -> Path:
    """Return the folder of CT and MR, where it is not ``path`` itself: below it, or above if CT or MR was given."""
    below = (path, path / "Train_Sets", path / "CHAOS_Train_Sets" / "Train_Sets")
    found = next((folder for folder in below if any((folder / scanner).is_dir() for scanner in SCANNERS)), path)
    return path.parent if found == path and path.name in SCANNERS else found
