"""Publishing in pieces: finished runs join what is published, of which nothing changes.

A study may take longer than anyone keeps its runs. Runs of other code may only join if one of the published runs was
repeated beside them and gave the same scores, so that what is compared was computed alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.evidence import MANIFEST, Condition, Evidence, read_evidence, read_manifest
from fedbench.analysis.publish import one_version
from fedbench.analysis.publish_frames import clean, settings_without_paths
from fedbench.analysis.rows import counted, listed
from fedbench.comparison import differing_rows, untimed
from fedbench.errors import UserError
from fedbench.views import CaseView, read_key

CODE = ("fedbench", "harness", "algorithm_code", "dataset_code")  # of a run's identity: what it was computed by


@dataclass(frozen=True)
class Addition:
    """What is published under a name, and what joins it.

    Attributes:
        evidence: all of it together; slices are those that were published before.
        published: what was there.
        manifest: of what was there.
        added: the ids of the runs that join.
        code: what made the runs that join, as :func:`fedbench.analysis.publish.one_version` says it.
        repeats: run id -> the published run that it repeats bit by bit, by that code.
    """

    evidence: Evidence
    published: Evidence
    manifest: Mapping[str, Any]
    added: tuple[str, ...]
    code: Mapping[str, str]
    repeats: Mapping[str, str]

    @property
    def repeated(self) -> list[str]:
        """The published runs that were repeated, by name."""
        return sorted(set(self.repeats.values()))


class Published:
    """The runs published in a folder, by what was computed, whatever code did it.

    Raises:
        UserError: nothing is published there, or a file was edited or damaged.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST).is_file():
            raise UserError(f"nothing is published in {folder} that runs could be added to; leave out --add.")
        self.manifest = read_manifest(folder)
        self.evidence = read_evidence(folder)
        runs = self.evidence.runs
        self._ids = {_computed(json.loads(i)): str(r) for r, i in zip(runs["run_id"], runs["identity"], strict=True)}

    @property
    def codes(self) -> list[dict[str, str]]:
        """The versions of the code that made the runs, as :func:`fedbench.analysis.publish.one_version` says them."""
        return [self.manifest["runs by"], *(part["runs by"] for part in self.manifest.get("added", ()))]

    def like(self, identity: Mapping[str, Any]) -> str | None:
        """Return the published run that computed what ``identity`` says, None if there is none."""
        return self._ids.get(_computed(identity))


def _computed(identity: Mapping[str, Any]) -> str:
    return json.dumps(clean({k: v for k, v in identity.items() if k not in CODE}), sort_keys=True)


def addition(there: Published, source: Path, run_ids: Iterable[str] | None = None) -> Addition:
    """Return what is published together with finished runs of a results folder.

    Args:
        run_ids: the runs that may join; None: every finished one. Those that repeat a published run do not join.

    Raises:
        UserError: no run joins, one that repeats a published run has other scores, other code made the published runs
            and none of them was repeated, or figures would have to show runs whose pictures are not kept.
    """
    identities = {folder.name: _identity(folder) for folder in store.finished(source)}
    like = {run_id: there.like(identity) for run_id, identity in identities.items()}
    wanted = set(identities if run_ids is None else run_ids)
    added = tuple(run_id for run_id, known in like.items() if known is None and run_id in wanted)
    folder = there.evidence.source
    if not added:
        raise UserError(f"nothing to add to {folder}: every finished run that was asked for is published there.")
    found = read_evidence(source, added)
    code = one_version(found)
    repeats = {run_id: known for run_id, known in like.items() if known is not None and run_id != known}
    _check_repeats(there.evidence, source, repeats)
    repeats = {run_id: known for run_id, known in repeats.items() if _code(identities[run_id]) == code}
    if code not in there.codes and not repeats:
        some = there.evidence.runs.sort_values(["seed", "fold", "seconds"]).iloc[0]
        made_by = listed(_short(known) for known in there.codes)
        raise UserError(
            f"{folder}: the published runs were made by other code of fedbench ({made_by}) than those to add "
            f"({_short(code)}). Repeat a published run by that code in {source} first (such as {some['setting']} with "
            f"seed {some['seed']}): if its scores are the same, the others may join."
        )
    evidence = _together(there.evidence, found)
    _check_shown(there.evidence, evidence)
    return Addition(evidence, there.evidence, there.manifest, added, code, repeats)


