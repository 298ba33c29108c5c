"""How far apart the modalities are in the bottleneck of every training run, not only of the one that figures show."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.statistics.distance import Samples, mean_proxy_distance, principal_components
from fedbench.views import read_key

COLUMNS = ["run_id", "deployment", "distance"]


def separation(scene: Scene) -> pd.DataFrame:
    """Return the proxy A-distance of each algorithm: index label; ``mean``, ``lowest``, ``highest``, ``runs``.

    Algorithms of which no features were kept are left out.
    """
    every = every_distance(scene).merge(scene.runs[["run_id", "setting"]], on="run_id")
    names = {kind: label for label, kind in scene.deployments.items()}
    labels = [names.get(kind, "") for kind in zip(every["setting"], every["deployment"], strict=True)]
    found = every.assign(label=labels).dropna(subset="distance").groupby("label")["distance"]
    table = pd.DataFrame({"mean": found.mean(), "lowest": found.min(), "highest": found.max(), "runs": found.size()})
    return table.loc[[label for label in scene.labels if label in table.index]]


def every_distance(scene: Scene) -> pd.DataFrame:
    """Return the distance of each run's deployed models: run_id, deployment, distance (NaN: too few patients).

    Published results hold it for every run, and the features of some; of a results folder it is computed.
    """
    stored = scene.evidence.distances
    found = stored[stored["run_id"].isin(scene.runs["run_id"])] if stored is not None else pd.DataFrame(columns=COLUMNS)
    known = set(found["run_id"])
    rows = [
        (run_id, kind, distance)
        for label, (setting, kind) in scene.deployments.items()
        for run_id in scene.runs.loc[scene.runs["setting"] == setting, "run_id"].astype(str)
        if run_id not in known and (distance := _distance(scene, label, run_id)) is not None
    ]
    made = pd.DataFrame(rows, columns=COLUMNS)
    parts = [part for part in (found, made) if not part.empty] or [made]
    return pd.concat(parts, ignore_index=True).astype({"run_id": str, "deployment": str, "distance": float})


def gather(scene: Scene, label: str, run_id: str | None = None) -> Samples | None:
    """Return the features of a run's models (of the shown run, if none is given) on test images; None: none were kept.

    A model that all clients share sees every modality; where every client has its own, it sees its own modality (of
    several clients with one modality: the first by name).
    """
    setting, kind = scene.deployments[label]
    run = run_id or scene.shown_runs.get(setting)
    kept = {} if run is None else scene.evidence.features(run)
    owners = scene.cases.drop_duplicates("client").sort_values("client").drop_duplicates("client_modality")
    owner_of = dict(zip(owners["client_modality"], owners["client"], strict=True))
    cases = scene.cases[["case", "modality", "patient"]].drop_duplicates("case")
    of_case = {case: (modality, patient) for case, modality, patient in cases.itertuples(index=False)}
    parts = []
    for key, values in sorted(kept.items()):
        of_kind, client, case = read_key(key)
        modality, patient = of_case.get(case, ("", ""))
        if of_kind == kind and modality and client in ("", owner_of.get(modality)):
            parts.append((values, [modality] * len(values), [patient] * len(values)))
    if not parts:
        return None
    features, modalities, patients = zip(*parts, strict=True)
    return Samples(np.concatenate(features), np.concatenate(modalities), np.concatenate(patients))


def _distance(scene: Scene, label: str, run_id: str) -> float | None:
    samples = gather(scene, label, run_id)
    if samples is None:
        return None
    components = samples._replace(features=principal_components(samples.features).points)
    return mean_proxy_distance(components.of(*(m for m in scene.modalities if m != scene.condition.unseen)))
