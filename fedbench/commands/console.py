"""What a user sees while runs go on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fedbench.execution.runner import Outcome
from fedbench.execution.scheduler import Watcher
from fedbench.store import Store
from fedbench.suite import Cell

LINE_SECONDS = 15.0  # between two progress lines of the same run, away from a terminal


def clock(seconds: float | None) -> str:
    """``75`` -> ``1:15``."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: float | None, digits: int = 3) -> str:
    """A fixed number of digits, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


class Display(Watcher):
    """Base of both views: keeps what is running, from the progress files the runs write."""

    def __init__(self, console: Console, store: Store, total: int) -> None:
        self.console = console
        self.store = store
        self.total = total
        self.running: dict[str, tuple[Cell, float]] = {}
        self.ended: list[Outcome] = []
        self.before: dict[str, float] = {}  # the share of each run that was done when it was first started
        self.begun = time.monotonic()

    def started(self, cell: Cell) -> None:
        self.running[cell.id] = (cell, time.monotonic())
        self.before.setdefault(cell.id, self._share(cell.id))

    def finished(self, outcome: Outcome) -> None:
        self.running.pop(outcome.run_id, None)
        self.ended.append(outcome)

    def lost(self, cell: Cell, reason: str) -> None:
        self.running.pop(cell.id, None)
        self._say(f"{cell.id}: {reason}; going on from its checkpoint", "yellow")

    def told(self, words: str) -> None:
        self._say(words, "yellow")

    def _say(self, words: str, style: str = "") -> None:
        """Print words as they are: a label such as ``fedprox[mu=0.1]`` or an error is no markup."""
        self.console.print(words, style=style, highlight=False, markup=False, soft_wrap=True)

    def seconds_left(self) -> float | None:
        """Estimate from what was done since the command began: whole runs, and the rounds of those that go on."""
        so_far = len(self.ended) + sum(map(self._share, self.running))
        done = so_far - sum(self.before.values())
        return (time.monotonic() - self.begun) / done * (self.total - so_far) if done > 0 else None

    def _share(self, run_id: str) -> float:
        p = self.store.progress(run_id) or {}
        return p.get("round", 0) / p["rounds"] if p.get("rounds") else 0.0


class LiveDisplay(Display):
    """Redraws a table of all running cells under an overall bar."""

    def __init__(self, console: Console, store: Store, total: int) -> None:
        super().__init__(console, store, total)
        self.bar = Progress(
            TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=console,
        )  # fmt: skip
        self.task = self.bar.add_task("runs", total=total, left="")
        self.live = Live(self._draw(), console=console, refresh_per_second=4, transient=True)

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        if outcome.status == "failed":
            self._say(f"{outcome.run_id} failed: {outcome.error[:300]}", "red")

    def tick(self) -> None:
        left = self.seconds_left()
        self.bar.update(self.task, completed=len(self.ended), left=f"{clock(left)} left" if left is not None else "")
        self.live.update(self._draw())

    def _draw(self) -> Group:
        if not self.running and not self.ended:
            return Group("starting workers", self.bar)
        table = Table(box=None, pad_edge=False)
        for column in ("dataset", "seed", "algorithm", "round", "loss", "val Dice", "left"):
            table.add_column(column, justify="left" if column in ("dataset", "algorithm") else "right")
        for cell, since in self.running.values():
            p = self.store.progress(cell.id) or {}
            done, rounds = p.get("round", 0), p.get("rounds", 0)
            spent = time.monotonic() - since
            left = spent / done * (rounds - done) if done else None
            where = "scoring" if p.get("phase") == "scoring" else f"{done}/{rounds}" if p else "starting"
            table.add_row(
                cell.identity["dataset"], str(cell.identity["seed"]), Text(cell.label), where,
                number(p.get("loss")), number(p.get("dice")), clock(left),
            )  # fmt: skip
        return Group(table, self.bar)


class PlainDisplay(Display):
    """One line when a run ends, and now and then one for each running run; for logs."""

    def __init__(self, console: Console, store: Store, total: int) -> None:
        super().__init__(console, store, total)
        self.last_line: dict[str, float] = {}

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        left = self.seconds_left()
        error = f" ({outcome.error[:300]})" if outcome.error else ""
        self._say(
            f"[{len(self.ended)}/{self.total}] {outcome.run_id} {outcome.status} in {outcome.seconds:.1f} s{error}"
            + (f"; {clock(left)} left" if left is not None else "")
        )

    def tick(self) -> None:
        now = time.monotonic()
        for run_id, (_, since) in self.running.items():
            if now - self.last_line.get(run_id, since) < LINE_SECONDS:
                continue
            self.last_line[run_id] = now
            if p := self.store.progress(run_id):
                self._say(
                    f"  {run_id} round {p['round']}/{p['rounds']} loss {number(p['loss'])} "
                    f"validation Dice {number(p['dice'])}"
                )


@contextlib.contextmanager
def display(console: Console, store: Store, total: int) -> Iterator[Display]:
    """Yield the view that suits the console."""
    if not console.is_terminal:
        yield PlainDisplay(console, store, total)
        return
    view = LiveDisplay(console, store, total)
    with view.live:
        yield view
