"""Tables as they are published: compact, and without a word about the machine that made them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def write_frame(file: Path, frame: pd.DataFrame) -> None:
    """Write a table; the same rows give the same bytes."""
    table = pa.Table.from_pandas(frame.reset_index(drop=True), preserve_index=False)
    pq.write_table(table, file, compression="zstd", compression_level=12)


def without_paths(runs: pd.DataFrame) -> pd.DataFrame:
    """Return ``runs`` without folders of this machine, and its kernel's name, in identity and provenance."""

    def cleaned(text: str) -> str:
        content = clean(json.loads(text))
        if "hardware" in content and "system" in content["hardware"]:
            content["hardware"]["system"] = str(content["hardware"]["system"]).partition("-")[0]
        return json.dumps(content, sort_keys=True)

    return runs.assign(**{column: runs[column].map(cleaned) for column in ("identity", "provenance")})


def clean(value: Any) -> Any:
    """Return a JSON value with every path in it cut to its last name."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    return re.match(r"(/|~|\.\.?/|\\\\|[A-Za-z]:[/\\])", text) is not None


def settings_without_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """A parameter of an algorithm may be a path: the algorithm's name keeps the file's name only."""
    names = frame["setting"].unique()
    cleaned = {name: re.sub(r"(=\"?)([^\],\"]+)", lambda m: m[1] + clean(m[2]), name) for name in names}
    return frame if all(a == b for a, b in cleaned.items()) else frame.assign(setting=frame["setting"].map(cleaned))
