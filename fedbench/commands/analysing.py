"""``tables``, ``publish``, ``calibrate``: from finished runs to numbers in print; nothing is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from fedbench.commands.options import OUT, SuiteOptions, console, errors, with_options, with_suite
from fedbench.commands.refusing import must_end_with, must_take_files
from fedbench.config import SELECTIONS
from fedbench.errors import UserError
from fedbench.names import safe

if TYPE_CHECKING:
    from fedbench.analysis.analyses import Analyses, Choices
    from fedbench.analysis.publishing.adding import Published

PUBLISHED = Path("results/published")
PAGES = (".html", ".htm")  # what the names of files end with that ``--to`` may name, too
IDENTIFIERS = (
    "It holds patient names as the data set gives them, and pictures: look whether they identify anybody before you "
    "commit it."
)


@dataclass(frozen=True)
class AnalysisOptions(SuiteOptions):
    """What a user says to every command that analyses results: those of a suite, or everything finished."""

    out: Annotated[Path, typer.Option("--from", metavar="FOLDER", help="A results folder, or a published one.")] = OUT
    to: Annotated[Path | None, typer.Option("--to", metavar="FOLDER", help="Where to write.  [default: in --from]")] = (
        None
    )
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", metavar="ALGORITHM", help="All others are compared with it.  [default: as declared]"
        ),
    ] = None
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            metavar="|".join(SELECTIONS),
            help="Which round's models are compared.  [default: as declared]",
        ),
    ] = None
    missing: Annotated[
        str,
        typer.Option(
            "--missing",
            metavar="refuse|worst|complete-cases",
            help="Scores that some lack: refuse, take the worst value, or leave out for all.",
        ),
    ] = "refuse"

    @property
    def choices(self) -> Choices:
        """The choices that the protocol leaves open.

        Raises:
            UserError: an unknown selection or way with missing scores.
        """
        from fedbench.analysis.analyses import Choices
        from fedbench.analysis.statistics.scores import Missing

        if self.selection is not None:
            _one_of("--selection", self.selection, SELECTIONS)
        _one_of("--missing", self.missing, get_args(Missing))
        return Choices(self.reference, self.selection, self.missing)  # type: ignore[arg-type]  # checked above

    def analyses(self) -> Analyses:
        """Read the evidence.

        Raises:
            UserError: a bad option, no such folder, no finished run, a damaged file.
        """
        from fedbench.analysis.analyses import Analyses
        from fedbench.analysis.loading import read_evidence

        choices = self.choices
        if self.to is not None:  # said before the work
            self.target("")
        found = Analyses(read_evidence(self.out, self._of_suite()), choices)
        say_contradictions(found)
        say_unfinished(found)
        return found

    def _of_suite(self) -> list[str] | None:
        """Return the runs of the suite that is named; None, everything finished, where none is."""
        from fedbench.analysis.loading import MANIFEST
        from fedbench.commands.refusing import must_exist
        from fedbench.store import DONE

        if not self.chosen:
            self.must_change_nothing()
            return None
        must_exist(self.out)
        if (self.out / MANIFEST).is_file():
            raise UserError(f"{self.out} holds published results, which are shown whole; name no suite.")
        ids = [cell.id for cell in self.plan()[1]]
        if not any((self.out / run_id / DONE).is_file() for run_id in ids):
            raise UserError(f"no run of this suite is finished in {self.out}: `fedbench plan` says what is left.")
        return ids

    def target(self, name: str) -> Path:
        """Return the folder to write to: ``--to``, or ``name`` in the folder that is read."""
        target = self.to if self.to is not None else self.out / name
        folder = target.parent if target.suffix.lower() in PAGES else target
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--to {target}: {folder} is a file; name a folder.")
        must_take_files("--to", target, folder)
        return target


def say_contradictions(found: Analyses) -> None:
    """Print what the runs' suites declared differently; on standard error, one line each."""
    for contradiction in found.contradictions:
        errors.print(contradiction, style="yellow", highlight=False, soft_wrap=True)


