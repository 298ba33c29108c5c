"""The answers to the paper's questions over all conditions, in words that the tests choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from fedbench.analysis.analyses import is_reconstruction
from fedbench.analysis.kinds import federated_alike
from fedbench.analysis.paper.answers.alignment import alignment, idle
from fedbench.analysis.paper.answers.cost import cost
from fedbench.analysis.paper.answers.cross import (
    CROSS,
    beside,
    by_rival,
    dependent,
    in_words,
    most_for,
    short,
    studied_in,
    the_reference,
    with_common_models,
)
from fedbench.analysis.paper.answers.ground import Ground, dataset_of
from fedbench.analysis.paper.answers.luck import luck
from fedbench.analysis.paper.answers.own import (
    alone,
    behind_pooled,
    control,
    federation,
    own_modality,
    own_open,
    own_short,
)
from fedbench.analysis.paper.answers.unseen import seen_only, unseen_modalities
from fedbench.analysis.paper.convergence import Found, rising_short, tell_endings, tell_rising
from fedbench.analysis.paper.effects import ends, left_open
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.longer import longer, longer_on_phantoms
from fedbench.analysis.paper.numbers import Numbers, named, number, signed, words
from fedbench.analysis.paper.phantoms import of_patients
from fedbench.analysis.paper.setup import NORMS, Settings
from fedbench.analysis.paper.study import Part, Study
from fedbench.analysis.paper.training import Training
from fedbench.analysis.statistics.ranking import consensus, shared
from fedbench.analysis.statistics.rows import METRICS
from fedbench.analysis.verdicts import Comparison, Verdict, judge, tally
from fedbench.wording import counted


def answer(numbers: Numbers, study: Study, trainings: Mapping[str, Training]) -> None:
    """Define the macros of abstract, results and conclusion.

    Args:
        trainings: of each part, by its key.
    """
    ground = Ground.of(study)
    own = [part for part in ground.whole if "in" in part.relations]
    every = [comparison for _, comparison in ground.compared]
    to_reference = [comparison for _, comparison in ground.to_reference]
    measured = [(part, trainings[part.key]) for part in ground.whole]
    ended = [(part, trainings[part.key].endings) for part in ground.whole]
    texts = {
        "scope": _scope(numbers, ground, len(_runs(study))),
        "short": short(numbers, ground.to_reference, ground.everything),
        "beside": beside(numbers, ground.beside),
        "most": most_for(numbers, ground.to_reference),
        "cross": in_words(numbers, "cross", every, CROSS),
        "common": with_common_models(numbers, every),
        "rivals": by_rival(numbers, every),
        "in": own_modality(numbers, own),
        "in open": own_open(numbers, own),
        "own short": own_short(numbers, own),
        "alone": alone(numbers, own),
        "federation": federation(numbers, ground.crossed),
        "gap": behind_pooled(numbers, ground.crossed),
        "room": room(numbers, to_reference, ground.everything),
        "room short": room_short(numbers, to_reference, ground.everything),
        "dependent": dependent(numbers, ground.to_reference),
        "control": control(numbers, ground.crossed),
        "unseen": unseen_modalities(numbers, ground.held_out),
        "seen": seen_only(numbers, ground.held_out),
        "undecided": undecided(numbers, ground.whole, ground.parts),
        "luck": luck(numbers, ground.crossed, to_reference),
        "consensus": _consensus(numbers, study),
        "alignment": alignment(numbers, measured),
        "idle": idle(numbers, measured),
        "ending": tell_endings(numbers, ended),
        "ending short": rising_short(numbers, ended),
        "longer": longer(numbers, ground.whole),
        "cost": cost(numbers, measured),
        "phantoms": on_phantoms(numbers, [(part, trainings[part.key].endings) for part in ground.phantoms]),
    }
    for name, text in texts.items():
        numbers.put("answer", *name.split(), text=text)


def _runs(study: Study) -> set[str]:
    return {str(run) for _, analyses in study.groups for run in analyses.evidence.runs["run_id"]}


def _scope(numbers: Numbers, ground: Ground, total: int) -> str:
    """The end of a sentence on all runs: on how many of them the answers rest; empty where on all, or none."""
    runs = {run for part in ground.whole for run in part.analyses.results(part.condition).runs["run_id"]}
    if len(runs) in (0, total):
        return ""
    names = words([f"\\textsf{{{escape(name)}}}" for name in sorted({dataset_of(part) for part in ground.whole})])
    many = numbers.put("scope", text=str(len(runs)))
    where = numbers.put("scope", "conditions", text=counted(len(ground.whole), "condition"))
    again = len(ground.whole) - len({part.models(part.primary.reference) for part in ground.whole})
    shared = numbers.put("scope", "shared", text=f"{again} of which {'shares' if again == 1 else 'share'}")
    more = f", {shared} the reference's runs with another" if again else ""
    return f"; the answers below rest on {many} of them, in {where} of {names}{more}"


def on_phantoms(numbers: Numbers, phantoms: Found) -> str:
    """Say how FedDA did on phantoms, and whether training had come to its end; empty where there is nothing to say."""
    told = phantom_verdicts(numbers, phantoms)
    whole = [(part, ending) for part, ending in phantoms if not part.condition.unseen]
    rising, more = tell_rising(numbers, whole), longer_on_phantoms(numbers, [part for part, _ in whole])
    return " ".join(text for text in (told, rising, more) if text) if told else ""


def phantom_verdicts(numbers: Numbers, phantoms: Found) -> str:
    """Say how FedDA did on phantoms, which the other answers leave out; empty where there is nothing to say."""
    found = Ground([part for part, _ in phantoms], []).to_reference
    if not found:
        return ""
    counts, reference = tally([c for _, c in found]), named(found[0][1].other, False)
    better, worse, same, total = (
        numbers.put("phantoms", name, text=text)
        for name, text in (
            ("better", str(counts.better)), ("worse", str(counts.worse)), ("same", str(counts.same)),
            ("total", counted(counts.total, "comparison")),
        )
    )  # fmt: skip
    names = words([f"\\textsf{{{escape(name)}}}" for name in sorted({dataset_of(part) for part, _ in found})])
    unseen = _unseen_of_phantoms(numbers, [part for part, _ in phantoms if part.condition.unseen])
    whole = (
        f"Generated phantoms stand for no patient and are not counted in these answers. On them ({names}), by Dice "
        f"{CROSS}, FedDA was better than {reference} in {better}, worse in {worse} and not distinguishable in {same} "
        f"of {total}."
    )
    return f"{whole} {unseen}".strip()


def _unseen_of_phantoms(numbers: Numbers, parts: Sequence[Part]) -> str:
    """Say the same of modalities left out of training, with what the reference reached there; empty without them."""
    found = studied_in(parts, "unseen", the_reference)
    if not found:
        return ""
    counts, reference = tally([c for _, c in found]), named(found[0][1].other, False)
    reached = [float(part.get("unseen").means["mean"][part.get("unseen").reference]) for part, _ in found]
    scores = ends(numbers, ("phantoms", "unseen"), [number(min(reached)), number(max(reached))])
    told = numbers.put("phantoms", "unseen", "total", text=counted(counts.total, "comparison"))
    return (
        f"On a modality of theirs that nobody trained on it was better in {counts.better}, worse in {counts.worse} and "
        f"not distinguishable in {counts.same} of {told}; there {reference} reached a mean Dice of {scores}."
    )


def room(numbers: Numbers, comparisons: list[Comparison], where: str = "") -> str:
    """Say what the intervals of the undecided comparisons with the reference leave room for.

    Args:
        where: which comparisons these are, if not all.
    """
    found = left_open(comparisons)
    if found is None:
        return ""
    largest = numbers.put("largest gain left open", text=signed(found[0]))
    test = "those of the test over patients and seeds, uncorrected" if found[1] else "over patients, uncorrected"
    return (
        f"Not distinguishable is not equal: where FedDA was not told from the reference{where}, the largest gain that "
        f"the intervals of the mean difference ({test}) leave open is {largest} Dice."
    )


def room_short(numbers: Numbers, comparisons: list[Comparison], where: str = "") -> str:
    """The same for an abstract.

    Args:
        where: which comparisons these are, if not all.
    """
    found = left_open(comparisons)
    if found is None:
        return ""
    largest = numbers.put("largest gain left open", text=signed(found[0]))
    return f"Uncorrected intervals{where} leave gains up to {largest} Dice open."


def undecided(numbers: Numbers, whole: Iterable[Part], parts: Iterable[Part] = ()) -> str:
    """Say how large a mean difference of the declared family stayed undecided: what the words cannot tell apart.

    Args:
        whole: the conditions with nothing left out of training.
        parts: all, of which those with a modality left out are told beside.
    """
    found = [
        (part, judge(part.primary, pair["algorithm"], pair["reference"]))
        for part in whole
        for pair in part.primary.pairwise[part.primary.pairwise["declared"]].to_dict("records")
    ]
    open_ones = [(part, c) for part, c in found if c.verdict is Verdict.SAME]
    if not open_ones:
        return ""
    metrics = [part.primary.matrix.endpoint.metric for part, _ in open_ones]
    metric = min(metrics, key=list(METRICS).index)  # Dice, where it is declared; millimetres are not compared with it
    alike = [each for each, own in zip(open_ones, metrics, strict=True) if own == metric]
    part, widest = max(alike, key=lambda each: abs(float(each[1].row["mean"])))
    unit, relation = part.primary.matrix.unit, part.primary.matrix.endpoint.relation
    amount = f"{number(abs(float(widest.row['mean'])))} {unit}".strip()
    size = numbers.put("undecided", "size", text=f"{amount} in {relation}-modality {METRICS[metric]}")
    pair = words([named(a, is_reconstruction(a)) for a in (widest.algorithm, widest.other)])
    norms = Settings.of(part.analyses.results(part.condition).runs).values("model", "norm")
    several = part.primary.pairwise["declared"].sum() > 1
    many = ", and corrected for so many comparisons," if several else ""
    told = [escape(part.title), *(NORMS.get(norm, escape(norm)) for norm in norms)]
    where = numbers.put("undecided", "where", text=", ".join(told))
    return (
        f"These tests are cautious: on {where}, a difference of {size} between "
        f"{numbers.put('undecided', 'pair', text=pair)}, the largest left open where no modality was left out of "
        f"training, is not distinguishable to them: over so few training runs{many} it could be luck."
        f"{_undecided_beside(numbers, parts)}"
    )


def _undecided_beside(numbers: Numbers, parts: Iterable[Part]) -> str:
    """The same by cross-modality Dice where a modality was left out."""
    found = [
        (part, judge(analysis, pair["algorithm"], pair["reference"]))
        for part in parts
        if part.condition.unseen and "cross" in part.relations
        for analysis in (part.get("cross"),)
        for pair in analysis.pairwise[analysis.pairwise["declared"]].to_dict("records")
    ]
    open_ones = [(part, c) for part, c in found if c.verdict is Verdict.SAME]
    if not open_ones:
        return ""
    part, widest = max(open_ones, key=lambda each: abs(float(each[1].row["mean"])))
    size = numbers.put("undecided", "beside", "size", text=number(abs(float(widest.row["mean"]))))
    pair = words([named(a, is_reconstruction(a)) for a in (widest.algorithm, widest.other)])
    seeds = counted(len(part.get("cross").matrix.seeds), "seed")
    return (
        f" Where a modality was left out even one of {size} is not (between "
        f"{numbers.put('undecided', 'beside', 'pair', text=pair)} on {escape(part.title)}, {seeds})."
    )


def _consensus(numbers: Numbers, study: Study) -> str:
    """Name the federated algorithm with the best mean rank over data sets; reference points are not ranked."""
    main = study.groups[0][1]
    whole = [c for c in main.conditions if c.whole and main.primary(c) == main.declared]
    matrices = [main.get(c).matrix for c in of_patients(whole, lambda condition: condition.dataset)]
    ranked = federated_alike(matrices)
    if len(ranked) < 2 or len(shared(ranked)) < 2:
        return ""
    order = consensus(ranked).order
    first = [str(label) for label in order.index[order["rank"] == order["rank"].min()]]
    best = numbers.put("consensus", "best", text=words([named(label, is_reconstruction(label)) for label in first]))
    rank = numbers.put("consensus", "rank", text=number(float(order["mean_rank"].min()), 2))
    of = numbers.put("consensus", "ranked", text=str(len(order)))
    datasets = numbers.put("consensus", "datasets", text=counted(len(ranked), "data set"))
    runs = pd.concat([main.results(c).runs for c in whole], ignore_index=True)
    norms = Settings.of(runs).values("model", "norm")
    held = f" with {NORMS.get(norms[0], escape(norms[0]))}" if len(norms) == 1 else ""
    return (
        f"Over {datasets}{held}, of the {of} federated algorithms that were run on each (numbers among their "
        f"parameters left aside where tuning chose others for each), {best} had the best mean rank ({rank}); so few "
        "data sets allow no test, and the rank describes these alone."
    )
