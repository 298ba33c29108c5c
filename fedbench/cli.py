"""The command line: puts the commands together; each lives in a module of :mod:`fedbench.commands`."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Annotated, NoReturn

import typer

from fedbench.commands import analysing, drawing, looking, plugins, reporting, running, tuning, verifying, writing
from fedbench.commands import preparing as data
from fedbench.commands.options import errors
from fedbench.errors import UserError
from fedbench.wording import counted, listed

PATIENCE = 1.0  # seconds for threads that are about to end

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


@app.callback()
def fedbench(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=looking.version, help="Say what is installed."),
    ] = False,
) -> None:
    """Compare federated aggregation algorithms on identical modality partitions.

    Example: `python -m fedbench run --all`
    """


app.command()(running.run)
app.command()(running.plan)
app.command()(tuning.tune)
app.command()(looking.status)
app.command("list")(looking.list_)
app.command()(looking.show)
app.command()(looking.summary)
app.command()(analysing.tables)
app.command()(drawing.figures)
app.command()(reporting.report)
app.command()(analysing.publish)
app.command()(writing.paper)
app.command()(analysing.calibrate)
app.command()(data.prepare)
app.command()(verifying.verify)
app.command()(verifying.diff)
app.command()(plugins.check)
app.command()(plugins.new)
app.add_typer(data.partition, name="partition")


MENDABLE = {  # what the system refuses -> what to do
    errno.ENOSPC: "make room and repeat the command",
    errno.EDQUOT: "make room and repeat the command",
    errno.EROFS: "choose another folder or mount it to be written",
    errno.ENOTDIR: "a file is in the way; name a folder",
    errno.EISDIR: "a folder is in the way; name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "choose another folder or change its permissions",
}


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: a user's mistake, or a disk that takes no more, is one message and status 2; an interruption 130."""
    before = set(threading.enumerate())
    try:
        _command()
    except BaseException as end:
        if left := [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]:
            _end_without(left, end)
        raise


def _end_without(threads: list[threading.Thread], end: BaseException) -> None:
    """End the process as ``end`` says if threads that were left behind, as by a plugin, go on; Python would wait."""
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    names = [thread.name for thread in threads if thread.is_alive()]
    if not names:
        return
    if isinstance(end, SystemExit):
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        sys.excepthook(type(end), end, end.__traceback__)
        status = 130 if isinstance(end, KeyboardInterrupt) else 1
    with contextlib.suppress(OSError):  # nobody reads it any more
        errors.print(
            f"{counted(len(names), 'thread')} that a plugin left behind would not end: {listed(names)}; not "
            "waited for. A plugin should end its threads, or make them daemons.",
            style="yellow", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _command() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        where = f": {error.filename}" if error.filename else ""
        _refuse(f"{error.strerror}{where}; {MENDABLE[error.errno]}. What is finished is kept.")


def _refuse(message: str) -> NoReturn:
    errors.print(f"error: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(2)
