"""Soft-tissue sarcomas of the extremities in CT, T1-weighted MR and FDG-PET (IBSI validation data).

Vallières, Freeman, Skamene and El Naqa, Phys Med Biol 60:5471, 2015, https://doi.org/10.1088/0031-9155/60/14/5471;
prepared by Zwanenburg for the Image Biomarker Standardisation Initiative.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fedbench.data.imaging import read_pair
from fedbench.dataset import Case, Dataset, Intensity
from fedbench.errors import UserError

FILES = {"CT": "CT", "MR": "MR_T1", "PET": "PET"}


class SoftTissueSarcoma(Dataset):
    """Gross tumour volume, each patient in all three modalities.

    The folder holds ``ibsi_validation/nifti/STS_NNN/{CT,MR_T1,PET}_{image,mask}.nii.gz``; ``ibsi_validation`` or
    ``nifti`` itself may be given too. Mask values: 0 and 1. CT is in HU, MR relative to fat (about 1000), PET in SUV,
    each on a grid of its own.
    """

    name = "sts"
    modalities = ("CT", "MR", "PET")
    classes = ("tumour",)
    intensity = {
        "CT": Intensity("window", -160.0, 240.0),
        "MR": Intensity("percentile", 0.5, 99.5),
        "PET": Intensity("window", 0.0, 10.0),
    }
    spacing = (3.0, 3.0, 3.27)
    size = (64, 64)
    mirror_axes = (0,)  # left and right limbs; front and back are not alike
    licence = "CC BY 3.0, https://creativecommons.org/licenses/by/3.0/"
    citation = (
        "Vallières M, Freeman CR, Skamene SR, El Naqa I. A radiomics model from joint FDG-PET and MRI texture features "
        "for the prediction of lung metastases in soft-tissue sarcomas of the extremities. "
        "Physics in Medicine and Biology 60:5471-5496, 2015, doi:10.1088/0031-9155/60/14/5471. "
        "Data: The Cancer Imaging Archive, 2015, doi:10.7937/K9/TCIA.2015.7GO2GSKS. "
        "Clark K, et al. The Cancer Imaging Archive (TCIA): Maintaining and Operating a Public Information Repository. "
        "Journal of Digital Imaging 26(6):1045-1057, 2013, doi:10.1007/s10278-013-9622-7. "
        "Changes (Zwanenburg A, IBSI): SUV conversion, N4 bias correction and fat normalisation of MR, cropping, NIfTI."
    )
    expected = "24 patients, each in all three modalities"
    caveats = (
        "Images are cropped to 5 cm around the tumour. Its contour was drawn once per patient and carried over between "
        "modalities: on PET it is one or two voxels off."
    )
    where = (
        "It is the validation set of the Image Biomarker Standardisation Initiative (repository theibsi/data_sets on "
        "GitHub, folder ibsi_validation), made from the TCIA collection Soft-tissue-Sarcoma."
    )

    def cases(self) -> list[Case | UserError]:
        """List every patient in CT, MR and PET, by name; a :class:`UserError` in place of what is missing.

        Raises:
            UserError: there is no patient.
        """
        return [self._case(patient, modality) for patient in self._patients() for modality in self.modalities]

    def _patients(self) -> list[Path]:
        assert self.path is not None
        for folder in (self.path / "ibsi_validation" / "nifti", self.path / "nifti", self.path):
            patients = sorted(entry for entry in folder.glob("STS_*") if entry.is_dir())
            if patients:
                return patients
        raise UserError(
            f"dataset '{self.name}': no patient folders STS_* in {self.path}, nor in nifti or ibsi_validation/nifti "
            f"below it. {self.where}"
        )

    def _case(self, patient: Path, modality: str) -> Case | UserError:
        image, mask = (patient / f"{FILES[modality]}_{part}.nii.gz" for part in ("image", "mask"))
        for path in (image, mask):
            if not path.is_file():
                return UserError(f"{path} is missing; add it, or remove the patient's folder.")
        return Case(patient.name, modality, partial(read_pair, image, mask, (1,)), sources=(image, mask))
