"""What a dataset declares and lists: no image is read."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fedbench.config import DataConfig
from fedbench.data.inspection import inventory
from fedbench.data.prepared import PreparedCase, PreparedDataset
from fedbench.dataset import Case, Intensity
from fedbench.errors import UserError
from fedbench.federation import partition
from fedbench.names import safe
from fedbench.testing.datasets.opening import TABLES, noting
from fedbench.testing.datasets.subject import Subject, described
from fedbench.testing.declared import check_name, check_parameters
from fedbench.testing.findings import Broken, rule

SLICE = re.compile(r"(.*\d)[-_. ](?:slice|sl|s|z|img|image|frame)?[-_]?\d+", re.IGNORECASE)


@rule("declaration", "see the class attributes of fedbench.dataset.Dataset.")
def declaration(subject: Subject) -> str:
    """It declares name, modalities, classes, intensities, grid, licence and citation, and they fit together."""
    d = subject.dataset
    check_name(getattr(d, "name", None), subject.cls.__doc__, subject.cls.Params, "dataset")
    for what in ("modalities", "classes"):
        values = getattr(d, what, ())
        if not values or len(set(values)) < len(values) or not all(isinstance(v, str) and v for v in values):
            raise Broken(f"{what} = {values!r}", "give different names, at least one.")
    for modality in d.modalities:
        _intensity(modality, getattr(d, "intensity", {}).get(modality))
    if len(d.spacing) not in (2, 3) or min(d.spacing) <= 0:
        raise Broken(f"spacing = {d.spacing!r}", "give 2 or 3 positive numbers, one per axis.")
    if len(d.size) not in (2, 3) or any(n <= 0 or n % 16 for n in d.size):
        raise Broken(f"size = {d.size!r}", "networks halve it up to four times: multiples of 16.")
    for region, labels in d.regions.items():
        if not labels or not set(labels) <= set(range(1, len(d.classes) + 1)):
            raise Broken(f"region '{region}' = {labels!r}", f"labels are 1..{len(d.classes)}, in the order of classes.")
    if not set(d.mirror_axes) <= {0, 1}:
        raise Broken(f"mirror_axes = {d.mirror_axes!r}", "0 is X (left-right), 1 is Y (front-back).")
    missing = [what for what in ("licence", "citation", "where") if not getattr(d, what)]
    if missing:
        raise Broken(f"no {' and no '.join(missing)}", "say in words who may use it, whom to cite, where one gets it.")
    return f"'{d.name}': {inspect.cleandoc(subject.cls.__doc__ or '').partition(chr(10))[0]}"


def _intensity(modality: str, intensity: Any) -> None:
    if not isinstance(intensity, Intensity):
        raise Broken(f"no intensity for modality '{modality}'", 'add it: "CT": Intensity("window", -160.0, 240.0).')
    bounds = (0, 100) if intensity.kind == "percentile" else (-float("inf"), float("inf"))
    if not bounds[0] <= intensity.low < intensity.high <= bounds[1]:
        raise Broken(f"intensity of '{modality}': {intensity}", "low lies below high; percentiles are 0 to 100.")


@rule("parameters", "declare limits in hyperparameter(..., ge=0), and let __init__ pass path and params on.")
def parameters(subject: Subject) -> str:
    """Wrong parameters are refused with a message: unknown names, values out of their limits or of another type."""
    path, fields = subject.dataset.path, subject.cls.Params.model_fields
    return check_parameters(lambda values: subject.cls(path, **values), fields)


@rule("refusal", "raise UserError with self.where, so that the user learns what the folder should hold.")
def refusal(subject: Subject) -> str:
    """A folder that holds something else ends in a message, not in a traceback or in no case."""
    if not subject.cls.needs_path:
        return "it is generated and needs no folder"
    params = subject.dataset.params.model_dump()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = inventory(subject.cls(folder, **params))
        except UserError:
            return "an empty folder is refused with a message"
    if found.problems:
        return "an empty folder is refused with a message"
    raise Broken(f"an empty folder gives {len(found.cases)} cases")


@rule("lists", "build cases with functools.partial(read, file); sort what a folder lists, for its order is anybody's.")
def lists(subject: Subject) -> str:
    """It lists the same cases in the same order every time, opens no image to do so, and finds nothing amiss."""
    opened: list[Path] = []
    with noting(opened):
        listed = subject.listed
    sources = {path.resolve() for case in subject.cases for path in case.sources if path.suffix not in TABLES}
    if read := [path for path in opened if path.resolve() in sources]:
        raise Broken(f"listing opened {read[0]}")
    for dataset in (subject.dataset, subject.again()):
        if [described(each) for each in dataset.cases()] != [described(each) for each in listed]:
            raise Broken("another listing gives other cases, or another order")
    if problems := list(inventory(subject.limited(listed)).problems):  # type: ignore[arg-type]  # problems listed too
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Broken(f"{problems[0]}{more}", "mend the data, or the listing; `fedbench prepare --check` lists all.")
    patients = {case.patient for case in subject.cases}
    return f"{len(subject.cases)} cases of {len(patients)} patients"


@rule("names", "one person has one name in every modality; without its name a modality has nobody.")
def names(subject: Subject) -> str:
    """Every declared modality occurs, and no file belongs to two patients."""
    d, cases = subject.dataset, subject.cases
    for case in cases:
        if not all(isinstance(text, str) for text in (case.patient, case.modality, case.site, case.part)):
            raise Broken(f"case {case.id}: patient, modality, site and part are text")
        if not safe(case.patient):
            raise Broken(f"patient '{case.patient}' has no letter and no digit")
    if absent := set(d.modalities) - {case.modality for case in cases}:
        raise Broken(f"no case in modality '{min(absent)}'")
    owners: dict[Path, str] = {}
    for case in cases:
        for path in case.sources:
            if path.suffix not in TABLES and owners.setdefault(path, case.patient) != case.patient:
                raise Broken(f"{path} belongs to patients {owners[path]} and {case.patient}", "that would leak.")
    return _asked(cases, d.modalities)


def _asked(cases: Sequence[Case], modalities: Sequence[str]) -> str:
    has: dict[str, set[str]] = defaultdict(set)
    sites: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        has[case.patient].add(case.modality)
        sites[case.patient] |= {case.site} - {""}
    several = sum(len(theirs) > 1 for theirs in has.values())
    said = f"every modality occurs; {several or 'no'} patient{'s have' if several > 1 else ' has'} several"
    pair = _numbered(has) or _slices(has)
    if not pair and not several and len(modalities) > 1:
        pair = _alike(has, modalities)
    if pair:
        said += f": sure that '{pair[0]}' and '{pair[1]}' are two people?"
    if moved := [patient for patient, places in sites.items() if len(places) > 1]:
        places = " and at ".join(f"'{site}'" for site in sorted(sites[moved[0]])[:2])
        said += f"; {len(moved)} at several sites: sure that '{moved[0]}' at {places} is one person?"
    return said


def _alike(patients: Iterable[str], modalities: Sequence[str]) -> tuple[str, str] | None:
    """Return two patients whose names differ in the modality alone."""
    tokens = {word.lower() for m in modalities for word in (m, safe(m))}
    return _first_pair(
        (patient, "-".join(part for part in safe(patient).lower().split("-") if part not in tokens))
        for patient in patients
    )


def _numbered(patients: Iterable[str]) -> tuple[str, str] | None:
    """Return two patients whose names differ in case or leading zeros alone."""
    return _first_pair((patient, re.sub(r"(?<!\d)0+(?=\d)", "", patient.lower())) for patient in patients)


def _slices(patients: Iterable[str]) -> tuple[str, str] | None:
    """Return two patients whose names differ in the number of a slice alone: ``pat01_slice1`` and ``pat01_slice2``.

    Where all names begin alike, what differs is the number of the patient.
    """
    found = {patient: match[1] for patient in patients if (match := SLICE.fullmatch(patient))}
    return _first_pair(found.items()) if len(set(found.values())) > 1 else None


def _first_pair(named: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the first two patients of one stem, if there are any."""
    stems: dict[str, list[str]] = defaultdict(list)
    for patient, stem in named:
        stems[stem].append(patient)
    return next(((group[0], group[1]) for group in map(sorted, stems.values()) if len(group) > 1), None)