def _identity(folder: Path) -> dict[str, Any]:
    return json.loads((folder / store.RUN).read_text(encoding="utf-8"))["identity"]


def _code(identity: Mapping[str, Any]) -> dict[str, str]:
    return {"fedbench": str(identity["fedbench"]), "harness": str(identity["harness"])}


def _short(code: Mapping[str, str]) -> str:
    return code["harness"][:12]


def _check_repeats(published: Evidence, source: Path, repeats: Mapping[str, str]) -> None:
    again = store.load_results(source, list(repeats))
    for run_id, known in repeats.items():
        for what, theirs, ours in (
            ("scores", published.cases, again.cases),
            ("training curves", untimed(published.rounds), untimed(again.rounds)),
        ):
            names = ((theirs, known), (ours, run_id))
            pair = (rows[rows["run_id"] == name].drop(columns=["run_id", "setting"]) for rows, name in names)
            if apart := list(differing_rows(what, *pair)):
                raise UserError(
                    f"{published.source}: {run_id} repeats the published {known}, and its {apart[0]}. Runs that are "
                    "not computed alike are not compared: publish all runs of one machine and one version anew."
                )


def _check_shown(published: Evidence, together: Evidence) -> None:
    for condition in published.trained:
        before, now = (e.of(condition).runs.sort_values(["seed", "fold"]).iloc[0] for e in (published, together))
        if (before["seed"], before["fold"]) != (now["seed"], now["fold"]):
            raise UserError(
                f"{published.source}: figures show runs of the first seed and fold, and with seed {now['seed']}, fold "
                f"{now['fold']} of {condition.title} added these would be others, whose pictures are not kept of the "
                "published runs. Publish all anew."
            )


# -- together ------------------------------------------------------------------------------------------------------


def _together(published: Evidence, found: Evidence) -> Evidence:
    """Return both as one, runs by name as in a results folder."""
    old = set(published.runs["run_id"])
    kept = [c for c in published.trained if c in found.trained]
    places = {run_id: _places(published, found, c) for c in kept for run_id in found.of(c).runs["run_id"]}

    def views(condition: Condition) -> Mapping[str, CaseView]:
        return (published if condition in published.trained else found).views(condition)

    def predictions(run_id: str) -> Mapping[str, np.ndarray]:
        if run_id in old or run_id not in places:
            return (published if run_id in old else found).predictions(run_id)
        shown, own = places[run_id], found.predictions(run_id)
        return {key: own[key][shown[read_key(key)[2]]] for key in own if read_key(key)[2] in shown}

    runs, cases, rounds = (_rows(getattr(published, n), getattr(found, n)) for n in ("runs", "cases", "rounds"))
    return replace(
        published, runs=runs, cases=cases, rounds=rounds, _views=views, _predictions=predictions,
        _features=lambda run_id: (published if run_id in old else found).features(run_id),
    )  # fmt: skip


def _rows(published: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Concatenate tables, with the columns of the published one."""
    cleaned = settings_without_paths(found)
    lacking = [column for column in published if column not in cleaned]
    if lacking:
        raise UserError(f"the runs to add have no column {listed(lacking)} of the published ones; publish all anew.")
    both = pd.concat([published, cleaned[list(published)]], ignore_index=True)
    return both.sort_values("run_id", kind="stable", ignore_index=True)


def _places(published: Evidence, found: Evidence, condition: Condition) -> dict[str, list[int]]:
    """Return where the published slices of each published case are among those that a results folder keeps."""
    every = found.views(condition)
    return {
        case: [every[case].slices.index(number) for number in view.slices]
        for case, view in published.views(condition).items()
        if case in every
    }


def said(found: Addition) -> str:
    """``60 runs joined 60; repeated with the same scores: 2``."""
    line = f"{counted(len(found.added), 'run')} joined {len(found.published.runs)}"
    return line + (f"; repeated with the same scores: {len(found.repeated)}" if found.repeated else "")
