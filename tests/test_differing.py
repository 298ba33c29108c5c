"""Two tables: which values differ."""

from __future__ import annotations

import math

import pandas as pd

from fedbench.differing import differing_rows, untimed


def scores(*dice: float) -> pd.DataFrame:
    return pd.DataFrame({"case": [f"P{n}" for n in range(len(dice))], "dice": dice})


def test_no_number_is_the_same_as_no_number_alone():
    """A score that does not apply, against one, is a difference; how far they are apart is asked of the others."""
    first = scores(math.nan, math.nan, 0.5, 0.25)
    assert list(differing_rows("scores", first, first.copy())) == []
    (line,) = differing_rows("scores", first, scores(math.nan, 0.5, 0.5, 0.75))
    assert line == "scores: 2 of 4 values of 'dice' differ, at most 0.5 apart"
    for one, other in ((math.nan, 0.5), (0.5, math.nan)):
        (line,) = differing_rows("scores", scores(one, 0.5, 0.5), scores(other, 0.5, 0.5))
        assert line.startswith("scores: 1 of 3 values of 'dice' differ")


def test_the_order_of_rows_is_no_difference_and_a_row_too_few_is_one():
    first = scores(0.5, 0.25, 0.75)
    assert list(differing_rows("scores", first, first[::-1])) == []
    for number, pair in (("3 rows against 2", (first, first[:2])), ("2 rows against 3", (first[:2], first))):
        assert list(differing_rows("scores", *pair)) == [f"scores: {number}"]


def test_curves_are_compared_without_what_is_never_the_same_twice():
    metrics = ["seconds", "validation dice", "validation seconds", "bytes up"]
    curves = pd.DataFrame({"metric": metrics, "value": range(4)})
    assert untimed(curves).to_dict("list") == {"metric": ["validation dice", "bytes up"], "value": [1, 3]}
