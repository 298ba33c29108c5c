"""Which files Python opens."""

from __future__ import annotations

import builtins
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

TABLES = {".json", ".csv", ".tsv", ".txt", ".xlsx", ".xml"}  # a listing may read what says which images there are


@contextlib.contextmanager
def noting(opened: list[Path]) -> Iterator[None]:
    """Within the block, note every file that Python opens; what a library in C opens by itself goes unseen."""
    original = builtins.open

    def noting(file: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, str | Path):
            opened.append(Path(file))
        return original(file, *args, **kwargs)

    with mock.patch.object(builtins, "open", noting), mock.patch.object(io, "open", noting):
        yield
