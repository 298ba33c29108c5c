"""The generated phantoms: reproducible, one anatomy per patient, contrasts that turn round between modalities."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from fedbench.dataset import Volume
from fedbench.datasets.phantom import Phantom, PhantomAbdomen, PhantomHeart, PhantomTumour
from fedbench.errors import UserError

PHANTOMS = [PhantomHeart, PhantomAbdomen, PhantomTumour]
every = pytest.mark.parametrize("phantom", PHANTOMS, ids=lambda cls: cls.name)

DIGEST = """
import hashlib, sys
import fedbench.datasets.phantom as module
for name in sys.argv[1:]:
    digest = hashlib.sha256()
    for case in getattr(module, name)(patients=4, size=32).cases():
        volume = case.read()
        digest.update(volume.image.tobytes() + volume.label.tobytes())
    print(digest.hexdigest())
"""


def read(dataset: Phantom) -> dict[tuple[str, str], Volume]:
    return {(case.patient, case.modality): case.read() for case in dataset.cases()}


def millilitres(volume: Volume, classes: int) -> np.ndarray:
    return np.bincount(volume.label.ravel(), minlength=classes + 1)[1:] * np.prod(volume.spacing) / 1000


@pytest.fixture(scope="module")
def volumes() -> dict[type[Phantom], dict[tuple[str, str], Volume]]:
    """Every default patient of every phantom, at full size."""
    return {cls: read(cls()) for cls in PHANTOMS}


def test_same_bits_in_another_process() -> None:
    here = []
    for phantom in PHANTOMS:
        digest = hashlib.sha256()
        for case in phantom(patients=4, size=32).cases():
            volume = case.read()
            digest.update(volume.image.tobytes() + volume.label.tobytes())
        here.append(digest.hexdigest())
    assert len(set(here)) == len(PHANTOMS)
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", DIGEST, *(phantom.__name__ for phantom in PHANTOMS)]
        other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert other.stdout.split() == here


@every
def test_a_case_does_not_depend_on_the_others(phantom: type[Phantom]) -> None:
    few, more = list(phantom(patients=4, size=32).cases()), list(phantom(patients=6, size=32).cases())
    last = len(few) - 1
    assert few[last].id == more[last].id
    np.testing.assert_array_equal(more[last].read().image, few[last].read().image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(few[last])).read().image, few[last].read().image)


@every
def test_another_seed_is_another_patient(phantom: type[Phantom]) -> None:
    first, second = (next(iter(phantom(size=32, seed=seed).cases())).read() for seed in (0, 1))
    assert not np.array_equal(first.image, second.image)
    assert not np.array_equal(first.label, second.label)


@every
def test_cases_and_volumes_keep_the_contract(phantom: type[Phantom], volumes) -> None:
    dataset = phantom()
    assert len(volumes[phantom]) == 28 * len(phantom.modalities)
    assert len({phantom.grids[modality] for modality in phantom.modalities}) == len(phantom.modalities)
    for (_, modality), volume in volumes[phantom].items():
        assert volume.image.dtype == np.float32
        assert volume.label.dtype == np.uint8
        assert volume.image.shape == (1, *volume.label.shape)
        assert np.isfinite(volume.image).all()
        assert volume.label.max() <= len(phantom.classes)
        assert volume.spacing == phantom.grids[modality]
        extent = np.multiply(volume.label.shape, volume.spacing)
        assert np.all(np.abs(extent - np.multiply(dataset.spacing, (48, 48, 10))) <= volume.spacing)


@every
def test_one_anatomy_in_all_modalities(phantom: type[Phantom], volumes) -> None:
    count = len(phantom.classes)
    for number in range(28):
        seen = [millilitres(volumes[phantom][f"P{number:03d}", modality], count) for modality in phantom.modalities]
        np.testing.assert_array_equal([ml > 0 for ml in seen[1:]], [seen[0] > 0] * (len(seen) - 1))
        np.testing.assert_allclose(seen[1:], np.broadcast_to(seen[0], (len(seen) - 1, count)), rtol=0.12, atol=2.0)


@every
def test_some_patient_misses_a_structure_and_most_do_not(phantom: type[Phantom], volumes) -> None:
    modality = phantom.modalities[0]
    ml = np.array([millilitres(volumes[phantom][f"P{n:03d}", modality], len(phantom.classes)) for n in range(28)])
    missing = (ml == 0).any(axis=1)
    assert 1 <= missing.sum() <= 8


@every
def test_mr_is_a_magnitude_and_its_background_is_rician(phantom: type[Phantom], volumes) -> None:
    """Where there is no signal a magnitude is Rayleigh: mean / sd = sqrt(pi / (4 - pi)) = 1.913."""
    for (_, modality), volume in volumes[phantom].items():
        if phantom.intensity[modality].kind == "percentile":
            assert volume.image.min() >= 0
        else:
            assert volume.image.min() < -900
    if phantom is not PhantomHeart:  # the chest fills the view
        image = volumes[phantom]["P000", phantom.modalities[-1]].image[0]
        corner = np.concatenate([image[:5, :5].ravel(), image[-5:, :5].ravel()])
        assert corner.mean() / corner.std() == pytest.approx(1.913, abs=0.2)


@pytest.mark.parametrize(
    ("phantom", "bright", "dark", "upright", "inverted"),
    [
        (PhantomHeart, "left-ventricle", "myocardium", "CT", "MR"),
        (PhantomAbdomen, "spleen", "liver", "T2", "T1"),
    ],
)
def test_contrast_turns_round_between_modalities(phantom, bright, dark, upright, inverted, volumes) -> None:
    def contrast(patient: str, modality: str) -> float:
        volume = volumes[phantom][patient, modality]
        means = [volume.image[0][volume.label == phantom.classes.index(name) + 1].mean() for name in (bright, dark)]
        return means[0] - means[1]

    whole = [
        f"P{number:03d}"
        for number in range(28)
        if {phantom.classes.index(name) + 1 for name in (bright, dark)}
        <= set(np.unique(volumes[phantom][f"P{number:03d}", upright].label))
    ]
    assert len(whole) >= 20
    assert np.mean([contrast(patient, upright) > 0 for patient in whole]) > 0.9
    assert np.mean([contrast(patient, inverted) < 0 for patient in whole]) > 0.9


def test_oedema_is_darker_than_the_brain_around_it_in_t1_and_brighter_in_t2(volumes) -> None:
    for modality, sign in (("T1", -1), ("T1ce", -1), ("T2", 1), ("FLAIR", 1)):
        differences = []
        for number in range(28):
            volume = volumes[PhantomTumour][f"P{number:03d}", modality]
            around = ndimage.binary_dilation(volume.label > 0, iterations=2) & (volume.label == 0)
            differences.append(volume.image[0][volume.label == 1].mean() - np.median(volume.image[0][around]))
        assert np.mean(np.sign(differences) == sign) > 0.9, modality


def test_axes_are_ras(volumes) -> None:
    """The liver lies on the patient's right (+x), the spleen on the left, the kidneys behind the liver (-y)."""
    for (_, modality), volume in volumes[PhantomAbdomen].items():
        middle = {
            name: np.argwhere(volume.label == index + 1).mean(axis=0) - np.divide(volume.label.shape, 2)
            for index, name in enumerate(PhantomAbdomen.classes)
            if (volume.label == index + 1).any()
        }
        assert middle["liver"][0] > 0, modality
        assert middle["right-kidney"][1] < middle["liver"][1], modality
        for left in {"spleen", "left-kidney"} & middle.keys():
            assert middle[left][0] < 0, modality


def test_a_smaller_size_shows_the_same_view() -> None:
    large, small = PhantomHeart(), PhantomHeart(size=32)
    assert small.size == (32, 32)
    assert small.spacing == (6.0, 6.0, pytest.approx(10.8))
    pair = [next(iter(dataset.cases())).read() for dataset in (large, small)]
    assert pair[1].label.size < pair[0].label.size / 3
    np.testing.assert_allclose(millilitres(pair[1], 4), millilitres(pair[0], 4), rtol=0.15)


@pytest.mark.parametrize("wrong", [{"patients": 3}, {"seed": -1}, {"size": 8}, {"patient": 10}, {"seed": "many"}])
def test_a_wrong_parameter_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        PhantomHeart(**wrong)


def test_a_path_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="takes no path"):
        PhantomHeart(tmp_path)
