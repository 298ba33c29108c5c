"""A progress bar for the preparation of datasets: on a terminal a bar, elsewhere a line when one is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Watch = Callable[[str], Callable[[int, int], None]]


@contextlib.contextmanager
def preparing(console: Console, verb: str = "preparing") -> Iterator[Watch]:
    """Yield ``watch(dataset)(done, total)``, which shows how far it is; silent for what is there already."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def watch(dataset: str) -> Callable[[int, int], None]:
            task = bars.add_task(f"{verb} {dataset}", total=None, visible=False)
            begun = time.monotonic()

            def tell(done: int, total: int) -> None:
                bars.update(task, completed=done, total=total, visible=done < total)
                if done == total:
                    console.print(
                        f"{dataset}: {total} cases in {time.monotonic() - begun:.1f} s", highlight=False, style="dim"
                    )

            return tell

        yield watch
