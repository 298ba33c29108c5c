"""Any data set in nnU-Net's raw format, version 2 or 1.

Isensee, Jaeger, Kohl, Petersen and Maier-Hein, Nature Methods 18:203, 2021, https://doi.org/10.1038/s41592-020-01008-z;
the format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from PIL import Image

from fedbench.data.folders import by_stem, visible
from fedbench.data.imaging import affine_of, extent, read_pair, relabel
from fedbench.data.mapping import Entry, Table, read_table
from fedbench.data.pictures import PIXELS, read_picture
from fedbench.dataset import Case, Dataset, Intensity, Volume
from fedbench.errors import UserError
from fedbench.names import safe
from fedbench.parameters import Parameters, hyperparameter

IMAGES, LABELS, DESCRIPTION = "imagesTr", "labelsTr", "dataset.json"
ENDINGS = (".nii.gz", ".nii", ".png")
SIZES = 32, 256  # least and greatest in-plane size of a training sample


class NnUnet(Dataset):
    """Any data set in nnU-Net's raw format: its channels are the modalities, or a mapping says which case is which.

    The folder is ``DatasetNNN_Name`` (version 1: ``TaskNNN_Name``): ``dataset.json``, ``labelsTr/<case>.nii.gz`` and
    ``imagesTr/<case>_0000.nii.gz``, ``_0001`` and so on, one file per channel; or ``.nii``, or ``.png``, where one
    picture may hold all colours. The folder above may be given if it holds no other set, and so may ``imagesTr`` and
    ``labelsTr``. Files elsewhere that ``dataset.json`` lists by path (key ``dataset``) are not read. ``imagesTs`` has
    no labels and is not read; neither is ``splits_final.json``, for all sets are split by the same rule. Modalities,
    classes (``label-1`` and so on where there are regions), spacing and size come from ``dataset.json`` and the headers
    of the images.

    Images of one slice, which have one axis of length 1 or two axes altogether, are 2-D and in mm, whatever their
    thickness is said to be (version 1 writes 999); they do not mix with volumes.

    ``mapping`` names a CSV file in UTF-8, relative to the folder, with a line for every case:

    - ``case,modality``: each case is one modality; ``channel`` (0, 1...) says in which file, if a case has several;
    - ``case,patient``: the channels are the modalities, as without a mapping;
    - ``case,modality,patient``: both. A column ``site`` may be added to each.

    nnU-Net knows cases, not patients, so each case counts as one. Where several come from the same patient, say so in
    the column ``patient``, or training and test share that patient. A modality called CT is taken to be in HU. No image
    is mirrored: nobody says along which axes that is plausible.
    """

    name = "nnunet"
    licence = "As its publisher says; dataset.json does not."
    citation = "As its publisher asks; dataset.json does not."
    where = "Give a folder DatasetNNN_Name in nnU-Net's raw format, with dataset.json, imagesTr and labelsTr."
    expected = "as many cases as dataset.json says (numTraining), each with all channels and a label"

    class Params(Parameters):
        mapping: str = hyperparameter("", doc="CSV file that says which case is which modality, or whose")
        ct_low: float = hyperparameter(-200.0, doc="lower end of the window of CT, HU")
        ct_high: float = hyperparameter(300.0, doc="upper end of the window of CT, HU")

    def __init__(self, path: Path | str | None = None, **params: Any) -> None:
        super().__init__(path, **params)
        assert self.path is not None
        if self.params.ct_low >= self.params.ct_high:
            raise UserError(f"dataset 'nnunet': ct_low = {self.params.ct_low:g} must be below ct_high.")
        self.path = locate(self.path)
        about = read_description(self.path / DESCRIPTION)
        files = find_files(self.path, about)
        table = None
        if self.params.mapping:
            given = re.sub("#[0-9a-f]{64}$", "", self.params.mapping)  # as below: made of another one's parameters
            table = read_table(self.path / Path(given).expanduser(), files.cases, len(files.channels))
            # It may lie elsewhere and so is no source of the cases: its content counts as a parameter instead.
            self.params = self.params.model_copy(update={"mapping": f"{given}#{table.checksum}"})
        channels = distinct(files.channels, range(len(files.channels)), "channel")
        names = dict(zip(channels, files.channels, strict=True))  # the modality's name -> as written
        if table is not None and not table.by_channel:
            names = {modality: modality for modality in table.modalities}
        elif len(channels) < 2:
            raise UserError(
                f"dataset 'nnunet': {self.path} has one channel only; give a mapping, a CSV file with the columns "
                "case,modality: -d 'nnunet[mapping=FILE.csv]=PATH'."
            )
        window = Intensity("window", self.params.ct_low, self.params.ct_high)
        others = Intensity("percentile", 0.5, 99.5)
        self._cases = list_cases(files, about, channels, table)
        self.modalities = tuple(names)
        self.classes, self.regions = about.classes, about.regions
        self.intensity = {m: window if name.strip().upper() == "CT" else others for m, name in names.items()}
        self.spacing, self.size = grid(case.sources[0] for case in self._cases if isinstance(case, Case))
        self.name = name_of(self.path)
        self.unit = "px" if about.ending == ".png" else "mm"
        self.licence = about.texts.get("licence") or about.texts.get("license") or self.licence
        self.citation = about.texts.get("reference", self.citation)
        self.where = about.texts.get("description", self.where)

    def cases(self) -> list[Case | UserError]:
        """List every case in each of its modalities, by name; a :class:`UserError` for what is missing or unclear."""
        return self._cases


def locate(path: Path) -> Path:
    """Return the folder with ``dataset.json``: ``path``, or the one above ``imagesTr``, or the only one below."""
    if (path / DESCRIPTION).is_file():
        return path
    if path.name in (IMAGES, LABELS) and (path.parent / DESCRIPTION).is_file():
        return path.parent
    below = [file.parent for file in visible(path, f"*/{DESCRIPTION}") if (file.parent / IMAGES).is_dir()]
    if len(below) > 1:
        names = ", ".join(folder.name for folder in below[:10])
        raise UserError(f"dataset 'nnunet': {path} holds {len(below)} data sets; give the folder of one: {names}.")
    if not below:
        raise UserError(f"dataset 'nnunet': no {DESCRIPTION} in {path}, nor in a folder below it. {NnUnet.where}")
    return below[0]


# -- names ---------------------------------------------------------------------------------------------------------


def distinct(names: Iterable[str], numbers: Collection[int], spare: str) -> tuple[str, ...]:
    """Return safe names, ``spare`` and a number for an empty one; all get their numbers if two would be alike."""
    made = [safe(name) or f"{spare}-{number}" for name, number in zip(names, numbers, strict=True)]
    if len({name.lower() for name in made}) < len(made):
        made = [f"{name}-{number}" for name, number in zip(made, numbers, strict=True)]
    return tuple(made)


def name_of(folder: Path) -> str:
    """Return what the data set in ``folder`` is called: in ``Dataset004_Hippocampus``, ``nnunet-hippocampus``."""
    own = Path(os.path.abspath(folder)).name
    numbered = re.fullmatch(r"(?:Dataset|Task)[0-9]+_(.+)", own)
    return f"nnunet-{(safe(numbered[1] if numbered else own) or safe(own) or 'data').lower()}"


# -- dataset.json --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says.

    Attributes:
        channels: their names as written, by number.
        values: what the label files hold, one for each of ``classes``.
        regions: name -> labels, ``i + 1`` for ``classes[i]``; empty if the classes themselves are scored.
        ending: of all image and label files.
        count: how many cases there should be; 0 if it does not say.
        texts: all entries that are text.
        listed: it lists the files of each case by path.
    """

    file: Path
    channels: tuple[str, ...]
    values: tuple[int, ...]
    classes: tuple[str, ...]
    regions: dict[str, tuple[int, ...]]
    ending: str
    count: int
    texts: dict[str, str]
    listed: bool


