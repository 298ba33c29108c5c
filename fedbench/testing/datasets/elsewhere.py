"""The dataset in another process (:mod:`fedbench.testing.datasets.answering`), as on another machine: with other hashes
of strings, other random states, and folders listed in another order.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from fedbench.testing.datasets.subject import FEW, Subject, described, volume_digest
from fedbench.testing.elsewhere import naming, surroundings
from fedbench.testing.findings import Broken, rule


@rule(
    "other-process",
    "sort what a folder lists, never go through a set or ask hash(), and seed a generator of one's own.",
)
def other_process(subject: Subject) -> str:
    """In another process, with other hashes and folders listed in another order, it lists and reads the same."""
    here = [described(each) for each in subject.listed]
    there = _ask(subject)
    if "error" in there:
        raise Broken(f"in another process: {there['error']}")
    if len(here) != len(there["listed"]):
        raise Broken(f"here it lists {len(here)} cases, in another process {len(there['listed'])}")
    if differ := [(one, other) for one, other in zip(here, there["listed"], strict=True) if one != other]:
        one, other = differ[0]
        other_order = sorted(here) == sorted(there["listed"])
        raise Broken(
            f"in another process it lists {'the cases in another order' if other_order else 'other cases'}: "
            f"{other} in place of {one}"
        )
    for case, (name, digest) in zip(subject.first(FEW), there["read"], strict=True):
        if volume_digest(case.read()) != digest:
            raise Broken(f"case {name}: read in another process, it is another volume")
    return f"{len(here)} cases listed alike and {len(there['read'])} read alike, in another process"


def _ask(subject: Subject) -> dict[str, Any]:
    path, params = subject.dataset.path, subject.dataset.params.model_dump(mode="json")
    question = naming(subject.cls) | {"folder": None if path is None else str(path), "params": params, "cases": FEW}
    done = subprocess.run(
        [sys.executable, "-m", "fedbench.testing.datasets.answering"],
        input=json.dumps(question), capture_output=True, text=True, env=surroundings(), check=False,
    )  # fmt: skip
    last = done.stderr.strip().rpartition("\n")[2][-300:]
    return json.loads(done.stdout) if done.stdout else {"error": f"it died; its last words: {last}"}


RULES = (other_process,)
