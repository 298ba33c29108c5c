"""Options that several commands share: which suite, with what changed, and where results are kept."""

from __future__ import annotations

import contextlib
import functools
import inspect
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.console import Console

from fedbench.commands.refusing import must_lie_apart
from fedbench.errors import UserError

if TYPE_CHECKING:
    from fedbench.store import Store
    from fedbench.suite import Cell, Suite

console = Console(markup=False)  # names and paths may hold brackets
errors = Console(stderr=True, markup=False)

OUT = Path("results/runs")
Out = Annotated[Path, typer.Option(help="Where results are kept.")]
From = Annotated[Path, typer.Option("--out", "--from", metavar="FOLDER", help="The results folder.")]  # only read
Workers = Annotated[
    int | None, typer.Option(min=0, help="Runs at a time; 0 = in this process. Default: as many as fit.")
]
ClientsAtOnce = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Clients of a run that train side by side on CPUs; the same bits. Default: more than 1 if cores are idle.",
    ),
]
Address = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="A running Ray cluster that this machine is part of.")
]
GpusPerRun = Annotated[
    str, typer.Option(metavar="N|auto", help="GPUs per run; a fraction packs several on one, auto measures it.")
]
CheckpointSeconds = Annotated[float, typer.Option(min=0, help="Seconds between checkpoints; 0: every round.")]
Spacing = Annotated[str | None, typer.Option(metavar="MM,MM,MM", help="Common voxel size, such as 2,2,3 (px: 2,2).")]
Size = Annotated[
    str | None,
    typer.Option(metavar="N|N,N|N,N,N", help="Voxels of a training sample, such as 96 or 96,64; three if 3-D."),
]


@dataclass(frozen=True)
class SuiteOptions:
    """What a user says to choose the runs of a command."""

    all_: Annotated[
        bool, typer.Option("--all", help="The default suite, with the algorithms of -a besides its own.")
    ] = False
    suite: Annotated[str | None, typer.Option("--suite", metavar="NAME|FILE.toml", help="A suite by name or file.")] = (
        None
    )
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            "-a",
            "--algorithm",
            metavar="NAME[param=value]",
            help="Algorithm: a name or file.py:Class; in place of those of --suite. Repeatable.",
        ),
    ] = None
    dataset: Annotated[
        list[str] | None,
        typer.Option("-d", "--dataset", metavar="NAME[=PATH]", help="Dataset, in place of the suite's. Repeatable."),
    ] = None
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, such as 0-4 or 0,2,5.  [default: the suite's, else 0-2]")
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Communication rounds.  [default: the suite's, else 30]")
    ] = None
    leave_out: Annotated[
        str | None, typer.Option(metavar="MODALITY|each", help="Leave it out of training, score it; each: in turn.")
    ] = None
    folds: Annotated[int | None, typer.Option(min=2, help="Cross-validate over patients.")] = None
    clients_per_modality: Annotated[int | None, typer.Option(min=1, help="Divide every modality among clients.")] = None
    modality_mix: Annotated[
        float | None, typer.Option(max=1, help="Share of a modality that stays with its client, above 0.")
    ] = None
    spacing: Spacing = None
    size: Size = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of a suite, such as training.lr=1e-3. Repeatable."),
    ] = None
    gpus_per_run: GpusPerRun = "0"
    out: Out = OUT

    @property
    def chosen(self) -> bool:
        """Whether runs are named at all."""
        return bool(self.all_ or self.suite or self.algorithm or self.dataset)

    def must_change_nothing(self) -> None:
        """Raise :class:`UserError` if something of a suite is changed that is not named."""
        if any(getattr(self, f.name) != f.default for f in fields(SuiteOptions) if f.name != "out"):
            raise UserError(
                "these options change a suite; name it too: --all, --suite NAME, or -a ALGORITHM -d DATASET."
            )

    @property
    def gpus(self) -> float | Literal["auto"]:
        """``--gpus-per-run`` as a number of at least 0, or ``auto``.

        Raises:
            UserError: it is neither a fraction nor a whole number.
        """
        text = self.gpus_per_run
        if text == "auto":
            return "auto"
        try:
            gpus = float(text)
        except ValueError:
            gpus = -1
        if not 0 <= gpus < float("inf") or (gpus > 1 and not gpus.is_integer()):
            raise UserError(f"--gpus-per-run {text}: write a fraction such as 0.25, a whole number, or auto.")
        return gpus

    def read(self, needs_algorithm: bool = True) -> Suite:
        """Return the suite with the options put in.

        Args:
            needs_algorithm: whether one must be named; a partition is the same for all of them.

        Raises:
            UserError: nothing is named, or a name or value is wrong.
        """
        from fedbench.suite import make_suite, read_suite

        if self.all_ and self.suite:
            raise UserError("--all and --suite exclude each other: --all is --suite default.")
        overrides = self._overrides()
        if self.all_:
            return read_suite("default", _joined(overrides, read_suite("default").algorithms))
        if self.suite:
            return read_suite(self.suite, overrides)
        if not needs_algorithm and "datasets" in overrides:
            return make_suite({"algorithms": ("any",), "seeds": (0,)}, overrides)
        if not needs_algorithm:
            raise UserError("which partition? Give --all, --suite NAME, or at least one -d DATASET.")
        if not {"algorithms", "datasets"} <= overrides.keys():
            raise UserError("which runs? Give --all, --suite NAME, or at least one -a ALGORITHM and one -d DATASET.")
        return make_suite({}, overrides)

    def plan(self) -> tuple[Suite, list[Cell]]:
        """Return the suite and its runs; data that is not prepared yet is prepared, with a progress bar."""
        from fedbench.commands.progress import preparing
        from fedbench.execution import planning
        from fedbench.store import Store

        suite = self.read()
        planning.plugins_of(suite)  # a name that is refused leaves no folder behind
        must_lie_apart("--out", self.out, suite.datasets)
        results = Store(self.out)
        device = "cpu" if self.gpus == 0 else "cuda"
        with telling_damage(results), preparing(console) as watch:
            cells = planning.plan(
                suite, results.prepared, device, watch, lambda run_id: results.status(run_id) == "done"
            )
        return suite, cells

    def _overrides(self) -> dict[str, Any]:
        from fedbench.suite import parse_seeds

        overrides: dict[str, Any] = dict(_assignment(text) for text in self.set_ or ())
        return overrides | {
            key: value
            for key, value in {
                "algorithms": tuple(self.algorithm) if self.algorithm else None,
                "datasets": tuple(self.dataset) if self.dataset else None,
                "seeds": parse_seeds(self.seeds) if self.seeds is not None else None,
                "training.rounds": self.rounds,
                "data.leave_out": self.leave_out,
                "data.folds": self.folds,
                "data.clients_per_modality": self.clients_per_modality,
                "data.modality_mix": self.modality_mix,
                "data.spacing": parse_numbers(self.spacing, "--spacing") if self.spacing is not None else None,
                "data.size": parse_size(self.size) if self.size is not None else None,
            }.items()
            if value is not None
        }


