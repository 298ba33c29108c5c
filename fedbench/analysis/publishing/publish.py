"""From run folders to a small folder that is committed: the tables of all runs, and pictures of a few cases.

What tables are made from is published whole, so tables come out the same from either. Figures get the cases that
:mod:`fedbench.analysis.figures.choice` chooses, and some of the features. The same runs give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedbench import __version__, store
from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Evidence
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.figures.separation import every_distance
from fedbench.analysis.loading import DISTANCES, FORMAT, MANIFEST, TABLES, TRIALS, read_manifest
from fedbench.analysis.publishing.adding import Addition
from fedbench.analysis.publishing.commits import one_version
from fedbench.analysis.publishing.frames import settings_without_paths, without_paths, write_frame
from fedbench.analysis.publishing.pictures import write_features, write_pictures
from fedbench.differing import attempts_of
from fedbench.errors import UserError
from fedbench.files import new_folder, sha256
from fedbench.reading import read_table
from fedbench.suite import safe
from fedbench.wording import listed

UNUSED = ("volume_truth", "volume_prediction")  # columns of cases that nothing reads


def publish(
    analyses: Analyses, target: Path, title: str = "", unfinished: Sequence[tuple[str, str]] = (),
    replace: bool = False, trials: Path | None = None, addition: Addition | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write the evidence of a results folder to ``target``.

    Args:
        unfinished: (run id, state) of runs that belong here but did not finish; of an addition, of all together.
        trials: the folder of ``fedbench tune``: its table, which says how hyper-parameters were chosen, is taken along.
        replace: overwrite what was published there before; other files of the folder stay.
        addition: what ``analyses`` are of, where runs join those that are published in ``target``.

    Returns:
        bytes by file name.

    Raises:
        UserError: a bad name, runs of several versions, something else or (without ``replace``) published results in
            ``target``, or a condition that cannot be analysed.
    """
    evidence = analyses.evidence
    if safe(target.name) != target.name:
        raise UserError(f"cannot publish as '{target.name}': use letters, digits and dashes.")
    _check_target(target, replace or addition is not None)
    _check_unchanged(target, addition)
    before = {} if addition is None else addition.manifest
    if trials is None and TRIALS[0] in before.get("sha256", ()):
        trials = target
    if trials is not None:
        _check_trials(trials, evidence)
    elif (target / TRIALS[0]).is_file():
        raise UserError(
            f"{target} holds trials of `fedbench tune`, which would be lost: give --trials FOLDER too, or delete "
            f"{target / TRIALS[0]} first if these runs were not tuned."
        )
    code = one_version(evidence) if addition is None else before["runs by"]
    names = [condition.name for condition in evidence.trained]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two datasets of these results would share the files '{listed(twice)}'; publish them apart.")
    for condition in evidence.trained:
        analyses.get(condition)  # runs that cannot be compared are refused
    with new_folder(target.resolve()) as part:
        kept = [] if addition is None else addition.published.trained  # their cases were chosen
        chosen = {
            c.title: write_pictures(analyses, c, part, list(evidence.views(c)) if c in kept else None)
            for c in evidence.trained
        }
        frames = {
            "runs": without_paths(evidence.runs),
            "cases": evidence.cases.drop(columns=[c for c in UNUSED if c in evidence.cases]),
            "rounds": evidence.rounds,
        }
        for name, frame in frames.items():
            write_frame(part / f"{name}.parquet", settings_without_paths(frame))
        features = f"{TABLES[-1]}.parquet"
        write_features(evidence, part / features, None if addition is None else read_table(target / features))
        scenes = [Scene(analyses, condition, ()) for condition in evidence.trained]
        distances = pd.concat([every_distance(scene) for scene in scenes], ignore_index=True)
        write_frame(part / DISTANCES, distances.sort_values(["run_id", "deployment"], kind="stable"))
        if trials is not None:
            for name in TRIALS:
                shutil.copyfile(trials / name, part / name)
        files = sorted(file.name for file in part.iterdir())
        manifest = {
            "format": FORMAT, "name": target.name, "title": title or before.get("title", ""),
            "published by": __version__, "runs by": code,
            "versions": _versions(evidence), "reference": analyses.choices.reference,
            "selection": analyses.choices.selection, "chosen cases": chosen, "unfinished": dict(sorted(unfinished)),
            "sha256": {name: sha256(part / name) for name in files},
        }  # fmt: skip
        if addition is not None:
            joined = {"runs by": addition.code, "runs": len(addition.added), "repeats": addition.repeated}
            manifest["added"] = [*before.get("added", ()), joined]
        store.write_json(part / MANIFEST, manifest)
        read_manifest(part)
        _take_along(target, part)
        _check_unchanged(target, addition)
    return {name: (target / name).stat().st_size for name in [MANIFEST, *files]}


def _check_target(target: Path, replace: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        raise UserError(f"{target} is there and holds no published results; choose another name, or move it away.")
    if not replace:
        raise UserError(f"{target} holds published results; say --replace to overwrite them, or choose another name.")


def _check_unchanged(target: Path, addition: Addition | None) -> None:
    if addition is not None and read_manifest(target) != addition.manifest:
        raise UserError(f"{target} was published anew while runs were added to it; give the command again.")


def _check_trials(folder: Path, evidence: Evidence) -> None:
    """Refuse trials that did not choose what these runs were made with."""
    if missing := [name for name in TRIALS if not (folder / name).is_file()]:
        raise UserError(
            f"{folder} holds no table of trials ({listed(missing)} not there); give the folder that `fedbench tune` "
            "names at its end, OUT/tuning/SUITE."
        )
    trials = read_table(folder / TRIALS[0])
    tuned = {column.removeprefix("dice ") for column in trials.columns if column.startswith("dice ")}
    if other := sorted(set(evidence.runs["dataset"]) - tuned):
        raise UserError(f"{folder} holds trials on {listed(sorted(tuned))}, these are runs on {listed(other)}.")
    chosen = trials[trials["chosen"]]
    name = "label" if "label" in chosen else "setting"  # earlier tables have no label
    own = chosen[chosen["stage"] == "own"].assign(setting=lambda rows: rows[name])
    settings = set(settings_without_paths(own)["setting"])
    if other := sorted(set(settings_without_paths(evidence.runs)["setting"]) - settings):
        raise UserError(f"{folder} did not choose {listed(other)}: the runs are not those of the tuned suite.")
    for point in chosen[chosen["stage"] == "shared"]["parameters"]:
        for key, value in json.loads(point).items():
            section, _, name = key.partition(".")
            used = {json.dumps(json.loads(text)[section][name]) for text in evidence.runs["identity"].unique()}
            if used != {json.dumps(value)}:
                raise UserError(f"{folder} chose {key} = {value}, the runs have {listed(sorted(used))}.")


def _take_along(target: Path, part: Path) -> None:
    """Copy what lies in ``target`` and was not published, such as tables that were made there."""
    published = {MANIFEST, *(store.read_json(target / MANIFEST) or {}).get("sha256", {})}
    for path in target.iterdir() if target.is_dir() else ():
        if path.name not in published and not (part / path.name).exists():
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, part / path.name, symlinks=True)
            else:
                shutil.copy2(path, part / path.name, follow_symlinks=False)


def _versions(evidence: Evidence) -> dict[str, list[str]]:
    """Packages -> the versions that runs were made with."""
    found: dict[str, set[str]] = {}
    for text in evidence.runs["provenance"].unique():
        for attempt in attempts_of(json.loads(text)):
            for name, version in attempt["versions"].items():
                found.setdefault(name, set()).add(str(version))
    return {name: sorted(found[name]) for name in sorted(found)}
