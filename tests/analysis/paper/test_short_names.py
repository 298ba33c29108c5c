"""Names in the paper: short, never the same for two algorithms, and with them everything is found again."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fedbench.analysis.analyses import Choices
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.paper.norms.section import compare_norms
from fedbench.analysis.paper.settings_table import settings_table
from fedbench.analysis.paper.short_names import names_in_all, short_names
from fedbench.analysis.paper.study import study_of
from fedbench.registry import Spec, parse_spec
from tests.analysis.evidence_rows import evidence
from tests.analysis.test_norms import TOY, trained

values = st.one_of(st.integers(0, 1000).map(lambda n: n / 1000), st.sampled_from(["weights", "features", "all"]))
specs = st.builds(
    lambda name, params: Spec(name, tuple(sorted(params.items()))).text,
    st.sampled_from(["fedprox", "moon", "fedda-joint"]),
    st.dictionaries(st.sampled_from(["mu", "lam", "exchange", "tau"]), values, max_size=3),
)


def test_only_what_tells_algorithms_apart_is_kept():
    names = short_names([
        "fedavg", "fedprox[mu=0.001]", "fedbn[norms=all]", "fedda-joint", "fedda-joint[exchange=features,lam=0.05]",
        "moon[mu=0.1,tau=0.5]", "moon[mu=1,tau=0.5]",
    ])  # fmt: skip
    assert list(names.values()) == [
        "fedavg", "fedbn", "fedda-joint", "fedda-joint[exchange=features]", "fedprox", "moon[mu=0.1]", "moon[mu=1]",
    ]  # fmt: skip


@given(st.lists(specs, min_size=1, max_size=8, unique=True))
def test_no_two_names_are_the_same_and_none_is_longer_than_it_was(settings):
    names = short_names(settings)
    assert names.keys() == set(settings)
    assert len(set(names.values())) == len(settings)
    assert all(len(short) <= len(setting) for setting, short in names.items())
    assert short_names(reversed(settings)) == names
    assert set(short_names(names.values()).values()) == set(names.values())


def test_a_study_has_short_names_and_finds_the_reference_by_either():
    found = evidence((TOY,), ("local", "fedprox[mu=0.1]", "moon[mu=1,tau=0.5]"), patients=6)
    for reference in ("fedprox[mu=0.1]", "fedprox"):
        (part,) = study_of([("", found)], Choices(reference=reference)).parts
        assert part.labels == ["local", "fedprox", "moon"]
        assert part.primary.reference == "fedprox"
    declared = found.runs.assign(declared=json.dumps({"reference": "moon[mu=1,tau=0.5]"}))
    (part,) = study_of([("", with_runs(found, declared))]).parts
    assert part.primary.reference == "moon"


def test_a_reference_that_names_a_deployment_is_found_too():
    found = evidence((TOY,), ("local", "fedavg", "fedbn[norms=all]"), patients=6)
    extra = found.cases[found.cases["setting"] == "fedbn[norms=all]"].assign(deployment="averaged")
    both = replace(found, cases=pd.concat([found.cases, extra], ignore_index=True))
    (part,) = study_of([("", both)], Choices(reference="fedbn[norms=all] (averaged)")).parts
    assert part.primary.reference == "fedbn (averaged)"


def test_a_configuration_has_one_name_in_all_studies_and_no_other_has_it():
    of = {
        mu: configured(evidence((Condition(dataset),), ("local", "fedavg", f"fedprox[mu={mu}]"), patients=6), mu)
        for dataset, mu in (("one", 0.1), ("two", 0.01))
    }
    again = configured(evidence((Condition("three"),), ("local", "fedavg", "fedprox[mu=0.1]"), patients=6), 0.1)
    parts = study_of([*((str(mu), found) for mu, found in of.items()), ("again", again)]).parts
    labels = {part.condition.dataset: part.labels[-1] for part in parts}
    assert labels == {"one": "fedprox[mu=0.1]", "two": "fedprox[mu=0.01]", "three": "fedprox[mu=0.1]"}
    rows = {row[0].text: row[1].text for row in settings_table(parts).rows}
    assert rows == {"local": "none", "fedavg": "none", "fedprox[mu=0.01]": "mu = 0.01", "fedprox[mu=0.1]": "mu = 0.1"}


def test_a_default_that_is_spelled_out_is_the_same_configuration():
    names = names_in_all([{"moon": {"mu": 0.1}}, {"moon[mu=0.1]": {"mu": 0.1}, "moon[mu=1]": {"mu": 1}}])
    assert names == [{"moon": "moon"}, {"moon[mu=0.1]": "moon", "moon[mu=1]": "moon[mu=1]"}]


def test_a_default_that_changed_between_studies_is_two_configurations():
    names = names_in_all([{"moon": {"mu": 0.1, "tau": 0.5}}, {"moon": {"mu": 0.2, "tau": 0.5}}])
    assert names == [{"moon": "moon[mu=0.1]"}, {"moon": "moon[mu=0.2]"}]


@given(st.lists(st.lists(specs, min_size=1, max_size=4, unique=True), min_size=1, max_size=4))
def test_names_are_the_same_in_any_study_exactly_if_configurations_are(studies):
    known = [{setting: dict(parse_spec(setting).params) for setting in study} for study in studies]
    pairs = {(s, name) for study, names in zip(known, names_in_all(known), strict=True) for s, name in names.items()}
    assert len(pairs) == len(dict(pairs)) == len({name for _, name in pairs})


def test_an_algorithm_tuned_otherwise_with_another_norm_is_a_row_of_its_own():
    def tuned(norm: str, mu: float) -> Evidence:
        return configured(trained(norm, algorithms=("local", "fedavg", f"fedprox[mu={mu}]")), mu)

    (alike,), _ = compare_norms(study_of([("", tuned("batch", 0.1)), ("b", tuned("group", 0.1))]))
    (unlike,), _ = compare_norms(study_of([("", tuned("batch", 0.1)), ("b", tuned("group", 0.01))]))
    assert alike.found.names == ["local", "fedavg", "fedprox"]
    assert unlike.found.names == ["local", "fedavg", "fedprox[mu=0.01]", "fedprox[mu=0.1]"]


def configured(found: Evidence, mu: float) -> Evidence:
    """The evidence with FedProx's parameter where runs keep it."""
    identities = [
        json.dumps(json.loads(text) | {"algorithm_params": {"mu": mu} if "fedprox" in setting else {}})
        for text, setting in zip(found.runs["identity"], found.runs["setting"], strict=True)
    ]
    return with_runs(found, found.runs.assign(identity=identities))


def with_runs(found: Evidence, runs: pd.DataFrame) -> Evidence:
    """The evidence with other runs."""
    return replace(found, runs=runs)
