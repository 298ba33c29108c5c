"""Evidence for tests: every client's shared or own model on every test case, as runs would have left it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.views import FOLDER, CaseView, array_key, save_arrays, save_views

ALGORITHMS = ("local", "centralised", "fedavg", "fedbn", "fedprox", "moon", "fedda-cyclic", "fedda-joint")
GAINS = {"local": -0.2, "centralised": 0.05, "fedda-cyclic": 0.0, "fedda-joint": 0.03}  # Dice, to the others


def evidence(
    conditions: Iterable[Condition] = (Condition("toy"),), algorithms: Sequence[str] = ALGORITHMS,
    seeds: Sequence[int] = (0, 1), patients: int = 8, modalities: Sequence[str] = ("CT", "MR"),
    classes: Sequence[str] = ("liver", "spleen"), source: Path = Path("."), unit: str = "mm", random: int = 0,
) -> Evidence:  # fmt: skip
    """Return random evidence, the same for the same arguments; without pictures and features."""
    parts = [
        _run(condition, algorithm, seed, patients, modalities, classes, unit, random)
        for condition in conditions
        for algorithm in algorithms
        for seed in seeds
    ]
    runs = pd.DataFrame([run for run, _, _ in parts])
    cases, rounds = (pd.concat([part[i] for part in parts], ignore_index=True) for i in (1, 2))
    return Evidence(runs, cases, rounds, source, lambda _: {}, lambda _: {}, lambda _: {})


def of_cases(cases: pd.DataFrame, source: Path = Path(".")) -> Evidence:
    """Return evidence with these cases (of :mod:`tests.analysis.score_rows`) and runs to match."""
    full = cases.assign(**{c: v for c, v in {"unseen": "", "fold": -1, "unit": "mm"}.items() if c not in cases})
    keys = full[["run_id", "dataset", "unseen", "setting", "algorithm", "seed", "fold", "partition"]].drop_duplicates()
    runs = pd.DataFrame([run | _facts(run) for run in keys.to_dict("records")])
    rounds = pd.concat([_rounds(run) for run in keys.to_dict("records")], ignore_index=True)
    return Evidence(runs, full, rounds, source, lambda _: {}, lambda _: {}, lambda _: {})


def _run(
    condition: Condition, algorithm: str, seed: int, patients: int, modalities: Sequence[str], classes: Sequence[str],
    unit: str, random: int,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:  # fmt: skip
    stream = np.random.default_rng([random, seed, *algorithm.encode()])
    hard = np.random.default_rng([random, *condition.dataset.encode()]).normal(0.75, 0.08, patients)
    trained = [m for m in modalities if m != condition.unseen]
    index = pd.MultiIndex.from_product(
        [trained, modalities, range(patients), classes], names=["client", "modality", "p", "class"]
    )
    rows = index.to_frame(index=False)
    cell = rows.groupby(["modality", "p", "class"]).ngroup().to_numpy()
    own = algorithm.partition("[")[0] in ("local", "fedbn")
    noise = stream.normal(0, 0.03, len(rows)) if own else stream.normal(0, 0.03, cell.max() + 1)[cell]
    dice = np.clip(hard[rows["p"]] + GAINS.get(algorithm, 0.0) + noise, 0.01, 0.99)
    keys = {
        "run_id": f"{condition.name}.{algorithm}.s{seed}.0123456789ab", "dataset": condition.dataset,
        "algorithm": algorithm.partition("[")[0], "seed": seed, "partition": f"partition {seed}", "setting": algorithm,
        "fold": -1, "unseen": condition.unseen,
    }  # fmt: skip
    patient = rows["p"].map("P{:03}".format)
    relation = np.where(rows["client"] == rows["modality"], "in", "cross")
    cases = rows.drop(columns="p").assign(
        client_modality=rows["client"], deployment="personal" if own else "global", selection="last",
        relation=np.where(rows["modality"] == condition.unseen, "unseen", relation), patient=patient,
        case=patient + "/" + rows["modality"], unit=unit, label=1,
        dice=dice, hd95=40 * (1 - dice), nsd=dice**2, volume_truth=1.0, volume_prediction=1.0, flag="", **keys,
    )  # fmt: skip
    return keys | _facts(keys), cases, _rounds(keys)


def _facts(keys: dict[str, Any]) -> dict[str, Any]:
    identity = {k: keys[k] for k in ("dataset", "algorithm", "seed", "partition")} | {
        "algorithm_params": {"of": keys["setting"]}, "harness": "a" * 64, "fedbench": "0",
        "dataset_params": {"folder": "/home/somebody/data"},
        "evaluation": {"nsd_tolerance_mm": 3.0, "nsd_tolerance_px": 2.0},
        "data": {"fold": None if keys["fold"] < 0 else keys["fold"], "leave_out": keys["unseen"] or None},
    }  # fmt: skip
    provenance = {
        "versions": {"torch": "2"}, "git": {}, "samples": {}, "partition": {"test": []},
        "hardware": {"machine": "x86_64", "cores": 2, "system": "Linux-6.1-on-somebodys-machine"},
    }  # fmt: skip
    return {
        "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00", "seconds": 61.0, "steps": 220,
        "parameters": 495973, "views": f"views-{keys['dataset']}", "peak_memory_bytes": 700_000_000, "best_round": 2,
        "identity": json.dumps(identity), "provenance": json.dumps(provenance),
    }  # fmt: skip


def _rounds(keys: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {"round": r, "client": c, "metric": metric, "value": 1e6 + r} | keys
        for r in (1, 2)
        for c in ("CT", "MR")
        for metric in ("bytes up", "bytes down", "validation dice", "seconds")
    ]
    return pd.DataFrame(rows)


def write_store(root: Path, found: Evidence, side: int = 12, slices: int = 8) -> Path:
    """Write evidence as a results folder, with pictures and features, and return the folder."""
    for run in found.runs.to_dict("records"):
        folder = root / run["run_id"]
        folder.mkdir(parents=True)
        cases, rounds = (f[f["run_id"] == run["run_id"]] for f in (found.cases, found.rounds))
        keys = ["run_id", "dataset", "algorithm", "seed", "partition", "setting", "fold", "unseen"]
        cases.drop(columns=keys).to_parquet(folder / store.CASES, index=False)
        rounds.drop(columns=keys).to_parquet(folder / store.ROUNDS, index=False)
        facts = ("started", "ended", "seconds", "steps", "parameters", "views", "peak_memory_bytes")
        provenance = {k: run[k] for k in facts} | {"label": run["setting"], "best_validation_round": run["best_round"]}
        provenance |= {"identity": json.loads(run["identity"])} | json.loads(run["provenance"])
        (folder / store.RUN).write_text(json.dumps(provenance))
        (folder / store.CHECKPOINT).write_bytes(b"weights")
        models = cases.drop_duplicates(["deployment", "client", "case"])
        arrays = {
            array_key(m.deployment, m.client if m.deployment == "personal" else None, m.case): m.modality
            for m in models.itertuples()
        }
        stream = np.random.default_rng([*run["run_id"].encode()])
        labels = {key: stream.integers(0, 3, (3, side, side), dtype=np.uint8) for key in arrays}
        save_arrays(folder / store.PREDICTIONS, labels)
        features = {key: stream.normal(size=(slices, 16)).astype(np.float32) for key in arrays}
        save_arrays(folder / store.FEATURES, features)
        store.seal(folder)
        views = root / FOLDER / f"{run['views']}.npz"
        if not views.exists():
            save_views(views, {m.case: _view(m.patient, m.modality, side) for m in models.itertuples()})
    return root


def _view(patient: str, modality: str, side: int) -> CaseView:
    stream = np.random.default_rng([*patient.encode(), *modality.encode()])
    image = stream.integers(0, 255, (3, side, side, 1), dtype=np.uint8)
    truth = np.zeros((3, side, side), np.uint8)
    truth[1, 2:8, 2:8] = 1
    return CaseView(patient, modality, image, truth, (1, 2, 3), 1, (2.0, 2.0), "mm", False)