def read_description(file: Path) -> Description:
    """Read ``dataset.json`` of version 2 or 1.

    Raises:
        UserError: it is damaged, lacks a key, or says something that cannot be used.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON ({error}); correct it, or make it again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: has no keys 'channel_names', 'labels' and so on; correct it, or make it again.")
    version1 = "modality" in content and "channel_names" not in content
    channels = _channels(content, "modality" if version1 else "channel_names", file)
    values, classes, regions = _labels(content, file)
    ending = content.get("file_ending", ".nii.gz" if version1 else None)
    if ending is None:
        raise UserError(f'{file}: key \'file_ending\' is missing; add it, such as "file_ending": ".nii.gz".')
    if ending not in ENDINGS:
        raise UserError(
            f"{file}: key 'file_ending' is {_short(ending)}; readable are {', '.join(ENDINGS)}. Convert images and "
            "labels to .nii.gz."
        )
    count = content.get("numTraining")
    texts = {key: value.strip() for key, value in content.items() if isinstance(value, str) and value.strip()}
    count = count if isinstance(count, int) else 0
    return Description(file, channels, values, classes, regions, ending, count, texts, "dataset" in content)


def _channels(content: dict[str, Any], key: str, file: Path) -> tuple[str, ...]:
    example = '{"0": "T1", "1": "T2"}'
    if key not in content:
        raise UserError(f"{file}: key '{key}' is missing (in version 1 'modality'); add it, such as {example}.")
    found = content[key]
    numbers = [str(number) for number in range(len(found))] if isinstance(found, dict) else []
    if not numbers or set(found) != set(numbers) or not all(isinstance(name, str) for name in found.values()):
        raise UserError(f"{file}: key '{key}' is {_short(found)}; number the channels from 0, such as {example}.")
    return tuple(found[number] for number in numbers)


def _labels(content: dict[str, Any], file: Path) -> tuple[tuple[int, ...], tuple[str, ...], dict[str, tuple[int, ...]]]:
    """Return values, classes and regions of a :class:`Description`."""
    named = list(_named_labels(content, file))
    values = tuple(sorted({value for _, numbers in named for value in numbers}))
    if not 1 <= len(values) <= 255:
        raise UserError(f"{file}: key 'labels' has {len(values)} labels besides the background; 1 to 255 are possible.")
    if any(len(numbers) > 1 for _, numbers in named):
        names = distinct((name.lower() for name, _ in named), range(1, len(named) + 1), "region")
        labels = {value: label for label, value in enumerate(values, start=1)}
        regions = {
            name: tuple(labels[value] for value in numbers) for name, (_, numbers) in zip(names, named, strict=True)
        }
        return values, tuple(f"label-{value}" for value in values), regions
    named.sort(key=lambda pair: pair[1])
    for (one, number), (other, following) in itertools.pairwise(named):
        if number == following:
            raise UserError(f"{file}: key 'labels': '{one}' and '{other}' are both {number[0]}; keep one of them.")
    return values, distinct((name.lower() for name, _ in named), values, "label"), {}


def _named_labels(content: dict[str, Any], file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and values of every class or region; not of the background."""
    found = content.get("labels")
    if not isinstance(found, dict) or not found:
        example = '{"background": 0, "liver": 1}'
        raise UserError(f"{file}: key 'labels' is missing, or holds no names; write it such as {example}.")
    pairs: list[tuple[str, Any]] = list(found.items())
    if all(key.isdecimal() and isinstance(value, str) for key, value in pairs):  # version 1: number -> name
        pairs = [(value, int(key)) for key, value in pairs]
    for name, value in pairs:
        where = f"{file}: key 'labels': '{name}' is {_short(value)}"
        if name == "ignore":
            raise UserError(
                f"{where}, for voxels that nobody labelled, but fedbench scores every voxel: label them, or make them "
                "background, and drop the entry."
            )
        numbers = value if isinstance(value, list) else [value]
        if not numbers or any(type(number) is not int or number < 0 for number in numbers):
            raise UserError(f"{where}; give a whole number (no quotes), or a list of them for a region.")
        if (name.lower() == "background" or 0 in numbers) and set(numbers) != {0}:
            raise UserError(f"{where}; the background is 0, and nothing else is.")
        if 0 not in numbers:
            yield name, tuple(sorted(set(numbers)))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- imagesTr and labelsTr -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """What lies in ``imagesTr`` and ``labelsTr``.

    Attributes:
        channels: their names as written; one, if one picture holds all of them.
        images: case -> number of the channel -> file.
        labels: case -> file.
        odd: name -> what is wrong with the name of an image.
    """

    channels: tuple[str, ...]
    images: dict[str, dict[int, Path]]
    labels: dict[str, Path]
    odd: dict[str, UserError]

    @property
    def cases(self) -> list[str]:
        """All names of cases, sorted."""
        return sorted(self.images.keys() | self.labels.keys() | self.odd.keys())


