"""Normalisation as a factor: the same federation trained with other norm layers, its algorithms side by side.

Results with one kind of norm are one group (a published folder). Groups are put side by side only if dataset, prepared
data and the partitions of every seed and fold are the same; each keeps its own analysis, so a verdict here is the
verdict there. A group whose BatchNorm was also scored with statistics taken anew gives two columns, of two conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedbench.analysis.analyses import Analyses, in_order
from fedbench.analysis.evidence import Condition
from fedbench.analysis.statistics.intervals import bootstrap_means
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint, labels
from fedbench.analysis.statistics.variance import over_runs
from fedbench.config import section_of
from fedbench.differing import attempts_of
from fedbench.wording import listed

ENDPOINT = Endpoint("cross", "dice")
KNOWN = ("batch", "instance", "instance-plain", "group")  # the order of columns
INSTRUCTIONS, UNKNOWN = "the CPU's vector instructions", "unknown"
NORMS = "norms"  # the parameter by which an algorithm says which norm layers it means: follows the network's norm


@dataclass(frozen=True)
class Group:
    """Results that may be put beside others.

    Attributes:
        name: of the published folder.
    """

    name: str
    analyses: Analyses


@dataclass(frozen=True)
class Column:
    """The algorithms with one kind of norm.

    Attributes:
        norm: as in ``[model] norm``.
        reestimated: whether BatchNorm's statistics were taken anew from the scored modality's training images.
        group: the group's name.
        analysis: with this column's reference.
        labels: what the analysis calls each algorithm of this column, by its name here.
    """

    norm: str
    reestimated: bool
    group: str
    analysis: Analysis
    labels: Mapping[str, str]

    @property
    def heading(self) -> str:
        """``batch``, or ``batch, re-estimated``."""
        return f"{self.norm}, re-estimated" if self.reestimated else self.norm

    @property
    def reference(self) -> str:
        """The reference's name."""
        return next(name for name, label in self.labels.items() if label == self.analysis.reference)


@dataclass(frozen=True)
class Confounds:
    """What two groups do not share besides the norm.

    Attributes:
        unlike: settings that differ.
        unsure: those of which it is not known, with what is.
    """

    unlike: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.unlike or self.unsure)

    def note(self, other: str, first: str) -> str:
        """Return all of it as a sentence that names the groups."""
        told = [f"{other} and {first} differ in {', '.join(self.unlike)} too"] if self.unlike else []
        told += [f"{what} of {other} and {first} are not known to be the same" for what in self.unsure]
        return f"Not the norm alone: {'; '.join(told)}."


@dataclass(frozen=True)
class SideBySide:
    """One federation with several kinds of norm.

    Attributes:
        columns: two or more; the first is what others are compared with.
        confounds: what a group's runs do not share with those of the first column's besides the norm, by its name.
    """

    condition: Condition
    columns: tuple[Column, ...]
    confounds: Mapping[str, Confounds]

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs between the groups besides the norm; sentences."""
        return tuple(each.note(name, self.columns[0].group) for name, each in self.confounds.items())

    @property
    def names(self) -> list[str]:
        """The algorithms of any column, in the order of tables."""
        return in_order(name for column in self.columns for name in column.labels)

    @property
    def reference(self) -> str:
        """The reference's name, the same in all columns."""
        return self.columns[0].reference


class Step(NamedTuple):
    """A mean paired difference, with 95% intervals over patients, and over patients and seeds (NaN: none)."""

    mean: float
    low: float
    high: float
    runs_low: float
    runs_high: float
    patients: int


def side_by_side(groups: Sequence[Group], condition: Condition) -> tuple[list[SideBySide], list[str]]:
    """Return what of a condition can be put side by side, and why a group cannot; sentences.

    Args:
        groups: the first that has the condition is the one that others must be comparable with.
    """
    there = [g for g in groups if condition in g.analyses.conditions]
    there = [g for g in there if ENDPOINT.relation in g.analyses.relations(condition)]
    alike: list[list[Group]] = []
    reasons = []
    for group in there:
        if len(norms := norms_of(group, condition)) > 1:
            reasons.append(f"{group.name} mixes runs of several norms ({listed(norms)}).")
            continue
        fits = [cluster for cluster in alike if not _differences(cluster[0], group, condition)]
        if not fits:
            if alike:
                why = listed(_differences(alike[0][0], group, condition))
                reasons.append(f"{group.name} is not put beside {alike[0][0].name}: {why}.")
            alike.append([group])
        elif same := [other.name for other in fits[0] if norms_of(other, condition) == norms]:
            reasons.append(f"{group.name} is not shown: it has the norm of {same[0]}.")
        else:
            fits[0].append(group)
    found = [_put_together(cluster, condition) for cluster in alike]
    return [each for each in found if len(each.columns) > 1], reasons


