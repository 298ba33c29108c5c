"""All rules for datasets, in the order they are tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fedbench import registry
from fedbench.dataset import Dataset
from fedbench.testing.datasets import content, elsewhere, files, listing, reading
from fedbench.testing.datasets.subject import Subject
from fedbench.testing.findings import Finding, Rule, chosen, examine
from fedbench.testing.global_state import settings_restored

GATES = ("declaration", "lists", "volumes")
PATIENCE = 600  # seconds for a rule that reads a few cases; all of them may take as long as they do
RULES: tuple[Rule[Subject], ...] = (*listing.RULES, *reading.RULES, *content.RULES, *elsewhere.RULES, *files.RULES)


def examine_dataset(
    plugin: Dataset | type[Dataset] | str,
    path: Path | str | None,
    params: Mapping[str, Any],
    cases: int | None,
    only: Collection[str],
    skip: Collection[str],
    tell: Callable[[Finding], None],
) -> list[Finding]:
    """Try the rules on a dataset; see :func:`fedbench.testing.dataset_findings`."""
    rules = chosen(RULES, only, skip)
    if isinstance(plugin, str):
        spec, plugin = registry.named("dataset", plugin)
        path = path if path is not None else spec.path
        params = {**dict(spec.params), **params}
    dataset = plugin(path, **params) if isinstance(plugin, type) else plugin
    with settings_restored():
        return examine(rules, Subject(dataset, cases), GATES, tell, PATIENCE if cases is not None else 0)
