"""An algorithm is one file that reads like its paper: short enough to be read in one go."""

from __future__ import annotations

import pytest

from tests.toys import ROOT


@pytest.mark.parametrize("name", ["scaffold", "fedadam", "ditto", "silobn"])
def test_an_algorithm_of_one_idea_is_below_eighty_lines(name):
    assert len((ROOT / "algorithms" / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 80
