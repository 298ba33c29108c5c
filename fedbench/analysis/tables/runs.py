"""Tables about the runs: what they cost, which scores are special or missing, which runs there are."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.analyses import POOLED, RELATIONS, Analyses, in_order
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.loading import MANIFEST
from fedbench.analysis.statistics.rows import Endpoint, budgets
from fedbench.analysis.tables.captions import MARKS, NAME, about, facts_of, name_of, rule_of, selected
from fedbench.analysis.tables.cells import Cell, Column, Table, count, duration, size, text
from fedbench.differing import attempts_of
from fedbench.wording import counted, listed

TRAFFIC = {"bytes up": "up", "bytes down": "down"}
KINDS = ("missed", "false-alarm", "both-empty", "missing")
SHOWN = 12  # unfinished runs that are named


def cost(analyses: Analyses, condition: Condition) -> Table:
    """Return bytes, seconds, peak memory, parameters and steps, means over the runs of each algorithm."""
    runs, _, rounds = analyses.results(condition)
    traffic = ("bytes per round",)
    columns = [
        NAME, Column("up", traffic), Column("down", traffic), Column("bytes in all"), Column("time per run"),
        Column("peak memory"), Column("parameters"), Column("steps"), Column("rounds"), Column("runs"),
    ]  # fmt: skip
    algorithms = in_order(runs["setting"].unique())
    rows = [_cost(name, runs[runs["setting"] == name], rounds[rounds["setting"] == name]) for name in algorithms]
    caption = (
        "Means over runs: bytes from all clients to the server (up) and back (down), time with scoring (minutes:"
        "seconds), peak memory of the process that ran it, parameters of the segmentation network, optimiser steps of "
        "one run over all clients. Bytes are counted from what is exchanged; time and memory are of this hardware, and "
        "time of what else it did."
    )
    notes = [f"Hardware: {listed(_hardware(runs))}."]
    notes += budgets(runs)
    if beside := sum(runs.get("clients_at_once", pd.Series(1)) > 1):  # tables of old publications lack the column
        notes.append(f"{counted(beside, 'run')} trained clients side by side, which took less time than one by one.")
    if POOLED in algorithms:
        notes.append("centralised: one client holds all data; bringing it there is not counted.")
    return Table(
        f"cost.{condition.name}", f"Cost on {condition.title}", caption, columns, rows, rule_of(algorithms), MARKS,
        tuple(notes), {"dataset": condition.dataset, "left out": condition.unseen},
    )  # fmt: skip


def _cost(name: str, runs: pd.DataFrame, rounds: pd.DataFrame) -> list[Cell]:
    sent = rounds[rounds["metric"].isin(TRAFFIC)]
    per_round = sent.groupby(["metric", "run_id", "round"], observed=True)["value"].sum()
    every = [per_round.loc[m].mean() if m in per_round.index else np.nan for m in TRAFFIC]
    total = sent.groupby("run_id", observed=True)["value"].sum().mean() if len(sent) else np.nan
    return [
        name_of(name), *(size(value) for value in every), size(total), duration(runs["seconds"].mean()),
        size(runs["peak_memory_bytes"].mean()), count(runs["parameters"].mean()), count(runs["steps"].mean()),
        count(rounds.groupby("run_id", observed=True)["round"].nunique().mean()), count(len(runs)),
    ]  # fmt: skip


def _hardware(runs: pd.DataFrame) -> list[str]:
    every = [made["hardware"] for content in runs["provenance"] for made in attempts_of(json.loads(content))]
    return sorted(
        {", ".join([h["machine"], f"{h['cores']} cores", *([h["gpu"]] if "gpu" in h else [])]) for h in every}
    )


def empties(analyses: Analyses, condition: Condition) -> Table:
    """Return how many scores have an empty mask, and how many are missing, by relation."""
    made = [analyses.get(condition, Endpoint(r, "dice")) for r in analyses.relations(condition)]
    columns, counts = [NAME], []
    for analysis in made:
        group = (RELATIONS[analysis.matrix.endpoint.relation],)
        columns += [Column(name, group) for name in ("scores", *KINDS)]
        counts.append(analysis.matrix.counts)
    algorithms = in_order(label for table in counts for label in table.index)
    rows = [
        [name_of(label), *(count(t[kind].get(label)) for t in counts for kind in ("scores", *KINDS))]
        for label in algorithms
    ]
    caption = (
        "Scores (seeds x clients x cases x classes; a shared model counts once per client) by what was empty. missed: "
        "only the prediction; false-alarm: only the truth; both enter means as Dice 0, NSD 0, HD95 = image diagonal, "
        "unless the patient has no structure at all. both-empty: not applicable, in no mean. missing: other algorithms "
        f"have the score. {about(analyses, made)}"
    )
    notes = dict.fromkeys(note for analysis in made for note in analysis.matrix.notes)
    return Table(
        f"empties.{condition.name}", f"Empty masks and missing scores on {condition.title}", caption, columns, rows,
        rule_of(algorithms), MARKS, tuple(notes), facts_of(analyses, condition, made),
    )  # fmt: skip


def runs(analyses: Analyses) -> Table:
    """Return which runs there are of all algorithms x seeds x folds, and which failed or were not finished."""
    evidence = analyses.evidence
    columns = [
        Column("condition", left=True, heads=True), Column("algorithms"), Column("seeds"), Column("folds"),
        Column("runs"), Column("expected"), Column("missing", left=True),
    ]  # fmt: skip
    rows = [_runs(evidence, condition) for condition in evidence.trained]
    left = unfinished(evidence)
    notes = [f"Not finished: {name} ({state})." for name, state in left[:SHOWN]]
    if len(left) > SHOWN:
        notes.append(f"{len(left) - SHOWN} more runs are not finished.")
    notes += [note for condition in evidence.trained if (note := _absent_folds(evidence, condition))]
    caption = (
        "Finished runs, and those expected: of every algorithm of these results one run with each seed and fold of "
        "which the condition has a finished run, of whichever algorithm; missing are those among them that are not "
        f"finished. {counted(len(left), 'run')} failed or not finished. {selected(analyses)}"
    )
    facts = {"selection": analyses.choices.selection, "missing scores": analyses.choices.missing}
    return Table("runs", "Runs", caption, columns, rows, (), MARKS, tuple(notes), facts)


def trials_of(runs: pd.DataFrame) -> list[tuple[int, int]]:
    """Return every seed of ``runs`` with every fold of them, whether or not some algorithm has it."""
    return list(product(sorted(set(runs["seed"])), sorted(set(runs["fold"]))))


def _runs(evidence: Evidence, condition: Condition) -> list[Cell]:
    runs = evidence.of(condition).runs
    trials = trials_of(runs)
    there = set(zip(runs["setting"], runs["seed"], runs["fold"], strict=True))
    lost = [(s, *trial) for s in evidence.settings for trial in trials if (s, *trial) not in there]
    named = [f"{s} seed {seed}" + ("" if fold < 0 else f" fold {fold}") for s, seed, fold in lost]
    folds = len({fold for _, fold in trials if fold >= 0})
    return [
        text(condition.title), count(runs["setting"].nunique()), count(len({seed for seed, _ in trials})),
        count(folds or None), count(len(runs)), count(len(trials) * len(evidence.settings)),
        Cell(listed(named) if named else "none", ("; ".join(named),)),
    ]  # fmt: skip


def _absent_folds(evidence: Evidence, condition: Condition) -> str:
    """Say of how many of its folds a condition has no run at all; empty if of none."""
    runs = evidence.of(condition).runs
    of = max(json.loads(text)["data"].get("folds") or 0 for text in runs["identity"])
    there = runs["fold"][runs["fold"] >= 0].nunique()
    if there >= of:
        return ""
    return f"{condition.title}: {there} of {of} folds have finished runs; none is expected or missing of the others."


def unfinished(evidence: Evidence) -> list[tuple[str, str]]:
    """Return (run id, ``failed`` or ``not finished``) of the runs beside the finished ones, by name."""
    if (evidence.source / MANIFEST).is_file():
        manifest = store.read_json(evidence.source / MANIFEST) or {}
        return sorted((str(name), str(state)) for name, state in manifest.get("unfinished", {}).items())
    return unfinished_in(evidence.source)


def unfinished_in(root: Path) -> list[tuple[str, str]]:
    """Return the same of a results folder; nothing is written there."""
    found = []
    for folder in sorted(root.iterdir()):
        begun = any((folder / name).is_file() for name in (store.FAILURE, store.CHECKPOINT, store.PROGRESS))
        if begun and not folder.name.startswith(".") and not (folder / store.DONE).is_file():
            found.append((folder.name, "failed" if (folder / store.FAILURE).is_file() else "not finished"))
    return found