def find_files(root: Path, about: Description) -> Files:
    """List images and labels below ``root``.

    Raises:
        UserError: there are none, or no image is named as nnU-Net does.
    """
    ending, found = about.ending, list[dict[str, Path]]()
    for folder in (root / IMAGES, root / LABELS):
        found.append(by_stem(visible(folder), (ending,))[0])
        if not found[-1] and about.listed and not folder.is_dir():
            raise UserError(
                f"{about.file}: key 'dataset' lists files by path, which fedbench does not read: put them into "
                f"{IMAGES} and {LABELS} beside it, as <case>_0000{ending} and <case>{ending}."
            )
        if not found[-1]:
            raise UserError(
                f"dataset 'nnunet': no files *{ending} in {folder}; add them, or correct 'file_ending' in {about.file}."
            )
    images, odd = dict[str, dict[int, Path]](), dict[str, UserError]()
    rule = f"images are <case>_0000{ending}, _0001 and so on, labels <case>{ending}"
    for stem, path in found[0].items():
        numbered = re.fullmatch(r"(.+)_([0-9]{4})", stem)
        if numbered and (stem not in found[1] or numbered[1] in found[1]):
            images.setdefault(numbered[1], {})[int(numbered[2])] = path
        else:
            odd[stem] = UserError(f"{path}: its name lacks the channel: {rule}. Rename it, or remove it.")
    if not images:
        raise UserError(
            f"dataset 'nnunet': no image in {root / IMAGES} has the channel in its name ({min(odd)}{ending} has not): "
            f"{rule}. Rename them; nnU-Net converts sets of the Medical Segmentation Decathlon "
            "(nnUNetv2_convert_MSD_dataset)."
        )
    coloured = ending == ".png" and not any(max(channels) for channels in images.values())
    return Files(("colour",) if coloured else about.channels, images, found[1], odd)


