"""What was run: the macros of the protocol and of the limits that follow from it, read from the runs themselves."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedbench.analysis.analyses import POOLED
from fedbench.analysis.kinds import kind_of
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import Numbers, named, number, words
from fedbench.analysis.paper.phantoms import is_generated, of_patients
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.statistics.intervals import LEVEL, RESAMPLES
from fedbench.analysis.statistics.paired import EXACT_BELOW, FLIPPED_BELOW
from fedbench.analysis.statistics.protocol import ALPHA
from fedbench.config import section_of
from fedbench.differing import attempts_of
from fedbench.wording import counted

CONFIDENCE = f"{100 * LEVEL:g}\\%"
ROUNDS = {"last": "the last round", "best-validation": "the round with the best mean validation Dice"}
MISSING = {
    "refuse": "No score is missing: the analysis refuses algorithms that lack one.",
    "worst": "A missing score counts as the worst possible one.",
    "complete-cases": "Only scores that every algorithm has are compared.",
}
NETWORKS = {"basicunet": "BasicUNet", "unet": "residual UNet", "segresnet": "SegResNet"}
NORMS = {
    "batch": "batch normalisation", "instance": "affine instance normalisation",
    "instance-plain": "instance normalisation without parameters", "group": "group normalisation",
}  # fmt: skip
SCHEDULES = {"cosine": "decays over the rounds (cosine)", "constant": "is constant"}
OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}
WEAK = 0.5  # Dice; where pooled training reaches less, differences are between weak models
MISSED = "missed"  # the flag of an empty prediction where there is something, see fedbench.metrics
LIBRARIES = {"torch": "PyTorch", "monai": "MONAI", "ray": "Ray", "python": "Python"}


@dataclass(frozen=True)
class Settings:
    """What determined some runs, as plain values; see ``identity`` in a run's ``run.json``."""

    identities: list[dict[str, Any]]
    versions: list[dict[str, str]]

    @classmethod
    def of(cls, runs: pd.DataFrame) -> Settings:
        """Read the settings of runs (as :attr:`fedbench.analysis.evidence.Evidence.runs`)."""
        provenance = [json.loads(text) for text in runs["provenance"]]
        versions = [made.get("versions", {}) for run in provenance for made in attempts_of(run)]
        return cls([json.loads(text) for text in runs["identity"]], versions)

    def values(self, section: str, key: str) -> list[Any]:
        """Return the distinct values of a setting, sorted; ``None`` (what the dataset declares) is left out."""
        found = {section_of(identity, section).get(key) for identity in self.identities}
        return sorted((value for value in found if value is not None), key=lambda v: (str(type(v)), v))


