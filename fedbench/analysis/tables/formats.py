"""One :class:`fedbench.analysis.tables.cells.Table` as LaTeX (booktabs), Markdown, CSV or HTML; always the same bytes.

LaTeX needs the packages ``booktabs`` and ``graphicx`` and ``fontenc`` with T1. All text comes from data or from us and
is escaped; nothing in a name can end a cell, start a command or become markup.
"""

from __future__ import annotations

import csv as csv_module
import html as html_module
import io
import re
import unicodedata
from collections.abc import Callable, Sequence

from fedbench.analysis.tables.cells import BEST, TIED, Cell, Column, Table, Value
from fedbench.analysis.tables.fitting import LONG, intervals_beside, turned

DIGITS = 10  # significant, of numbers in CSV and HTML
SAID = {
    "latex": {BEST: r"\textbf{Bold}", TIED: r"\underline{Underlined}"},
    "markdown": {BEST: "**Bold**", TIED: "*Italic*"},
    "html": {BEST: "<strong>Bold</strong>", TIED: "<u>Underlined</u>"},
}


# -- LaTeX ---------------------------------------------------------------------------------------------------------

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": "'{}", "`": r"\textasciigrave{}",
    "−": r"$-$", "–": r"\textendash{}", "—": r"\textemdash{}", "†": r"$^{\dagger}$", "×": r"$\times$", "∞": r"$\infty$",
    "±": r"$\pm$", "²": "$^2$", "³": "$^3$", "°": r"$^{\circ}$", "µ": r"$\mu$", "μ": r"$\mu$", "’": "'",
    "‘": "`", "“": "``", "”": "''", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$",
    "▲": r"$\scriptstyle\bigtriangleup$", "▼": r"$\scriptstyle\bigtriangledown$", "·": r"$\cdot$", "\u00a0": "~",
}  # fmt: skip
LACKING = "ªºĦħĸĿŀŉŦŧ"  # letters up to ž that T1 has not


def escape_latex(text: str) -> str:
    """Return ``text`` as LaTeX prints it; a character that T1 fonts lack is printed as its code, ``[U+4E2D]``."""
    escaped = "".join(map(_latex_character, unicodedata.normalize("NFC", _one_line(text))))
    return re.sub("-(?=-)", "-{}", escaped)  # two hyphens are no dash


def _latex_character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii() or (character.isalpha() and character <= "ž" and character not in LACKING):
        return character
    return f"[U+{ord(character):04X}]"


def latex(table: Table, environment: str = "table") -> str:
    """Return a float with caption, label ``tab:<name>``, and notes below; ``table*`` spans two columns.

    Intervals stand in small print beside the numbers they belong to if there is room, else on a line below. A table
    that is too wide has headings turned, and is scaled down to the line.
    """
    beside = intervals_beside(table)
    lines = [f"% {_one_line(table.name)}: made by `fedbench tables`; do not edit.", rf"\begin{{{environment}}}[tbp]"]
    lines += [r"\centering", rf"\caption{{\textbf{{{escape_latex(table.title)}.}} {escape_latex(table.caption)}}}"]
    lines += [
        rf"\label{{tab:{table.name}}}",
        r"\scriptsize" if len(table.rows) > LONG else r"\small",
        r"\setlength{\tabcolsep}{4pt}",
    ]
    lines += [r"\par\smallskip", r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{@{{}}{''.join('l' if c.left else 'r' for c in table.columns)}@{{}}}}", r"\toprule"]
    lines += _latex_headings(table)
    lines += [r"\midrule"]
    for number, row in enumerate(table.rows):
        if number in table.rules and number > 0:
            lines.append(r"\midrule")
        lines += _latex_row(row, beside)
    lines += [r"\bottomrule", r"\end{tabular}}"]
    notes = [f"{said} {escape_latex(meaning)}" for said, meaning in _legend(table, "latex", escape_latex)]
    notes += map(escape_latex, table.notes)
    if notes:
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [rf"{note}\par" for note in notes]
        lines += [r"\end{minipage}"]
    return "\n".join([*lines, rf"\end{{{environment}}}", ""])


