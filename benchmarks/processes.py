"""Who is whose child, from ``/proc``: the processes of a driver, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

Process = tuple[int, str]  # pid and start time; together they name a process for good


def wait_seconds(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait so long, or until the process ends."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def send(pid: int, number: int) -> None:
    """Send a signal, unless the process ended by itself a moment ago."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _living() -> Iterator[tuple[int, int, str]]:
    """Yield (pid, parent, start time) of every living process."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(entry.parent.name), int(fields[1]), fields[19]


def family(pid: int) -> set[Process]:
    """Return (pid, start time) of a process's living descendants; together they name a process for good."""
    processes = list(_living())
    found, todo = set(), {pid}
    while todo:
        children = {(child, since) for child, parent, since in processes if parent in todo}
        todo = {child for child, _ in children - found}
        found |= children
    return found


def at_work(pid: int) -> list[int]:
    """Return the pids of the Ray workers of a driver."""
    found = []
    for child, _ in sorted(family(pid)):
        try:
            name = Path(f"/proc/{child}/cmdline").read_text()
        except OSError:
            continue
        if name.startswith("ray::") and "Worker" in name:
            found.append(child)
    return found


def alive_after(processes: set[Process], seconds: float) -> set[Process]:
    """Wait until none of them is alive; return those that still are after ``seconds``."""
    deadline = time.monotonic() + seconds
    while left := processes & {(pid, since) for pid, _, since in _living()}:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    return left