def describe_setup(numbers: Numbers, study: Study) -> None:
    """Define the macros that state the setup."""
    parts = study.parts
    runs = pd.concat([analyses.evidence.runs for _, analyses in study.groups], ignore_index=True)
    settings = Settings.of(runs)
    datasets = sorted({part.condition.dataset for part in parts})
    labels = {label for part in parts for label in part.labels}
    unknown = _unknown_code(runs, study.commits)
    where = _folders_of(parts, unknown)
    texts = {
        "datasets": counted(len(datasets), "data set"),
        "dataset names": names(datasets),
        "conditions": counted(len(parts), "condition"),
        "number of runs": str(runs["run_id"].nunique()),
        "number of algorithms": str(runs["setting"].nunique()),
        "number of labels": str(len(labels)),
        "seeds": span((_runs(part)["seed"].nunique() for part in parts), "seed"),
        "training rounds": span(settings.values("training", "rounds"), "round"),
        "local epochs": span(settings.values("training", "local_epochs"), "epoch"),
        "batch size": listed(settings.values("training", "batch_size")),
        "learning rate": listed(settings.values("training", "lr")),
        "optimiser": listed(settings.values("training", "optimizer"), OPTIMISERS),
        "schedule": listed(settings.values("training", "schedule"), SCHEDULES),
        "network": listed(settings.values("model", "name"), NETWORKS),
        "norm": listed(settings.values("model", "norm"), NORMS, "or"),
        "dimensions": listed(settings.values("model", "spatial_dims"), {2: "two", 3: "three"}),
        "validation share": _percentages(settings.values("data", "val_fraction")),
        "validated every": span(settings.values("training", "validate_every"), "round"),
        "augmentation": _augmentation(settings),
        "nsd tolerance": _tolerances(settings, parts),
        "selection rule": ROUNDS[study.choices.selection],
        "missing rule": MISSING[study.choices.missing],
        "reference": named(study.choices.reference, False),
        "level": f"{ALPHA:g}",
        "confidence": CONFIDENCE,
        "wilcoxon exact": f"exact for up to {EXACT_BELOW - 1} patients without ties and {FLIPPED_BELOW - 1} with ties",
        "bootstrap resamples": counted(RESAMPLES, "resample"),
        "budget": budget(parts),
        "modified": _modified(runs, unknown, where),
        "software": listed([f"{name} {_versions(settings, key)}" for key, name in LIBRARIES.items()]),
        "limit code": _limit_code(runs["run_id"].nunique(), unknown, where),
        "limit weak": _limit_weak(numbers, parts),
        "limit labels": _limit_labels(settings.values("data", "label_resampling")),
        "limit dimensions": _limit_dimensions(settings.values("model", "spatial_dims")),
        "limit phantoms": _limit_phantoms(datasets),
        "limit patients": _limit_patients(parts),
        "limit norms": _limit_norms(settings.values("model", "norm")),
        "limit seeds": _limit_seeds(parts),
        "limit unfinished": limit_unfinished(study),
    }
    for name, text in texts.items():
        numbers.put(*name.split(), text=text)


def budget(parts: Iterable[Part]) -> str:
    """Say whether all algorithms of a condition took the same number of optimiser steps with each seed and fold."""
    unequal = []
    for part in parts:
        runs = _runs(part)
        steps = runs.groupby(["seed", "fold"])["steps"].agg(["min", "max"])
        if (steps["min"] < steps["max"]).any():
            unequal.append(f"{escape(part.title)} ({runs['steps'].min()} to {runs['steps'].max()})")
    if not unequal:
        return (
            "Within a condition, seed and fold all algorithms took exactly the same number of optimiser steps; the "
            "stored runs were checked for it."
        )
    return (
        f"The number of optimiser steps \\emph{{differs}} between algorithms in {words(unequal)}: the budgets there "
        "are not equal."
    )


def names(of: Iterable[str]) -> str:
    """Return names from data, as the paper writes them."""
    return words([f"\\textsf{{{escape(name)}}}" for name in of])


def span(values: Iterable[int], noun: str) -> str:
    """``[3] -> 3 seeds``, ``[2, 3, 5] -> 2 to 5 seeds``."""
    every = sorted(values)
    if not every:
        return f"an unknown number of {noun}s"
    return counted(every[0], noun) if every[0] == every[-1] else f"{every[0]} to {every[-1]} {noun}s"


def listed(values: Iterable[Any], called: dict[Any, str] | None = None, last: str = "and") -> str:
    """Return values as text; by another name where they have one."""
    texts = [(called or {}).get(v) or escape(f"{v:g}" if isinstance(v, float) else str(v)) for v in values]
    return words(texts, "an unknown value", last)


def _runs(part: Part) -> pd.DataFrame:
    return part.analyses.results(part.condition).runs


def _percentages(shares: Iterable[float]) -> str:
    return words([f"{100 * share:g}\\%" for share in shares], "an unknown share")


def split_of(settings: Settings) -> str:
    """``30\\% of the patients test``, ``each of 5 folds tests in turn``; both where runs differ."""
    data = [identity.get("data", {}) for identity in settings.identities]
    fixed = {d.get("test_fraction") for d in data if not d.get("folds")} - {None}
    told = [f"each of {span([folds], 'fold')} tests in turn" for folds in settings.values("data", "folds")]
    told += [f"{_percentages(sorted(fixed))} of the patients test, the same with every seed"] if fixed else []
    return words(told, "who tests is not known")


