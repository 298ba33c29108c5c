"""Right algorithms of other kinds than the shipped ones are not refused."""

from __future__ import annotations

import pytest

from fedbench.testing import algorithm_findings
from tests.conformance import right_plugins


@pytest.mark.parametrize(("cls", "rules"), right_plugins.KEPT.items())
def test_a_right_algorithm_is_not_refused(cls, rules):
    findings = algorithm_findings(getattr(right_plugins, cls), only=rules)
    assert {finding.rule: finding.message for finding in findings if not finding.passed} == {}
