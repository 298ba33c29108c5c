"""What the paper is about: every published condition, each a :class:`Part` of it.

Published folders whose conditions differ are one study. A folder that holds a condition again (the same data with
other normalisation layers, say) is a study of its own beside it, named after the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from fedbench.analysis.analyses import Analyses, Choices, Settled, in_order
from fedbench.analysis.comparable import computed
from fedbench.analysis.evidence import Condition, Evidence, merge
from fedbench.analysis.figures import known_labels
from fedbench.analysis.kinds import kind_of
from fedbench.analysis.loading import MANIFEST, TRIALS, published_folders, read_evidence
from fedbench.analysis.paper.phantoms import is_generated
from fedbench.analysis.paper.short_names import configurations, names_in_all, renamed, with_short_names
from fedbench.analysis.publishing.commits import COMMITS
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.errors import UserError
from fedbench.files import sha256
from fedbench.reading import read_table
from fedbench.store import read_json
from fedbench.suite import safe

Models = tuple[frozenset[str], frozenset[str]]  # what runs computed, kinds of deployed model

HOW = "`fedbench publish` turns finished runs into published tables."


@dataclass(frozen=True)
class Part:
    """One condition of one study.

    Attributes:
        study: the published folder it comes from where that holds a condition again; else empty.
        folder: the published folder it comes from; empty where nobody knows.
    """

    analyses: Analyses
    condition: Condition
    study: str = ""
    folder: str = ""

    @property
    def key(self) -> str:
        """As in the name of a file or a macro; unique."""
        return f"{self.study}.{self.condition.name}" if self.study else self.condition.name

    @property
    def title(self) -> str:
        """As in a heading; not escaped: ``nuclei (group)`` of ``study-nuclei-group``."""
        return f"{self.condition.title} ({self.about})" if self.about else self.condition.title

    @property
    def about(self) -> str:
        """What a study that holds the condition again is about; empty for the main one."""
        return words_of(self.study, self.condition.dataset) if self.study else ""

    @property
    def of_phantom(self) -> bool:
        """Whether the images are generated."""
        return is_generated(self.condition.dataset)

    @property
    def relations(self) -> list[str]:
        """The relations of client to scored modality that occur."""
        return self.analyses.relations(self.condition)

    @property
    def labels(self) -> list[str]:
        """The algorithms, in the order of tables."""
        return self.analyses.algorithms(self.condition)

    @property
    def ablation(self) -> bool:
        """Whether it shows algorithms of another study with several values of what was tuned there."""
        return bool(self.study) and len(set(map(kind_of, self.labels))) < len(self.labels)

    def models(self, label: str) -> Models:
        """Return which models an algorithm's scores are of: the same in two studies if their runs computed the same.

        A run that was repeated, by other code too, is no other training; which code made runs whose scores are compared
        is asked where they are published.
        """
        return self._models.get(label, (frozenset(), frozenset()))

    @cached_property
    def _models(self) -> dict[str, Models]:
        found = self.analyses.results(self.condition)
        rows = found.cases[["label", "run_id", "deployment"]].drop_duplicates().astype(str)
        did = {str(run): computed(json.loads(text)) for run, text in found.runs[["run_id", "identity"]].values}
        return {
            str(label): (frozenset(own["run_id"].map(did)), frozenset(own["deployment"]))
            for label, own in rows.groupby("label")
        }

    def get(self, relation: str, metric: str = "dice") -> Analysis:
        """Return the analysis of an endpoint."""
        return self.analyses.get(self.condition, Endpoint(relation, metric, self.condition.unseen))

    @property
    def primary(self) -> Analysis:
        """The analysis of the primary endpoint."""
        return self.analyses.get(self.condition)

    @property
    def dice(self) -> Analysis:
        """The analysis of Dice, of the same relation as the primary endpoint."""
        return self.get(self.primary.matrix.endpoint.relation)


def words_of(study: str, dataset: str = "") -> str:
    """Return what a study is about from its folder's name: ``lambda`` of ``study-nuclei-lambda``."""
    words = [word for word in study.split("-") if word not in ("study", *dataset.split("-"))]
    return " ".join(words) or study


