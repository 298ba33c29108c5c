"""``status``, ``list``, ``show``, ``summary``: look at what there is; nothing is trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedbench.commands.options import (
    OUT,
    From,
    SuiteOptions,
    console,
    say_left,
    say_set_aside,
    telling_damage,
    with_options,
)
from fedbench.commands.refusing import must_exist, must_hold_runs
from fedbench.commands.running import state_of
from fedbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("algorithms", "datasets", "models", "suites")
LINE = "{:<11} {:>7} {:>7}  {}"  # of status


def version(wanted: bool) -> None:
    """Print what a report of a problem should say: this fedbench and its source, and the packages that it needs."""
    if not wanted:
        return
    from fedbench import __version__
    from fedbench.execution.installation import versions
    from fedbench.sources import harness_digest

    typer.echo(f"fedbench {__version__} (source {harness_digest()[:8]})")
    for name, found in versions().items():
        typer.echo(f"{name} {found}")
    raise typer.Exit


def status(out: From = OUT) -> None:
    """Show how far each run under a results folder is, and what was found damaged there.

    A damaged run is moved to `.quarantine` and is to do until it is repeated, or its folder there deleted.

    Example: `fedbench status --out results/runs`
    """
    from fedbench.store import FAILURE, RUN, Store, read_json

    must_exist(out)
    results = Store(out, reading=True)
    states: dict[str, str] = {}
    lines = [LINE.format("state", "round", "time", "run id")]  # the id last, and never broken: it is copied
    moved = {name: name.rpartition(".")[0] for name in results.set_aside()}
    for run_id in sorted({*results.run_ids(), *moved.values()}):
        state = states[run_id] = state_of(results, run_id)
        progress = results.progress(run_id) or {}
        seconds = (
            f"{(read_json(results.folder(run_id) / RUN) or {}).get('seconds', 0):.0f} s" if state == "done" else ""
        )
        rounds = f"{progress.get('round')}/{progress.get('rounds')}" if progress else ""
        lines.append(LINE.format(state, rounds, seconds, run_id))
        if state == "failed":
            lines.append(f"  {(read_json(results.folder(run_id) / FAILURE) or {}).get('error', '')}")
    if not states:
        from fedbench.analysis.loading import way_out

        lines = [f"no runs yet in {out}{way_out(out)}"]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
    if states:
        console.print(", ".join(f"{n} {state}" for state, n in Counter(states.values()).items()))
    for name, reason in results.set_aside().items():
        say_set_aside(results, name, reason, repeated=states.get(name.rpartition(".")[0]) == "done")
    say_left(results)


def list_(what: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to list.")]) -> None:
    """List what can be named in a suite.

    Example: `fedbench list algorithms`
    """
    from fedbench import registry
    from fedbench.config import MODELS
    from fedbench.errors import nearest
    from fedbench.suite import builtin_suites, read_suite

    rows: dict[str, str]
    if what in ("algorithms", "datasets"):
        found = registry.discover("algorithm" if what == "algorithms" else "dataset")
        rows = {name: plugin.summary for name, plugin in found.items()}
    elif what == "models":
        rows = MODELS
    elif what == "suites":
        rows = {name: read_suite(name).title for name in builtin_suites()}
    else:
        raise UserError(f"cannot list '{what}'{nearest(what, KINDS)}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, text in rows.items():
        table.add_row(Text(name, "bold"), Text(text))
    console.print(table)


def show(
    what: Annotated[str, typer.Argument(help="A run id or the beginning of one; or: dataset, algorithm.")],
    name: Annotated[str | None, typer.Argument(help="The dataset's or the algorithm's name.")] = None,
    out: From = OUT,
) -> None:
    """Show one run, dataset or algorithm: what determines it, where it comes from.

    Examples: `fedbench show phantom-heart.fedavg.s0` · `fedbench show dataset chaos` · `fedbench show algorithm moon`
    """
    if what in ("dataset", "algorithm"):
        if name is None:
            raise UserError(f"which {what}? Write: fedbench show {what} NAME (`fedbench list {what}s` lists them).")
        from fedbench.commands.describing import describe_algorithm, describe_dataset

        describe_dataset(name) if what == "dataset" else describe_algorithm(name)
    elif name is not None:
        raise UserError(f"cannot show '{what} {name}'; write: fedbench show dataset|algorithm NAME, or a run id alone.")
    else:
        _show_run(what, out)


def _show_run(run_id: str, out: Path) -> None:
    from fedbench.store import FAILURE, RUN, TRACEBACK, Store, read_json
    from fedbench.wording import listed

    must_exist(out)
    results = Store(out, reading=True)
    must_hold_runs(results)
    matches = [name for name in results.run_ids() if name.startswith(run_id)]
    if len(matches) != 1:
        hint = f"see `fedbench status --out {out}`"
        if matches:
            hint = f"it fits {len(matches)} runs: {listed(matches)}"
        raise UserError(f"no single run '{run_id}' in {out}; {hint}.")
    folder = results.folder(matches[0])
    with telling_damage(results):
        state = state_of(results, matches[0])
    console.print(f"{matches[0]}: {state}", highlight=False)
    if content := read_json(folder / RUN):
        console.print_json(data=content)
    elif failure := read_json(folder / FAILURE):
        console.print(failure["error"], highlight=False, soft_wrap=True)
        if (folder / TRACEBACK).exists():
            console.print((folder / TRACEBACK).read_text(), highlight=False, soft_wrap=True)
    elif progress := results.progress(matches[0]):
        console.print_json(data=progress)


@dataclass(frozen=True)
class SummaryOptions(SuiteOptions):
    """Where runs are only read."""

    out: From = OUT


@partial(with_options, SummaryOptions)
def summary(
    options: SummaryOptions,
    selection: Annotated[
        str | None, typer.Option(metavar="last|best-validation", help="Which models.  [default: as declared]")
    ] = None,
) -> None:
    """Print result tables: of a suite, or of everything finished under a results folder.

    Example: `fedbench summary --all --selection best-validation`
    """
    from fedbench.analysis.analyses import in_order
    from fedbench.analysis.loading import MANIFEST, read_results, way_out
    from fedbench.analysis.tables.summary import conditions, heading, summarise
    from fedbench.analysis.tables.summary_view import render
    from fedbench.config import SELECTIONS
    from fedbench.store import finished
    from fedbench.wording import counted, listed

    if selection not in (None, *SELECTIONS):
        raise UserError(f"--selection {selection}: choose {listed(SELECTIONS)}.")
    must_exist(options.out)
    if not options.chosen:
        options.must_change_nothing()
    elif (options.out / MANIFEST).is_file():
        raise UserError(f"{options.out} holds published results, which are shown whole; name no suite.")
    elif not any(finished(options.out)):  # said before any data is prepared
        raise UserError(f"no finished run in {options.out}{way_out(options.out)}")
    suite, cells = options.plan() if options.chosen else (None, [])
    results = read_results(options.out, [cell.id for cell in cells] if suite else None)
    if results.runs.empty and suite:
        others = counted(sum(1 for _ in finished(options.out)), "run")
        raise UserError(
            f"no run of this suite is finished in {options.out} ({others} of others): `fedbench plan` says what is "
            f"left, `fedbench summary --out {options.out}` shows the others."
        )
    if results.runs.empty:
        raise UserError(f"no finished run in {options.out}{way_out(options.out)}")
    if selection is None:
        selection = suite.evaluation.selection if suite else _declared_selection(options.out, results.runs)
    order = list(dict.fromkeys(cell.label for cell in cells)) if suite else in_order(results.runs["setting"])
    for name, unseen in conditions(results.runs):
        title = f"{heading(name, unseen)} ({selection} round)"
        render(summarise(results, name, selection, order, unseen), title, console)


def _declared_selection(root: Path, runs: pd.DataFrame) -> str:
    """Return which models the suites of these runs declared to compare; ``last`` where they do not agree."""
    from fedbench.analysis.evidence import declared_by
    from fedbench.store import RUN, read_json

    if "declared" in runs:  # published
        return str(declared_by(runs).get("selection", "last"))
    declared = {
        ((read_json(root / name / RUN) or {}).get("declared") or {}).get("selection") for name in runs["run_id"]
    }
    return str(declared.pop() or "last") if len(declared) == 1 else "last"
