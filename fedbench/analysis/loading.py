"""Reading evidence: the finished runs of a results folder, or published tables. Nothing there is changed.

A published folder (``fedbench publish``) holds ``manifest.json`` (checksums), ``runs.parquet``, ``cases.parquet``,
``rounds.parquet``, ``distances.parquet``, ``features.parquet``, the trials' table if hyper-parameters were tuned, and
per condition ``views.<name>.npz`` and ``predictions.<name>.npz`` for the cases that figures show.
Both sources give the same :class:`fedbench.analysis.evidence.Evidence`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.comparable import conflicts
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.differing import ATTEMPTS
from fedbench.errors import UserError
from fedbench.files import interrupted, sha256
from fedbench.reading import LazyArrays, plain_name, read_table
from fedbench.store import Results
from fedbench.views import FOLDER, CaseView, load_views
from fedbench.wording import counted, listed

MANIFEST = "manifest.json"
TABLES = ("runs", "cases", "rounds", "features")
DISTANCES = "distances.parquet"  # of features, of every run
TRIALS = ("trials.parquet", "trials.csv", "trials.md")  # how hyper-parameters were chosen, where that is published
OWN = "figures"  # a folder in a results folder that is there before any run is: it holds pictures of partitions
FORMAT = "fedbench published results 1"


def read_evidence(path: Path, run_ids: Iterable[str] | None = None) -> Evidence:
    """Read a results folder (``results/runs``) or a published one (``results/published/NAME``).

    Args:
        run_ids: only these runs of a results folder; None takes all.

    Raises:
        UserError: no such folder, no finished run, a file that does not match its checksum, or a name in one that would
            lead to other folders.
    """
    if path.is_file():
        raise UserError(f"no results in {path}: it is a file; name the folder that holds them.")
    if not path.is_dir():
        raise UserError(f"no results in {path}: no such folder; start with `fedbench run --all`.")
    found = _published(path) if (path / MANIFEST).is_file() else _of_store(path, run_ids)
    if found.runs.empty:
        raise UserError(f"no finished run in {path}{way_out(path)}")
    if "selection" not in found.cases:
        raise UserError(
            f"{path} holds trials of `fedbench tune`, which are never scored on test cases: read trials.md."
        )
    return found


def load_results(path: Path | str, run_ids: Collection[str] | None = None, *, skip_damaged: bool = False) -> Results:
    """Return the finished runs under ``path`` as tidy frames, or those that are published there; nothing is changed.

    Every score of every test case is there. In ``cases`` a missed structure and a false alarm have Dice 0. Both enter
    the means of tables, unless the patient has no structure at all (in the scores of a relation): such a patient is
    left out of them for all algorithms alike.

    Args:
        path: a results folder (``results/runs``) or a published one (``results/published/NAME``).
        run_ids: only these runs; None takes all.
        skip_damaged: leave out runs of a results folder that do not match their checksums.

    Raises:
        UserError: no such folder, a folder of publications, no such run, or something does not match its checksum.

    Warns:
        UserWarning: runs that every table refuses to put together, such as one algorithm with two learning rates.
    """
    found = read_results(path, run_ids, skip_damaged=skip_damaged)
    if unknown := sorted(set(run_ids or ()) - set(found.runs["run_id"] if len(found.runs) else ())):
        raise UserError(f"{path}: no finished run {listed(unknown)}; `fedbench status` lists the runs of a folder.")
    if problems := _conflicts(found):
        more = f" ({len(problems) - 1} more such problems.)" if len(problems) > 1 else ""
        told = f"{problems[0]}{more} Tables refuse them together: choose by load_results(..., run_ids)."
        warnings.warn(told, UserWarning, stacklevel=2)
    return found


def _conflicts(results: Results) -> list[str]:
    """Say which runs cannot stand in one table; of trials, which have no scores, nothing."""
    if results.runs.empty or "selection" not in results.cases:
        return []
    runs = results.runs.assign(label=results.runs["setting"])
    groups = runs.groupby(["dataset", "unseen"])
    titled = ((Condition(str(name), str(unseen)).title, own) for (name, unseen), own in groups)
    return [told for title, own in titled for told in conflicts(own, title)]


def read_results(path: Path | str, run_ids: Collection[str] | None = None, *, skip_damaged: bool = False) -> Results:
    """Return the same as :func:`load_results`, without a warning: for what refuses such runs itself.

    Raises:
        UserError: as there.
    """
    root = Path(path)
    if not (root / MANIFEST).is_file():
        if published_folders(root):
            raise UserError(f"no results in {root}{way_out(root)}")
        return store.load_results(root, None if run_ids is None else list(run_ids), skip_damaged=skip_damaged)
    found = read_evidence(root)
    frames = [found.runs, found.cases, found.rounds]
    if run_ids is not None:
        frames = [frame[frame["run_id"].isin(run_ids)].reset_index(drop=True) for frame in frames]
    return Results(*frames)


def way_out(root: Path) -> str:
    """Return the end of a message about a folder without a finished run: what it holds instead, or how to begin."""
    if (root / MANIFEST).is_file():
        return (
            f": it holds published results; summary, tables, figures, report and verify read them, such as `fedbench "
            f"summary --from {root}`."
        )
    if folders := published_folders(root):
        return f": it is a folder of publications; name one: {listed(folders)}."
    if trials := sorted(path for path in (root / "tuning").glob("*") if path.is_dir()):
        return (
            f": `fedbench tune` keeps its trials, which are never scored on test cases, in {listed(trials)}; read "
            "trials.md there, or run the tuned suite."
        )
    if left := store.Store(root, reading=True).run_ids():
        return f", but {counted(len(left), 'run')} begun: `fedbench status --out {root}` shows how far each is."
    if not (root / ".prepared").is_dir() and any(not p.name.startswith(".") for p in root.iterdir() if p.name != OWN):
        return "; it holds other things: name the folder that was --out of `fedbench run`."
    return f"; start with `fedbench run --all --out {root}`."


# -- a results folder ----------------------------------------------------------------------------------------------


def _of_store(root: Path, run_ids: Iterable[str] | None) -> Evidence:
    results = store.load_results(root, None if run_ids is None else list(run_ids))
    runs = results.runs
    if not runs.empty:
        runs = runs.join(pd.DataFrame([_provenance(root / run_id) for run_id in runs["run_id"]], index=runs.index))

    @cache
    def views(condition: Condition) -> Mapping[str, CaseView]:
        own = runs[(runs["dataset"] == condition.dataset) & (runs["unseen"] == condition.unseen)]
        file = root / FOLDER / f"{own.sort_values(['seed', 'fold'])['views'].iloc[0]}.npz" if len(own) else root
        return load_views(file) if file.is_file() else {}

    return Evidence(
        runs, results.cases, results.rounds, root, views,
        cache(lambda run_id: _arrays(root / run_id / store.PREDICTIONS)),
        cache(lambda run_id: _arrays(root / run_id / store.FEATURES)),
    )  # fmt: skip


def _provenance(folder: Path) -> dict[str, Any]:
    run = store.record(folder)
    keys = ("versions", "git", "hardware", ATTEMPTS, "samples", "partition", "classes")
    return {
        "views": plain_name(run["views"], folder / store.RUN),
        "peak_memory_bytes": run["peak_memory_bytes"],
        "best_round": run["best_validation_round"],
        "declared": json.dumps(run.get("declared", {}), sort_keys=True),
        "provenance": json.dumps({key: run[key] for key in keys if key in run}, sort_keys=True),
    }


def _arrays(file: Path) -> Mapping[str, np.ndarray]:
    return LazyArrays(file) if file.is_file() else {}


# -- a published folder --------------------------------------------------------------------------------------------


def _published(folder: Path) -> Evidence:
    read_manifest(folder)
    frames = {name: read_table(folder / f"{name}.parquet") for name in TABLES}
    runs = frames["runs"]
    for run_id in runs["run_id"]:
        plain_name(str(run_id), folder / "runs.parquet")
    owners = map(Condition, runs["dataset"].astype(str), runs["unseen"].astype(str))
    condition_of = dict(zip(runs["run_id"], owners, strict=True))

    @cache
    def kept(prefix: str, condition: Condition) -> Mapping[str, np.ndarray]:
        return _arrays(folder / f"{prefix}.{condition.name}.npz")

    def predictions(run_id: str) -> Mapping[str, np.ndarray]:
        arrays = kept("predictions", condition_of[run_id])
        own = f"{run_id}|"
        return {key.removeprefix(own): arrays[key] for key in arrays if key.startswith(own)}

    def features(run_id: str) -> Mapping[str, np.ndarray]:
        own = frames["features"][frames["features"]["run_id"] == run_id]
        return {str(key): np.stack(list(rows["values"])) for key, rows in own.groupby("key", sort=False)}

    def views(condition: Condition) -> Mapping[str, CaseView]:
        file = folder / f"views.{condition.name}.npz"
        return load_views(file) if file.is_file() else {}

    return Evidence(
        frames["runs"], frames["cases"], frames["rounds"], folder, cache(views), cache(predictions), cache(features),
        read_table(folder / DISTANCES) if (folder / DISTANCES).is_file() else None,
    )  # fmt: skip


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a published folder, every file checked against it.

    Raises:
        UserError: it is not a published folder, or a file is missing or does not match its checksum.
    """
    manifest = store.read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{folder / MANIFEST} is not the manifest of published results; publish them again.")
    for name, checksum in manifest["sha256"].items():
        if not (folder / plain_name(name, folder / MANIFEST)).is_file():
            raise UserError(f"{folder / name} is missing; take the published folder again, or publish again.")
        if sha256(folder / name) != checksum:
            raise UserError(f"{folder / name} does not match its checksum: it was edited or damaged; publish again.")
    return manifest


def published_folders(root: Path) -> list[Path]:
    """Return the published folders under ``root`` (``results/published``), by name.

    Raises:
        UserError: publishing one was interrupted between taking the old folder away and giving the new one.
    """
    found = sorted(path.parent for path in root.glob(f"*/{MANIFEST}")) if root.is_dir() else []
    for folder in found:
        if (name := interrupted(folder)) and not (root / name).exists():
            raise UserError(f"{root / name} is gone, for publishing it was interrupted; rename {folder} to {name}.")
    return [folder for folder in found if not folder.name.startswith(".")]