def _augmentation(settings: Settings) -> str:
    """Whether training samples are augmented, in all runs alike; how is said in the text."""
    found = settings.values("training", "augment")
    if found == [False]:
        return "Samples are not augmented."
    if found != [True]:
        return "Whether samples are augmented differs between runs, or is not known."
    edges = settings.values("training", "label_edges")
    beyond = (
        " Beyond a sample's edge, which the image repeats, labels are background." if edges == ["background"] else ""
    )
    return f"Samples are augmented, alike for all algorithms.{beyond}"


def _limit_labels(found: Iterable[str]) -> str:
    """What masks lose on the way to the common grid, where the nearest raw voxel decides."""
    if "nearest" not in found:
        return ""
    return (
        "Masks came to that grid by nearest neighbours: where it is coarser by an even factor they lie half a raw "
        "voxel off the image, for all algorithms alike, which lowers every Dice."
    )


def _tolerances(settings: Settings, parts: Iterable[Part]) -> str:
    units = sorted({part.analyses.unit(part.condition) for part in parts})
    return words([f"{listed(settings.values('evaluation', f'nsd_tolerance_{u}'))}\\,{escape(u)}" for u in units])


def _modified(runs: pd.DataFrame, unknown: set[str], where: str) -> str:
    """Say how many runs were made where the working tree had changes that no commit holds, and what vouches for them.

    Args:
        unknown: ids of the runs for whose code nothing vouches.
        where: which they are.
    """
    changed = {run for run, text in zip(runs["run_id"], runs["provenance"], strict=True) if _state(text)}
    if not changed:
        return ""
    total, left = runs["run_id"].nunique(), len(unknown)
    lead = f"{len(changed)} of {total} runs were made where the working tree had changes that no commit held"
    if not unknown:
        return f"{lead}; the harness, whose digest every run keeps, is in all of them that of a commit."
    if left == len(changed):
        return f"{lead}; the harness, whose digest every run keeps, is that of no commit that we know{where}."
    return (
        f"{lead}; the harness, whose digest every run keeps, is in {len(changed) - left} of them that of a commit, in "
        f"the other {left} that of none that we know{where}."
    )


def _limit_code(total: int, unknown: set[str], where: str) -> str:
    if not unknown:
        return ""
    return (
        f"For {len(unknown)} of {total} runs{where} the published results name no commit that holds the code that made "
        "them (see Reproduction)."
    )


def _unknown_code(runs: pd.DataFrame, commits: Collection[str]) -> set[str]:
    """Return the ids of runs made with changes that no commit held, and with a harness that no commit is known to hold.

    Args:
        commits: digests of harnesses that commits hold; so do those of runs that were made without changes.
    """
    harness = [json.loads(text).get("harness") for text in runs["identity"]]
    clean = {digest for digest, text in zip(harness, runs["provenance"], strict=True) if _state(text) is False}
    known = clean | set(commits)
    every = zip(runs["run_id"], harness, runs["provenance"], strict=True)
    return {str(run) for run, digest, text in every if _state(text) and digest not in known}


def _state(provenance: str) -> bool | None:
    """Say whether the working tree of a run had changes; None where it was not kept."""
    return (json.loads(provenance).get("git") or {}).get("modified")


def _folders_of(parts: Iterable[Part], chosen: set[str]) -> str:
    """`` (study-a and study-b)``: the published folders of some runs; empty where there are none, or nobody knows."""
    found = {part.folder for part in parts if chosen & set(_runs(part)["run_id"])} - {""}
    return f" ({words([escape(name) for name in sorted(found)])})" if found else ""


def _versions(settings: Settings, key: str) -> str:
    return ", ".join(sorted({v[key] for v in settings.versions if key in v})) or "(unknown)"


