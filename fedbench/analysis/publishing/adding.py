"""Publishing in pieces: finished runs join what is published, whose rows stay as they are.

A study may take longer than anyone keeps its runs. Runs of other code, of the harness or of an algorithm that is there,
may only join if one of the published runs was repeated by that code and gave the same scores, so that what is compared
was computed alike.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.comparable import computed
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.loading import MANIFEST, read_evidence, read_manifest
from fedbench.analysis.publishing.commits import one_version
from fedbench.analysis.publishing.frames import clean, settings_without_paths
from fedbench.differing import differing_rows, untimed
from fedbench.errors import UserError
from fedbench.files import recover
from fedbench.views import FOLDER, CaseView, read_key
from fedbench.wording import counted, listed

DIGITS = 12  # of a digest, in a message
LATER = {"clients_at_once": 1}  # columns that older publications lack, and what they would hold


@dataclass(frozen=True)
class Addition:
    """What is published under a name, and what joins it.

    Attributes:
        evidence: all of it together; slices are those that were published before.
        published: what was there.
        manifest: of what was there.
        added: the ids of the runs that join.
        code: what made the runs that join, as ``one_version`` says it.
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
        recover(folder.resolve())
        if not (folder / MANIFEST).is_file():
            raise UserError(f"nothing is published in {folder} that runs could be added to; leave out --add.")
        self.manifest = read_manifest(folder)
        self.evidence = read_evidence(folder)
        runs = self.evidence.runs
        self._ids = {_computed(json.loads(i)): str(r) for r, i in zip(runs["run_id"], runs["identity"], strict=True)}

    @property
    def codes(self) -> list[dict[str, str]]:
        """The versions of the code that made the runs, as ``one_version`` says them."""
        return [self.manifest["runs by"], *(part["runs by"] for part in self.manifest.get("added", ()))]

    @property
    def algorithms(self) -> set[tuple[str, str]]:
        """Name and code of the algorithms."""
        return {_algorithm(json.loads(text)) for text in self.evidence.runs["identity"]}

    def like(self, identity: Mapping[str, Any]) -> str | None:
        """Return the published run that computed what ``identity`` says, None if there is none."""
        return self._ids.get(_computed(identity)) if identity else None

    def holds(self, run_id: str) -> bool:
        """Say whether a run of this id is published."""
        return run_id in self._ids.values()

    def unfinished(self, added: Collection[str], left: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return what was unfinished when it was published and is not ``added`` now, and what is ``left``.

        Other code gives a run another id: then one that was unfinished with the same dataset, algorithm, seed, fold and
        modality left out is taken for it.
        """
        before = dict(self.manifest["unfinished"])
        new = [*added, *(run_id for run_id, _ in left)]
        for run_id in [run_id for run_id in new if before.pop(run_id, None) is None]:
            before.pop(next((old for old in sorted(before) if _stem(old) == _stem(run_id)), ""), None)
        return sorted({**before, **dict(left)}.items())


def _stem(run_id: str) -> str:
    """Return a run's id without the digest at its end."""
    return run_id.rpartition(".")[0]


def _computed(identity: Mapping[str, Any]) -> str:
    """Return what a run computes, wherever its files lay."""
    return computed(clean(identity))


def addition(there: Published, source: Path, run_ids: Iterable[str] | None = None) -> Addition:
    """Return what is published together with finished runs of a results folder.

    Args:
        run_ids: the runs that may join; None: every finished one. Those that repeat a published run do not join.

    Raises:
        UserError: no run joins, one that repeats a published run has other scores, other code made the published runs
            and none of them was repeated, or figures would have to show runs whose pictures are not kept.
    """
    made = {folder.name: _identity(folder) for folder in store.finished(source)}
    like = {run_id: there.like(identity) for run_id, identity in made.items()}
    wanted = set(made if run_ids is None else run_ids)
    added = tuple(run_id for run_id, known in like.items() if known is None and run_id in wanted)
    if not added:
        raise UserError(
            f"nothing to add to {there.evidence.source}: every finished run that was asked for is published there."
        )
    found = read_evidence(source, added)
    code = one_version(found)
    known = {i: same for i, same in like.items() if same is not None and _code(made[i]) == code}
    repeats = _repeats(there, source, made, known, {_algorithm(made[run_id]) for run_id in added})
    _check_code(there, source, {run_id: made[run_id] for run_id in added}, [made[run_id] for run_id in repeats])
    evidence = _together(there.evidence, found)
    _check_shown(there.evidence, evidence)
    return Addition(evidence, there.evidence, there.manifest, added, code, repeats)


def _identity(folder: Path) -> dict[str, Any]:
    """Return what determined a run; nothing if its record is damaged, which is said if the run is read."""
    run = store.read_json(folder / store.RUN)
    identity = run.get("identity") if isinstance(run, dict) else None
    return identity if isinstance(identity, dict) else {}


def _code(identity: Mapping[str, Any]) -> dict[str, str]:
    return {"fedbench": str(identity["fedbench"]), "harness": str(identity["harness"])}


def _algorithm(identity: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and code of a run's algorithm."""
    return str(identity["algorithm"]), str(identity.get("algorithm_code", ""))


def _repeats(
    there: Published, source: Path, made: Mapping[str, Any], known: Mapping[str, str], added: set[tuple[str, str]]
) -> dict[str, str]:
    """Return which runs repeat published ones (``known``) with the same scores, and are no copies of them.

    Raises:
        UserError: one has other scores, and its algorithm is the published one or one of those ``added``.
    """
    again = store.load_results(source, list(known), skip_damaged=True)
    found = {}
    for run_id in again.runs["run_id"] if len(again.runs) else ():
        apart = _apart(there.evidence, known[run_id], again, run_id)
        algorithm = _algorithm(made[run_id])
        if not apart and run_id != known[run_id]:
            found[run_id] = known[run_id]
        elif apart and (algorithm in added or algorithm in there.algorithms):
            raise UserError(
                f"{there.evidence.source}: {run_id} in {source} repeats the published {known[run_id]}, and its "
                f"{apart[0]}. Runs that are not computed alike are not compared: publish all runs of one machine and "
                "one version anew."
            )
    return found


def _apart(published: Evidence, known: str, again: store.Results, run_id: str) -> list[str]:
    """Return what differs in scores and training curves."""
    found: list[str] = []
    for what, theirs, ours in (
        ("scores", published.cases, again.cases),
        ("training curves", untimed(published.rounds), untimed(again.rounds)),
    ):
        names = ((theirs, known), (ours, run_id))
        pair = (rows[rows["run_id"] == name].drop(columns=["run_id", "setting"]) for rows, name in names)
        found += differing_rows(what, *pair)
    return found


def _check_code(
    there: Published, source: Path, added: Mapping[str, Mapping[str, Any]], repeated: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse runs of other code than the published ones', of the harness or an algorithm, if none was repeated."""
    code = _code(next(iter(added.values())))
    runs = there.evidence.runs.sort_values(["seed", "fold", "seconds"])
    if code not in there.codes and not repeated:
        some, what = runs.iloc[0], "fedbench"
        theirs, ours = listed(known["harness"][:DIGITS] for known in there.codes), code["harness"][:DIGITS]
    else:
        proven = there.algorithms | {_algorithm(identity) for identity in repeated}
        names = {name for name, _ in there.algorithms}
        mine = {_algorithm(identity) for identity in added.values()}
        if not (open_ := sorted(pair for pair in mine - proven if pair[0] in names)):
            return
        name, digest = open_[0]
        some, what = runs[runs["algorithm"] == name].iloc[0], name
        theirs, ours = listed(d[:DIGITS] for n, d in sorted(there.algorithms) if n == name), digest[:DIGITS]
    raise UserError(
        f"{there.evidence.source}: the published runs were made by other code of {what} ({theirs}) than those to add "
        f"({ours}). Repeat a published run by that code in {source} first (such as {some['setting']} with seed "
        f"{some['seed']}): if its scores are the same, the others may join."
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
    of_condition = {c: _places(published, found, c) for c in published.trained if c in found.trained}
    places = {run_id: of_condition[c] for c in of_condition for run_id in found.of(c).runs["run_id"]}

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
    """Concatenate tables, with the columns of the published one and of :data:`LATER`."""
    cleaned = settings_without_paths(found)
    before = published.assign(**{c: v for c, v in LATER.items() if c in cleaned and c not in published})
    if lacking := [column for column in before if column not in cleaned]:
        raise UserError(f"the runs to add have no column {listed(lacking)} of the published ones; publish all anew.")
    both = pd.concat([before, cleaned[list(before)]], ignore_index=True)
    return both.sort_values("run_id", kind="stable", ignore_index=True)


def _places(published: Evidence, found: Evidence, condition: Condition) -> dict[str, list[int]]:
    """Return where the published slices of each published case are among those that a results folder keeps.

    Raises:
        UserError: of a run that figures show the pictures are not there, or other slices are.
    """
    first, own = (e.of(condition).runs.sort_values(["seed", "fold"]).iloc[0] for e in (published, found))
    if (first["seed"], first["fold"]) != (own["seed"], own["fold"]):
        return {}  # figures do not show them
    wanted, there = published.views(condition), found.views(condition)
    if any(case not in there or not set(view.slices) <= set(there[case].slices) for case, view in wanted.items()):
        raise UserError(
            f"{found.source}: the runs to add on {condition.title} lack slices that figures show of the published "
            f"runs; bring the folder {FOLDER} too, or publish all anew."
        )
    return {case: [there[case].slices.index(number) for number in view.slices] for case, view in wanted.items()}


def said(found: Addition) -> str:
    """``60 runs joined 60; repeated with the same scores: 2``."""
    line = f"{counted(len(found.added), 'run')} joined {len(found.published.runs)}"
    return line + (f"; repeated with the same scores: {len(found.repeated)}" if found.repeated else "")
