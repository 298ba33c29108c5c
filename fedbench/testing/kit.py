"""All rules for algorithms, in the order they are tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from fedbench import registry
from fedbench.algorithm import Algorithm
from fedbench.testing import aggregation, bits, declared, elsewhere, moving, naming, rounds, shapes, terms, values
from fedbench.testing.findings import Finding, Rule, chosen, examine
from fedbench.testing.global_state import settings_restored
from fedbench.testing.subject import Subject

GATES = ("trains", "finite", "same-bits", "messages")  # what the others compare means little without these
PATIENCE = 120  # seconds for a rule, which takes a few
RULES: tuple[Rule[Subject], ...] = (
    *declared.RULES, *rounds.FIRST, *bits.FIRST,
    *rounds.RULES, naming.by_type, *aggregation.RULES, *moving.RULES, *terms.RULES, *values.RULES,
    *bits.RULES, *shapes.RULES,
)  # fmt: skip


def examine_algorithm(
    plugin: type[Algorithm] | str,
    params: Mapping[str, Any],
    only: Collection[str],
    skip: Collection[str],
    tell: Callable[[Finding], None],
) -> list[Finding]:
    """Try the rules on an algorithm; see :func:`fedbench.testing.algorithm_findings`."""
    rules = chosen(RULES, only, skip)
    if bits.other_process in rules:
        elsewhere.start()
    if isinstance(plugin, str):
        spec, plugin = registry.named("algorithm", plugin)
        params = {**dict(spec.params), **params}
    subject = Subject(plugin, params)
    with settings_restored():
        subject.make()  # a wrong parameter is the caller's mistake
        return examine(rules, subject, GATES, tell, PATIENCE)
