"""The command line: puts the commands together; each lives in a module of :mod:`fedbench.commands`."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from fedbench.commands import analysing, data, drawing, looking, plugins, reporting, running, tuning, verifying, writing
from fedbench.commands.options import errors
from fedbench.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    help="Compare federated aggregation algorithms on identical modality partitions.\n\n"
    "Example: `python -m fedbench run --all`",
)  # fmt: skip

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
