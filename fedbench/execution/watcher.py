"""What the scheduler tells whoever looks on."""

from __future__ import annotations

from fedbench.execution.runner import Outcome
from fedbench.suite import Cell


class Watcher:
    """Hears of everything and does nothing; the console overrides it."""

    def started(self, cell: Cell) -> None:
        """A worker took the cell."""

    def finished(self, outcome: Outcome) -> None:
        """The cell ended."""

    def lost(self, cell: Cell, reason: str) -> None:
        """The cell will be tried again, from its checkpoint: its worker died, or it ran out of memory."""

    def told(self, words: str) -> None:
        """Something a user should know of the cluster, not of one cell."""

    def tick(self) -> None:
        """Called about twice a second."""
