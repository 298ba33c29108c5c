"""Datasets that are wrong in one way each; ``Sound`` is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from fedbench.data.imaging import read_pair
from fedbench.data.pictures import read_masked
from fedbench.dataset import Case, Dataset, Intensity, Volume
from fedbench.errors import UserError

CAUGHT_BY = {
    "NoCitation": ["declaration"],
    "OddSize": ["declaration"],
    "NoIntensity": ["declaration"],
    "StrangeRegion": ["declaration"],
    "Swallows": ["parameters"],
    "FindsSomethingAnywhere": ["refusal"],
    "AnyOrder": ["lists"],
    "OpensImages": ["lists"],
    "FileIsGone": ["lists"],
    "NobodyInMR": ["names", "partition"],
    "OneFileForAll": ["names", "leaks"],
    "TwoPatients": ["partition"],
    "Doubles": ["volumes"],
    "LabelOutside": ["volumes"],
    "NoForeground": ["volumes"],
    "NotInHU": ["volumes"],
    "HandsOutItsOwn": ["again", "prepares", "images", "masks", "other-process"],
    "Lambda": ["again"],
    "NewNoise": ["again", "prepares", "other-process"],
    "SeedsNumpy": ["untouched"],
    "TouchesFiles": ["untouched"],
    "Mirrored": ["orientation"],
    "Transposed": ["orientation"],
    "SpacingOfOne": ["orientation", "masks"],
    "TwoNames": ["leaks"],
    "EmptyWindow": ["prepares"],
    "ImageAloneAsSource": ["sources"],
    "NoSources": ["sources"],
    "PassesOver": ["missing"],
    "OneImageForBoth": ["images"],
    "TheMaskTwice": ["images", "sources"],
    "TwiceTheSpace": ["masks"],
    "WrapsAround": ["values"],
    "CroppedMirrored": ["orientation"],
    "CroppedReversed": ["orientation"],
    "OrderOfASet": ["other-process"],
    "NamesByHash": ["other-process"],
    "NoiseByHash": ["other-process"],
    "Unsorted": ["other-process"],
    "WhateverComesFirst": ["images", "other-process", "sources"],
}


def write(folder: Path, patients: int = 12) -> Path:
    """Write random patients: an ellipsoid, bright in CT and dark in MR, at another place in each; odd axes."""
    for number in range(patients):
        rng = np.random.default_rng(number)
        centre, radii = rng.uniform((9, 10, 2), (13, 14, 3)), rng.uniform((4, 4, 1.5), (7, 7, 2.5))
        inside = ((((np.indices((22, 24, 5)).T - centre) / radii) ** 2).sum(-1) < 1).T
        for modality, contrast in (("CT", 100.0), ("MR", -300.0)):
            image = contrast * inside + rng.normal(0, 30, inside.shape)
            target = folder / f"P{number:02d}"
            target.mkdir(parents=True, exist_ok=True)
            affine = np.diag([-2.0, 1.5, 5.0, 1.0])
            nib.save(nib.Nifti1Image(image.astype(np.float32), affine), target / f"{modality}.nii.gz")
            nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), target / f"{modality}_mask.nii.gz")
    return folder


def write_pictures(folder: Path, patients: int = 12) -> Path:
    """Write a slice of every random patient as pictures."""
    for image in sorted(write(folder, patients).glob("*/*.nii.gz")):
        pixels = np.asarray(nib.load(image).dataobj)[:, :, 2]
        grey = 255 * pixels if "mask" in image.name else np.clip(pixels / 4 + 128, 0, 255)
        Image.fromarray(grey.T.astype(np.uint8)).save(image.with_name(image.name.replace("nii.gz", "png")))
        image.unlink()
    return folder


class Sound(Dataset):
    """Ellipsoids; nothing is wrong with it."""

    name = "sound"
    modalities = ("CT", "MR")
    classes = ("organ",)
    intensity = {"CT": Intensity("window", -160.0, 240.0), "MR": Intensity("percentile", 0.5, 99.5)}
    spacing = (2.0, 2.0, 5.0)
    size = (16, 16)
    licence, citation, where = "CC0", "nobody", "Nowhere."

    def cases(self):
        patients = sorted(folder for folder in self.path.iterdir() if folder.is_dir())
        if not patients:
            raise UserError(f"no patients in {self.path}")
        return [self.case(patient, modality) for patient in patients for modality in self.modalities]

    def case(self, patient: Path, modality: str) -> Case:
        files = (patient / f"{modality}.nii.gz", patient / f"{modality}_mask.nii.gz")
        return Case(patient.name, modality, partial(self.read, *files), sources=files)

    @classmethod
    def read(cls, image: Path, mask: Path) -> Volume:
        return cls.change(read_pair(image, mask, (1,)))

    @staticmethod
    def change(volume: Volume) -> Volume:
        return volume


class NoCitation(Sound):
    """Nobody is cited."""

    name, citation = "no-citation", ""


class OddSize(Sound):
    """Networks cannot halve 20 four times."""

    name, size = "odd-size", (20, 20)


class NoIntensity(Sound):
    """One modality has no normalisation."""

    name, intensity = "no-intensity", {"CT": Intensity("window", -160.0, 240.0)}


class StrangeRegion(Sound):
    """A region of a class that is not there."""

    name, regions = "strange-region", {"organ": (1, 2)}


class Swallows(Sound):
    """Takes any parameter."""

    name = "swallows"

    def __init__(self, path=None, **params):
        super().__init__(path)


class FindsSomethingAnywhere(Sound):
    """Goes on without data."""

    name = "finds-something-anywhere"

    def cases(self):
        if not list(self.path.iterdir()):
            return [Case("P00", "CT", partial(np.zeros, 3))]
        return super().cases()


class AnyOrder(Sound):
    """Another order each time."""

    name = "any-order"
    turn = [0]

    def cases(self):
        self.turn[0] += 1
        return super().cases()[:: -1 if self.turn[0] % 2 else 1]


class OpensImages(Sound):
    """Reads to list."""

    name = "opens-images"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        with open(case.sources[0], "rb") as file:
            file.read(4)
        return case


class FileIsGone(Sound):
    """Lists what is not there."""

    name = "file-is-gone"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        return replace(case, sources=(*case.sources, patient / "gone.nii.gz"))


class NobodyInMR(Sound):
    """Declares a modality that nobody has."""

    name = "nobody-in-mr"

    def cases(self):
        return [case for case in super().cases() if case.modality == "CT"]


class OneFileForAll(Sound):
    """All patients have the first one's files."""

    name = "one-file-for-all"

    def case(self, patient, modality):
        return replace(super().case(self.path / "P00", modality), patient=patient.name)


