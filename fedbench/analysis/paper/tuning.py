"""How hyper-parameters were chosen: the macro ``\\Tuning`` and a table, from the trials that were published."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from fedbench.analysis.analyses import in_order
from fedbench.analysis.paper.answers.ground import Ground
from fedbench.analysis.paper.numbers import Numbers, named, out_of, signed, words
from fedbench.analysis.paper.setup import names, span
from fedbench.analysis.paper.study import Study
from fedbench.analysis.tables.captions import MARKS, name_of
from fedbench.analysis.tables.cells import Cell, Column, Table, count, number, text
from fedbench.analysis.verdicts import focus
from fedbench.wording import listed

NAME = "tuning"
UNTUNED = "No trials are published with these results: hyper-parameters are those that the suites name."
RULES = {
    "last-validation-dice": "the mean validation Dice of the last round",
    "best-validation-dice": "the mean validation Dice of the best round",
}
CAPTION = (
    "Mean validation Dice of the first trial, which is the algorithm's default, and of the best one; cases of "
    "training clients alone, none of which is tested with the same split. The choice is the same for all runs of the "
    "results named."
)


def describe_tuning(numbers: Numbers, study: Study) -> None:
    """Define the macros that say how hyper-parameters were chosen, and what that leaves open."""
    numbers.put("limit", "tuning", text=_limit(numbers, study))
    if not study.trials:
        numbers.put("tuning", text=UNTUNED)
        return
    chosen: dict[str, list[str]] = {}
    for name, frame in study.trials.items():
        chosen.setdefault(_chosen(frame), []).append(name)
    sentences = [f"For {names(own)}, {how}." for how, own in chosen.items()]
    sentences.append(
        f"No test case of these trials' own split took part (Table~\\ref{{tab:{NAME}}}).{_also_tested(study)}"
        f"{_also_left_out(study)}"
    )
    if others := sorted(study.manifests.keys() - study.trials.keys()):
        whose = "its suite names" if len(others) == 1 else "their suites name"
        sentences.append(
            f"No trials are published with {names(others)}: hyper-parameters are those that {whose}, which may have "
            "been chosen under another norm."
        )
    numbers.put("tuning", text=" ".join(sentences))


def _limit(numbers: Numbers, study: Study) -> str:
    """How many choices are an end of what was tried, and whether a lead in the trials was seen again in the runs."""
    ground = Ground.of(study)
    folders = {part.folder for part in ground.parts}
    frames = [frame for name, frame in study.trials.items() if name in folders]
    choices = [each for frame in frames for _, each in frame[frame["possible"] > 1].groupby(["stage", "algorithm"])]
    ends = sum(map(at_an_end, choices))
    told = []
    if ends:
        share = numbers.put("tuning", "ends", text=out_of(ends, len(choices), "choice"))
        told.append(f"In {share} the chosen value is the smallest or the largest that was tried.")
    leads = [lead for frame in frames for lead in leads_over(frame, study.choices.reference)]
    seen = [float(c.row["mean"]) for part, c in ground.to_reference if not part.ablation]
    if leads and seen and max(leads) > max(0.0, *seen):
        lead, most = (numbers.put("tuning", n, text=signed(max(v))) for n, v in (("lead", leads), ("seen", seen)))
        told.append(
            f"A lead in trials of one seed may be luck: FedDA's choices led {named(study.choices.reference, False)} by "
            f"up to {lead} in validation Dice, and by no more than {most} in the cross-modality Dice of the runs."
        )
    return " ".join(told)


def at_an_end(trials: pd.DataFrame) -> bool:
    """Say whether a chosen number is the smallest or the largest of those that were tried."""
    tried = [json.loads(text) for text in trials["parameters"]]
    for point in trials.loc[trials["chosen"], "parameters"].map(json.loads):
        for name, value in point.items():
            values = {other[name] for other in tried if isinstance(other.get(name), int | float)}
            if len(values) > 1 and value in (min(values), max(values)):
                return True
    return False


def leads_over(trials: pd.DataFrame, reference: str) -> list[float]:
    """Return by how much the chosen trials of the algorithms under study led that of the reference."""
    own = trials[(trials["stage"] == "own") & trials["chosen"]].set_index("algorithm")["score"]
    return [float(own[name] - own[reference]) for name in focus(own.index)] if reference in own.index else []


def _also_tested(study: Study) -> str:
    """Disclose where patients of the trials are tested all the same, in other folds."""
    folded = {
        part.condition.dataset
        for part in study.parts
        if (part.analyses.results(part.condition).runs["fold"] >= 0).any()
    } & _tuned(study)
    if not folded:
        return ""
    return (
        f" But on {names(sorted(folded))} patients are cross-validated and trials used the first fold: its "
        "training and validation patients are test patients of the other folds, so that there the choice has seen "
        "patients that are tested, if not in the runs that test them."
    )


def _also_left_out(study: Study) -> str:
    """Disclose where the trials have seen the modality that was left out later."""
    seen = {part.condition.dataset for part in study.parts if part.condition.unseen} & _tuned(study)
    if not seen:
        return ""
    return (
        f" Where a modality of {names(sorted(seen))} was left out of training, the trials had not left it out: the "
        "choice has seen it."
    )


def _tuned(study: Study) -> set[str]:
    """The data sets that trials were made on, with whatever results they are published."""
    return {
        column.removeprefix("dice ")
        for frame in study.trials.values()
        for column in frame.columns
        if column.startswith("dice ")
    }


def _chosen(frame: pd.DataFrame) -> str:
    """``the learning rate was chosen from 3 trials with fedavg, ...``."""
    shared, own = frame[frame["stage"] == "shared"], frame[frame["stage"] == "own"]
    asked, rules = int(frame["asked"].iloc[0]), sorted(set(frame["rule"]))
    tuned = own[own["possible"] > 1]
    parts = []
    if len(shared):
        point = json.loads(shared["parameters"].iloc[0])
        keys, verb = names(point), "was" if len(point) == 1 else "were"
        parts.append(f"{keys} {verb} chosen from {span([len(shared)], 'trial')} with {names(set(shared['algorithm']))}")
    if len(tuned):
        made = tuned.groupby("algorithm").size()
        all_there_are = " (all there are, where these are fewer)" if made.min() < asked else ""
        parts.append(
            f"each algorithm's own hyper-parameters {'' if parts else 'were chosen '}from "
            f"{span(made, 'trial')}{all_there_are}, the default first"
        )
    return f"{words(parts)}, by {words([RULES.get(rule, rule) for rule in rules])}"


def tuning_table(trials: Mapping[str, pd.DataFrame]) -> Table:
    """Return one row per choice: what was chosen, the default's score and the best one's."""
    rows: list[list[Cell]] = []
    starts = []
    for folder, frame in trials.items():
        starts.append(len(rows))
        shared, own = frame[frame["stage"] == "shared"], frame[frame["stage"] == "own"]
        if len(shared):
            rows.append([text(folder), text(f"shared, with {shared['algorithm'].iloc[0]}"), *_row(shared)])
        for algorithm in in_order(own[own["possible"] > 1]["algorithm"].unique()):
            rows.append([text(folder), name_of(algorithm), *_row(own[own["algorithm"] == algorithm])])
    columns = [
        Column("results", left=True), Column("algorithm", left=True, heads=True), Column("trials"),
        Column("default"), Column("best"), Column("chosen", left=True),
    ]  # fmt: skip
    fixed = sorted({a for f in trials.values() for a in f[(f["stage"] == "own") & (f["possible"] == 1)]["algorithm"]})
    notes = (f"Nothing to tune: {listed(fixed)}.",) if fixed else ()
    return Table(NAME, "Trials of hyper-parameters", CAPTION, columns, rows, tuple(starts[1:]), MARKS, notes)


def _row(trials: pd.DataFrame) -> list[Cell]:
    ordered = trials.sort_values("trial")
    best = ordered[ordered["chosen"]].iloc[0]
    values = json.loads(best["parameters"])
    written = ", ".join(f"{key} = {value}" for key, value in sorted(values.items()))
    return [
        count(len(ordered)), number(ordered["score"].iloc[0], 3), number(best["score"], 3), text(written),
    ]  # fmt: skip
