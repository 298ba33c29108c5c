"""``status``, ``list``, ``show``, ``summary``: look at what there is; nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedbench.commands.options import (
    OUT,
    Out,
    SuiteOptions,
    console,
    must_exist,
    say_set_aside,
    telling_damage,
    with_suite,
)  # fmt: skip
from fedbench.commands.running import state_of
from fedbench.errors import UserError

KINDS = ("algorithms", "datasets", "models", "suites")


def status(out: Out = OUT) -> None:
    """Show how far each run under a results folder is, and what was found damaged there.

    Example: `fedbench status --out results/runs`
    """
    from fedbench.store import FAILURE, RUN, Store, read_json

    must_exist(out)
    results = Store(out)
    table = Table(box=None, pad_edge=False)
    for column in ("run id", "state", "round", "detail"):
        table.add_column(column, overflow="fold")
    counts: Counter[str] = Counter()
    for run_id in results.run_ids():
        state = state_of(results, run_id)
        counts[state] += 1
        progress = results.progress(run_id) or {}
        detail = ""
        if state == "failed":
            detail = (read_json(results.folder(run_id) / FAILURE) or {}).get("error", "")[:80]
        elif state == "done":
            detail = f"{(read_json(results.folder(run_id) / RUN) or {}).get('seconds', 0):.0f} s"
        rounds = f"{progress['round']}/{progress['rounds']}" if progress else ""
        table.add_row(run_id, state, rounds, Text(detail))
    console.print(table)
    console.print(", ".join(f"{n} {state}" for state, n in counts.items()) or "no runs yet")
    for name, reason in results.set_aside().items():
        say_set_aside(results, name, reason)


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
    out: Out = OUT,
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


def _show_run(run_id: str, out: Out) -> None:
    from fedbench.store import FAILURE, RUN, TRACEBACK, Store, read_json

    must_exist(out)
    results = Store(out)
    matches = [name for name in results.run_ids() if name.startswith(run_id)]
    if len(matches) != 1:
        hint = f"it fits {len(matches)} runs: {', '.join(matches[:5])}" if matches else "see `fedbench status`"
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


@with_suite
def summary(
    options: SuiteOptions,
    selection: Annotated[
        str | None, typer.Option(metavar="last|best-validation", help="Which models.  [default: as declared]")
    ] = None,
) -> None:
    """Print result tables: of a suite, or of everything finished under a results folder.

    Example: `fedbench summary --all --selection best-validation`
    """
    from fedbench.analysis.summary import conditions, heading, summarise
    from fedbench.analysis.summary_view import render
    from fedbench.store import load_results

    if selection not in (None, "last", "best-validation"):
        raise UserError(f"--selection {selection}: choose 'last' or 'best-validation'.")
    must_exist(options.out)
    if not options.chosen:
        options.must_change_nothing()
    suite, cells = options.plan() if options.chosen else (None, [])
    results = load_results(options.out, [cell.id for cell in cells] if suite else None)
    if results.runs.empty:
        raise UserError(f"no finished run in {options.out}; start with `fedbench run --all`.")
    if selection is None:
        selection = suite.evaluation.selection if suite else _declared_selection(options.out, results.runs["run_id"])
    for name, unseen in conditions(results.runs):
        title = f"{heading(name, unseen)} ({selection} round)"
        render(summarise(results, name, selection, unseen=unseen), title, console)


def _declared_selection(root: Path, run_ids: Iterable[str]) -> str:
    """Return which models the suites of these runs declared to compare; ``last`` where they do not agree."""
    from fedbench.store import RUN, read_json

    declared = {((read_json(root / name / RUN) or {}).get("declared") or {}).get("selection") for name in run_ids}
    return str(declared.pop() or "last") if len(declared) == 1 else "last"