def _joined(overrides: dict[str, Any], own: tuple[str, ...]) -> dict[str, Any]:
    """Put a suite's own algorithms before those of the command line; what is no list of some is left to be refused."""
    given = overrides.get("algorithms")
    if not isinstance(given, list | tuple) or not given:
        return overrides
    return overrides | {"algorithms": (*own, *(text for text in given if text not in own))}


def with_suite(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command(options: SuiteOptions, ...)`` the options of :class:`SuiteOptions` on the command line."""
    return with_options(SuiteOptions, command)


def with_options(group: type[Any], command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command(options: group, ...)`` the fields of the dataclass ``group`` as options on the command line."""
    own = list(inspect.signature(command).parameters.values())[1:]
    hints, types = get_type_hints(group, include_extras=True), get_type_hints(command, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    names = [f.name for f in fields(group)]
    shared = [inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name]) for f in fields(group)]
    particular = [p.replace(kind=keyword, annotation=types[p.name]) for p in own]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        options = group(**{name: values.pop(name) for name in names})
        command(options, **values)

    wrapper.__signature__ = inspect.Signature([*shared, *particular])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in (*shared, *particular)}
    del wrapper.__wrapped__  # or its signature would be found first
    return wrapper


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write KEY=VALUE, such as training.lr=1e-3.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:  # no TOML, or a number of more digits than Python reads
        return key.strip(), value.strip()


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read ``2,2,3``.

    Raises:
        UserError: not positive numbers separated by commas.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise UserError(f"{option} {text}: write positive numbers separated by commas, such as 2,2,3.")
    return numbers


def parse_size(text: str) -> tuple[int, ...]:
    """Read ``96`` (a square) or ``96,64``."""
    numbers = parse_numbers(text, "--size")
    if any(n != int(n) for n in numbers):
        raise UserError(f"--size {text}: voxels are whole numbers, such as 96 or 96,64.")
    return tuple(int(n) for n in (numbers * 2 if len(numbers) == 1 else numbers))


@contextlib.contextmanager
def telling_damage(results: Store) -> Iterator[None]:
    """Say which runs were meanwhile found damaged and moved aside, by whichever process, or could not be moved."""
    before = results.set_aside()
    try:
        yield
    finally:
        for name, reason in results.set_aside().items():
            if name not in before:
                say_set_aside(results, name, reason)
        say_left(results)


def say_set_aside(results: Store, name: str, reason: str, *, repeated: bool = False) -> None:
    """Print why a folder lies in quarantine, and where; or that it may go, for the run was ``repeated``."""
    run_id, where = name.rpartition(".")[0], results.root / ".quarantine" / name
    if repeated:
        words = f"{run_id} was damaged ({reason}), repeated since; {where} may be deleted"
    else:
        words = f"damaged: {run_id}: {reason}; moved to {where}"
    errors.print(words, style="" if repeated else "red", highlight=False, soft_wrap=True)


def say_left(results: Store) -> None:
    """Print which runs are damaged and lie where they lay, since nothing can be written there."""
    for run_id, reason in results.left.items():
        errors.print(f"damaged: {run_id}: {reason}", style="red", highlight=False, soft_wrap=True)
