"""Run status: what is finished, what an algorithm lacks of all seeds x folds, what failed."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench import store
from fedbench.analysis.evidence import Evidence
from fedbench.analysis.tables import runs as tables_runs
from fedbench.analysis.tables.captions import MARKS, NAME, name_of
from fedbench.analysis.tables.cells import NONE, Cell, Column, Table, duration, text
from fedbench.wording import counted


def tables(evidence: Evidence) -> list[Table]:
    """Return the tables of this module that have rows."""
    return [table for table in (finished(evidence), unfinished(evidence)) if table.rows]


def finished(evidence: Evidence) -> Table:
    """Return one row per condition and setting: its finished runs, and which of all seeds x folds it lacks."""
    rows = []
    for condition in evidence.trained:
        runs = evidence.of(condition).runs
        every = tables_runs.trials_of(runs)
        for setting in evidence.settings:
            own = runs[runs["setting"] == setting]
            done = set(zip(own["seed"], own["fold"], strict=True))
            missing = [_trial(*pair) for pair in every if pair not in done]
            seeds, folds = sorted(set(own["seed"])), sorted(set(own["fold"]) - {-1})
            rows.append([
                text(condition.title), name_of(setting), Cell(f"{len(done)} of {len(every)}", (len(done),)),
                text(ranges(seeds) or NONE), text(ranges(folds) or NONE), text(", ".join(missing) or "none"),
                duration(float(own["seconds"].sum())),
            ])  # fmt: skip
    columns = [
        Column("condition", left=True, heads=True), NAME, Column("finished"),
        Column("seeds", left=True), Column("folds", left=True), Column("missing", left=True),
        Column("time (min:s)"),
    ]  # fmt: skip
    caption = (
        f"{counted(len(evidence.runs), 'finished run')}. Missing: what an algorithm lacks of every seed with every "
        "fold that some algorithm of the condition has."
    )
    return Table("finished", "Finished runs", caption, columns, rows, marks=MARKS)


def unfinished(evidence: Evidence) -> Table:
    """Return the failed and interrupted runs, of a results folder with the first line of the error."""
    rows = []
    for run_id, state in tables_runs.unfinished(evidence):
        failure = store.read_json(evidence.source / run_id / store.FAILURE) or {}
        lines = str(failure.get("error", "")).splitlines()
        rows.append([text(run_id), text(state), text(lines[0] if lines else "")])
    columns = [Column("run", left=True, heads=True), Column("state", left=True), Column("error", left=True)]
    return Table("unfinished", "Failed and unfinished runs", "They are in no table and no figure.", columns, rows)


def _trial(seed: int, fold: int) -> str:
    return f"seed {seed}" if fold < 0 else f"seed {seed} fold {fold}"


def ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0–2, 5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
