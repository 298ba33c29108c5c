"""Tables that are too wide for a page: nothing of them is lost, and rows keep their names."""

from __future__ import annotations

import pytest

from fedbench.analysis.paper.floats import packed
from fedbench.analysis.tables import fitting, formats
from fedbench.analysis.tables.cells import ESTIMATE, Column, Table, estimate, number, text
from tests.analysis.tables.test_formats import compile_latex


def wide(columns: int, name: str = "fedda-cyclic[exchange=features,lam=0.005]") -> Table:
    heads = [Column("model of", left=True, heads=True), Column("scored on", left=True)]
    rows = [[text(a), text(b), *(number(0.5, 3) for _ in range(columns))] for a in ("CT", "MR") for b in ("CT", "MR")]
    return Table("wide", "Wide", "", [*heads, *(Column(f"{name}{i}", sign="†") for i in range(columns))], rows, (2,))


def test_long_headings_over_short_numbers_are_turned_where_a_table_would_not_fit(tmp_path):
    assert "rotatebox" not in formats.latex(wide(2))
    turned = formats.latex(wide(10))
    assert turned.count(r"\rotatebox{90}") == 10 and r"fedda-cyclic \\{}[exchange=features,lam=0.005]3" in turned
    assert fitting.in_parts(wide(10)) == [wide(10)]
    (tmp_path / "wide.tex").write_text(turned, encoding="utf-8")
    compile_latex(tmp_path, ["wide"])


@pytest.mark.parametrize("columns", [22, 30, 61])
def test_parts_hold_every_column_once_and_the_names_of_rows_each(columns):
    table = wide(columns)
    parts = fitting.in_parts(table)
    assert len(parts) > 1 and len({part.name for part in parts}) == len(parts)
    assert [c.name for part in parts for c in part.columns[2:]] == [c.name for c in table.columns[2:]]
    for part in parts:
        assert [row[:2] for row in part.rows] == [row[:2] for row in table.rows]
        assert part.columns[:2] == table.columns[:2] and part.rules == table.rules


def test_a_column_that_repeats_becomes_headings():
    rows = [[text(a), text(b), number(0.5, 1)] for b in ("one", "two") for a in ("x", "y")]
    table = Table("t", "T", "", [Column("name", heads=True), Column("against"), Column("p")], rows, (2,))
    made = fitting.under_headings(table, "against")
    assert [row[0].text for row in made.rows] == ["against one", "x", "y", "against two", "x", "y"]
    assert [column.name for column in made.columns] == ["name", "p"] and made.rules == (0, 3)


def test_intervals_stand_beside_numbers_where_there_is_room():
    def scores(columns: int) -> str:
        rows = [[text("fedavg"), *(estimate(0.5, 0.4, 0.6, 3) for _ in range(columns))]]
        heads = [Column("algorithm"), *(Column(f"c{i}", fields=ESTIMATE) for i in range(columns))]
        return formats.latex(Table("t", "T", "", heads, rows))

    assert r"0.500 {\scriptsize 0.400, 0.600} \\[0pt]" in scores(1)
    assert r"{\scriptsize 0.400, 0.600} & {\scriptsize" in scores(6)


def test_floats_are_ordered_so_that_pages_fill():
    assert packed([(6.0, "a"), (5.0, "b"), (3.0, "c"), (4.0, "d")]) == ["a", "c", "b", "d"]
    assert packed([(12.0, "a"), (1.0, "b")]) == ["b", "a"]
