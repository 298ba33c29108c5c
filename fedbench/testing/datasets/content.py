"""What the images and masks of a dataset show, and whether it is what their files hold."""

from __future__ import annotations

import hashlib

import numpy as np

from fedbench.dataset import Case
from fedbench.testing.datasets.subject import FEW, Subject
from fedbench.testing.findings import Broken, rule


@rule("images", "does a pattern such as *t1*.nii.gz match another file, too: t1ce, or the mask?")
def images(subject: Subject) -> str:
    """A patient's modalities show different images, and an image is more than its label."""
    owners: dict[tuple[str, bytes], Case] = {}
    few = subject.first(FEW)
    for case in few:
        volume = case.read()
        other = owners.setdefault((case.patient, hashlib.sha256(volume.image.tobytes()).digest()), case)
        if other.modality != case.modality:
            raise Broken(f"cases {other.id} and {case.id} have the same image")
        inside = [volume.image[:, volume.label == label] for label in np.unique(volume.label)]
        if all((values == values[:, :1]).all() for values in inside):
            raise Broken(f"case {case.id}: its image is its mask: it has one value per label")
    return f"{len(few)} images are other than their masks and than those of other modalities"


RULES = (images,)
