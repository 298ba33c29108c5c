"""Short names for the text: an algorithm's name, with the parameters that tell it from all others that are published.

One configuration has one name, whatever study it is in; two never share one. ``fedprox[mu=0.001]`` alone is
``fedprox``; if any study has ``fedprox[mu=0.1]`` both keep their ``mu``. The paper's table of configurations gives
what a name stands for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd

from fedbench.analysis.evidence import Evidence
from fedbench.registry import Spec, parse_spec

Parameters = Mapping[str, Any]


def configurations(evidence: Evidence) -> dict[str, Parameters]:
    """Return all parameters of each setting's runs, defaults among them where the runs have kept them."""
    found: dict[str, Parameters] = {}
    for setting, text in evidence.runs[["setting", "identity"]].drop_duplicates().itertuples(index=False):
        kept = json.loads(text).get("algorithm_params", {})
        found[str(setting)] = {**found.get(str(setting), {}), **dict(parse_spec(str(setting)).params), **kept}
    return found


def names_in_all(studies: Sequence[Mapping[str, Parameters]]) -> list[dict[str, str]]:
    """Return the short name of each setting of each study (:func:`configurations`).

    Settings with the same parameters are one configuration, also where only one of them spells out a default; a setting
    that has other parameters in another study, because a default has changed, is two, and spells them out.
    """
    texts: dict[tuple[str, str], set[str]] = {}  # of each configuration
    for study in studies:
        for setting, parameters in study.items():
            texts.setdefault(_identity(setting, parameters), set()).add(setting)
    shared = Counter(text for own in texts.values() for text in own)
    written = {}
    for (algorithm, spelled), own in texts.items():
        clear = [text for text in own if shared[text] == 1]
        full = Spec(algorithm, tuple(json.loads(spelled).items())).text
        written[algorithm, spelled] = min(clear, key=lambda text: (len(text), text)) if clear else full
    names = short_names(written.values())
    return [{setting: names[written[_identity(setting, own)]] for setting, own in study.items()} for study in studies]


def short_names(settings: Iterable[str]) -> dict[str, str]:
    """Return the short name of each setting; no two are the same.

    As few parameters as tell all settings of an algorithm apart; of as many, words before numbers, then by name.
    """
    specs = {setting: parse_spec(setting) for setting in sorted(set(settings))}
    names = {}
    for algorithm in sorted({spec.name for spec in specs.values()}):
        own = {setting: spec for setting, spec in specs.items() if spec.name == algorithm}
        kept = _telling([dict(spec.params) for spec in own.values()])
        for setting, spec in own.items():
            few = tuple((name, value) for name, value in spec.params if name in kept)
            names[setting] = Spec(spec.name, few).text
    return names


def _identity(setting: str, parameters: Parameters) -> tuple[str, str]:
    return parse_spec(setting).name, json.dumps(parameters, sort_keys=True)


def _telling(found: list[Parameters]) -> tuple[str, ...]:
    """Return the fewest parameters by which all of ``found`` differ."""
    words = {name for params in found for name, value in params.items() if isinstance(value, str)}
    ordered = sorted({name for params in found for name in params}, key=lambda name: (name not in words, name))
    for number in range(len(ordered)):
        for chosen in combinations(ordered, number):
            if len({json.dumps([params.get(name) for name in chosen]) for params in found}) == len(found):
                return chosen
    return tuple(ordered)


def with_short_names(evidence: Evidence, names: Mapping[str, str]) -> Evidence:
    """Return the evidence with other names for its settings; so the reference that its suite declared."""
    frames = (evidence.runs, evidence.cases, evidence.rounds)
    runs, cases, rounds = (frame.assign(setting=frame["setting"].astype(str).map(names)) for frame in frames)
    if "declared" in runs:
        runs = runs.assign(declared=runs["declared"].map(_declared(runs, names)))
    return replace(evidence, runs=runs, cases=cases, rounds=rounds)


def renamed(label: str, names: Mapping[str, str]) -> str:
    """Return a label, with or without a deployment behind it, by its setting's other name."""
    setting, space, deployment = label.partition(" (")
    return f"{names.get(setting, setting)}{space}{deployment}"


def _declared(runs: pd.DataFrame, names: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for text in runs["declared"].unique():
        declared = json.loads(text)
        if "reference" in declared:
            declared["reference"] = renamed(declared["reference"], names)
        found[text] = json.dumps(declared, sort_keys=True)
    return found
