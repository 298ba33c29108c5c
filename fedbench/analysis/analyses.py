"""Every analysis that tables, figures, report and paper need, each made once.

analyses = Analyses(read_evidence(path), Choices(reference="fedavg"))
analyses.get(condition, Endpoint("in", "hd95"))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from fedbench import store
from fedbench.analysis.evidence import Condition, Evidence, declarations, declared_by
from fedbench.analysis.statistics.protocol import PRIMARY, REFERENCE, Analysis, analyse_matrix, candidates, is_variant
from fedbench.analysis.statistics.rows import METRICS, Endpoint, base_name, check_runs, labels, of_dataset
from fedbench.analysis.statistics.scores import Missing, ScoreMatrix, matrix_of
from fedbench.differing import DECIDING, attempts_of
from fedbench.errors import UserError
from fedbench.wording import counted, listed

RELATIONS = {"in": "in-modality", "minor": "minor-modality", "cross": "cross-modality", "unseen": "unseen modality"}
ALONE, POOLED = "local", "centralised"
REFERENCE_POINTS = (ALONE, POOLED)  # not federated; they bound what federated training can be expected to do
RECONSTRUCTED = "†"  # behind the name of an algorithm that is our reconstruction of a published method
RECONSTRUCTION = "our reconstruction from the paper's text, not the authors' code."
VARIABLES = "variables"  # of the environment, by which a user chose how the CPU computes; absent where none was set
HARDWARE = {"CPUs of": "instructions", "the variables": VARIABLES, "the GPU": "gpu"}


@dataclass(frozen=True)
class Choices:
    """What a user chooses of the protocol.

    Attributes:
        reference: the algorithm that all others are compared with; None takes what the suite declared.
        selection: which models' scores: of the ``last`` round, or of the ``best-validation`` round; None as above.
        missing: what to do about scores that some algorithms lack: ``refuse``, ``worst`` or ``complete-cases``.
    """

    reference: str | None = None
    selection: str | None = None
    missing: Missing = "refuse"


@dataclass(frozen=True)
class Settled(Choices):
    """Choices with what the suite declared put in."""

    reference: str = REFERENCE
    selection: str = "last"


def _either(values: Mapping[str, int]) -> str:
    return " or ".join(f"{value} ({counted(number, 'run')})" for value, number in values.items())


def _machines(runs: pd.DataFrame) -> dict[str, Counter[str]]:
    """Return how many runs were made with each version of what decides bits, where they say so and there are several.

    A run may have had one after the other.
    """
    every = [attempts_of(json.loads(text)) for text in runs["provenance"]]
    kinds = [(name, "versions", name) for name in DECIDING]
    kinds += [(what, "hardware", key) for what, key in HARDWARE.items()]
    found = {}
    for what, section, key in kinds:
        unset = {VARIABLES: "none"} if section == "hardware" else {}
        told = [[unset | (made.get(section) or {}) for made in run] for run in every]
        said = [[str(made[key]) for made in run if key in made] for run in told]
        if len({value for values in said for value in values}) > 1:
            found[what] = Counter(", then ".join(dict.fromkeys(values)) for values in sorted(said) if values)
    return found


class Analyses:
    """The analyses of an :class:`Evidence`, made when first asked for and kept."""

    def __init__(self, evidence: Evidence, choices: Choices | None = None) -> None:
        self.evidence = evidence
        declared, chosen = evidence.declared, choices or Choices()
        self.choices = Settled(
            chosen.reference or declared.get("reference", REFERENCE),
            chosen.selection or declared.get("selection", "last"),
            chosen.missing,
        )
        self._chosen = chosen
        self.declared = Endpoint(declared.get("relation", PRIMARY.relation), declared.get("metric", PRIMARY.metric))
        self._results: dict[Condition, store.Results] = {}
        self._rows: dict[Condition, pd.DataFrame] = {}
        self._made: dict[tuple[Condition, Endpoint], Analysis] = {}

    @property
    def contradictions(self) -> list[str]:
        """What the runs' suites declared differently, with what is taken, and on what different machines they ran.

        A suite was edited, several meet here, or packages were upgraded between two runs.
        """
        open_ = [key for key in ("reference", "selection") if getattr(self._chosen, key) is None]
        found = [
            f"runs were declared with {key} = {_either(values)}: {getattr(self.choices, key)} is taken by default."
            for key in open_
            if len(values := declarations(self.evidence.runs, key)) > 1
        ]
        for condition in self.evidence.trained:
            runs = self.evidence.of(condition).runs
            for key in ("relation", "metric"):
                if len(values := declarations(runs, key)) > 1:
                    taken = getattr(self.primary(condition), key)
                    found.append(
                        f"{condition.title}: runs were declared with {key} = {_either(values)}: {taken} is taken."
                    )
            found += [
                f"{condition.title}: runs were made with {what} {_either(values)}: they may differ for that alone."
                for what, values in _machines(runs).items()
            ]
        return found

    @property
    def _origin(self) -> str:
        """Who named the reference, if not the user."""
        if self._chosen.reference is not None:
            return ""
        declared = "reference" in self.evidence.declared
        return "declared by the suite these runs were made with" if declared else "taken by default"

    @cached_property
    def conditions(self) -> list[Condition]:
        """Every condition that can be analysed, by name.

        Not with statistics taken anew where the reference has none (clients that train alone keep theirs).
        """
        return [c for c in self.evidence.conditions if not c.reestimated or self._has_reference(c)]

    def _has_reference(self, condition: Condition) -> bool:
        labels = self.algorithms(condition)
        return len(labels) > 1 and bool(candidates(self.choices.reference, labels))

    def results(self, condition: Condition) -> store.Results:
        """Return the frames of a condition; ``cases`` are those of the chosen selection.

        Their column ``label`` names the algorithm; the class number that the store calls so is in ``number``.

        Raises:
            UserError: there are no scores of this selection.
        """
        if condition not in self._results:
            found = self.evidence.of(condition)
            kept = found.cases[found.cases["selection"] == self.choices.selection]
            if kept.empty:
                there = listed(sorted(found.cases["selection"].unique())) or "nothing"
                raise UserError(
                    f"{condition.title}: no scores of selection '{self.choices.selection}'; there are: {there}."
                )
            numbered = kept.rename(columns={"label": "number"})
            self._results[condition] = found._replace(cases=numbered.assign(label=labels(kept)))
        return self._results[condition]

    def relations(self, condition: Condition) -> list[str]:
        """Return the relations of client to scored modality that occur, in the order of ``RELATIONS``."""
        there = set(self.results(condition).cases["relation"].unique())
        return [relation for relation in RELATIONS if relation in there]

    def endpoints(self, condition: Condition) -> list[Endpoint]:
        """Return every endpoint that a condition has: its relations, each with Dice, NSD and HD95."""
        return [Endpoint(r, metric, condition.unseen) for r in self.relations(condition) for metric in METRICS]

    def primary(self, condition: Condition) -> Endpoint:
        """Return the endpoint that its suite declared primary (cross-modality Dice unless it says otherwise).

        Where its relation does not occur (with a single training modality nothing is crossed) another takes its place:
        the unseen modality, else the client's own.
        """
        there, declared = self.relations(condition), declared_by(self.results(condition).runs)
        wanted = declared.get("relation", self.declared.relation)
        relation = next(r for r in (wanted, "unseen", "in", "minor", "cross") if r in there)
        return Endpoint(relation, declared.get("metric", self.declared.metric), condition.unseen)

    def get(self, condition: Condition, endpoint: Endpoint | None = None) -> Analysis:
        """Return the analysis of an endpoint (the primary one if none is given); of this condition, whatever it says.

        Raises:
            UserError: as :func:`fedbench.analysis.statistics.protocol.analyse`.
        """
        wanted = replace(endpoint or self.primary(condition), unseen=condition.unseen)
        if (condition, wanted) not in self._made:
            runs = self.results(condition).runs
            self._made[condition, wanted] = analyse_matrix(
                self.scores(condition, wanted), runs, self.choices.reference, origin=self._origin
            )
        return self._made[condition, wanted]

    def scores(self, condition: Condition, endpoint: Endpoint, where: np.ndarray | None = None) -> ScoreMatrix:
        """Return the scores of an endpoint.

        Args:
            where: bool, one for each row of ``results(condition).cases``: only these rows.

        Raises:
            UserError: as :func:`fedbench.analysis.statistics.scores.score_matrix`.
        """
        if condition not in self._rows:
            runs = self.results(condition).runs  # they say what differs; rows of scores do not
            check_runs(runs.assign(label=runs["setting"]), f"dataset '{condition.dataset}', {endpoint.name}")
            self._rows[condition] = of_dataset(self.results(condition).cases, condition.dataset)
        rows = self._rows[condition] if where is None else self._rows[condition][where]
        return matrix_of(rows, endpoint, self.choices.selection, self.choices.missing)

    def algorithms(self, condition: Condition) -> list[str]:
        """Return the labels of the algorithms of a condition in the order of tables: reference points first."""
        return in_order(self.results(condition).cases["label"].unique())

    def unit(self, condition: Condition) -> str:
        """Return the unit of HD95: ``mm`` or ``px``."""
        return str(self.results(condition).cases["unit"].iloc[0])


def is_reference_point(label: str) -> bool:
    """Say whether it is local or centralised training, which are no federated algorithms."""
    return base_name(label) in REFERENCE_POINTS


def is_personal(label: str) -> bool:
    """Say whether it stands for models that clients keep to themselves, beside others of the same algorithm."""
    return label.endswith("(personal)")


def is_reconstruction(label: str) -> bool:
    """Say whether it is our reconstruction of a published method; captions and legends must say so."""
    return is_variant(label)


def in_order(algorithms: Iterable[str]) -> list[str]:
    """Return labels in the order of every table and legend: local, centralised, then the others by name."""
    names = {str(name) for name in algorithms}
    ends = {name: i for i, name in enumerate(REFERENCE_POINTS)}
    return sorted(names, key=lambda label: (ends.get(base_name(label), len(ends)), label))