def latex_document(names: Sequence[str]) -> str:
    """Return a document that shows the tables ``<name>.tex`` beside it."""
    head = [
        r"\documentclass[10pt]{article}", r"\usepackage[T1]{fontenc}", r"\usepackage{lmodern}",
        r"\usepackage[a4paper,margin=20mm]{geometry}", r"\usepackage{booktabs,graphicx}", r"\begin{document}",
    ]  # fmt: skip
    return "\n".join([*head, *(rf"\input{{{name}.tex}}\clearpage" for name in names), r"\end{document}", ""])


def _latex_headings(table: Table) -> list[str]:
    lines = []
    for level in range(table.depth - 1):
        cells, rules, at = [], [], 1
        for heading, width in table.heading(level):
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(heading)}}}" if heading else "")
            if heading:
                rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        lines += [" & ".join(cells) + r" \\", "".join(rules)]
    named = zip(table.columns, turned(table), strict=True)
    names = [_turned(c) if turn else escape_latex(c.name) + escape_latex(c.sign) for c, turn in named]
    set_right = [n if c.left else rf"\multicolumn{{1}}{{r}}{{{n}}}" for n, c in zip(names, table.columns, strict=True)]
    return [*lines, " & ".join(set_right) + r" \\"]


def _turned(column: Column) -> str:
    """Return a heading turned by 90 degrees, an algorithm's parameters on a second line."""
    name, bracket, rest = column.name.partition("[")
    lines = [name, bracket + rest] if bracket else [name]
    inside = r" \\{}".join(map(escape_latex, lines)) + escape_latex(column.sign)
    return rf"\rotatebox{{90}}{{\shortstack[l]{{{inside}}}}}"


def _latex_row(row: Sequence[Cell], beside: bool) -> list[str]:
    marked = {BEST: r"\textbf{%s}", TIED: r"\underline{%s}"}
    cells = [marked.get(c.mark, "%s") % escape_latex(c.text) + escape_latex(c.sign) for c in row]
    if beside:
        small = [rf" {{\scriptsize {escape_latex(cell.below)}}}" if cell.below else "" for cell in row]
        return [" & ".join(map("".join, zip(cells, small, strict=True))) + r" \\[0pt]"]  # a "[" may come next
    if not any(cell.below for cell in row):
        return [" & ".join(cells) + r" \\[0pt]"]
    below = [rf"{{\scriptsize {escape_latex(c.below)}}}" if c.below else "" for c in row]
    return [" & ".join(cells) + r" \\*[-2pt]", " & ".join(below) + r" \\[2pt]"]


# -- Markdown ------------------------------------------------------------------------------------------------------


def escape_markdown(text: str) -> str:
    """Return ``text`` as Markdown shows it, also inside a cell of a table."""
    visible = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]~#$!^|{}])", r"\\\1", visible)


def markdown(table: Table) -> str:
    """Return title, caption, a pipe table, legend and notes; headings above columns become part of their names."""
    names = [escape_markdown(" ".join([*column.groups, column.name]) + column.sign) for column in table.columns]
    lines = [f"**{escape_markdown(table.title)}.** {escape_markdown(table.caption)}", ""]
    lines += [_pipes(names), _pipes([":--" if column.left else "--:" for column in table.columns])]
    lines += [_pipes([_markdown_cell(cell) for cell in row]) for row in table.rows]
    notes = [f"{said} {escape_markdown(meaning)}" for said, meaning in _legend(table, "markdown", escape_markdown)]
    notes += map(escape_markdown, table.notes)
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join([*lines, ""])


