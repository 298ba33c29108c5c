"""``verify`` and ``diff``: does a run give the same bits again, and what tells two runs apart."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fedbench.commands.options import OUT, From, console, telling_damage
from fedbench.commands.refusing import must_exist, must_hold_runs
from fedbench.commands.running import interruptible, state_of
from fedbench.errors import UserError


def verify(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, or the beginning of one.")],
    source: Annotated[
        Path, typer.Option("--from", metavar="FOLDER", help="A results folder, or a published one.")
    ] = OUT,
    dataset: Annotated[
        list[str] | None,
        typer.Option("-d", "--dataset", metavar="NAME[=PATH]", help="Its data, where it is not prepared in FOLDER."),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option("-a", "--algorithm", metavar="FILE.py:CLASS", help="The plugin, where a run's algorithm is one."),
    ] = None,
) -> None:
    """Execute stored runs again and compare: scores, curves, weights, slices and features, bit by bit.

    Exit status 0 if all are the same, 1 if not. Bits are promised on CPUs of the same vector instructions with the same
    versions; which of these, or of fedbench's own code, was another when the run was made is said. No code runs that
    only the stored run names: a plugin file must be given with -a.

    Examples: `fedbench verify phantom-heart.fedavg.s0` · `fedbench verify sts.fedavg.s0.fold0 --from
    results/published/study-sts -d sts=PATH`
    """
    from fedbench.analysis.loading import MANIFEST

    must_exist(source)
    published = (source / MANIFEST).is_file()
    different = 0
    with interruptible("nothing was changed."), tempfile.TemporaryDirectory(prefix="fedbench-verify-") as scratch:
        for run in runs:
            record = _published(source, run, Path(scratch)) if published else _stored(source, run)
            different += bool(_verify(record, source, Path(scratch), dataset or [], algorithm))
    if different:
        raise typer.Exit(1)


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or the beginning of one.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another.")],
    out: From = OUT,
) -> None:
    """Say what differs between two runs: configuration, data, code, versions, machine, results.

    Example: `fedbench diff phantom-heart.fedavg.s0 phantom-heart.fedavg.s1`
    """
    from pandas.api.types import is_numeric_dtype

    from fedbench.execution.comparison import differences, differing_bits, mean_scores
    from fedbench.reading import read_table
    from fedbench.store import CASES

    must_exist(out)
    (one, folder), (other, other_folder) = _stored(out, first), _stored(out, second)
    console.print(f"first:  {one['run_id']}\nsecond: {other['run_id']}", highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("differs", "first", "second"):
        table.add_column(column, overflow="fold")
    for found in differences(one, other):
        table.add_row(Text(found.what), Text(found.first), Text(found.second))
    console.print(table if table.row_count else "configuration, data, code, versions and machine are the same")
    bits = differing_bits(folder, other_folder)
    for line in bits:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not bits:
        console.print("results: the same bits")
        return
    cases = {run["run_id"]: read_table(path / CASES) for run, path in ((one, folder), (other, other_folder))}
    if untested := [run_id for run_id, scores in cases.items() if scores.empty]:
        console.print(
            f"no scores to compare: trials of `fedbench tune` have no test cases: {', '.join(untested)}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    means = mean_scores(*cases.values())
    table = Table(box=None, pad_edge=False, title="means of the last round", title_justify="left")
    for column in means.columns:
        text = not is_numeric_dtype(means[column])
        table.add_column(Text(str(column).replace(" ", "\n")), justify="left" if text else "right", overflow="fold")
    for row in means.itertuples(index=False):
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    console.print(table)


Record = tuple[dict[str, Any], Path]  # the content of run.json, and the folder with what else is kept of the run


def _stored(out: Path, run: str) -> Record:
    from fedbench.store import Store, record
    from fedbench.wording import listed

    results = Store(out, reading=True)
    must_hold_runs(results)
    with telling_damage(results):
        states = {name: state_of(results, name) for name in results.run_ids() if name.startswith(run)}
    if states and "done" not in states.values():
        raise UserError(f"no finished run '{run}' in {out}: {listed(f'{n} ({s})' for n, s in states.items())}.")
    done = [name for name, state in states.items() if state == "done"]
    name = _one(done, run, out, f"see `fedbench status --out {out}`")
    return record(out / name), out / name


def _published(source: Path, run: str, scratch: Path) -> Record:
    """Write the published tables of one run into a folder like a run's."""
    from fedbench.analysis.loading import read_evidence
    from fedbench.differing import ATTEMPTS
    from fedbench.store import CASES, ROUNDS
    from fedbench.wording import listed

    evidence = read_evidence(source)
    every = [str(name) for name in evidence.runs["run_id"]]
    name = _one([r for r in every if r.startswith(run)], run, source, f"it holds {listed(every)}")
    row = evidence.runs[evidence.runs["run_id"] == name].iloc[0]
    folder = scratch / "published" / name
    folder.mkdir(parents=True, exist_ok=True)
    for frame, file in ((evidence.cases, CASES), (evidence.rounds, ROUNDS)):
        frame[frame["run_id"] == name].to_parquet(folder / file, index=False)
    made = {key: json.loads(row["provenance"]).get(key) for key in ("versions", "hardware", ATTEMPTS)}
    return {"run_id": name, "identity": json.loads(row["identity"]), "label": row["setting"], **made}, folder


