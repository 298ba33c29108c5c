"""``prepare`` and ``partition show``: raw files into a store, and who would hold what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fedbench.commands.options import (
    OUT,
    Out,
    Size,
    Spacing,
    SuiteOptions,
    console,
    parse_numbers,
    parse_size,
    with_options,
)
from fedbench.commands.refusing import must_end_with, must_lie_apart, must_take_files
from fedbench.commands.running import KEPT, interruptible
from fedbench.errors import UserError

partition = typer.Typer(no_args_is_help=True, help="Look at who holds what in a federation.")


def prepare(
    datasets: Annotated[list[str], typer.Argument(metavar="NAME=PATH", help="What to prepare, such as sts=PATH.")],
    spacing: Spacing = None,
    size: Size = None,
    colour: Annotated[str, typer.Option(metavar="auto|grey|rgb", help="Channels a model sees.")] = "auto",
    label_resampling: Annotated[
        str, typer.Option(metavar="majority|nearest", help="How masks come to the common grid.")
    ] = "majority",
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Put the store there (-d NAME=FOLDER uses it).")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; list every problem, and empty masks.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cases read at a time.")] = None,
    out: Out = OUT,
) -> None:
    """Turn raw files into a preprocessed store: common grid, normalised, memory-mapped. `run` does it when needed.

    Raw files are only read. What was interrupted goes on; a changed file is noticed and prepared anew.

    Examples: `fedbench prepare sts=PATH --spacing 2,2,3 --size 96` · `fedbench prepare chaos=PATH --check`
    """
    from fedbench.commands.progress import preparing
    from fedbench.data.preparation import prepare as make
    from fedbench.execution.prepared_data import dataset_entry
    from fedbench.store import Store

    if to is not None and len(datasets) > 1:
        raise UserError("--to takes one dataset; prepare the others in commands of their own.")
    data = _grid(spacing, size, colour, label_resampling)
    if not check:
        must_lie_apart(*(("--out", out) if to is None else ("--to", to)), datasets)
    cache = out / ".prepared" if check or to is not None else Store(out).prepared
    entries = [dataset_entry(text) for text in datasets]
    problems: list[str] = []
    kept = "nothing was changed." if check else KEPT
    with interruptible(kept), preparing(console, "checking" if check else "preparing") as watch:
        for dataset, code in entries:
            if check:
                problems += _check(dataset, code, cache, data, workers, watch)
                continue
            folder = make(dataset, code, cache, data, target=to, workers=workers, progress=watch(dataset.name))
            console.print(f"{dataset.name}: prepared in {folder}", highlight=False, soft_wrap=True, markup=False)
    if problems:
        raise typer.Exit(2)


def _check(dataset: Any, code: str, cache: Path, data: Any, workers: int | None, watch: Any) -> list[str]:
    from fedbench.data.preparation import check
    from fedbench.wording import counted, listed

    problems, empty, lost, twins = check(dataset, code, cache, data, workers=workers, progress=watch(dataset.name))
    too_small = "with a class that is too small for the common grid, so that none of it is left"
    notes = [
        (empty, "mask", "without foreground, which must be meant"),
        (twins, "image", "of several patients, who may be trained on and tested"),
        (lost, "mask", f"{too_small} (a finer --spacing keeps it)"),
    ]
    for line in (*problems, *(f"{counted(len(own), noun)} {said}: {listed(own)}" for own, noun, said in notes if own)):
        console.print(f"{dataset.name}: {line}", highlight=False, soft_wrap=True, markup=False)
    found = counted(len(problems), "problem") if problems else "no problem found"
    console.print(f"{dataset.name}: {found}", highlight=False)
    if not problems and (undealt := _undealt(dataset, data)):
        console.print(f"note: {undealt}", highlight=False, soft_wrap=True, markup=False)
    return problems


def _undealt(dataset: Any, data: Any) -> str:
    """Say why the cases would not be dealt to clients as a suite does that sets nothing; empty if they would."""
    from fedbench.data.inspection import inventory
    from fedbench.data.prepared import PreparedCase, PreparedDataset
    from fedbench.federation import partition as deal

    cases = tuple(
        PreparedCase(case.id, case.patient, case.modality, case.site, spacing=(), shape=(), content="", stem="")
        for case in inventory(dataset).cases
    )
    held = {case.modality for case in cases}
    if len(held) == 1:
        return (
            f"all cases of {dataset.name} are of the modality {held.pop()}: there is one client, nothing to federate."
        )
    declared = tuple(dataset.modalities), tuple(dataset.classes), tuple(dataset.size)
    try:
        deal(PreparedDataset(dataset.name, *declared, (), {}, 1, cases, content=""), data, seed=0)
    except UserError as error:
        return f"with the default settings it cannot be dealt to clients yet: {error}"
    return ""


def _grid(spacing: str | None, size: str | None, colour: str, label_resampling: str) -> Any:
    from fedbench.suite import make_suite

    if colour not in ("auto", "grey", "rgb"):
        raise UserError(f"--colour {colour}: choose auto, grey or rgb.")
    if label_resampling not in ("majority", "nearest"):
        raise UserError(f"--label-resampling {label_resampling}: choose majority or nearest.")
    data = {
        "spacing": parse_numbers(spacing, "--spacing") if spacing is not None else None,
        "size": parse_size(size) if size is not None else None,
        "colour": colour,
        "label_resampling": label_resampling,
    }
    return make_suite({"algorithms": ("-",), "datasets": ("-",), "data": data}, where="prepare").data


@dataclass(frozen=True)
class PartitionOptions(SuiteOptions):
    """Of partitions one shows one, where nobody asks for more."""

    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0-4 or 0,2,5.  [default: the suite's, else 0]")] = (
        None
    )


@partition.command("show")
@partial(with_options, PartitionOptions)
def show(
    options: PartitionOptions,
    png: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Where the picture goes.")] = None,
) -> None:
    """Print and draw who holds what: patients, cases, slices and class volumes per client and split.

    Examples: `fedbench partition show -d phantom-heart` · `fedbench partition show -d sts=PATH --clients-per-modality 2
    --set data.size_skew=0.5 --seeds 0-2`
    """
    from fedbench.analysis.figures.partitions import draw, holdings, render
    from fedbench.commands.progress import preparing
    from fedbench.execution.planning import variants
    from fedbench.execution.prepared_data import prepared_of
    from fedbench.federation import partition as deal
    from fedbench.names import safe
    from fedbench.reading import unlinked
    from fedbench.store import Store

    if png is not None:
        must_end_with("--png", png, ".png")
        must_take_files("--png", png, png.parent)
    suite = options.read(needs_algorithm=False)
    must_lie_apart("--out", options.out, suite.datasets)
    cache = Store(options.out).prepared
    with interruptible(), preparing(console) as watch:
        stores = [prepared_of(text, suite.data, cache, watch) for text in suite.datasets]
    shown = [(p, data, seed) for p in stores for data in variants(suite.data, p) for seed in suite.seeds]
    if png is not None and len(shown) > 1:
        raise UserError(
            f"--png {png}: one picture, but {len(shown)} partitions; choose one with --seeds, -d and --set "
            "data.fold=N, or drop --png: each then gets a file of its own."
        )
    for prepared, data, seed in shown:
        federation = deal(prepared, data, seed)
        frame = holdings(federation, prepared)
        parts = [prepared.name, f"s{seed}"]
        parts += [f"fold{data.fold}"] if data.fold is not None else []
        parts += [f"no-{safe(data.leave_out)}"] if data.leave_out else []
        render(frame, f"{' '.join(parts)}: partition {federation.digest[:12]}", console)
        target = png or unlinked(options.out, "figures", "partitions") / f"{'.'.join(parts)}.png"
        draw(frame, " ".join(parts), target)
        console.print(f"picture: {target}", highlight=False, soft_wrap=True, markup=False)
