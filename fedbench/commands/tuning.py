"""``tune``: choose hyper-parameters alike for every algorithm, on validation cases alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedbench.commands.options import (
    OUT,
    Address,
    CheckpointSeconds,
    GpusPerRun,
    Out,
    SuiteOptions,
    Workers,
    console,
    errors,
    telling_damage,
)
from fedbench.commands.refusing import must_end_with, must_lie_apart, must_take_files
from fedbench.commands.running import check_resources, interruptible, say_failures
from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.execution.runner import Outcome
    from fedbench.store import Store
    from fedbench.suite import Cell, Suite
    from fedbench.tuning.trials import Tuned


def tune(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite by name or file.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Of the shared values and of each algorithm.  [default: the suite's]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the trials.  [default: the suite's]")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("-d", "--dataset", metavar="NAME[=PATH]", help="Dataset. Repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of a suite, such as tuning.rounds=5. Repeatable."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", dir_okay=False, help="The tuned suite.  [default: SUITE-tuned.toml, beside the trials]"
        ),
    ] = None,
    workers: Workers = None,
    address: Address = None,
    gpus_per_run: GpusPerRun = "0",
    checkpoint_seconds: CheckpointSeconds = 2.0,
    out: Out = OUT,
) -> None:
    """Choose hyper-parameters: as many trials for every algorithm, judged on validation cases alone.

    Shared ones ([tuning.shared] of the suite) are tuned once, on the reference algorithm; then each algorithm's own,
    from the search ranges it declares, the default first. The runs have no test cases. Trials and the tuned suite are
    kept in OUT/tuning/SUITE; what is finished is not repeated, and what they replace there is kept in earlier/.

    Example: `fedbench tune study-sts --trials 8 -d sts=PATH`
    """
    from fedbench.analysis.loading import TRIALS
    from fedbench.execution import planning
    from fedbench.names import safe
    from fedbench.store import Store
    from fedbench.suite import builtin_suites
    from fedbench.tuning.earlier import keeping
    from fedbench.tuning.suite_file import is_tuned, write_tuned
    from fedbench.tuning.table import write_trials
    from fedbench.tuning.trials import tune as choose
    from fedbench.wording import listed

    draws = {"tuning.trials": trials, "tuning.draw_seed": seed}
    assigned = [*(set_ or ()), *(f"{key}={value}" for key, value in draws.items() if value is not None)]
    options = SuiteOptions(suite=suite, dataset=dataset, set_=assigned, gpus_per_run=gpus_per_run, out=out)
    check_resources(options, workers, address)
    chosen = options.read()
    planning.plugins_of(chosen)  # a name that is refused leaves no folder behind
    if write is not None:
        must_end_with("--write", write, ".toml")
        must_lie_apart("--write", write, chosen.datasets)
        if write.exists() and not is_tuned(write):
            raise UserError(
                f"--write {write}: something that `fedbench tune` did not write is there; choose another name."
            )
        must_take_files("--write", write, write.parent)
    must_lie_apart("--out", out, chosen.datasets)
    own_datasets = _own_datasets(options, chosen)
    stem = suite if suite in builtin_suites() else Path(suite).stem
    results = Store(out / "tuning" / (safe(stem) or "suite"))
    trainer = _Trainer(options, results, chosen.training.threads, workers, address, checkpoint_seconds)
    with interruptible():
        tuned = choose(chosen, trainer.plan, trainer.execute, results)
    file = write or results.root / f"{stem}-tuned.toml"
    with keeping([*(results.root / name for name in TRIALS), file], results.root) as earlier:
        digest = write_trials(tuned, results.root)
        write_tuned(tuned, file, digest, own_datasets)
    console.print(_summary(tuned))
    if earlier:
        names, where = listed(copy.name for copy in earlier), earlier[0].parent
        console.print(f"other content of {names} was there; it is kept in {where}", highlight=False, soft_wrap=True)
    console.print(f"trials: {results.root}/trials.md (.csv, .parquet)", highlight=False, soft_wrap=True)
    console.print(f"tuned suite: {file}", highlight=False, soft_wrap=True)


class _Trainer:
    """Plans and runs trials, with what is finished or has diverged left out."""

    def __init__(
        self, options: SuiteOptions, results: Store, threads: int, workers: int | None, address: str | None,
        checkpoint_seconds: float,
    ) -> None:  # fmt: skip
        from fedbench.execution import scheduler
        from fedbench.execution.runner import Options

        self.options, self.results, self.checked = options, results, set[tuple[str, str]]()
        self.resources = scheduler.Resources(workers, threads, options.gpus, address)
        self.how = Options(checkpoint_seconds=checkpoint_seconds)

    def plan(self, suite: Suite) -> list[Cell]:
        """Return the runs of a suite; the data is prepared where ``run`` finds it."""
        from fedbench.commands.progress import preparing
        from fedbench.execution import planning
        from fedbench.store import Store

        device = "cpu" if self.options.gpus == 0 else "cuda"
        with preparing(console) as watch:
            return planning.plan(suite, Store(self.options.out).prepared, device, watch)

    def execute(self, heading: str, cells: list[Cell]) -> None:
        """Run what is left; a run that failed for another reason than divergence ends the command with status 1."""
        from fedbench.commands.console import display
        from fedbench.execution import scheduler
        from fedbench.tuning.trials import diverged
        from fedbench.wording import counted

        with telling_damage(self.results):
            left = [cell for cell in cells if self.results.status(cell.id) != "done"]
        todo = [cell for cell in left if not diverged(self.results.folder(cell.id))]
        finished = len(cells) - len(todo)
        console.print(
            f"{heading}: {counted(len(cells), 'run')}, {finished} finished, {len(todo)} to do", highlight=False
        )
        if not todo:
            return
        self._check_data(todo)
        with telling_damage(self.results), display(console, self.results, len(todo)) as view:
            outcomes = scheduler.run_cells(todo, self.results.root, self.resources, self.how, view)
        failed = [o for o in outcomes if o.status == "failed" and not diverged(self.results.folder(o.run_id))]
        if failed:
            self._stop(failed)

    def _check_data(self, cells: list[Cell]) -> None:
        """Compare with its checksums what the trials will read, once; what becomes of test patients is not asked."""
        from fedbench.execution.planning import make_task
        from fedbench.execution.prepared_data import refuse_damage

        of_a_kind = {(cell.prepared, cell.identity["partition"]): cell for cell in cells}
        new = [cell for kind, cell in of_a_kind.items() if kind not in self.checked]
        clients = [client for cell in new for client in make_task(cell).federation.clients]
        refuse_damage((cell.prepared for cell in new), {c.stem for x in clients for c in (*x.train, *x.val)})
        self.checked |= of_a_kind.keys()

    def _stop(self, failed: list[Outcome]) -> None:
        say_failures(self.results, failed)
        errors.print(
            "nothing was chosen: only a run that diverged is judged. The same command tries these again.",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _own_datasets(options: SuiteOptions, used: Suite) -> tuple[str, ...] | None:
    """Return the datasets as the suite names them, if the command line only says where these same ones lie."""
    from fedbench.registry import parse_spec

    try:
        own = replace(options, dataset=None).read().datasets
    except UserError:  # it names none: with those of the command line it could be read
        return None
    given, named = ([(s.name, s.params) for s in map(parse_spec, texts)] for texts in (used.datasets, own))
    return own if given == named else None


TUNED = 28  # letters of a line of what was tuned


def _summary(tuned: Tuned) -> Table:
    from fedbench.wording import fold

    table = Table(box=None, pad_edge=False)
    for column in ("tuned", "trials", "default", "best", "chosen"):
        left = column in ("tuned", "chosen")
        table.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=column != "chosen")
    for first in (trial for trial in tuned.trials if trial.number == 0):
        own = [t for t in tuned.trials if (t.stage, t.algorithm) == (first.stage, first.algorithm)]
        best = next(trial for trial in own if trial.chosen)
        values = ", ".join(f"{key} = {value}" for key, value in best.point.items()) or "nothing to tune"
        table.add_row(
            Text(fold(f"shared, on {first.algorithm}" if first.stage == "shared" else first.algorithm, TUNED)),
            f"{len(own)} of {tuned.suite.tuning.trials}" + (" (all)" if len(own) == first.possible else ""),
            "diverged" if first.score is None else f"{first.score:.3f}", f"{best.score:.3f}", Text(values),
        )  # fmt: skip
    return table