def list_cases(
    files: Files, about: Description, channels: tuple[str, ...], table: Table | None
) -> list[Case | UserError]:
    """Return the problems of the mapping, then every case in each modality it has, or what is wrong with it.

    Args:
        channels: the modalities, if the channels are; by number.
    """
    found: list[Case | UserError] = list(table.problems) if table else []
    for case in files.cases:
        found += _list_case(case, files, about, channels, table)
    if about.count > len(files.cases):
        found.append(
            UserError(
                f"{about.file}: numTraining is {about.count}, but there are {len(files.cases)} cases; add those that "
                "are missing, or correct the number."
            )
        )
    shared = Counter((case.patient, case.modality) for case in found if isinstance(case, Case))
    return [
        replace(case, part="") if isinstance(case, Case) and shared[case.patient, case.modality] == 1 else case
        for case in found
    ]


def _list_case(
    case: str, files: Files, about: Description, channels: tuple[str, ...], table: Table | None
) -> Iterator[Case | UserError]:
    if case in files.odd:
        yield files.odd[case]
        return
    entry = table.entries.get(case) if table else Entry()
    if table and case not in table.entries:
        yield UserError(f"{table.file}: case '{case}' is not listed; add a line for it.")
    images, label = files.images.get(case, {}), files.labels.get(case)
    ending, folder = about.ending, about.file.parent
    for channel in sorted(images):
        if channel >= len(channels):
            yield UserError(
                f"{images[channel]}: {about.file} has no channel {channel}; add it there, or remove the image."
            )
    if label is None:
        first = images[min(images)]
        yield UserError(f"{first}: no {LABELS}/{case}{ending}; add the label, or remove the image.")
    elif not images:
        yield UserError(f"{label}: no {IMAGES}/{case}_0000{ending}; add the image, or remove the label.")
    elif entry:
        by_channel = dict(enumerate(channels))
        for channel, modality in ({entry.channel: entry.modality} if entry.modality else by_channel).items():
            if channel not in images:
                missing = folder / IMAGES / f"{case}_{channel:04d}{ending}"
                yield UserError(f"{missing} is missing; add it, or remove the other files of the case.")
                continue
            read = partial(read_pictures if ending == ".png" else read_pair, images[channel], label, about.values)
            sources = (images[channel], label, about.file)  # which label is which class, dataset.json says
            yield Case(entry.patient or case, modality, read, entry.site, sources, case)


