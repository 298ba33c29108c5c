"""The declared mutations can be tried: what they replace is there, once. Whether tests notice: `make mutants`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.declared import MUTATIONS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("file", sorted({mutation.file for mutation in MUTATIONS}))
def test_every_declared_mutation_changes_one_place(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    own = [mutation for mutation in MUTATIONS if mutation.file == file]
    assert not [m.old for m in own if text.count(m.old) != 1 or m.old == m.new]
    assert not [test for m in own for test in m.tests if not (ROOT / test).exists()]