def say_unfinished(found: Analyses) -> None:
    """Print which runs beside the analysed ones failed or are not finished; on standard error, one line."""
    from fedbench.analysis.loading import MANIFEST
    from fedbench.analysis.tables.runs import unfinished
    from fedbench.wording import counted, listed

    if not (left := unfinished(found.evidence)):
        return
    source = found.evidence.source
    verb = "is" if len(left) == 1 else "are"
    where = "so it was published" if (source / MANIFEST).is_file() else f"see `fedbench status --out {source}`"
    errors.print(
        f"{counted(len(left), 'run')} {verb} not finished: {listed(f'{name} ({state})' for name, state in left)}; "
        f"{where}.",
        style="yellow", highlight=False, soft_wrap=True,
    )  # fmt: skip


def with_analysis(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command(options: AnalysisOptions, ...)`` the options of :class:`AnalysisOptions` on the command line."""
    return with_options(AnalysisOptions, command)


def _reads_from(command: Callable[..., None]) -> Callable[..., None]:
    """Call the option ``--out`` of a suite ``--from``, for a command that reads there and writes elsewhere."""
    source = Annotated[Path, typer.Option("--from", metavar="FOLDER", help="The results folder.")]
    signature = inspect.signature(command)
    renamed = [p.replace(annotation=source) if p.name == "out" else p for p in signature.parameters.values()]
    command.__signature__ = signature.replace(parameters=renamed)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in renamed}
    return command


@with_analysis
def tables(options: AnalysisOptions) -> None:
    """Write all tables as LaTeX, Markdown, CSV and HTML: scores, tests, ranks, variance, cost, empty masks, runs.

    Example: `fedbench tables --from results/published/study-sts --to sts-tables`
    """
    from fedbench.analysis.tables.all_tables import all_tables, write_tables

    found = all_tables(options.analyses())
    target = options.target("tables")
    files = write_tables(found, target)
    console.print(f"{len(found)} tables, {len(files)} files in {target}", highlight=False, soft_wrap=True)


@_reads_from
@with_suite
def publish(
    options: SuiteOptions,
    name: Annotated[str, typer.Argument(metavar="NAME", help="How the published results are called.")],
    to: Annotated[
        Path, typer.Option(metavar="FOLDER", file_okay=False, help="Where published results are kept.")
    ] = PUBLISHED,
    title: Annotated[str, typer.Option(help="A line that says what they are.")] = "",
    reference: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="Shown cases are chosen by the difference to it.")
    ] = None,
    trials: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Publish the trials of `fedbench tune` too: FROM/tuning/SUITE."),
    ] = None,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Although runs are missing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite what was published under this name.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Join what was published under this name; its rows stay.")] = False,
) -> None:
    """Turn finished runs into a small folder to commit: all rows, and pictures of a few cases chosen by a rule.

    Takes the runs of a suite, or everything finished. Tables made from it are the same as from the runs.

    --add publishes a suite in pieces: what is published need not be there as runs any more. If other code made it, of
    fedbench or of an algorithm, one of its runs must be repeated beside the new ones; other scores are refused.

    Examples: `fedbench publish default --suite default` · `fedbench publish sts --suite study-sts-tuned -d sts=PATH
    --trials results/runs/tuning/study-sts` · `fedbench publish default --suite default --add`
    """
    from fedbench.analysis.analyses import Analyses, Choices
    from fedbench.analysis.loading import read_evidence
    from fedbench.analysis.publishing.adding import Published, addition, said
    from fedbench.analysis.publishing.commits import note
    from fedbench.analysis.publishing.publish import publish as write
    from fedbench.analysis.tables.cells import human_bytes
    from fedbench.wording import counted

    if not name or safe(name) != name:
        raise UserError(f"cannot publish as '{name}': use letters, digits and dashes.")
    if add and replace:
        raise UserError("--add and --replace exclude each other: --add keeps what is published, --replace does not.")
    if add and reference:
        raise UserError("--add and --reference exclude each other: the shown cases were chosen when it was published.")
    must_take_files("--to", to, to)
    there = Published(to / name) if add else None
    ids, left, of_suite = _to_publish(options, incomplete, there)
    joined = None if there is None else addition(there, options.out, ids)
    if there is not None and joined is not None:
        reference, of_suite = joined.manifest["reference"], ""  # its title stays
        left = there.unfinished(joined.added, left)
    choices = Choices(reference, missing="complete-cases" if incomplete else "refuse")
    found = Analyses(read_evidence(options.out, ids) if joined is None else joined.evidence, choices)
    say_contradictions(found)
    sizes = write(found, to / name, title or of_suite, left, replace, trials, joined)
    if joined is not None:
        console.print(said(joined), highlight=False, soft_wrap=True)
    note(to)
    runs = len(found.evidence.runs)
    console.print(
        f"{counted(runs, 'run')} in {len(sizes)} files, {human_bytes(sum(sizes.values()))}: {to / name}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(IDENTIFIERS, highlight=False, soft_wrap=True)


def _to_publish(
    options: SuiteOptions, incomplete: bool, there: Published | None
) -> tuple[list[str] | None, list[tuple[str, str]], str]:
    """Return the runs (None: all), those that are missing, and the suite's title.

    Args:
        there: what is published already, and so not missing, whatever code made it.
    """
    from fedbench.analysis.loading import MANIFEST
    from fedbench.analysis.tables.runs import unfinished_in
    from fedbench.commands.refusing import must_exist
    from fedbench.store import DONE
    from fedbench.wording import listed

    must_exist(options.out)
    if (options.out / MANIFEST).is_file():
        raise UserError(f"{options.out} holds published results already; --from takes the results folder.")
    left = [(i, state) for i, state in unfinished_in(options.out) if there is None or not there.holds(i)]
    ids, title = None, ""
    if options.chosen:
        suite, cells = options.plan()
        known, ids, title = dict(left), [cell.id for cell in cells], suite.title
        wanted = [cell.id for cell in cells if there is None or there.like(cell.identity) is None]
        open_ = [run_id for run_id in wanted if not (options.out / run_id / DONE).is_file()]
        left = [(run_id, known.get(run_id, "not started")) for run_id in open_]
    else:
        options.must_change_nothing()
    if left and not incomplete:
        named = listed(f"{run_id} ({state})" for run_id, state in left)
        several = "run is" if len(left) == 1 else "runs are"
        raise UserError(
            f"{options.out}: {len(left)} {several} not finished: {named}. Finish them with `fedbench run`, or say "
            "--incomplete; tables then show what is missing."
        )
    return ids, left, title


def calibrate(
    simulations: Annotated[int, typer.Option(min=10, help="Simulated comparisons per situation.")] = 1000,
    patients: Annotated[int, typer.Option(min=6, help="Patients of a comparison.")] = 100,
    algorithms: Annotated[int, typer.Option(min=4, help="Algorithms of a comparison.")] = 8,
    seeds: Annotated[int, typer.Option(min=2, help="Training runs per algorithm.")] = 5,
    difference: Annotated[float, typer.Option(help="What one algorithm gains, in Dice.")] = 0.02,
    run_luck: Annotated[
        float, typer.Option(min=0, help="SD of what a seed does to one algorithm alone, in Dice.")
    ] = 0.005,
    resamples: Annotated[int, typer.Option(min=100, help="Of each bootstrap.")] = 10_000,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE.md", dir_okay=False, help="Write the result there as well.")
    ] = None,
) -> None:
    """Measure on simulated scores whether the statistics keep their promises: false positives, coverage, power.

    Example: `fedbench calibrate --simulations 1000 --to docs/calibration.md`
    """
    from rich.table import Table

    from fedbench.analysis.statistics.calibration import calibrate as measure
    from fedbench.analysis.tables.calibration import calibration_page, calibration_table
    from fedbench.files import write_text

    if to is not None:
        must_end_with("--to", to, ".md")
        must_take_files("--to", to, to.parent)
    arguments = {
        "simulations": simulations, "patients": patients, "algorithms": algorithms, "seeds": seeds,
        "difference": difference, "run_luck": run_luck, "resamples": resamples,
    }  # fmt: skip
    found = calibration_table(measure(**arguments), arguments)  # type: ignore[arg-type]
    shown = Table(box=None, pad_edge=False)
    for column in found.columns:
        shown.add_column(column.name, justify="left" if column.left else "right", overflow="fold")
    for row in found.rows:
        shown.add_row(*(cell.text for cell in row))
    console.print(shown)
    if to is not None:
        shown_as = to.name if to.is_absolute() else to.as_posix()  # no folder of this machine
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in arguments.items())
        write_text(to, calibration_page(found, f"python -m fedbench calibrate {options} --to {shown_as}"))
        console.print(f"written to {to}", highlight=False, soft_wrap=True)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{option} {value}: choose {', '.join(known)}.")