def read_pictures(image_path: Path, label_path: Path, values: tuple[int, ...]) -> Volume:
    """Read a picture and its labels, grey with small whole numbers.

    Args:
        values: in the label file, in the order of the classes; 0 is background.

    Returns:
        Image float32 ``(1, X, Y)``, or ``(3, X, Y)`` if coloured; label uint8 ``(X, Y)``; spacing 1 px.

    Raises:
        UserError: a file cannot be read, the sizes differ, or the labels are coloured or others than ``values``.
    """
    image, label = read_picture(image_path), read_picture(label_path)
    if len(label) > 1:
        raise UserError(f"{label_path}: labels are grey values, this picture is coloured; save it in grey.")
    if label.shape[1:] != image.shape[1:]:
        raise UserError(
            f"{label_path}: {label.shape[1]}x{label.shape[2]} pixels, its image {image_path} "
            f"{image.shape[1]}x{image.shape[2]}; give the labels that belong to it."
        )
    return Volume(image.astype(np.float32), relabel(label[0], values, label_path), PIXELS)


# -- the common grid -----------------------------------------------------------------------------------------------


def measure(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels and their sizes along X, Y and Z (mm); from the header alone.

    Of a picture they are along X and Y (px), of a single slice along the two axes of
    :func:`~fedbench.data.imaging.extent`.
    """
    if path.suffix == ".png":
        with Image.open(path, formats=("PNG",)) as picture:
            return np.array(picture.size), np.array(PIXELS)
    image: Any = nib.load(path)
    affine = affine_of(image)
    axes = np.argsort(io_orientation(affine)[:, 0])  # which axis of the file is X, which Y, which Z
    voxels, sizes = np.array((*image.shape, 1)[:3])[axes], voxel_sizes(affine)[axes]
    return voxels[extent(voxels)], sizes[extent(voxels)]


def grid(paths: Iterable[Path]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the median voxel size, to three digits, and the sample size that suits the median image on this grid.

    Images that cannot be measured are passed over: reading them says what is wrong. If no image can be, it is 1 and
    the least size; there is nothing to put on that grid then. Single slices do not count among volumes, with which they
    are refused.
    """
    measured = [found for path in paths if (found := _measured(path))]
    if not measured:
        return (1.0, 1.0, 1.0), (SIZES[0], SIZES[0])
    most = max(len(sizes) for _, sizes in measured)
    measured = [found for found in measured if len(found[1]) == most]
    median = np.median([sizes for _, sizes in measured], axis=0)
    spacing = tuple(float(f"{size:.3g}") for size in median)
    extents = np.median([np.rint(voxels * sizes / spacing) for voxels, sizes in measured], axis=0)
    return spacing, tuple(int(np.clip(extent // 16 * 16, *SIZES)) for extent in extents[:2])


def _measured(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        voxels, sizes = measure(path)
    except Exception:  # nibabel and pillow answer damaged headers with many types
        return None
    sound = np.isfinite(sizes).all() and sizes.min() > 0 and voxels.min() > 0
    return (voxels, sizes) if sound else None