def norms_of(group: Group, condition: Condition) -> list[str]:
    """Return the kinds of norm that a group's runs have; ``unknown`` where a run does not say."""
    return sorted({str(i.get("model", {}).get("norm", "unknown")) for i in _identities(group, condition)})


def step(before: Column, after: Column, name: str) -> Step:
    """Return what an algorithm's scores gained from one kind of norm to another, over the patients of both.

    The interval over patients and seeds is that of :func:`.variance.over_runs`, by these scores' own scatter alone.
    """
    first, second = before.analysis.matrix, after.analysis.matrix
    patients = first.values.index.intersection(second.values.index)
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    old, new = before.labels[name], after.labels[name]
    gains = (second.values.loc[patients, new] - first.values.loc[patients, old]).to_numpy()[:, None]
    where = pd.MultiIndex.from_product([patients, seeds])
    by_seed = second.by_seed[new].reindex(where).to_numpy() - first.by_seed[old].reindex(where).to_numpy()
    cube = by_seed.reshape(len(patients), len(seeds), 1)
    own, runs = bootstrap_means(gains), over_runs(cube)
    low, high, runs_low, runs_high = (float(end[0]) for end in (own.low, own.high, runs.low, runs.high))
    return Step(float(gains.mean()), low, high, runs_low, runs_high, len(patients))


# -- what is comparable ----------------------------------------------------------------------------------------------


def _differences(one: Group, other: Group, condition: Condition) -> list[str]:
    """Say what forbids to put two groups side by side; nothing if they may be."""
    first, second = _partitions(one, condition), _partitions(other, condition)
    if first.keys() != second.keys():
        return ["its seeds or folds are others"]
    if unlike := [_drawn(*key) for key in sorted(first) if first[key] != second[key]]:
        return [f"its partitions are others ({listed(unlike)})"]
    kept = ("dataset_content", "data")
    unlike = _unlike(_identities(one, condition), _identities(other, condition), kept)
    references = {g.analyses.choices.reference for g in (one, other)}
    found = [f"its data were prepared otherwise ({listed(unlike)})"] if unlike else []
    return found + (["it is compared with another reference"] if len(references) > 1 else [])


def _drawn(seed: int, fold: int) -> str:
    return f"seed {seed}" if fold < 0 else f"seed {seed}, fold {fold}"


def _partitions(group: Group, condition: Condition) -> dict[tuple[int, int], set[str]]:
    runs = group.analyses.results(condition).runs
    found: dict[tuple[int, int], set[str]] = {}
    for seed, fold, partition in zip(runs["seed"], runs["fold"], runs["partition"], strict=True):
        found.setdefault((int(seed), int(fold)), set()).add(str(partition))
    return found


def _identities(group: Group, condition: Condition) -> list[dict[str, Any]]:
    texts = group.analyses.results(condition).runs["identity"].unique()
    return [json.loads(text) for text in texts]


