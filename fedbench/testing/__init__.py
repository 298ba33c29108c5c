"""The conformance kit: what the contracts promise, tried on a plugin in seconds, for pytest and the command line.

In a test::

    from fedbench.testing import check_algorithm, check_dataset

    def test_it_keeps_the_contract():
        check_algorithm(MyAlgo)

A failure names the rule, what was seen, and the likely mistake. Training happens on tiny federations in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.testing.findings import Finding, complaint

if TYPE_CHECKING:
    from fedbench.algorithm import Algorithm
    from fedbench.dataset import Dataset

__all__ = ["Finding", "algorithm_findings", "check_algorithm", "check_dataset", "dataset_findings"]

Tell = Callable[[Finding], None]


def check_algorithm(
    plugin: type[Algorithm] | str, *, params: Mapping[str, Any] | None = None, only: Collection[str] = (),
    skip: Collection[str] = (),
) -> list[Finding]:  # fmt: skip
    """Assert that an algorithm keeps the contract; return the findings.

    Args:
        plugin: its class, or what names it on the command line: ``fedprox[mu=1]``, ``my_algo.py:MyAlgo``.
        params: parameters to check it with, where they are not the defaults.
        only: names of rules; empty for all.
        skip: rules that the algorithm breaks on purpose.

    Raises:
        AssertionError: it breaks rules; the message lists all of them.
        UserError: there is no such plugin, parameter or rule.
    """
    findings = algorithm_findings(plugin, params=params, only=only, skip=skip)
    if text := complaint(f"algorithm {plugin if isinstance(plugin, str) else plugin.__name__}", findings):
        raise AssertionError(text)
    return findings


def algorithm_findings(
    plugin: type[Algorithm] | str, *, params: Mapping[str, Any] | None = None, only: Collection[str] = (),
    skip: Collection[str] = (), tell: Tell = lambda finding: None,
) -> list[Finding]:  # fmt: skip
    """Return what every rule says about an algorithm; see :func:`check_algorithm`.

    Args:
        tell: hears every finding as soon as it is there.
    """
    from fedbench.testing.kit import examine_algorithm

    return examine_algorithm(plugin, params or {}, only, skip, tell)


def check_dataset(
    plugin: Dataset | type[Dataset] | str, *, path: Path | str | None = None, params: Mapping[str, Any] | None = None,
    cases: int | None = 2, only: Collection[str] = (), skip: Collection[str] = (),
) -> list[Finding]:  # fmt: skip
    """Assert that a dataset keeps the contract; return the findings.

    Args:
        plugin: an instance; or its class, or what names it on the command line: ``sts``, ``my_set.py:MySet``.
        path: its folder, of a class or name.
        params: its parameters, of a class or name.
        cases: how many of each modality are read; None for all.
        only: names of rules; empty for all.
        skip: rules that the dataset breaks on purpose.

    Raises:
        AssertionError: it breaks rules; the message lists all of them.
        UserError: there is no such plugin, folder, parameter or rule.
    """
    findings = dataset_findings(plugin, path=path, params=params, cases=cases, only=only, skip=skip)
    if text := complaint(f"dataset {plugin if isinstance(plugin, str) else getattr(plugin, 'name', plugin)}", findings):
        raise AssertionError(text)
    return findings


def dataset_findings(
    plugin: Dataset | type[Dataset] | str, *, path: Path | str | None = None, params: Mapping[str, Any] | None = None,
    cases: int | None = 2, only: Collection[str] = (), skip: Collection[str] = (),
    tell: Tell = lambda finding: None,
) -> list[Finding]:  # fmt: skip
    """Return what every rule says about a dataset; see :func:`check_dataset`.

    Args:
        tell: hears every finding as soon as it is there.
    """
    from fedbench.testing.datasets.kit import examine_dataset

    return examine_dataset(plugin, path, params or {}, cases, only, skip, tell)