class TwoPatients(Sound):
    """Too few for three splits."""

    name = "two-patients"

    def cases(self):
        return super().cases()[:4]


class Doubles(Sound):
    """Images in float64."""

    name = "doubles"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image.astype(np.float64))


class LabelOutside(Sound):
    """A label that no class has."""

    name = "label-outside"

    @staticmethod
    def change(volume):
        return replace(volume, label=volume.label * 7)


class NoForeground(Sound):
    """Takes the mask for background."""

    name = "no-foreground"

    @staticmethod
    def change(volume):
        return replace(volume, label=volume.label * 0)


class HandsOutItsOwn(Sound):
    """Keeps what it has read, and hands it out again."""

    name = "hands-out-its-own"
    kept: dict = {}

    @classmethod
    def read(cls, image, mask):
        if image not in cls.kept:
            cls.kept[image] = super().read(image, mask)
        return cls.kept[image]


class Lambda(Sound):
    """A read that no process can be sent."""

    name = "lambda"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        return replace(case, read=lambda: case.read())


class NewNoise(Sound):
    """Noise that nobody can repeat."""

    name = "new-noise"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image + np.float32(np.random.default_rng().normal(0, 0.1)))


class SeedsNumpy(Sound):
    """Seeds everybody's generator."""

    name = "seeds-numpy"

    @staticmethod
    def change(volume):
        np.random.seed(0)  # noqa: NPY002
        return volume


