"""The tuned suite as a TOML file: what the original says, with what was chosen put in and a header that says how."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedbench.files import write_text
from fedbench.tuning.search import Point
from fedbench.tuning.table import CSV, conditions
from fedbench.tuning.trials import OWN, SHARED, Trial, Tuned, label_of, same_run
from fedbench.wording import counted

TUNED = " (tuned)"  # behind the title of what was
MADE = "Made by `fedbench tune` from the suite"


def write_tuned(tuned: Tuned, file: Path, table_digest: str, datasets: tuple[str, ...] | None = None) -> None:
    """Write the tuned suite.

    Args:
        table_digest: of the trials' CSV file, named in the header.
        datasets: as the suite itself names them, where the command line said where they lie.
    """
    values = tuned_values(tuned)
    if datasets is not None:
        values["datasets"] = list(datasets)
    comment = textwrap.TextWrapper(120, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)
    lines = [comment.fill(line) for line in header(tuned, table_digest)]
    write_text(file, "\n".join([*lines, "", toml(values)]))


def is_tuned(file: Path) -> bool:
    """Say whether :func:`write_tuned` wrote a file."""
    return file.read_text(encoding="utf-8", errors="replace").startswith(f"# {MADE} ")


def tuned_values(tuned: Tuned) -> dict[str, Any]:
    """Return the keys that the suite sets, with the chosen values; what became the same run is listed once."""
    suite = tuned.suite
    values = suite.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    values.pop("name", None)  # the new file's
    if suite.title:
        values["title"] = f"{suite.title.removesuffix(TUNED)}{TUNED}"
    listed: dict[str, str] = {}
    for setting in tuned.settings.values():
        listed.setdefault(same_run(setting), setting)
    values["algorithms"] = list(listed.values())
    training = {key.partition(".")[2]: value for key, value in tuned.shared.items()}
    if training:
        values["training"] = values.get("training", {}) | training
    if tuned.reference in tuned.settings:
        _, bracket, deployment = suite.evaluation.reference.partition(" (")
        now = label_of(listed[same_run(tuned.settings[tuned.reference])]) + bracket + deployment
        if now != suite.evaluation.reference:
            values["evaluation"] = values.get("evaluation", {}) | {"reference": now}
    return values


def header(tuned: Tuned, table_digest: str) -> list[str]:
    """Return the lines that say how the values were chosen."""
    lines = [f"{MADE} {tuned.suite.name}.", conditions(tuned)]
    if tuned.shared:
        trials = [trial for trial in tuned.trials if trial.stage == SHARED]
        lines.append(f"{_words(tuned.shared)}: the best of {_made(trials)} with {tuned.reference}")
    seen: dict[str, str] = {}
    for name, setting in tuned.settings.items():
        own = [trial for trial in tuned.trials if trial.stage == OWN and trial.algorithm == name]
        line = f"{name}: {'nothing to tune' if own[0].possible == 1 else f'{setting}, the best of {_made(own)}'}"
        twin = seen.setdefault(same_run(setting), name)
        lines.append(line if twin == name else f"{line}; the same run as {twin}, listed once")
    return [*lines, f"The table of trials: {CSV}, sha256 {table_digest}"]


def _made(trials: list[Trial]) -> str:
    return counted(len(trials), "trial") + (" (all there are)" if len(trials) == trials[0].possible else "")


def _words(point: Point) -> str:
    return ", ".join(f"{key} = {value}" for key, value in point.items())


# -- TOML ------------------------------------------------------------------------------------------------------------


def toml(values: Mapping[str, Any], section: str = "") -> str:
    """Write plain values as TOML: keys first, then a table for each dictionary."""
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in values.items() if key not in tables]
    for key, table in tables.items():
        name = f"{section}.{_key(key)}" if section else _key(key)
        lines.append(f"\n[{name}]\n{toml(table, name)}")
    return "".join(lines)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
