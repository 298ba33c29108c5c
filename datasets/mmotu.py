"""Ovarian tumours in ultrasound and contrast-enhanced ultrasound: MMOTU, Multi-Modality Ovarian Tumor Ultrasound.

Zhao et al., 2022, https://arxiv.org/abs/2207.06799.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedbench.data.folders import by_stem, pair, visible
from fedbench.data.pictures import read_masked
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError

FOLDERS = {"US": ("OTU_2d",), "CEUS": ("OTU_3d", "OTU_CEUS")}
IMAGES = tuple(case(ending) for ending in (".jpg", ".jpeg", ".png") for case in (str.upper, str.lower))
MASKS = ("_binary.PNG", "_binary.png")
DEPTH = 3  # a folder/MMOTU/OTU_2d/images


class OvarianTumour(Dataset):
    """Ovarian tumours in ultrasound (US) and contrast-enhanced ultrasound (CEUS) (MMOTU).

    The folder holds ``OTU_2d/images/<n>.JPG`` and ``OTU_2d/annotations/<n>_binary.PNG``, and the same in ``OTU_3d``,
    which in spite of its name is the CEUS half (``OTU_CEUS`` in the paper; accepted too). It may lie up to two folders
    deeper. Left aside are the masks in colours by kind of tumour (``<n>.PNG``), ``<n>_binary_binary.PNG``, the kinds
    (``*_cls.txt``) and the authors' split (``train.txt``, ``val.txt``): the harness makes its own.

    Which images show the same patient is not published, so every image counts as a patient of its own, called ``US-7``
    or ``CEUS-7`` after its file. Images of one patient may thus lie on both sides of a split and in both halves, which
    flatters scores and narrows confidence intervals. One of the eight kinds of "tumour" is the normal ovary, outlined
    like the others.

    The images are screenshots, several hundred px wide and of differing size, with the marks of the examiner; how large
    a pixel is was not recorded. On the common grid they are a quarter as wide.
    """

    name = "mmotu"
    modalities = ("US", "CEUS")
    classes = ("tumour",)
    intensity = {"US": Intensity("percentile", 0.5, 99.5), "CEUS": Intensity("percentile", 0.5, 99.5)}
    spacing = (4.0, 4.0)
    unit = "px"
    size = (128, 96)
    mirror_axes = (0,)  # the probe is always above
    licence = "none stated for the images; see the authors' terms"
    citation = (
        "Zhao Q, Lyu S, Bai W, Cai L, Liu B, Wu M, Sang X, Yang M, Chen L. A Multi-Modality Ovarian Tumor Ultrasound "
        "Image Dataset for Unsupervised Cross-Domain Semantic Segmentation. arXiv:2207.06799, 2022."
    )
    expected = "1469 images in US and 170 in CEUS"
    where = "Its authors give the download in their repository cv516Buaa/MMOTU_DS2Net on GitHub."

    def cases(self) -> Iterator[Case | UserError]:
        """Yield US, then CEUS, by file name; a :class:`UserError` where an image or its mask is missing.

        Raises:
            UserError: one of the two halves is missing or empty, or there twice.
        """
        for modality, folder in [(modality, self._folder(modality)) for modality in self.modalities]:
            annotations = [path for path in visible(folder / "annotations") if not path.stem.endswith("_binary_binary")]
            (images, odd_images), (masks, odd_masks) = (
                by_stem(visible(folder / "images"), IMAGES), by_stem(annotations, MASKS),
            )  # fmt: skip
            yield from (*odd_images, *odd_masks)
            for found in pair(images, masks):
                if isinstance(found, UserError):
                    yield found
                else:
                    number, image, mask = found
                    read = partial(read_masked, image, (mask,))
                    yield Case(f"{modality}-{number}", modality, read, sources=(image, mask))

    def _folder(self, modality: str) -> Path:
        assert self.path is not None
        names = FOLDERS[modality]
        known = {name.lower() for name in names}
        inside = [images for depth in range(DEPTH + 1) for images in visible(self.path, "*/" * depth + "images")]
        found = [
            images.parent
            for images in inside
            if images.absolute().parent.name.lower() in known and any(visible(images))
        ]
        if len(found) > 1:
            raise UserError(f"{found[0]}: the {modality} images lie in {found[1]} too; keep one of the two.")
        if not found:
            raise UserError(
                f"dataset '{self.name}': no pictures {'/images or '.join(names)}/images/*.JPG in {self.path}; give the "
                f"folder that holds both OTU_2d and OTU_3d. {self.where}"
            )
        return found[0]
