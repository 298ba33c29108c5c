"""One table in four formats: nothing in a name breaks any of them, and all hold the same numbers."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from fedbench.analysis.tables import formats
from fedbench.analysis.tables.cells import (
    BEST,
    ESTIMATE,
    TIED,
    Cell,
    Column,
    Table,
    count,
    decimal,
    difference,
    estimate,
    number,
    probability,
    share,
    size,
    span,
    text,
)

NASTY = "a_b & c%$#{}~^\\<script>|`*[x](y)\"'!\n-- end"
LETTERS = "".join(chr(c) for c in range(0xA1, 0x250)) + "σ中🙂\u202e\x00\ud800 − – — † × ∞ ± ≥ ≤ → ·"


def nasty(name: str = "nasty") -> Table:
    columns = [
        Column("algorithm", left=True, heads=True),
        Column(f"Dice {NASTY}", (f"group {NASTY}",), ESTIMATE),
        Column("HD95", (f"group {NASTY}",), ESTIMATE),
        Column(NASTY, left=True),
    ]
    rows = [
        [text("local"), estimate(0.5, 0.4, 0.6, 3), estimate(None, None, None, 1), text(NASTY)],
        [text(NASTY), estimate(0.91234567890123, 0.9, 0.92, 3, BEST, "*"), estimate(3, 2, 4, 1, TIED), text(LETTERS)],
    ]
    marks = {BEST: f"best {NASTY}", TIED: "tied", "*": f"agrees {NASTY}", "†": "not used"}
    return Table(name, NASTY, f"{NASTY} {LETTERS}", columns, rows, (1,), marks, (NASTY, LETTERS), {NASTY: NASTY})


class Outline(HTMLParser):
    """Tags in order; every one is closed in its turn."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_html_is_well_formed_and_names_its_rows_and_columns():
    page = Outline(formats.html(nasty()))
    names = [tag for tag, _ in page.tags]
    assert "script" not in names and NASTY.replace("\n", " ") in page.words
    scopes = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert scopes == ["colgroup", "col", "col", "col", "col", "row", "row"]
    (group,) = (a for t, a in page.tags if a.get("scope") == "colgroup")
    assert group["colspan"] == "2"
    assert next(a["data-value"] for t, a in page.tags if t == "td" and "data-value" in a) == "0.5"


def test_pipes_in_names_do_not_add_cells_to_markdown():
    lines = [line for line in formats.markdown(nasty()).splitlines() if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in lines}
    assert len(lines) == 4 and cells == {5}
    assert "<script>" not in formats.markdown(nasty()) and "&lt;script&gt;" in formats.markdown(nasty())


def test_csv_holds_every_number_and_the_facts():
    names, *rows = csv.reader(io.StringIO(formats.csv(nasty())))
    flat = NASTY.replace("\n", " ")
    assert names[:2] == ["algorithm", f"group {NASTY} Dice {NASTY}"] and names[-1] == NASTY
    assert rows[0][1:9] == ["0.5", "0.4", "0.6", "", "", "", "", ""]
    assert rows[1][1:5] == ["0.912345678901"[:12], "0.9", "0.92", "best*"]
    assert rows[1][0] == flat and {row[-1] for row in rows} == {flat}


def test_every_latex_special_is_escaped():
    assert formats.escape_latex("a_b & c%$#{}") == r"a\_b \& c\%\$\#\{\}"
    assert formats.escape_latex("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert formats.escape_latex("x\ny\x00é") == "x y é" and formats.escape_latex("中") == "[U+4E2D]"
    assert formats.escape_latex("--mu--") == r"-{}-mu-{}-"  # no ligature


def test_the_legend_explains_the_marks_that_occur_and_no_others():
    shown = formats.markdown(nasty())
    assert "- **Bold**: best" in shown and "- *Italic*: tied" in shown and "not used" not in shown
    assert r"\underline{Underlined}: tied" in formats.latex(nasty())
    assert "<u>Underlined</u>: tied" in formats.html(nasty())


def test_marks_and_intervals_in_every_format():
    assert "**0.912**\\* (0.900, 0.920)" in formats.markdown(nasty())
    assert r"\textbf{0.912}*" in formats.latex(nasty()) and r"{\scriptsize 0.900, 0.920}" in formats.latex(nasty())
    assert "<strong>0.912</strong>*<br><small>0.900, 0.920</small>" in formats.html(nasty())


def test_numbers_as_printed():
    assert [decimal(v, 2) for v in (-0.001, -1.5, float("inf"), float("nan"), None)] == ["0.00", "−1.50", "∞", "–", "–"]
    assert decimal(0.25, 1, signed=True) == "+0.2" and decimal(-0.0001, 2, signed=True) == "0.00"
    assert [probability(p).text for p in (0.0004, 0.0006, 0.05, 1, None)] == ["< 0.001", "0.001", "0.050", "1.000", "–"]
    assert count(495973).text == "495 973" and count(495973).values == (495973,)
    assert share(12.4).text == "12 %" and size(1990180).text == "1.99 MB"
    assert span(1, None, 1).text == "–" and span(1, 2.5, 1).text == "1.0 to 2.5"
    assert difference(-0.1, -0.2, 0.1, 2).below == "−0.20, +0.10"
    assert estimate(0.5, None, None, 2).below == "" and number(None, 2).values == (None,)


def test_a_table_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Table("t", "", "", [Column("a")], [[Cell("1", (1, 2))]])
    with pytest.raises(ValueError, match="same name"):
        Table("t", "", "", [Column("a"), Column("a")], [])


def test_neighbours_share_a_heading_and_strangers_do_not():
    columns = [Column("a"), Column("b", ("x",)), Column("c", ("x",)), Column("d"), Column("e"), Column("f", ("x",))]
    spans = Table("t", "", "", columns, []).heading(0)
    assert spans == [("", 1), ("x", 2), ("", 1), ("", 1), ("x", 1)]


def compile_latex(folder, names) -> None:
    """Compile a document with the tables; warnings about missing characters count as failures."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine: THE LATEX TABLES WERE NOT COMPILED (apt-get install texlive)")
    (folder / "all.tex").write_text(formats.latex_document(names), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=240)
    log = (folder / "all.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Missing character" not in log and (folder / "all.pdf").stat().st_size > 10_000


def test_latex_compiles_whatever_the_names(tmp_path):
    wide = Table(
        "wide", "Wide", "", [Column("a" * 30, (f"g{i}",)) for i in range(12)], [[text("x" * 30)] * 12]
    )  # fmt: skip
    empty = Table("empty", "Empty", "", [Column("a")], [])
    for table in (nasty(), wide, empty):
        (tmp_path / f"{table.name}.tex").write_text(formats.latex(table), encoding="utf-8")
    (tmp_path / "starred.tex").write_text(formats.latex(nasty("starred"), "table*"), encoding="utf-8")
    compile_latex(tmp_path, ["nasty", "wide", "empty", "starred"])
