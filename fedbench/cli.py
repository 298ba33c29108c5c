"""The command line: parses, calls, prints. Heavy imports happen inside the commands, so that help is quick."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.suite import Cell, Suite

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    help="Compare federated aggregation algorithms on identical modality partitions.\n\n"
    "Example: `python -m fedbench run --all`",
)  # fmt: skip
console = Console()
errors = Console(stderr=True)

All = Annotated[bool, typer.Option("--all", help="The default suite (the same as --suite default).")]
SuiteOption = Annotated[str | None, typer.Option("--suite", metavar="NAME|FILE.toml", help="A suite by name or file.")]
Algorithms = Annotated[
    list[str] | None,
    typer.Option(
        "-a", "--algorithm", metavar="NAME[param=value]", help="Algorithm; a name or file.py:Class. Repeatable."
    ),
]
Datasets = Annotated[
    list[str] | None, typer.Option("-d", "--dataset", metavar="NAME[=PATH]", help="Dataset. Repeatable.")
]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 0-4 or 0,2,5.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="Communication rounds.")]
LeaveOut = Annotated[str | None, typer.Option(metavar="MODALITY", help="Leave it out of training, score it.")]
Out = Annotated[Path, typer.Option(help="Where results are kept.")]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs per run; a fraction packs several runs on one.")]

OUT = Path("results/runs")


@app.command()
def run(
    all_: All = False, suite: SuiteOption = None, algorithm: Algorithms = None, dataset: Datasets = None,
    seeds: Seeds = None, rounds: Rounds = None, leave_out: LeaveOut = None, out: Out = OUT,
    workers: Annotated[int | None, typer.Option(min=0, help="Runs at a time; 0 = in this process.")] = None,
    gpus_per_run: Gpus = 0.0,
    address: Annotated[str | None, typer.Option(metavar="ray://...|auto", help="A running Ray cluster.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = False,
) -> None:  # fmt: skip
    """Run a suite; what is finished is not repeated, what was interrupted goes on.

    Examples: `fedbench run --all` · `fedbench run -a fedavg -a 'fedprox[mu=0.1]' -d phantom-heart --seeds 0-4`
    · `fedbench run --suite default -d sts=PATH`
    """
    from fedbench import scheduler
    from fedbench.console import display
    from fedbench.runner import Options
    from fedbench.store import Store

    _check_gpu(gpus_per_run, address)
    chosen = _suite(all_, suite, algorithm, dataset, seeds, rounds, leave_out)
    results = Store(out)
    with _interruptible():
        cells = _plan(chosen, results, gpus_per_run)
    todo = [cell for cell in cells if results.status(cell.id) != "done"]
    console.print(f"{len(cells)} runs, {len(cells) - len(todo)} finished, {len(todo)} to do; results in {out}")
    failed = []
    if todo:
        count = scheduler.default_workers(chosen.training.threads) if workers is None else workers
        resources = scheduler.Resources(count, chosen.training.threads, gpus_per_run, address)
        with _interruptible(), display(console, results, len(todo)) as view:
            outcomes = scheduler.run_cells(todo, out, resources, Options(tensorboard=tensorboard), view)
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    _report(cells, chosen, results)
    for outcome in failed:
        errors.print(f"failed: {outcome.run_id}: {outcome.error}", style="red", highlight=False, markup=False)
        errors.print(f"  traceback: {results.folder(outcome.run_id)}/traceback.txt", highlight=False, markup=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def plan(
    all_: All = False, suite: SuiteOption = None, algorithm: Algorithms = None, dataset: Datasets = None,
    seeds: Seeds = None, rounds: Rounds = None, leave_out: LeaveOut = None, out: Out = OUT, gpus_per_run: Gpus = 0.0,
) -> None:  # fmt: skip
    """Show the runs of a suite: which are done, what is left, the estimated time.

    Example: `fedbench plan --suite default --seeds 0-4`
    """
    from fedbench import scheduler
    from fedbench.console import clock
    from fedbench.estimate import seconds_left
    from fedbench.store import Store

    chosen = _suite(all_, suite, algorithm, dataset, seeds, rounds, leave_out)
    results = Store(out)
    cells = _plan(chosen, results, gpus_per_run)
    states = {cell.id: _state(results, cell.id) for cell in cells}
    table = Table(box=None, pad_edge=False)
    for column in ("dataset", "seed", "algorithm", "state", "run id"):
        table.add_column(column, overflow="fold")
    for cell in cells:
        i = cell.identity
        table.add_row(i["dataset"], str(i["seed"]), cell.label, states[cell.id], cell.id)
    console.print(table)
    left = [cell for cell in cells if states[cell.id] != "done"]
    counts = ", ".join(f"{n} {state}" for state, n in Counter(states.values()).items())
    console.print(f"{len(cells)} runs: {counts}")
    if left:
        workers = scheduler.default_workers(chosen.training.threads)
        estimate, basis = seconds_left(left, out)
        console.print(f"about {clock(estimate / workers)} with {workers} workers ({basis})")


@app.command()
def status(out: Out = OUT) -> None:
    """Show how far each run under a results folder is.

    Example: `fedbench status --out results/runs`
    """
    from fedbench.store import RUN, Store, read_json

    _must_exist(out)
    results = Store(out)
    table = Table(box=None, pad_edge=False)
    for column in ("run id", "state", "round", "detail"):
        table.add_column(column, overflow="fold")
    counts: Counter[str] = Counter()
    for run_id in results.run_ids():
        state = _state(results, run_id)
        counts[state] += 1
        progress = results.progress(run_id) or {}
        detail = ""
        if state == "failed":
            detail = (read_json(results.folder(run_id) / "failure.json") or {}).get("error", "")[:80]
        elif state == "done":
            detail = f"{(read_json(results.folder(run_id) / RUN) or {}).get('seconds', 0):.0f} s"
        rounds = f"{progress['round']}/{progress['rounds']}" if progress else ""
        table.add_row(run_id, state, rounds, detail)
    console.print(table)
    console.print(", ".join(f"{n} {state}" for state, n in counts.items()) or "no runs yet")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="algorithms|datasets|models|suites", help="What to list.")],
) -> None:
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
        raise UserError(f"cannot list '{what}'{nearest(what, ('algorithms', 'datasets', 'models', 'suites'))}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, text in rows.items():
        table.add_row(f"[bold]{name}", text)
    console.print(table)


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="A run id, or the beginning of one.")], out: Out = OUT) -> None:
    """Show one run: what determined it, where it ran, how it went.

    Example: `fedbench show phantom-heart.fedavg.s0`
    """
    from fedbench.store import FAILURE, RUN, TRACEBACK, Store, read_json

    _must_exist(out)
    results = Store(out)
    matches = [name for name in results.run_ids() if name.startswith(run_id)]
    if len(matches) != 1:
        hint = f"it fits {len(matches)} runs: {', '.join(matches[:5])}" if matches else "see `fedbench status`"
        raise UserError(f"no single run '{run_id}' in {out}; {hint}.")
    folder = results.folder(matches[0])
    console.print(f"{matches[0]}: {_state(results, matches[0])}", highlight=False)
    if content := read_json(folder / RUN):
        console.print_json(data=content)
    elif failure := read_json(folder / FAILURE):
        console.print(failure["error"], markup=False, highlight=False)
        if (folder / TRACEBACK).exists():
            console.print((folder / TRACEBACK).read_text(), markup=False, highlight=False)
    elif progress := results.progress(matches[0]):
        console.print_json(data=progress)


@app.command()
def summary(
    all_: All = False, suite: SuiteOption = None, algorithm: Algorithms = None, dataset: Datasets = None,
    seeds: Seeds = None, rounds: Rounds = None, leave_out: LeaveOut = None, out: Out = OUT, gpus_per_run: Gpus = 0.0,
    selection: Annotated[str, typer.Option(help="Which models: 'last' round or 'best-validation' round.")] = "last",
) -> None:  # fmt: skip
    """Print result tables: of a suite, or of everything finished under a results folder.

    Example: `fedbench summary --all --selection best-validation`
    """
    from fedbench.analysis.summary import render, summarise
    from fedbench.store import Store, load_results

    if selection not in ("last", "best-validation"):
        raise UserError(f"--selection {selection}: choose 'last' or 'best-validation'.")
    _must_exist(out)
    ids = None
    if all_ or suite or algorithm or dataset:
        chosen = _suite(all_, suite, algorithm, dataset, seeds, rounds, leave_out)
        ids = [cell.id for cell in _plan(chosen, Store(out), gpus_per_run)]
    results = load_results(out, ids)
    if results.runs.empty:
        raise UserError(f"no finished run in {out}; start with `fedbench run --all`.")
    for name in sorted(results.runs["dataset"].unique()):
        render(summarise(results, name, selection), f"{name} ({selection} round)", console)


# -- shared by the commands ----------------------------------------------------------------------------------------


def _suite(
    all_: bool, suite: str | None, algorithms: list[str] | None, datasets: list[str] | None,
    seeds: str | None, rounds: int | None, leave_out: str | None,
) -> Suite:  # fmt: skip
    from fedbench.suite import make_suite, parse_seeds, read_suite

    if all_ and suite:
        raise UserError("--all and --suite exclude each other: --all is --suite default.")
    overrides: dict[str, Any] = {
        "datasets": tuple(datasets) if datasets else None,
        "seeds": parse_seeds(seeds) if seeds is not None else None,
        "training.rounds": rounds,
        "data.leave_out": leave_out,
    }
    if all_:
        base = read_suite("default")
        joined = (*base.algorithms, *(a for a in algorithms or () if a not in base.algorithms))
        return read_suite("default", overrides | {"algorithms": joined})
    overrides["algorithms"] = tuple(algorithms) if algorithms else None
    if suite:
        return read_suite(suite, overrides)
    if not algorithms or not datasets:
        raise UserError("nothing to run: give --all, --suite NAME, or at least one -a ALGORITHM and one -d DATASET.")
    return make_suite({}, overrides)


def _plan(suite: Suite, results: Any, gpus_per_run: float) -> list[Cell]:
    from fedbench import planning

    return planning.plan(suite, results.prepared, "cuda" if gpus_per_run > 0 else "cpu")


def _check_gpu(gpus_per_run: float, address: str | None) -> None:
    if gpus_per_run > 0 and address is None:
        import torch

        if not torch.cuda.is_available():
            raise UserError(f"--gpus-per-run {gpus_per_run:g}: no GPU on this machine; drop the option to use the CPU.")


def _state(results: Any, run_id: str) -> str:
    return "running" if results.running(run_id) else results.status(run_id).replace("absent", "to do")


def _must_exist(out: Path) -> None:
    if not out.is_dir():
        raise UserError(f"no results in {out}: no such folder; start with `fedbench run --all`.")


def _report(cells: list[Cell], suite: Suite, results: Any) -> None:
    from fedbench.analysis.overlays import draw_overlays
    from fedbench.analysis.summary import render, summarise
    from fedbench.store import load_results, read_json, write_json

    finished = load_results(results.root, [cell.id for cell in cells])
    if finished.runs.empty:
        return
    rule = suite.evaluation.selection
    labels = list(dict.fromkeys(cell.label for cell in cells))
    for name in dict.fromkeys(cell.identity["dataset"] for cell in cells):
        if name not in set(finished.runs["dataset"]):
            continue
        render(summarise(finished, name, rule, labels), f"{name} ({rule} round)", console)
        target = results.root / "figures" / name / "overlays.png"
        own = [cell for cell in cells if cell.identity["dataset"] == name]
        shown = {"runs": [cell.id for cell in own if cell.id in set(finished.runs["run_id"])]}
        if not target.exists() or read_json(target.with_suffix(".json")) != shown:  # drawing takes seconds
            draw_overlays(own, results.root, name, target)
            write_json(target.with_suffix(".json"), shown)
        console.print(f"overlays: {target}", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C or SIGTERM: say how to go on, exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break the farewell
        errors.print("interrupted; everything so far is kept. The same command goes on from there.", highlight=False)
        raise typer.Exit(130) from None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: a user's mistake exits with 2 and one message, an interruption with 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except UserError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
