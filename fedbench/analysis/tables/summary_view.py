"""The table at the end of ``run`` as a console shows it, however narrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedbench.analysis.tables.cells import human_bytes, minutes
from fedbench.analysis.tables.summary import COUNTS, NO_RUN, RELATIONS, column_of
from fedbench.wording import counted, fold

DIGITS = {"dice": (3, 2), "hd95": (1, 1)}  # of the mean, of the interval; none of numbers above 100
NAMES = (100, 30, 20, 12)  # letters of a line of an algorithm's name, on ever narrower consoles
LEGEND = (
    "missed, false-alarm: scores with only the prediction or only the truth empty; they enter the means as Dice 0 and "
    "HD95 = image diagonal, unless the patient has no structure at all. not applicable: both empty; not in the means."
)


def render(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print ``frame`` under ``title``, to which the selection rule is added if it does not name it; notes below.

    On a narrow console intervals go below their means, and on a very narrow one counts and costs get their own table
    and long names more lines; then every relation gets a table.
    """
    selection = frame.attrs["selection"]
    heading = title if selection in title else f"{title} ({selection} round)"
    text, finished = _text(frame), frame[frame["deployment"] != NO_RUN]
    constant = {c: finished[c].iloc[0] for c in ("patients", "seeds") if len(set(finished[c])) == 1}
    told = "".join(f"; {counted(number, noun.removesuffix('s'))}" for noun, number in constant.items())
    heading += f"\nmean [95% CI over patients]{told}"
    text = text.drop(columns=list(constant))
    scored = [c for c in text.columns if c.startswith(tuple(RELATIONS.values()))]
    folded = text.copy()
    for column in scored:
        folded[column] = text[column].str.replace(" [", "\n[", regex=False)
    halves = folded[["algorithm", "model", *scored]], folded.drop(columns=scored)
    relations = [[c for c in scored if c.startswith(relation)] for relation in RELATIONS.values()]
    parts = *(folded[["algorithm", "model", *columns]] for columns in relations if columns), halves[1]
    layouts = [
        [_table(text)],
        [_table(folded, "-\n")],
        *([_table(_narrow(part, n), "-\n") for part in pieces] for pieces in (halves, parts) for n in NAMES),
    ]
    unlimited = console.options.update(max_width=10_000)
    for tables in layouts:
        if all(console.measure(table, options=unlimited).maximum <= console.width for table in tables):
            break
    console.print(Text(heading, style="bold"))
    for table in tables:
        console.print(table)
    console.print(Text(LEGEND, style="dim"))
    for note in frame.attrs["notes"]:
        console.print(Text(f"! {note}", style="yellow"))


def _narrow(text: pd.DataFrame, letters: int) -> pd.DataFrame:
    """Fold the names of algorithms and models."""
    return text.assign(**{c: [fold(name, letters) for name in text[c]] for c in ("algorithm", "model")})


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Format every column."""
    columns: dict[str, list[str]] = {"algorithm": list(frame["setting"]), "model": list(frame["deployment"])}
    for relation in RELATIONS:
        for metric, digits in DIGITS.items():
            name = column_of(relation, metric, frame.attrs["unit"])
            if name in frame:
                triples = zip(frame[name], frame[f"{name} low"], frame[f"{name} high"], strict=True)
                columns[name] = [_with_interval(*triple, digits) for triple in triples]
    for name in (*COUNTS.values(), "scores", "patients"):
        absent = frame["deployment"] == NO_RUN
        columns[name] = ["–" if none else str(n) for none, n in zip(absent, frame[name], strict=True)]
    columns["seeds"] = [str(n) for n in frame["seeds"]]
    columns["sent per round"] = [human_bytes(n) for n in frame["bytes per round"]]
    columns["time per run"] = [minutes(s) for s in frame["seconds per run"]]
    return pd.DataFrame(columns)


def _with_interval(mean: float, low: float, high: float, digits: tuple[int, int]) -> str:
    if np.isnan(mean):
        return "–"
    text = _number(mean, digits[0])
    return text if np.isnan(low) else f"{text} [{_number(low, digits[1])}, {_number(high, digits[1])}]"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits if value < 100 else 0}f}"


def _table(text: pd.DataFrame, hyphen: str = "-") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in text:
        left = column in ("algorithm", "model")
        header = str(column).replace("-", hyphen).replace(" ", "\n", 1)
        table.add_column(Text(header), justify="left" if left else "right", overflow="fold")
    for row in text.itertuples(index=False):
        table.add_row(*(Text(cell) for cell in row))
    return table