def _one(found: list[str], run: str, where: Path, otherwise: str) -> str:
    if run in found:
        return run
    if len(found) != 1:
        from fedbench.wording import listed

        hint = f"it fits {len(found)} runs: {listed(found)}" if found else otherwise
        raise UserError(f"no single finished run '{run}' in {where}; {hint}.")
    return found[0]


def _verify(record: Record, source: Path, scratch: Path, datasets: list[str], plugin: str | None) -> list[str]:
    from fedbench.commands.progress import preparing
    from fedbench.config import DataConfig, section_of
    from fedbench.execution.comparison import elsewhere, has_content, other_code, prepared_folder, repeat
    from fedbench.execution.prepared_data import prepared_folder_of
    from fedbench.registry import Spec
    from fedbench.suite import Cell

    run, folder = record
    identity = run["identity"]
    content = identity["dataset_content"]
    prepared = prepared_folder(content, source / ".prepared")
    if prepared is None:
        with preparing(console) as watch:
            given = [
                prepared_folder_of(text, DataConfig(**section_of(identity, "data")), scratch, watch)
                for text in datasets
            ]
        prepared = next((store for store in given if has_content(store, content)), None)
    if prepared is None:
        spec = Spec(_plugin_of(identity["dataset"]), tuple(identity.get("dataset_params", {}).items())).text
        raise UserError(
            f"{run['run_id']}: its data ({identity['dataset']}, content {content[:12]}) is not prepared in {source}; "
            f"give it: -d {shlex.quote(spec)}=PATH, or without =PATH where it is generated."
        )
    spec = _algorithm_of(run, plugin)
    cell = Cell(identity, spec, str(prepared), str(run["label"]))
    if cell.id != run["run_id"]:
        if "spec" not in run:
            raise UserError(
                f"{run['run_id']}: a parameter of this run was a path, and paths are not published; verify it from "
                "the results folder."
            )
        raise UserError(f"{run['run_id']}: what determined this run was edited; it cannot be verified.")
    found = repeat(cell, folder)
    for line in found:
        console.print(f"{cell.id}: {line}", highlight=False, markup=False, soft_wrap=True)
    code, machine = other_code(cell), elsewhere(run)
    others = " and ".join(words for words in (code, machine) if words)
    if found and others:
        advice = ": `fedbench show` names the commit, check that out to tell" if code else ""
        console.print(f"{cell.id}: {others}, which may be why{advice}", highlight=False, soft_wrap=True)
    if not found:
        though = f", though {others}" if others else ""
        console.print(f"{cell.id}: the same bits{though}", highlight=False, soft_wrap=True)
    return found


def _plugin_of(dataset: str) -> str:
    """Return the plugin that reads a dataset; ``nnunet`` calls its own ``nnunet-hippocampus`` and the like."""
    from fedbench.registry import discover

    known = discover("dataset")
    parts = dataset.split("-")
    names = ("-".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in known), dataset)


def _algorithm_of(run: dict[str, Any], plugin: str | None) -> str:
    """Return the algorithm of a stored run; a file only if the user names it too."""
    from fedbench.registry import discover, parse_spec

    spec = parse_spec(str(run.get("spec", run["label"])))
    if spec.name in discover("algorithm"):
        return spec.text
    if plugin is None:
        raise UserError(
            f"{run['run_id']}: its algorithm is the plugin {spec.name}, and code that a stored run names is not run "
            "unasked; if you trust the file, name it: -a FILE.py:CLASS."
        )
    return type(spec)(parse_spec(plugin).name, spec.params).text