def _markdown_cell(cell: Cell) -> str:
    star = {BEST: "**", TIED: "*"}.get(cell.mark, "")
    inside = f" ({escape_markdown(cell.below)})" if cell.below else ""
    return f"{star}{escape_markdown(cell.text)}{star}{escape_markdown(cell.sign)}{inside}"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# -- CSV -----------------------------------------------------------------------------------------------------------


def csv(table: Table) -> str:
    """Return one line of names and one per row: every value behind the cells in ten digits, then the table's facts."""
    stream = io.StringIO()
    writer = csv_module.writer(stream, lineterminator="\n")
    writer.writerow([*(key for column in table.columns for key in column.keys), *table.facts])
    facts = [plain(value) for value in table.facts.values()]
    for row in table.rows:
        writer.writerow([*(plain(value) for cell in row for value in cell.values), *facts])
    return stream.getvalue()


def plain(value: Value) -> str:
    """Return a value for a machine: ten significant digits, ``""`` for none."""
    if value is None:
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else _one_line(str(value))


# -- HTML ----------------------------------------------------------------------------------------------------------


def escape_html(text: str) -> str:
    """Return ``text`` as HTML shows it, in an element or an attribute."""
    return html_module.escape(_one_line(text), quote=True)


def html(table: Table) -> str:
    """Return a ``<table>`` and its notes in a ``<section>``; ``data-value`` of a cell holds its number, for sorting."""
    lines = [f'<section class="table" id="table-{escape_html(table.name)}">', "<table>"]
    lines += [
        f"<caption><strong>{escape_html(table.title)}.</strong> {escape_html(table.caption)}</caption>",
        "<thead>",
    ]
    for level in range(table.depth - 1):
        spans = [
            f'<th scope="colgroup" colspan="{width}">{escape_html(heading)}</th>' if heading else "<td></td>"
            for heading, width in table.heading(level)
        ]
        lines.append(f"<tr>{''.join(spans)}</tr>")
    names = "".join(f'<th scope="col">{escape_html(column.name + column.sign)}</th>' for column in table.columns)
    lines.append(f"<tr>{names}</tr>")
    lines += ["</thead>", "<tbody>"]
    for number, row in enumerate(table.rows):
        rule = ' class="rule"' if number in table.rules and number > 0 else ""
        cells = [_html_cell(cell, column.heads) for cell, column in zip(row, table.columns, strict=True)]
        lines.append(f"<tr{rule}>{''.join(cells)}</tr>")
    lines += ["</tbody>", "</table>"]
    notes = [f"{said} {escape_html(meaning)}" for said, meaning in _legend(table, "html", escape_html)]
    notes += map(escape_html, table.notes)
    if notes:
        lines += ['<ul class="notes">', *(f"<li>{note}</li>" for note in notes), "</ul>"]
    return "\n".join([*lines, "</section>", ""])


def _html_cell(cell: Cell, heads: bool) -> str:
    before, after = {BEST: ("<strong>", "</strong>"), TIED: ("<u>", "</u>")}.get(cell.mark, ("", ""))
    shown = f"{before}{escape_html(cell.text)}{after}{escape_html(cell.sign)}"
    if cell.below:
        shown += f"<br><small>{escape_html(cell.below)}</small>"
    value = f' data-value="{escape_html(plain(cell.values[0]))}"'
    return f'<th scope="row"{value}>{shown}</th>' if heads else f"<td{value}>{shown}</td>"


# ------------------------------------------------------------------------------------------------------------------


def _legend(table: Table, form: str, escape: Callable[[str], str]) -> list[tuple[str, str]]:
    used = table.signs
    return [
        (f"{SAID[form][mark]}:" if mark in SAID[form] else escape(mark), meaning)
        for mark, meaning in table.marks.items()
        if mark in used
    ]


def _one_line(text: str) -> str:
    """Control characters, line breaks among them, and bytes that were no text become spaces."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


FORMATS: dict[str, Callable[[Table], str]] = {"tex": latex, "md": markdown, "csv": csv, "html": html}