@rule("partition", "add patients, or name them so that each is one person; see fedbench partition show.")
def partitions(subject: Subject) -> str:
    """Its cases make a federation: every client has patients to train on, and nobody is in two splits."""
    d = subject.dataset
    grid = tuple(float(n) for n in d.spacing)
    stubs = tuple(
        PreparedCase(c.id, c.patient, c.modality, c.site, grid, (16,) * len(grid), c.id, "", d.unit)
        for c in subject.cases
    )  # fmt: skip
    regions = {name: tuple(labels) for name, labels in d.regions.items()}
    prepared = PreparedDataset(d.name, d.modalities, d.classes, d.size, d.mirror_axes, regions, 1, stubs, "listing")
    federation = partition(prepared, DataConfig(), seed=0)
    homes: dict[str, set[str]] = defaultdict(set)
    for client in federation.clients:
        for split, cases in (("train", client.train), ("val", client.val)):
            for case in cases:
                homes[case.patient].add(f"{split} of {client.name}")
    for case in federation.test:
        homes[case.patient].add("test")
    if shared := [patient for patient, places in homes.items() if len(places) > 1]:
        raise Broken(f"patient {shared[0]} is in {' and '.join(sorted(homes[shared[0]]))}")
    held = ", ".join(f"{c.name} {len(c.train)}+{len(c.val)}" for c in federation.clients)
    return f"clients (training + validation cases): {held}; {len({c.patient for c in federation.test})} test patients"


RULES = (declaration, parameters, refusal, lists, names, partitions)
