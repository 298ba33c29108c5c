"""A dataset and its files: all that a case reads is declared."""

from __future__ import annotations

from pathlib import Path

from fedbench.testing.datasets.opening import noting
from fedbench.testing.datasets.subject import FEW, Subject
from fedbench.testing.findings import Broken, NotApplicable, rule


@rule("sources", "Case(..., sources=(image, mask)): a file that is not named there may change, and no run notices.")
def sources(subject: Subject) -> str:
    """Every file of the dataset's folder that read() opens is among the case's sources, and none is there twice."""
    for case in subject.cases:
        if twice := [path for path in case.sources if case.sources.count(path) > 1][:1]:
            raise Broken(f"case {case.id} names {twice[0]} twice", "is one file both its image and its mask?")
    if subject.dataset.path is None:
        raise NotApplicable("it is generated and reads no file")
    root, few = subject.dataset.path.resolve(), subject.first(FEW)
    for case in few:
        opened: list[Path] = []
        with noting(opened):
            case.read()
        declared = {path.resolve() for path in case.sources}
        for path in (each.resolve() for each in opened):
            if path.is_relative_to(root) and path.is_file() and path not in declared:
                raise Broken(f"case {case.id}: read() opens {path}, which is not among its sources")
    return f"{len(few)} cases read no other files than their sources"


RULES = (sources,)
