"""The command line, called in the tests' own process."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Sequence
from unittest import mock

import pytest

from fedbench import cli


def called(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Call the command line in this process: (exit status, standard output, standard error)."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["fedbench", *arguments]), pytest.raises(SystemExit) as stop,
    ):  # fmt: skip
        try:
            cli.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()
