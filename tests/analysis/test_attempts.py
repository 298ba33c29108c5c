"""A run that went on with other packages, or on another machine: whatever puts runs together says so."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedbench.analysis import norms
from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.paper.setup import Settings
from fedbench.analysis.publishing.publish import _versions
from fedbench.analysis.report import provenance as report
from fedbench.analysis.tables import runs as about_runs
from tests.analysis.evidence_rows import evidence

OLD = {"torch": "1"}, {"machine": "x86_64", "cores": 8, "instructions": "AVX2"}
NEW = {"torch": "2"}, {"machine": "x86_64", "cores": 2, "instructions": "AVX512"}


def resumed(first: tuple[dict, dict], number: int) -> Evidence:
    """Evidence of two algorithms and seeds, of which so many runs began under other conditions than they ended."""
    found = evidence(algorithms=("fedavg", "fedprox"))
    own = {"versions": NEW[0], "hardware": NEW[1]}
    attempts = [{"from_round": 0, "versions": first[0], "hardware": first[1]}, {"from_round": 3, **own}]
    texts = [
        json.dumps(json.loads(text) | own | ({"attempts": attempts} if i < number else {}))
        for i, text in enumerate(found.runs["provenance"])
    ]
    return replace(found, runs=found.runs.assign(provenance=texts))


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1, then 2 (1 run) or 2 (3 runs)"), (4, "1, then 2 (4 runs)"), (0, "")]
)
def test_it_is_told_from_the_others(number, said):
    told = " ".join(Analyses(resumed(OLD, number)).contradictions)
    assert (f"runs were made with torch {said}: they may differ for that alone" in told) == bool(said)
    assert ("CPUs of AVX2, then AVX512" in told) == bool(said)


def test_tables_and_publications_name_both():
    found = resumed(OLD, 1)
    rows = {row[0].text: row[1].text for row in report.environment(found).rows}
    assert rows["torch"] == "1; 2" and rows["cores"] == "8; 2" and rows["instructions"] == "AVX2; AVX512"
    assert _versions(found) == {"torch": ["1", "2"]}
    assert "Hardware: x86_64, 2 cores, x86_64, 8 cores." in about_runs.cost(Analyses(found), Condition("toy")).notes
    assert {made["torch"] for made in Settings.of(found.runs).versions} == {"1", "2"}
    assert norms._instructions(SimpleNamespace(analyses=Analyses(found)), Condition("toy")) == {"AVX2", "AVX512"}
