"""Which of our readings of FedDA's text an algorithm follows: what travels for the discriminators' targets."""

from __future__ import annotations

import json

from fedbench.analysis.paper.study import Part

READINGS = {
    "weights": " where weights alone travel",
    "features": " where feature maps travel too",
    "": "",
}  # fmt: skip


def reading(part: Part, label: str) -> str:
    """Return the parameter ``exchange`` that the runs of an algorithm have; empty where they have none."""
    runs = part.analyses.results(part.condition).runs
    own = runs[runs["setting"] == label]
    found = {json.loads(text).get("algorithm_params", {}).get("exchange", "") for text in own["identity"]}
    return found.pop() if len(found) == 1 and found <= READINGS.keys() else ""
