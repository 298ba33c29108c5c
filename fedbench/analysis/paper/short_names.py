"""Short names for the text: an algorithm's name, with the parameters only that tell it from the others of its study.

``fedprox[mu=0.001]`` alone is ``fedprox``; beside ``fedprox[mu=0.1]`` both keep their ``mu``. So an algorithm tuned on
every dataset has one name in all of them. The paper's table of configurations gives what a name stands for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import pandas as pd

from fedbench.analysis.evidence import Evidence
from fedbench.registry import Spec, parse_spec


def short_names(settings: Iterable[str], among: Iterable[str] = ()) -> dict[str, str]:
    """Return the short name of each setting; no two are the same.

    As few parameters as tell all settings of an algorithm apart; of as many, words before numbers, then by name. A word
    that differs anywhere in ``among`` (the settings of everything that is published) is kept everywhere: a number is
    how an algorithm was tuned, a word what it is.
    """
    specs = {setting: parse_spec(setting) for setting in sorted(set(settings))}
    everything = [*specs.values(), *map(parse_spec, sorted(set(among)))]
    names = {}
    for algorithm in sorted({spec.name for spec in specs.values()}):
        own = {setting: spec for setting, spec in specs.items() if spec.name == algorithm}
        known = [dict(spec.params) for spec in everything if spec.name == algorithm]
        kept = _telling([dict(spec.params) for spec in own.values()], _differing_words(known))
        for setting, spec in own.items():
            few = tuple((name, value) for name, value in spec.params if name in kept)
            names[setting] = Spec(spec.name, few).text
    return names


def _differing_words(known: list[dict[str, object]]) -> tuple[str, ...]:
    words = {name for params in known for name, value in params.items() if isinstance(value, str)}
    return tuple(name for name in sorted(words) if len({json.dumps(params.get(name)) for params in known}) > 1)


def _telling(found: list[dict[str, object]], kept: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fewest parameters by which all of ``found`` differ, those ``kept`` among them."""
    words = {name for params in found for name, value in params.items() if isinstance(value, str)}
    names = {name for params in found for name in params} - set(kept)
    ordered = sorted(names, key=lambda name: (name not in words, name))
    for number in range(len(ordered)):
        for chosen in combinations(ordered, number):
            if len({json.dumps([params.get(name) for name in (*kept, *chosen)]) for params in found}) == len(found):
                return (*kept, *chosen)
    return (*kept, *ordered)


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
