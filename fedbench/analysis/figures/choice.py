"""Which cases are shown: by a rule that is written down, never by hand.

Qualitative figures show runs of the first seed and fold, and choose by these runs alone: the test patients with the
largest, the median and the smallest difference of Dice between the algorithm in focus and the reference (ties by name).
Of such a patient they show the client and case whose own difference is nearest to the patient's. Galleries show,
of each modality, the first test patient by name in whom there is something to segment.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import pandas as pd

from fedbench.analysis.analyses import Analyses, is_reconstruction, is_reference_point
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.statistics.protocol import Analysis
from fedbench.analysis.statistics.rows import NO_TRUTH, Endpoint
from fedbench.wording import counted

DIGITS = 10  # beyond which differences are the same
RULE = (
    "Patients with the largest, the median and the smallest difference of {endpoint} between {focus} and {reference} "
    "in these runs{among}; of each the client and case whose difference is nearest to the patient's."
)


@dataclass(frozen=True)
class Shown:
    """One row of a qualitative figure.

    Attributes:
        role: ``best``, ``median`` or ``worst``, for the algorithm in focus.
        client: whose deployed models are shown.
        difference: of the patient's Dice, focus minus reference, in the runs that are shown: what rows are ordered by.
    """

    role: str
    patient: str
    case: str
    client: str
    difference: float


def in_focus(analysis: Analysis) -> str:
    """Return the algorithm shown against the reference: the first reconstruction by name, else the best federated one.

    A comparison of reference points alone takes the best of the others.
    """
    others = [label for label in analysis.order if label != analysis.reference]
    reconstructions = sorted(label for label in others if is_reconstruction(label))
    federated = [label for label in others if not is_reference_point(label)]
    return (reconstructions or federated or others)[0]


def rule(analysis: Analysis, among: int | None = None) -> str:
    """Return the rule with its names, for a caption; ``among`` how many patients, if not all."""
    name = Endpoint(analysis.matrix.endpoint.relation, "dice").name
    few = "" if among is None else f", among the {counted(among, 'patient')} of whom pictures were kept"
    return RULE.format(endpoint=name, focus=in_focus(analysis), reference=analysis.reference, among=few)


def qualitative(analyses: Analyses, condition: Condition, pictured: Container[str] | None = None) -> list[Shown]:
    """Return best, median and worst patient; fewer if there are fewer than three patients.

    Args:
        pictured: the cases that may be shown; None: all.
    """
    focus, reference = in_focus(analyses.get(condition)), analyses.get(condition).reference
    rows = _scored(analyses, condition)
    if pictured is not None:
        rows = rows[rows["case"].map(lambda case: case in pictured)]
    pairs = rows.pivot_table("dice", ["patient", "client", "case"], "label").reindex(columns=[focus, reference])
    differences = (pairs[focus] - pairs[reference]).dropna()
    if differences.empty:
        return []
    of_patient = differences.groupby("patient").mean().round(DIGITS).rename("difference").reset_index()
    ordered = of_patient.sort_values(["difference", "patient"], kind="stable")["patient"].tolist()
    last = len(ordered) - 1
    places = {"best": last, "median": last // 2, "worst": 0} if last > 1 else {"best": last, "worst": 0}
    if last == 0:
        places = {"best": 0}
    return [_of_patient(differences.loc[ordered[place]], role, ordered[place]) for role, place in places.items()]


def patients_to_choose_from(analyses: Analyses, condition: Condition, pictured: Container[str]) -> tuple[int, int]:
    """Return how many patients :func:`qualitative` chooses from: of those with a picture, and of all."""
    rows = _scored(analyses, condition)
    kept = rows[rows["case"].map(lambda case: case in pictured)]
    return kept["patient"].nunique(), rows["patient"].nunique()


def _scored(analyses: Analyses, condition: Condition) -> pd.DataFrame:
    """Return the scores of the shown models, of focus and reference, where there is something to segment."""
    analysis = analyses.get(condition)
    known = analyses.results(condition).cases[["setting", "deployment", "label"]].drop_duplicates().astype(str)
    names = {(setting, kind): label for setting, kind, label in known.itertuples(index=False)}
    rows = _with_truth(_kept(analyses.evidence, condition))
    rows = rows[(rows["selection"] == "last") & (rows["relation"] == analysis.matrix.endpoint.relation)]
    kinds = zip(rows["setting"].astype(str), rows["deployment"].astype(str), strict=True)
    rows = rows.assign(label=[names.get(kind, "") for kind in kinds], patient=rows["patient"].astype(str))
    return rows[rows["label"].isin([in_focus(analysis), analysis.reference])]


def _of_patient(differences: pd.Series, role: str, patient: str) -> Shown:
    away = (differences - differences.mean()).abs().round(DIGITS)
    client, case = min(away.index, key=lambda key: (away[key], key))
    return Shown(role, patient, str(case), str(client), float(differences.mean()))


def gallery(evidence: Evidence, condition: Condition) -> dict[str, str]:
    """Return the case shown of each modality, modalities by name."""
    cases = _kept(evidence, condition)
    known = _with_truth(cases)
    shown = {}
    for modality in sorted(cases["modality"].unique()):
        own = known[known["modality"] == modality]
        own = own if len(own) else cases[cases["modality"] == modality]
        shown[modality] = str(own.sort_values(["patient", "case"])["case"].iloc[0])
    return shown


def chosen_cases(evidence: Evidence, analyses: Analyses, condition: Condition) -> list[str]:
    """Return the cases that figures show, each once: qualitative ones first, then the gallery's."""
    shown = [row.case for row in qualitative(analyses, condition)]
    return list(dict.fromkeys([*shown, *gallery(evidence, condition).values()]))


def _kept(evidence: Evidence, condition: Condition) -> pd.DataFrame:
    """Return the rows of the runs whose test cases have pictures: those of the first seed and fold."""
    runs, cases, _ = evidence.of(condition)
    first = runs.sort_values(["seed", "fold"]).iloc[0]
    return cases[(cases["seed"] == first["seed"]) & (cases["fold"] == first["fold"])]


def _with_truth(cases: pd.DataFrame) -> pd.DataFrame:
    return cases[~cases["flag"].isin(NO_TRUTH)]