class TouchesFiles(Sound):
    """Makes the files look new."""

    name = "touches-files"

    @classmethod
    def read(cls, image, mask):
        image.touch()
        return super().read(image, mask)


class Mirrored(Sound):
    """Takes the voxels as they are stored, from right to left."""

    name = "mirrored"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image[:, ::-1].copy(), label=volume.label[::-1].copy())


class Transposed(Sound):
    """Takes the axes as other libraries give them."""

    name = "transposed"

    @staticmethod
    def change(volume):
        turned = {"image": volume.image.transpose(0, 3, 2, 1).copy(), "label": volume.label.T.copy()}
        return Volume(**turned, spacing=volume.spacing[::-1])


class SpacingOfOne(Sound):
    """Forgets the voxel size."""

    name = "spacing-of-one"

    @staticmethod
    def change(volume):
        return replace(volume, spacing=(1.0, 1.0, 1.0))


class TwoNames(Sound):
    """One person under two names, so that CT is in training and MR in the test."""

    name = "two-names"

    def case(self, patient, modality):
        return replace(super().case(patient, modality), patient=f"{modality}-{patient.name}")


class Nothing(Intensity):
    """Divides by nothing."""

    def __call__(self, image):
        return np.full(image.shape, np.nan, np.float32)


class NotInHU(Sound):
    """Says a window in which no voxel of the files lies."""

    name = "not-in-hu"
    intensity = {"CT": Intensity("window", 2000.0, 3000.0), "MR": Intensity("percentile", 0.5, 99.5)}


class EmptyWindow(Sound):
    """A normalisation that leaves nothing."""

    name = "empty-window"
    intensity = {"CT": Nothing("window", 0.0, 1.0), "MR": Nothing("window", 0.0, 1.0)}


class ImageAloneAsSource(Sound):
    """A corrected mask makes no new run."""

    name = "image-alone-as-source"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        return replace(case, sources=case.sources[:1])


class NoSources(Sound):
    """Nothing that changes makes a new run."""

    name = "no-sources"

    def case(self, patient, modality):
        return replace(super().case(patient, modality), sources=())


class OrderOfASet(Sound):
    """Numbers patients as a set goes through their names."""

    name = "order-of-a-set"

    def cases(self):
        number = {name: k for k, name in enumerate({case.patient for case in super().cases()})}
        return [replace(case, patient=f"N{number[case.patient]:02d}") for case in super().cases()]


class NamesByHash(Sound):
    """Pseudonyms that every process makes anew."""

    name = "names-by-hash"

    def case(self, patient, modality):
        return replace(super().case(patient, modality), patient=f"N{abs(hash(patient.name))}")


class NoiseByHash(Sound):
    """Augments, from a hash that every process makes anew."""

    name = "noise-by-hash"

    @classmethod
    def read(cls, image, mask):
        volume = super().read(image, mask)
        noise = np.random.default_rng(abs(hash(str(image)))).normal(0, 0.1, volume.image.shape)
        return replace(volume, image=volume.image + noise.astype(np.float32))


class Unsorted(Sound):
    """Numbers patients as the folder lists them."""

    name = "unsorted"

    def case(self, patient, modality):
        return replace(super().case(patient, modality), patient=f"N{list(self.path.iterdir()).index(patient):02d}")


class WhateverComesFirst(Sound):
    """Reads the first image that the folder lists."""

    name = "whatever-comes-first"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        return replace(case, read=partial(self.read_first, patient, case.sources[1]))

    @classmethod
    def read_first(cls, patient, mask):
        return cls.read(
            next(path for path in patient.glob("*.nii.gz") if path.name in ("CT.nii.gz", "MR.nii.gz")), mask
        )


