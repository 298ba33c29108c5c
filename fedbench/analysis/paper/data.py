"""``datasets.tex``: what each published dataset holds, its licence and how to cite it, from its plugin and its runs."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pandas as pd

from fedbench.analysis.declared import plugin_of
from fedbench.analysis.paper.latex import breakable, escape
from fedbench.analysis.paper.numbers import HEAD, words
from fedbench.analysis.paper.setup import Settings, listed, span, split_of
from fedbench.analysis.paper.study import Part, Study
from fedbench.wording import counted


def datasets_section(study: Study) -> str:
    """Return the file: one paragraph per dataset."""
    parts = study.parts
    datasets = sorted({part.condition.dataset for part in parts})
    return HEAD + "".join(_paragraph(name, [p for p in parts if p.condition.dataset == name]) for name in datasets)


def _paragraph(name: str, parts: list[Part]) -> str:
    plugin = plugin_of(name)
    sentences = [_holds(parts), *_prepared(plugin, parts), _ran(parts), _left_out(parts), *_sourced(plugin)]
    if plugin is not None:
        whole = f"In all it holds {plugin.expected}." if plugin.expected else ""
        sentences.insert(0, escape(" ".join(filter(None, (_described(plugin), whole, plugin.caveats)))))
    return f"\\paragraph{{\\textsf{{{escape(name)}}}.}}\n" + "\n".join(s for s in sentences if s) + "\n\n"


def _holds(parts: list[Part]) -> str:
    results = [part.analyses.results(part.condition) for part in parts]
    cases = pd.concat([r.cases for r in results])
    partitions = [json.loads(text)["partition"] for r in results for text in r.runs["provenance"]]
    modalities, classes = (words([escape(str(v)) for v in sorted(cases[k].unique())]) for k in ("modality", "class"))
    trained, validated, tested = (_most(partitions, role) for role in ("train", "val", "test"))
    return (
        f"Modalities: {modalities}. Scored: {classes}. In a run {trained} patients train, {validated} validate and "
        f"{tested} test."
    )


def _ran(parts: list[Part]) -> str:
    """How its runs were split and trained: what differs between data sets."""
    runs = pd.concat([part.analyses.results(part.condition).runs for part in parts])
    settings = Settings.of(runs)
    seeds = span((len(part.primary.matrix.seeds) for part in parts), "seed")
    return (
        f"Split: {split_of(settings)}. Trained with learning rate {listed(settings.values('training', 'lr'))}, "
        f"{span(settings.values('training', 'rounds'), 'round')} and {seeds}."
    )


def _prepared(plugin: Any | None, parts: list[Part]) -> list[str]:
    """The common grid, the size of a training sample and how intensities were normalised, by modality."""
    data = [
        json.loads(text).get("data", {})
        for part in parts
        for text in part.analyses.results(part.condition).runs["identity"]
    ]
    unit = parts[0].analyses.unit(parts[0].condition)
    sentences = []
    for key, lead, after in (("spacing", "Common grid", f"\\,{escape(unit)}"), ("size", "Training samples", " voxels")):
        declared = tuple(getattr(plugin, key, ()))
        found: set[tuple[float, ...]] = {tuple(d.get(key) or declared) for d in data} - {()}
        told = [" $\\times$ ".join(f"{value:g}" for value in values) for values in sorted(found)]
        sentences += [f"{lead}: {words(told, last='or')}{after}."] if told else []
    ways = getattr(plugin, "intensity", None) or {}
    told = [f"{escape(name)} {_normalised(way)}" for name, way in ways.items()]
    return [*sentences, *([f"Intensities: {'; '.join(told)}."] if told else [])]


def _normalised(way: Any) -> str:
    low, high = (f"{value:g}".replace("-", "$-$") for value in (way.low, way.high))
    if way.kind == "percentile":
        return f"between its percentiles {low} and {high}"
    return f"clipped to {low} to {high}"


def _most(partitions: list[dict[str, Any]], role: str) -> str:
    """Return how many patients have a role in a run: ``8``, or ``7 to 9``."""
    counts = []
    for partition in partitions:
        clients = partition.get("clients", {}).values()
        cases = partition["test"] if role == "test" else [case for client in clients for case in client[role]]
        counts.append(len({case.partition("/")[0] for case in cases}))
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _left_out(parts: list[Part]) -> str:
    unseen = sorted({part.condition.unseen for part in parts} - {""})
    if not unseen:
        return ""
    return f"Left out of training in {counted(len(unseen), 'condition')}: {words([escape(u) for u in unseen])}."


def _sourced(plugin: Any | None) -> list[str]:
    if plugin is None:
        return ["Its plugin is not installed where this paper was made, so licence and source are not stated."]
    licence = _wrapped(plugin.licence).rstrip(".") or "not stated by its plugin"
    return [f"Licence: {licence}.", f"Source: {_wrapped(plugin.citation) or 'not stated by its plugin.'}"]


def _described(plugin: Any) -> str:
    """Its docstring; of one with files only the first paragraph, since the others tell how they are read."""
    text = inspect.cleandoc(plugin.__doc__ or "")
    return " ".join((text.partition("\n\n")[0] if plugin.needs_path else text).replace("``", "").split())


def _wrapped(text: str) -> str:
    """Escape a text in which addresses may be broken."""
    return " ".join(breakable(word) if "/" in word else escape(word) for word in text.split())
