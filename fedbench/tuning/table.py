"""The table of trials: parquet and CSV at full precision, Markdown to read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fedbench.analysis.loading import TRIALS
from fedbench.analysis.tables.cells import Cell, Column, Table, count, number, text
from fedbench.analysis.tables.formats import escape_markdown, markdown
from fedbench.config import canonical
from fedbench.files import sha256, write_atomic, write_text
from fedbench.tuning.trials import OWN, SHARED, Trial, Tuned, label_of
from fedbench.wording import counted

PARQUET, CSV, MARKDOWN = TRIALS
DIVERGED = "diverged"


def trials_frame(tuned: Tuned) -> pd.DataFrame:
    """Return a row per trial.

    Columns: stage (``shared`` or ``own``), algorithm, trial (0 is the default), parameters (JSON), setting, label (what
    tables call the setting), asked and possible (trials), ``dice DATASET`` (mean over seeds), score (mean over
    datasets), diverged, chosen, rule, runs (ids with spaces between).
    """
    tuning = tuned.suite.tuning
    rows = []
    for trial in tuned.trials:
        rows.append(
            {
                "stage": trial.stage,
                "algorithm": trial.algorithm,
                "trial": trial.number,
                "parameters": canonical(trial.point),
                "setting": trial.setting,
                "label": label_of(trial.setting),
                "asked": tuning.trials,
                "possible": trial.possible,
                **{f"dice {name}": value for name, value in trial.dice.items()},
                "score": trial.score,
                "diverged": trial.score is None,
                "chosen": trial.chosen,
                "rule": tuning.rule,
                "runs": " ".join(trial.runs),
            }
        )
    frame = pd.DataFrame(rows)
    numbers = [column for column in frame.columns if column == "score" or column.startswith("dice ")]
    return frame.astype(dict.fromkeys(numbers, float))


def write_trials(tuned: Tuned, folder: Path) -> str:
    """Write the table in its three forms; returns the sha256 of the CSV file."""
    frame = trials_frame(tuned)
    write_atomic(folder / PARQUET, lambda part: frame.to_parquet(part, index=False))
    write_text(folder / CSV, frame.to_csv(index=False, lineterminator="\n"))
    write_text(folder / MARKDOWN, trials_markdown(tuned))
    return sha256(folder / CSV)


def trials_markdown(tuned: Tuned) -> str:
    """Return a page that says what was tuned, how, and how every trial ended."""
    head = f"# Tuning of {escape_markdown(tuned.suite.name)}"
    return "\n\n".join([head, conditions(tuned), *(markdown(table).strip() for table in _tables(tuned))]) + "\n"


def conditions(tuned: Tuned) -> str:
    """Return the conditions of the choice in sentences, with what they do not guard against."""
    tuning, data = tuned.suite.tuning, tuned.suite.data
    rounds = tuning.rounds or tuned.suite.training.rounds
    sentences = [
        f"Chosen by {tuning.rule} on validation cases of training clients; the runs have no test cases.",
        f"{counted(tuning.trials, 'trial')} asked for each choice, the default first, drawn with seed "
        f"{tuning.draw_seed}; tuning seeds {', '.join(map(str, tuning.seeds))}; {counted(rounds, 'round')}; equal "
        "scores: the earlier trial.",
    ]
    if len(tuned.suite.datasets) > 1:
        sentences.append("One choice for all datasets, by the mean of their scores.")
    if rounds != tuned.suite.training.rounds:
        sentences.append(f"The suite itself trains for {counted(tuned.suite.training.rounds, 'round')}.")
    if data.folds is not None:
        sentences.append(
            f"Tuned on fold {data.fold or 0} alone: patients it trains and validates on are tested in other folds."
        )
    if data.leave_out is not None:
        sentences.append("Tuned with every modality: also one that the suite's runs never see was validated on.")
    return " ".join(sentences)


def _tables(tuned: Tuned) -> list[Table]:
    names = list(tuned.trials[0].dice)
    tables = []
    for stage, title in ((SHARED, "Shared hyper-parameters"), (OWN, "Hyper-parameters of each algorithm")):
        trials = [trial for trial in tuned.trials if trial.stage == stage]
        if not trials:
            continue
        several = names if len(names) > 1 else []
        columns = [
            Column("algorithm", left=True, heads=True), Column("trial"), Column("parameters", left=True),
            *(Column(name, groups=("validation Dice",)) for name in several),
            Column("validation Dice" if not several else "mean"), Column("chosen", left=True),
        ]  # fmt: skip
        rows = [_row(trial, several) for trial in trials]
        starts = tuple(i for i, trial in enumerate(trials) if trial.number == 0)
        tables.append(
            Table(f"tuning-{stage}", title, _caption(stage, tuned), columns, rows, starts, {}, _notes(trials))
        )
    return tables


def _caption(stage: str, tuned: Tuned) -> str:
    if stage == SHARED:
        return f"Tuned once, with {tuned.reference}, and then the same for all algorithms."
    return "Trial 0 is the default; parameters that the suite fixes were not tuned."


def _row(trial: Trial, several: list[str]) -> list[Cell]:
    words = ", ".join(f"{key} = {value}" for key, value in trial.point.items()) or "none"
    score = text(DIVERGED) if trial.score is None else number(trial.score, 4)
    own = [text(DIVERGED) if (value := trial.dice[name]) is None else number(value, 4) for name in several]
    return [
        text(trial.algorithm),
        count(trial.number),
        text(words),
        *own,
        score,
        text("chosen" if trial.chosen else ""),
    ]


def _notes(trials: list[Trial]) -> tuple[str, ...]:
    made = {trial.algorithm: trial.number + 1 for trial in trials}
    possible = {trial.algorithm: trial.possible for trial in trials}
    spent = [f"{name} ({n})" for name, n in made.items() if n == possible[name]]
    if not spent:
        return ()
    return (f"Every combination there is was tried (in brackets: how many): {', '.join(spent)}.",)