def _limit_weak(numbers: Numbers, parts: Iterable[Part]) -> str:
    """Say where even the model on pooled data is weak, and how often the reference finds nothing."""
    told = []
    for part in (p for p in parts if not p.condition.unseen and not p.of_phantom and "cross" in p.relations):
        means = part.get("cross").means["mean"]
        if POOLED in means.index and means[POOLED] < WEAK:
            pooled = numbers.put("limit", "weak", part.key, text=number(float(means[POOLED])))
            told.append(f"{pooled} on {escape(part.title)}{_empty(numbers, part)}")
    if not told:
        return ""
    return (
        f"Even {named(POOLED, False)} reaches a cross-modality Dice of no more than {words(told)}: there, differences "
        "are between weak models."
    )


def _empty(numbers: Numbers, part: Part) -> str:
    """How many masks of the clients' own modality the reference leaves empty that are not."""
    reference = part.primary.reference
    cases = part.analyses.results(part.condition).cases
    chosen = (cases["label"] == reference) & (cases["selection"] == part.analyses.choices.selection)
    flags = cases.loc[chosen & (cases["relation"] == "in"), "flag"]
    missed = int((flags == MISSED).sum())
    if not missed:
        return ""
    share = numbers.put("limit", "empty", part.key, text=f"{missed} of {len(flags)}")
    return f" ({named(reference, False)} leaves {share} masks of a client's own modality empty)"


def _limit_dimensions(dims: list[int]) -> str:
    if dims == [2]:
        return "The networks are two-dimensional: they see slices, and what holds for them need not hold in 3-D."
    if dims == [3]:
        return "The networks are three-dimensional and see patches; two-dimensional ones may rank otherwise."
    return "Networks of two and of three dimensions were used, and not compared with each other."


def _limit_phantoms(datasets: list[str]) -> str:
    phantoms = [name for name in datasets if is_generated(name)]
    if not phantoms:
        return ""
    only = " No image of a patient was used." if len(phantoms) == len(datasets) else ""
    return (
        f"Generated phantoms ({names(phantoms)}) are cartoons of anatomy whose modalities share every shape; they show "
        f"how algorithms behave under a change of contrast alone, and stand for no patient.{only}"
    )


def _limit_patients(parts: Iterable[Part]) -> str:
    shown = of_patients(parts, lambda part: part.condition.dataset)
    return f"A condition has {span((len(part.primary.matrix.values) for part in shown), 'test patient')}."


def _limit_seeds(parts: Iterable[Part]) -> str:
    if all(len(part.primary.matrix.seeds) > 1 for part in parts):
        return ""
    return "With one seed there is no test over runs, and by our rule no difference is named there."


def limit_unfinished(study: Study) -> str:
    """Name the published folders that lack runs of their suites, and what conditions lack; empty if none does."""
    left = [f"{escape(name)} lacks {counted(number, 'run')}" for name, number in sorted(study.unfinished.items())]
    told = f"Not all runs were finished when they were published: {words(left)}; what is said is about the others."
    return " ".join(filter(None, [told if left else "", _not_run(study.parts)]))


def _not_run(parts: Collection[Part]) -> str:
    """Name the algorithms that a data set's other conditions have and some conditions lack; ablations aside."""
    told: dict[tuple[str, ...], list[str]] = {}
    for part in (part for part in parts if not part.ablation):
        every = {kind_of(label) for p in parts if p.condition.dataset == part.condition.dataset for label in p.labels}
        lacking = tuple(sorted(every - {kind_of(label) for label in part.labels}))
        if lacking:
            told.setdefault(lacking, []).append(escape(part.title))
    return " ".join(
        f"Of the algorithms, {names(lacking)} {'was' if len(lacking) == 1 else 'were'} not run in {words(where)}."
        for lacking, where in told.items()
    )


def _limit_norms(norms: list[str]) -> str:
    if len(norms) != 1:
        return "Kinds of normalisation layers are compared only across studies, each with the same kind for all."
    return (
        f"All networks use {NORMS.get(norms[0], escape(norms[0]))}. Averaged over modalities, some kinds of "
        "normalisation lose more than others, so with another kind an algorithm may add more or less."
    )
