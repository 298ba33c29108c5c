"""Who holds what: patients, cases, slices and class volumes per client and split, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedbench.analysis.figures.panels import COLOURS
from fedbench.data.prepared import PreparedCase, PreparedDataset
from fedbench.federation import Federation
from fedbench.files import write_atomic
from fedbench.wording import counted, fold

TEST = "(test)"
NAMES = ("client", "split", "modality")
HEADER = 12  # letters of a line of a table's header
HATCHES = {"train": "", "val": "////", "test": ""}


def holdings(federation: Federation, prepared: PreparedDataset) -> pd.DataFrame:
    """Return one row per client, split and modality; the test patients are listed under the client ``(test)``.

    Columns: client, split, modality, patients, cases, slices, and per class its volume (3-D: ml; 2-D: unit squared).
    ``attrs["patients"]`` counts the patients of a client and split, each once.
    """
    held: list[tuple[str, str, Sequence[PreparedCase]]] = []
    for client in federation.clients:
        held += [(client.name, "train", client.train), (client.name, "val", client.val)]
    held.append((TEST, "test", federation.test))
    rows = [
        {"client": name, "split": split, "modality": modality}
        | _contents([case for case in cases if case.modality == modality], prepared.classes)
        for name, split, cases in held
        for modality in sorted({case.modality for case in cases})
    ]
    frame = pd.DataFrame(rows)
    patients = {(name, split): len({case.patient for case in cases}) for name, split, cases in held}
    frame.attrs = {"classes": prepared.classes, "volume": volume_unit(prepared), "patients": patients}
    return frame


def volume_unit(prepared: PreparedDataset) -> str:
    """``ml`` of volumes in mm; otherwise the unit of length to the power of the axes."""
    axes = max(len(case.shape) for case in prepared.cases)
    return "ml" if (prepared.unit, axes) == ("mm", 3) else f"{prepared.unit}^{axes}"


def _contents(cases: Sequence[PreparedCase], classes: Sequence[str]) -> dict[str, float]:
    volumes = np.zeros(len(classes))
    for case in cases:
        voxel = prod(case.spacing) / (1000.0 if len(case.shape) == 3 and case.unit == "mm" else 1.0)
        volumes += np.array(case.voxels) * voxel
    return {
        "patients": len({case.patient for case in cases}),
        "cases": len(cases),
        "slices": sum(case.shape[2] if len(case.shape) == 3 else 1 for case in cases),
        **dict(zip(classes, volumes.tolist(), strict=True)),
    }


def render(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print ``frame`` under ``title``: counts, then class volumes in as many tables as the console's width asks for."""
    classes = list(frame.attrs["classes"])
    counts = [column for column in frame.columns if column not in classes]
    console.print(_table(frame[counts], title))
    while classes:
        fitting = len(classes)
        while fitting > 1 and not _fits(_volumes(frame, classes[:fitting]), console):
            fitting -= 1
        console.print(_volumes(frame, classes[:fitting]))
        classes = classes[fitting:]


def _volumes(frame: pd.DataFrame, classes: Sequence[str]) -> Table:
    return _table(frame[[*NAMES, *classes]], f"class volumes, {frame.attrs['volume']}")


def _fits(table: Table, console: Console) -> bool:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum <= console.width


def _table(frame: pd.DataFrame, title: str) -> Table:
    table = Table(box=None, pad_edge=False, title=Text(title), title_justify="left")
    for column in frame.columns:
        name = fold(str(column), HEADER)
        table.add_column(Text(name), justify="left" if column in NAMES else "right", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    return table


def draw(frame: pd.DataFrame, title: str, target: Path) -> Path:
    """Draw cases per client and split (colour: modality) beside the share of each class; the same input, same bytes."""
    with matplotlib.style.context("default"):
        figure = _figure(frame, title)
        FigureCanvasAgg(figure)

        def write(part: Path) -> None:
            figure.savefig(part, format="png", dpi=130, metadata={"Software": None})

        write_atomic(target, write)
    return target


def _figure(frame: pd.DataFrame, title: str) -> Figure:
    bars = list(dict.fromkeys(zip(frame["client"], frame["split"], strict=True)))
    modalities, classes = sorted(set(frame["modality"])), list(frame.attrs["classes"])
    figure = Figure(figsize=(9.5, 1.5 + 0.28 * len(bars)), facecolor="white", layout="constrained")
    counts, shares = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    places = {bar: -i - 0.5 * (i // 2) for i, bar in enumerate(bars)}
    for (client, split), y in places.items():
        own = frame[(frame["client"] == client) & (frame["split"] == split)].set_index("modality")
        left = 0.0
        for modality, n in own["cases"].items():
            colour = COLOURS[modalities.index(str(modality)) % len(COLOURS)]
            counts.barh(y, n, left=left, color=colour, edgecolor="white", hatch=HATCHES[split], height=0.85)
            left += n
        patients = frame.attrs["patients"][client, split]
        counts.text(left, y, f" {counted(int(left), 'case')}, {counted(patients, 'patient')}", va="center", fontsize=7)
        volumes = own[classes].sum()
        left = 0.0
        for i, name in enumerate(classes):
            share = volumes[name] / max(volumes.sum(), 1e-12)
            shares.barh(y, share, left=left, color=COLOURS[(i + 3) % len(COLOURS)], edgecolor="white", height=0.85)
            left += share
    counts.set_yticks(list(places.values()), [f"{client} {split}".replace(f"{TEST} ", "") for client, split in places])
    counts.set(xlabel="cases", xlim=(0, 1.45 * frame.groupby(["client", "split"])["cases"].sum().max()))
    shares.set(xlabel="share of class volume", xlim=(0, 1))
    _legend(counts, modalities, 0)
    _legend(shares, classes, 3)
    for axes in (counts, shares):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _legend(axes: matplotlib.axes.Axes, names: Sequence[str], first: int) -> None:
    handles = [
        matplotlib.patches.Patch(color=COLOURS[(i + first) % len(COLOURS)], label=name) for i, name in enumerate(names)
    ]
    axes.legend(
        handles=handles, ncols=min(len(names), 4), fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0, handlelength=1.2, columnspacing=1.0,
    )  # fmt: skip
