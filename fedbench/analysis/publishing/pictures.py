"""What is published of pictures and features: a few chosen cases, and some slices' features of the runs they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures.choice import chosen_cases
from fedbench.views import CaseView, read_key, save_arrays, save_views

SLICES = 60  # with features, per run, deployment and modality, shared by the clients
MANTISSA = 12  # bits of a feature that are kept: 1 in 8000, and half the bytes
PICTURES = 400_000  # bytes of a condition's pictures; above it only the slice with most truth of each case is kept


def shown_runs(evidence: Evidence, condition: Condition) -> list[str]:
    """Return the run of each algorithm whose pictures figures show."""
    found = (evidence.shown_run(condition, setting) for setting in evidence.settings)
    return [run_id for run_id in found if run_id is not None]


def write_features(evidence: Evidence, file: Path, published: pd.DataFrame | None = None) -> None:
    """Write some features of the shown runs as parquet: run_id, key, slice, values.

    Args:
        published: such rows, which stay; those of other runs are added.
    """
    shown = [run_id for condition in evidence.trained for run_id in shown_runs(evidence, condition)]
    before = set() if published is None else set(published["run_id"])
    rows = [row for run_id in shown if run_id not in before for row in _features(run_id, evidence)]
    kept = pd.DataFrame(rows, columns=["run_id", "key", "slice", "values"])
    if published is not None:
        kept = pd.concat([published, kept], ignore_index=True)
        kept = kept.sort_values("run_id", key=lambda ids: ids.map(shown.index), kind="stable", ignore_index=True)
    table = pa.Table.from_pandas(kept.drop(columns="values").astype({"run_id": str, "key": str, "slice": int}))
    values = pa.array(kept["values"].tolist(), pa.list_(pa.float32()))
    pq.write_table(
        table.append_column("values", values), file, compression="zstd", compression_level=12,
        use_dictionary=["run_id", "key"], column_encoding={"values.list.element": "BYTE_STREAM_SPLIT"},
    )  # fmt: skip


def _features(run_id: str, evidence: Evidence) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """At most ``SLICES`` per deployment and modality, evenly spread over all slices of that modality."""
    modality_of = evidence.cases[evidence.cases["run_id"] == run_id].drop_duplicates("case").set_index("case")
    features = evidence.features(run_id)
    groups: dict[tuple[str, str], dict[str, list[tuple[str, int]]]] = {}
    for key, values in features.items():
        kind, client, case = read_key(key)
        group = groups.setdefault((kind, str(modality_of["modality"].get(case, ""))), {})
        group.setdefault(client, []).extend((key, number) for number in range(len(values)))
    for owners in groups.values():
        most = max(1, SLICES // len(owners))
        for places in owners.values():
            for i in np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)):
                key, number = places[i]
                yield run_id, key, number, rounded(features[key][number])


def rounded(values: np.ndarray) -> np.ndarray:
    """Round float32 to ``MANTISSA`` bits, half up."""
    drop = 23 - MANTISSA
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << (drop - 1))) & np.uint32((0xFFFFFFFF << drop) & 0xFFFFFFFF)).view(np.float32)


def write_pictures(analyses: Analyses, condition: Condition, folder: Path, cases: list[str] | None = None) -> list[str]:
    """Write views and predictions of ``cases`` (None: of those that figures show); return them."""
    evidence = analyses.evidence
    cases = chosen_cases(evidence, analyses, condition) if cases is None else cases
    views = {case: view for case, view in evidence.views(condition).items() if case in cases}
    predictions = {
        f"{run_id}|{key}": labels
        for run_id in shown_runs(evidence, condition)
        for key, labels in evidence.predictions(run_id).items()
        if read_key(key)[2] in views
    }
    if not views:
        return []
    files = folder / f"views.{condition.name}.npz", folder / f"predictions.{condition.name}.npz"
    _save(files, views, predictions)
    if sum(file.stat().st_size for file in files) > PICTURES:
        best = {case: view.best for case, view in views.items()}
        cut = {key: labels[[best[read_key(key.partition("|")[2])[2]]]] for key, labels in predictions.items()}
        _save(files, {case: best_slice(view) for case, view in views.items()}, cut)
    return sorted(views)


def _save(files: tuple[Path, Path], views: Mapping[str, CaseView], predictions: Mapping[str, np.ndarray]) -> None:
    save_views(files[0], views)
    save_arrays(files[1], predictions)


def best_slice(view: CaseView) -> CaseView:
    """Return only the slice with most truth."""
    own = slice(view.best, view.best + 1)
    return CaseView(
        view.patient, view.modality, view.image[own], view.truth[own], (view.slices[view.best],), 0, view.spacing,
        view.unit, view.picture,
    )  # fmt: skip