class PassesOver(Sound):
    """A patient whose mask is not there is left out without a word."""

    name = "passes-over"

    def cases(self):
        found = [case for case in super().cases() if all(path.exists() for path in case.sources)]
        if not found:
            raise UserError(f"no patients in {self.path}")
        return found


class OneImageForBoth(Sound):
    """A pattern finds CT for MR, too."""

    name = "one-image-for-both"

    def case(self, patient, modality):
        files = (patient / "CT.nii.gz", patient / "CT_mask.nii.gz")
        return Case(patient.name, modality, partial(self.read, *files), sources=files)


class TheMaskTwice(Sound):
    """A pattern finds the mask of CT for its image."""

    name = "the-mask-twice"
    intensity = {"CT": Intensity("window", 0.0, 1.0), "MR": Intensity("percentile", 0.5, 99.5)}

    def case(self, patient, modality):
        if modality == "MR":
            return super().case(patient, modality)
        files = (patient / f"{modality}_mask.nii.gz",) * 2
        return Case(patient.name, modality, partial(self.read, *files), sources=files)


class TwiceTheSpace(Sound):
    """Takes every other column, and forgets that voxels have grown."""

    name = "twice-the-space"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image[:, ::2].copy(), label=volume.label[::2].copy())


class TwoClasses(Sound):
    """Declares a class that no mask holds."""

    name, classes = "two-classes", ("organ", "vessel")


class Halves(Sound):
    """Masks hold two halves of the organ, of which the lower is passed over."""

    name = "halves"

    @classmethod
    def read(cls, image, mask):
        return read_pair(image, mask, {1: 1, 2: 0})


class Padded(Sound):
    """One person is P01 in CT and P1 in MR."""

    name = "padded"

    def case(self, patient, modality):
        case = super().case(patient, modality)
        return case if modality == "CT" else replace(case, patient=f"P{int(patient.name[1:])}")


class Slices(Sound):
    """Every slice is a patient."""

    name = "slices"

    def case(self, patient, modality):
        number = int(patient.name[1:])
        return replace(super().case(patient, modality), patient=f"P{number // 3:02d}_slice{number % 3}")


class Collide(Sound):
    """Two hospitals give the same numbers."""

    name = "collide"

    def case(self, patient, modality):
        return replace(super().case(patient, modality), site={"CT": "north", "MR": "south"}[modality])


class WrapsAround(Sound):
    """Values below zero become large ones."""

    name = "wraps-around"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image.astype(np.int64).astype(np.uint8).astype(np.float32))


class CroppedMirrored(Sound):
    """Takes the voxels as they are stored, and crops a margin."""

    name = "cropped-mirrored"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image[:, ::-1][:, 1:-1].copy(), label=volume.label[::-1][1:-1].copy())


class CroppedReversed(Sound):
    """Crops a margin, and gives the spacing as other libraries do."""

    name = "cropped-reversed"

    @staticmethod
    def change(volume):
        return Volume(volume.image[:, 1:-1].copy(), volume.label[1:-1].copy(), volume.spacing[::-1])


class Pictures(Sound):
    """Pictures with their masks; nothing is wrong with it."""

    name = "pictures"
    spacing, unit = (1.0, 1.0), "px"
    intensity = {m: Intensity("percentile", 0.5, 99.5) for m in ("CT", "MR")}

    def case(self, patient, modality):
        files = (patient / f"{modality}.png", patient / f"{modality}_mask.png")
        return Case(patient.name, modality, partial(self.read, *files), sources=files)

    @classmethod
    def read(cls, image, mask):
        return cls.change(read_masked(image, [mask]))


class RowsForX(Pictures):
    """Takes rows and columns for X and Y."""

    name = "rows-for-x"

    @staticmethod
    def change(volume):
        return replace(volume, image=volume.image.transpose(0, 2, 1)[:, ::-1].copy(), label=volume.label.T[::-1].copy())
