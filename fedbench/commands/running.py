"""``run`` and ``plan``: train and score the runs of a suite, or say what would be done."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedbench.commands.options import (
    Address,
    CheckpointSeconds,
    ClientsAtOnce,
    SuiteOptions,
    Workers,
    console,
    errors,
    telling_damage,
    with_suite,
)
from fedbench.engine.interruption import end_if_clients_hang
from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.execution.runner import Outcome
    from fedbench.store import Store
    from fedbench.suite import Cell, Suite


NAME = 40  # letters of a line of an algorithm's name in a table


@with_suite
def run(
    options: SuiteOptions,
    workers: Workers = None,
    clients_at_once: ClientsAtOnce = None,
    address: Address = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events, in each run's folder.")
    ] = False,
    checkpoint_seconds: CheckpointSeconds = 2.0,
) -> None:
    """Run a suite; what is finished is not repeated, what was interrupted goes on.

    Examples: `fedbench run --all` · `fedbench run -a fedavg -a 'fedprox[mu=0.1]' -d phantom-heart --seeds 0-4`
    · `fedbench run --suite default -d sts=PATH --folds 5`
    """
    from fedbench.commands.console import display
    from fedbench.execution import scheduler
    from fedbench.execution.prepared_data import refuse_damage
    from fedbench.execution.runner import Options
    from fedbench.store import Store
    from fedbench.wording import counted

    check_resources(options, workers, address, clients_at_once)
    with interruptible():
        chosen, cells = options.plan()
    results = Store(options.out)
    with telling_damage(results):
        done = {cell.id for cell in cells if results.status(cell.id) == "done"}
    todo = [cell for cell in cells if cell.id not in done]
    counts = f"{counted(len(cells), 'run')}, {len(cells) - len(todo)} finished, {len(todo)} to do"
    console.print(f"{counts}; results in {options.out}", soft_wrap=True)
    say_other_declaration([cell for cell in cells if cell.id in done], results)
    say_one_client(todo)
    say_absent_reference(chosen.evaluation.reference, cells, results)
    failed = []
    if todo:
        if address is None:  # of a cluster's machines this one knows nothing
            say_other_machine([cell for cell in cells if cell.id in done], results)
        refuse_damage(cell.prepared for cell in todo)
        resources = scheduler.Resources(workers, chosen.training.threads, options.gpus, address, clients_at_once)
        with interruptible(), telling_damage(results), display(console, results, len(todo)) as view:
            how = Options(tensorboard, checkpoint_seconds)
            outcomes = scheduler.run_cells(todo, options.out, resources, how, view)
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    say_failures(results, failed)
    try:
        _report(cells, chosen, results)
    except OSError as error:
        if not failed:
            raise
        errors.print(f"the report is not whole: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@with_suite
def plan(
    options: SuiteOptions,
    ids: Annotated[bool, typer.Option("--ids", help="Also list every run: its state and its id.")] = False,
) -> None:
    """Show the runs of a suite: which are done, what is left, the estimated time.

    Prepares the data if that is not done yet; of runs unlike any finished one, two rounds of the first are trained and
    timed; if it fails, there is no estimate.

    Examples: `fedbench plan --suite default --seeds 0-4` · `fedbench plan --all --ids`
    """
    from fedbench.commands.console import clock
    from fedbench.execution import scheduler
    from fedbench.execution.estimate import NoEstimate, seconds_left
    from fedbench.store import Store
    from fedbench.wording import counted

    check_resources(options, None, None)
    with interruptible():
        chosen, cells = options.plan()
    results = Store(options.out)
    with telling_damage(results):
        states = {cell.id: state_of(results, cell.id) for cell in cells}
    console.print(_counts(cells, states))
    if ids:
        for cell in cells:  # an id is copied: never broken
            console.print(f"{states[cell.id]:<11}  {cell.id}", highlight=False, soft_wrap=True)
    left = [cell for cell in cells if states[cell.id] != "done"]
    counts = ", ".join(f"{n} {state}" for state, n in Counter(states.values()).items())
    console.print(f"{counted(len(cells), 'run')}: {counts}")
    say_one_client(left)
    say_absent_reference(chosen.evaluation.reference, cells, results)
    if left:
        resources = scheduler.Resources(None, chosen.training.threads, options.gpus)
        at_once = resources.clients_of_each(len(left))
        workers = min(len(left), scheduler.room_here(resources.threads * at_once, options.gpus))
        try:
            estimate, basis = seconds_left(left, options.out, workers, at_once)
        except NoEstimate as reason:
            console.print(f"no estimate: {reason}", highlight=False, soft_wrap=True)
            return
        more = "; auto may pack more on a GPU" if options.gpus == "auto" else ""
        console.print(f"about {clock(estimate)} with {counted(workers, 'worker')} ({basis}{more})")


def _counts(cells: list[Cell], states: dict[str, str]) -> Table:
    """One row per dataset, modality left out and algorithm: how many of its seeds and folds are in which state."""
    from fedbench.wording import fold

    every = list(dict.fromkeys(states.values()))
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    for cell in cells:
        key = (cell.identity["dataset"], cell.identity["data"]["leave_out"] or "", cell.label)
        rows.setdefault(key, Counter())[states[cell.id]] += 1
    table = Table(box=None, pad_edge=False)
    left_out = any(unseen for _, unseen, _ in rows)
    for column in ("dataset", *(["left out"] if left_out else []), "algorithm"):
        table.add_column(column, overflow="fold")
    for state in every:
        table.add_column(state, justify="right", no_wrap=True)
    for (dataset, unseen, label), counts in rows.items():
        names = (dataset, *([unseen] if left_out else []), fold(label, NAME))
        table.add_row(*map(Text, names), *(str(counts[state] or "") for state in every))
    return table


def state_of(results: Store, run_id: str) -> str:
    """Return a run's state in the user's words."""
    return "running" if results.running(run_id) else results.status(run_id).replace("absent", "to do")


def _warn(text: str) -> None:
    errors.print(text, style="yellow", highlight=False, soft_wrap=True)


def say_other_declaration(finished: list[Cell], results: Store) -> None:
    """Say which finished runs were made when the suite declared another comparison than it does now."""
    from fedbench.store import RUN, read_json

    found: Counter[str] = Counter()
    for cell in finished:
        then = (read_json(results.folder(cell.id) / RUN) or {}).get("declared", {})
        for key, now in cell.declared.items():
            if key != "suite" and then.get(key, now) != now:
                found[f"{key} = {then[key]}, not {now}"] += 1
    for difference, number in found.items():
        _warn(
            f"{_were(number)} declared with {difference}; this table follows the suite as it is now, "
            "tables, reports and publications follow what the runs were declared with."
        )


def say_absent_reference(reference: str, cells: list[Cell], results: Store) -> None:
    """Say on which datasets nothing can be tabulated in the end: nobody trains the reference there."""
    from fedbench.analysis.statistics.protocol import candidates
    from fedbench.store import RUN, finished, read_json
    from fedbench.wording import listed

    found: dict[str, set[str]] = {}
    for cell in cells:
        found.setdefault(cell.identity["dataset"], set()).add(cell.label)
    setting = reference.partition(" (")[0]  # without the kind of model
    if all(candidates(setting, list(settings)) for settings in found.values()):
        return
    for folder in finished(results.root):
        run = read_json(folder / RUN) or {}
        if (dataset := run.get("identity", {}).get("dataset")) in found:
            found[dataset].add(str(run.get("label")))
    settings = {dataset: own for dataset, own in found.items() if len(own) > 1}  # of one algorithm there is no table
    if without := [dataset for dataset, own in settings.items() if not candidates(setting, list(own))]:
        _warn(
            f"[evaluation] reference = '{reference}' is no algorithm of this suite, and {listed(without)} in "
            f"{results.root} has no finished run of it, so tables will be refused; add '{setting}' to the algorithms, "
            f"or set evaluation.reference to one of them: {listed(cell.label for cell in cells)}."
        )


def say_one_client(cells: list[Cell]) -> None:
    """Say where there is one client alone: what aggregates then aggregates nothing."""
    from pathlib import Path

    from fedbench.data.prepared import load
    from fedbench.execution.planning import make_task
    from fedbench.wording import listed

    of_a_kind = {(cell.prepared, cell.identity["partition"]): cell for cell in cells}
    stores = {folder: load(Path(folder)) for folder, _ in of_a_kind}
    alone = []
    for cell in of_a_kind.values():
        if len(clients := make_task(cell, stores[cell.prepared]).federation.clients) == 1:
            out = cell.identity["data"]["leave_out"]
            alone.append(f"{cell.identity['dataset']}{f' without {out}' if out else ''} ({clients[0].name})")
    if alone:
        _warn(
            f"one client alone in {listed(alone)}: there is nothing to federate, and aggregation algorithms do what "
            "local training does."
        )


def say_other_machine(finished: list[Cell], results: Store) -> None:
    """Say which finished runs stand in one table with new ones that other packages or another processor compute."""
    from fedbench.execution.comparison import elsewhere
    from fedbench.store import RUN, read_json

    made = Counter(elsewhere(read_json(results.folder(cell.id) / RUN) or {}) for cell in finished)
    for where, number in made.items():
        if where:
            _warn(
                f"{_were(number)} {where}: a difference to new ones may come from that alone; "
                "another --out makes all runs alike."
            )


def _were(number: int) -> str:
    return "1 finished run was" if number == 1 else f"{number} finished runs were"


def say_failures(results: Store, failed: Iterable[Outcome]) -> None:
    """Print why each run failed and where its traceback lies; one line each, however narrow: paths are copied.

    A full disk may have had no room for the traceback.
    """
    for outcome in failed:
        errors.print(f"failed: {outcome.run_id}: {outcome.error}", style="red", highlight=False, soft_wrap=True)
        trace = results.folder(outcome.run_id) / "traceback.txt"
        if trace.exists():
            errors.print(f"  traceback: {trace}", highlight=False, soft_wrap=True)


def check_resources(
    options: SuiteOptions, workers: int | None, address: str | None, clients_at_once: int | None = None
) -> None:
    """Refuse options that exclude each other, and a GPU where there is none."""
    if options.gpus != 0 and clients_at_once not in (None, 1):
        raise UserError("--clients-at-once is for CPUs, a GPU trains one client at a time; drop it or --gpus-per-run.")
    if address is not None and workers == 0:
        raise UserError("--workers 0 runs in this process, --address on a cluster; drop one of them.")
    if options.gpus != 0 and address is None:
        import torch

        if not torch.cuda.is_available():
            given = options.gpus_per_run
            raise UserError(f"--gpus-per-run {given}: no GPU on this machine; drop the option to use the CPU.")


def _report(cells: list[Cell], suite: Suite, results: Store) -> None:
    from fedbench.analysis.tables.summary import conditions, heading, summarise
    from fedbench.analysis.tables.summary_view import render
    from fedbench.names import safe
    from fedbench.reading import unlinked
    from fedbench.store import load_results, read_json, write_json

    finished = load_results(results.root, [cell.id for cell in cells])
    if finished.runs.empty:
        return
    rule = suite.evaluation.selection
    labels = list(dict.fromkeys(cell.label for cell in cells))
    done = set(finished.runs["run_id"])
    for name, unseen in conditions(finished.runs):
        title = heading(name, unseen)
        render(summarise(finished, name, rule, labels, unseen), f"{title} ({rule} round)", console)
        target = unlinked(results.root, "figures", safe(title)) / "overlays.png"
        own = [c for c in cells if (c.identity["dataset"], c.identity["data"]["leave_out"] or "") == (name, unseen)]
        shown = {"runs": [cell.id for cell in own if cell.id in done]}
        if not target.exists() or read_json(target.with_suffix(".json")) != shown:  # drawing takes seconds
            from fedbench.analysis.figures.overlays import draw_overlays

            if draw_overlays(own, results.root, name, target) is None:  # nothing of the partition that is shown
                target.unlink(missing_ok=True)
                target.with_suffix(".json").unlink(missing_ok=True)
                continue
            write_json(target.with_suffix(".json"), shown)
        console.print(f"overlays: {target}", highlight=False, soft_wrap=True)


KEPT = "what is finished is kept. The same command goes on from the last checkpoints."


@contextlib.contextmanager
def interruptible(kept: str = KEPT) -> Iterator[None]:
    """Ctrl-C or SIGTERM: say how to go on, exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break the farewell
        errors.print(f"interrupted; {kept}", highlight=False, soft_wrap=True)
        end_if_clients_hang(130)
        raise typer.Exit(130) from None
