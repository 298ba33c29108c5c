"""Which cases are shown: by a rule that is written down, never by hand.

Qualitative figures show the patients with the largest, the median and the smallest difference of the primary endpoint
between the algorithm in focus and the reference (ties by name), among the patients whose pictures were kept: the test
set of the first seed and fold. Of such a patient they show the client and case whose own difference is nearest to the
patient's. Galleries show, of each modality, the first test patient by name in whom there is something to segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fedbench.analysis.analyses import Analyses, is_reconstruction, is_reference_point
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.protocol import Analysis
from fedbench.analysis.rows import NO_TRUTH

RULE = (
    "Patients with the largest, the median and the smallest difference of {endpoint} between {focus} and {reference}; "
    "of each the client and case whose difference is nearest to the patient's."
)


@dataclass(frozen=True)
class Shown:
    """One row of a qualitative figure.

    Attributes:
        role: ``best``, ``median`` or ``worst``, for the algorithm in focus.
        client: whose deployed models are shown.
        difference: of the patient, focus minus reference, in the unit of the primary endpoint.
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


def rule(analysis: Analysis) -> str:
    """Return the rule with its names, for a caption."""
    name = analysis.matrix.endpoint.name
    return RULE.format(endpoint=name, focus=in_focus(analysis), reference=analysis.reference)


def qualitative(analyses: Analyses, condition: Condition) -> list[Shown]:
    """Return best, median and worst patient; fewer if there are fewer than three patients."""
    analysis = analyses.get(condition)
    focus, reference = in_focus(analysis), analysis.reference
    rows = _with_truth(analyses.results(condition).cases)
    rows = rows[rows["relation"] == analysis.matrix.endpoint.relation]
    kept = set(_kept(analyses.evidence, condition)["case"])
    rows = rows[rows["label"].isin([focus, reference]) & rows["case"].isin(kept)]
    values = analysis.matrix.values
    values = values[values.index.isin(set(rows["patient"]))]
    if values.empty:
        return []
    differences = (values[focus] - values[reference]).rename("difference").reset_index()
    order = differences.sort_values(["difference", "patient"], kind="stable")
    ordered = list(zip(order["patient"], order["difference"], strict=True))
    last = len(ordered) - 1
    places = {"best": last, "median": last // 2, "worst": 0} if last > 1 else {"best": last, "worst": 0}
    if last == 0:
        places = {"best": 0}
    return [_of_patient(rows, focus, reference, role, *ordered[place]) for role, place in places.items()]


def _of_patient(rows: pd.DataFrame, focus: str, reference: str, role: str, patient: str, difference: float) -> Shown:
    own = rows[rows["patient"] == patient]
    means = own.pivot_table("dice", ["client", "case"], "label")
    away = ((means[focus] - means[reference]) - difference).abs().round(10)
    client, case = min(away.dropna().index, key=lambda key: (away[key], key))
    return Shown(role, patient, case, client, difference)


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
