"""The proxy A-distance on features of known distance, and the figure that shows it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis.figures.alignment import gather
from fedbench.analysis.figures.separation import every_distance, separation
from fedbench.analysis.statistics.distance import Samples, mean_proxy_distance, principal_components, proxy_distance
from fedbench.views import array_key
from tests.analysis.figures.scenes import CHANNELS, drawn, full_evidence, named, panel, scene_of


def samples(
    shift: float, patients: int = 20, images: int = 4, patient_spread: float = 0.0, paired: bool = True
) -> Samples:
    """Two modalities whose features differ by ``shift`` standard deviations in the first channel."""
    stream = np.random.default_rng(0)
    parts = []
    for number, modality in enumerate(("CT", "MR")):
        for patient in range(patients):
            centre = stream.normal(0, patient_spread, 8) + np.r_[number * shift, np.zeros(7)]
            name = f"P{patient:02}" if paired else f"{modality}{patient:02}"
            parts.append((stream.normal(centre, 1, (images, 8)), [modality] * images, [name] * images))
    return Samples(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def test_far_apart_is_2_and_alike_is_0():
    assert proxy_distance(samples(20.0)) == 2.0
    assert proxy_distance(samples(0.0, patients=60)) < 0.25


def test_the_distance_of_two_normal_distributions():
    """The best error is that of the midpoint, Phi(-d / 2): for d = 2 it is 0.159, and the distance 1.365."""
    assert proxy_distance(samples(2.0, patients=150)) == pytest.approx(1.365, abs=0.1)


def test_patients_are_not_learned_by_heart():
    """Each patient far from all others, in one modality only: images of known patients would be told apart at once."""
    assert proxy_distance(samples(0.0, patients=30, patient_spread=30.0, paired=False)) < 0.7


def test_patients_count_the_same_however_many_images_they_have():
    few = samples(2.0)
    extra = few.patient == "P03"
    more = Samples(*(np.concatenate([part, *([part[extra]] * 30)]) for part in few))
    assert proxy_distance(more) == pytest.approx(proxy_distance(few), abs=1e-9)


def test_one_patient_gives_no_distance():
    assert np.isnan(proxy_distance(samples(1.0, patients=1)))
    one = samples(1.0)
    assert np.isnan(mean_proxy_distance(one.of("CT")))


def test_pairs_are_averaged():
    """CT and MR are alike; both are far from PET."""
    two = samples(0.0, patients=60)
    far = two.of("CT")
    three = Samples(
        np.concatenate([two.features, far.features + 50]),
        np.concatenate([two.modality, np.full(len(far.modality), "PET")]),
        np.concatenate([two.patient, far.patient]),
    )
    assert mean_proxy_distance(three) == pytest.approx((proxy_distance(two) + 4) / 3, abs=0.05)


def test_the_plane_is_that_of_singular_value_decomposition():
    features = np.random.default_rng(1).normal(size=(30, 5)) * [1, 2, 3, 4, 5]
    features = np.c_[features, features[:, 0] * 2, np.full(30, 7.0)]  # a channel twice, and one that never changes
    found = principal_components(features, 2)
    scaled = np.c_[(features[:, :6] - features[:, :6].mean(0)) / features[:, :6].std(0), np.zeros(30)]
    u, s, _ = np.linalg.svd(scaled, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(u[:, :2] * s[:2]), atol=1e-5)
    np.testing.assert_allclose(found.shares, s[:2] ** 2 / np.sum(s**2))
    loadings = scaled.T @ found.points
    assert (loadings[np.abs(loadings).argmax(axis=0), [0, 1]] > 0).all()


def test_constant_features_lie_on_one_point():
    found = principal_components(np.ones((4, 3)))
    assert (found.points == 0).all() and (found.shares == 0).all()


def test_own_models_see_their_own_modality_a_shared_one_sees_all():
    scene = scene_of(full_evidence())
    for label, of_client in (("fedbn", True), ("fedavg", False)):
        found = gather(scene, label)
        assert found is not None and len(found.features) == 6 * 2 * 4
        kind = "personal" if of_client else "global"
        kept = scene.evidence.features(scene.shown_runs[label])
        expected = kept[array_key(kind, "MR" if of_client else None, "P000/MR")]
        rows = (found.modality == "MR") & (found.patient == "P000")
        np.testing.assert_array_equal(found.features[rows], expected)


def test_points_are_the_components_of_each_modality():
    scene = scene_of(full_evidence())
    axes = panel(drawn(scene, "alignment"), f"fedavgA-distance {distance(scene, 'fedavg'):.2f}")
    found = gather(scene, "fedavg")
    assert found is not None and found.features.shape == (48, CHANNELS)
    expected = principal_components(found.features).points
    for modality in ("CT", "MR"):
        np.testing.assert_allclose(named(axes, modality).get_offsets(), expected[found.modality == modality, :2])


def distance(scene, label: str) -> float:
    found = gather(scene, label)
    return mean_proxy_distance(found._replace(features=principal_components(found.features).points))


def test_the_distance_is_the_mean_over_all_training_runs_whether_computed_or_stored():
    evidence = full_evidence()

    def features(run: str) -> dict[str, np.ndarray]:  # of one seed the modalities are far apart
        return {key: v + 9 * (key.endswith("/MR") and ".s1." in run) for key, v in evidence.features(run).items()}

    scene = scene_of(dataclasses.replace(evidence, _features=features))
    runs = scene.runs.loc[scene.runs["setting"] == "fedavg", "run_id"]
    own = []
    for run in runs:
        found = gather(scene, "fedavg", run)
        own.append(mean_proxy_distance(found._replace(features=principal_components(found.features).points)))
    assert len(set(own)) == len(runs) > 1
    row = separation(scene).loc["fedavg"]
    assert row.to_list() == pytest.approx([np.mean(own), min(own), max(own), len(own)])
    stored = dataclasses.replace(scene.evidence, distances=every_distance(scene), _features=lambda _: {})
    pd.testing.assert_frame_equal(separation(scene_of(stored)), separation(scene))
    some = every_distance(scene).iloc[::2]  # what is not stored is computed
    part = dataclasses.replace(scene.evidence, distances=some)
    pd.testing.assert_frame_equal(separation(scene_of(part)), separation(scene))


def test_an_algorithm_without_features_has_no_panel():
    found = full_evidence()
    lost = dataclasses.replace(found, _features=lambda run: {} if ".fedavg." in run else found.features(run))
    titles = [axes.get_title() for axes in drawn(scene_of(lost), "alignment").axes]
    assert len([title for title in titles if title]) == 4 and not any(title.startswith("fedavg") for title in titles)