def _unlike(one: list[dict[str, Any]], other: list[dict[str, Any]], sections: Sequence[str]) -> list[str]:
    """Return the settings of some sections of identities that two groups do not share: ``data.spacing``."""
    first, second = _values(one, sections), _values(other, sections)
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def _values(identities: list[dict[str, Any]], sections: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for identity in identities:
        for section in sections:
            content = identity.get(section)
            inner = section_of(identity, section) if isinstance(content, dict) else {"": content}
            for key, value in inner.items():
                found.setdefault(f"{section}.{key}".rstrip("."), set()).add(json.dumps(value, sort_keys=True))
    return found


def _parameters(group: Group, condition: Condition) -> dict[str, set[str]]:
    """Return the parameters of each setting's runs, but for the one that names the norm layers."""
    runs = group.analyses.results(condition).runs[["setting", "identity"]].drop_duplicates()
    found: dict[str, set[str]] = {}
    for setting, text in runs.itertuples(index=False):
        parameters = json.loads(text).get("algorithm_params", {})
        kept = {name: value for name, value in parameters.items() if name != NORMS}
        found.setdefault(_without_norms(str(setting)), set()).add(json.dumps(kept, sort_keys=True))
    return found


# -- columns ---------------------------------------------------------------------------------------------------------


def _put_together(cluster: Sequence[Group], condition: Condition) -> SideBySide:
    norms = [norms_of(group, condition)[0] for group in cluster]
    order = sorted(range(len(cluster)), key=lambda i: (KNOWN.index(norms[i]) if norms[i] in KNOWN else 9, norms[i]))
    kinds = pd.concat([_kinds(group, condition).assign(group=i) for i, group in enumerate(cluster)], ignore_index=True)
    kinds["name"] = labels(kinds)
    columns = [
        column
        for i in order
        for column in _columns(cluster[i], norms[i], condition, kinds[kinds["group"] == i])
    ]  # fmt: skip
    first = cluster[order[0]]
    confounds = {cluster[i].name: _confounded(first, cluster[i], condition) for i in order[1:]}
    return SideBySide(condition, tuple(columns), {name: each for name, each in confounds.items() if each})


def _kinds(group: Group, condition: Condition) -> pd.DataFrame:
    """Return label, setting and deployment of a group's models, as if their norms were like others'.

    Those with statistics taken anew too, with a column ``anew`` that tells them.
    """
    parts = []
    for each in (condition, replace(condition, reestimated=True)):
        if each in group.analyses.conditions:
            kinds = group.analyses.results(each).cases[["label", "setting", "deployment"]].astype(str)
            parts.append(kinds.drop_duplicates().assign(anew=each.reestimated))
    kinds = pd.concat(parts, ignore_index=True)
    own = set(kinds["setting"])
    plain = kinds["setting"].map(_without_norms)
    return kinds.assign(setting=np.where(plain.isin(own), kinds["setting"], plain))


def _without_norms(setting: str) -> str:
    """``fedbn[norms=all]`` -> ``fedbn``: with a norm of which there is one kind in the network it says nothing."""
    head, bracket, rest = setting.partition("[")
    inside, _, behind = rest.partition("]")
    kept = [p for p in inside.split(",") if not re.match(rf"{NORMS}=", p)]
    return setting if not bracket else head + (f"[{','.join(kept)}]" if kept else "") + behind


def _columns(group: Group, norm: str, condition: Condition, kinds: pd.DataFrame) -> list[Column]:
    """Return a group's column, and one of what was re-estimated."""
    columns = []
    for anew in kinds["anew"].unique():
        analysis = group.analyses.get(replace(condition, reestimated=bool(anew)), ENDPOINT)
        there = kinds[(kinds["anew"] == anew) & kinds["label"].isin(analysis.matrix.algorithms)]
        named = dict(zip(there["name"], there["label"], strict=True))
        columns.append(Column(norm, bool(anew), group.name, analysis, named))
    return columns


def _confounded(first: Group, other: Group, condition: Condition) -> Confounds:
    """Say what besides the norm the runs of two groups do not share."""
    sections = ("model", "training", "harness", "device")
    unlike = _unlike(_identities(first, condition), _identities(other, condition), sections)
    unlike = [name.replace("harness", "the version of the code") for name in unlike if name != "model.norm"]
    ours, theirs = _parameters(first, condition), _parameters(other, condition)
    unlike += [
        f"the parameters of {name}" for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]
    ]
    machines = _instructions(first, condition), _instructions(other, condition)
    if machines[0] == machines[1]:
        return Confounds(tuple(unlike))
    said = f"{INSTRUCTIONS} ({listed(sorted(machines[1]))}; {listed(sorted(machines[0]))})"
    unknown = UNKNOWN in machines[0] | machines[1]
    return Confounds((*unlike, *(() if unknown else (said,))), (said,) if unknown else ())


def _instructions(group: Group, condition: Condition) -> set[str]:
    """Return the vector instructions of the CPUs of a group's runs: they decide in which order sums are added."""
    texts = group.analyses.results(condition).runs["provenance"].unique()
    every = [made.get("hardware") or {} for text in texts for made in attempts_of(json.loads(text))]
    return {str(hardware.get("instructions", UNKNOWN)) for hardware in every}