@dataclass(frozen=True)
class Study:
    """Everything published.

    Attributes:
        groups: name (``""`` for the main one) and analyses of conditions that all differ.
        manifests: sha256 of each published folder's manifest, by the folder's name.
        folders: the published folder of each condition of the main group, by name.
        trials: how hyper-parameters were chosen (:func:`fedbench.tuning.table.trials_frame`), by the name of the
            published folder that holds it.
        unfinished: how many runs were not finished, or failed, when a folder was published; those that have some.
        commits: by the digest of a harness, a commit of the code's history that holds it, where that is noted.
    """

    groups: tuple[tuple[str, Analyses], ...]
    manifests: dict[str, str]
    folders: Mapping[Condition, str] = field(default_factory=dict)
    trials: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    unfinished: Mapping[str, int] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> list[Part]:
        """Every condition, models as they were trained; those with nothing left out first, phantoms last of each."""
        return [part for part in self._every if not part.condition.reestimated]

    @property
    def rescored(self) -> list[Part]:
        """The conditions with BatchNorm statistics taken anew, in the same order."""
        return [part for part in self._every if part.condition.reestimated]

    @cached_property
    def _every(self) -> list[Part]:
        every = [
            Part(analyses, c, name, name or self.folders.get(c.trained, ""))
            for name, analyses in self.groups
            for c in analyses.conditions
        ]
        return sorted(every, key=lambda part: (bool(part.condition.unseen), part.of_phantom))

    @property
    def choices(self) -> Settled:
        """What was chosen of the protocol."""
        return self.groups[0][1].choices


def read_study(root: Path, choices: Choices | None = None) -> Study:
    """Read everything published under ``root``, or the one published folder ``root``.

    Raises:
        UserError: nothing is published there, or a file does not match its checksum.
    """
    folders = folders_of(root)
    if not folders:
        what = "it is a file" if root.is_file() else "no published folder there" if root.is_dir() else "no such folder"
        raise UserError(f"nothing published yet in {root}: {what}. {HOW}")
    main: list[Evidence] = []
    others: list[tuple[str, Evidence]] = []
    for folder in folders:
        evidence = read_evidence(folder)
        taken = {condition for part in main for condition in part.trained}
        if taken.isdisjoint(evidence.trained):
            main.append(evidence)
        else:
            others.append((safe(folder.name), evidence))
    merged = main[0] if len(main) == 1 else merge(main)
    manifests = {f.name: sha256(f / MANIFEST) for f in folders}
    homes = {condition: safe(part.source.name) for part in main for condition in part.trained}
    tables = {folder.name: folder / TRIALS[0] for folder in folders}
    trials = {name: read_table(file) for name, file in tables.items() if file.is_file()}
    left = {folder.name: len((read_json(folder / MANIFEST) or {}).get("unfinished", {})) for folder in folders}
    unfinished = {name: number for name, number in left.items() if number}
    commits = read_json(folders[0].parent / COMMITS) or {}
    study = study_of([("", merged), *others], choices, manifests, homes)
    return replace(study, trials=trials, unfinished=unfinished, commits=commits)


def study_of(
    sources: Sequence[tuple[str, Evidence]],
    choices: Choices | None = None,
    manifests: dict[str, str] | None = None,
    folders: Mapping[Condition, str] | None = None,
) -> Study:
    """Return the study of evidence that is at hand, by name; settings have short names, the same in all of it."""
    groups = []
    every = names_in_all([configurations(evidence) for _, evidence in sources])
    for (name, evidence), names in zip(sources, every, strict=True):
        chosen = choices
        if choices is not None and choices.reference is not None:
            chosen = replace(choices, reference=renamed(choices.reference, names))
        groups.append((name, Analyses(with_short_names(evidence, names), chosen)))
    return Study(tuple(groups), manifests or {}, folders or {})


def known_in(study: Study) -> tuple[str, ...]:
    """Return the labels of all parts: what colours depend on."""
    return tuple(in_order(label for _, analyses in study.groups for label in known_labels(analyses)))


def folders_of(root: Path) -> list[Path]:
    """Return the published folders that ``root`` is or holds."""
    return [root] if (root / MANIFEST).is_file() else published_folders(root)
