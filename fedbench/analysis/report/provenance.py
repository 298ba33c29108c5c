"""Where the numbers come from: settings, digests, versions and machines of the runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.tables.captions import MARKS, NAME, name_of
from fedbench.analysis.tables.cells import NONE, Column, Table, count, text
from fedbench.differing import attempts_of

SETTINGS = ("model", "training", "data", "evaluation")  # of a run's identity: what a suite says
APART = ("data.fold", "data.leave_out")  # differ by design
SHORT = 12  # characters of a digest that is only compared by eye


def tables(evidence: Evidence) -> list[Table]:
    """Return all tables of this module, in the order of reading."""
    made = (make(evidence) for make in (settings, algorithms, datasets, partitions, environment))
    return [table for table in made if table.rows]


def settings(evidence: Evidence) -> Table:
    """Return the suite's settings, one row each; several values, and where, if runs differ."""
    values: dict[str, dict[str, dict[str, None]]] = {}
    for run, identity in zip(evidence.runs.itertuples(), _identities(evidence), strict=True):
        for key, value in _flat({part: identity.get(part, {}) for part in SETTINGS}):
            if key not in APART:
                values.setdefault(key, {}).setdefault(_plain(value), {})[_title(run)] = None
    return Table(
        "settings", "Settings", "What the suite said, the same for every algorithm; where runs differ, which.",
        [_name("setting"), Column("value", left=True)],
        [[text(key), text("; ".join(_where(found)))] for key, found in values.items()],
    )  # fmt: skip


def _where(found: Mapping[str, Mapping[str, None]]) -> list[str]:
    if len(found) == 1:
        return list(found)
    return [f"{value} ({', '.join(places)})" for value, places in found.items()]


def algorithms(evidence: Evidence) -> Table:
    """Return one row per setting of an algorithm: its parameters, network size, and the digest of its source."""
    rows = []
    for setting in evidence.settings:
        own = evidence.runs[evidence.runs["setting"] == setting]
        identities = [json.loads(identity) for identity in own["identity"]]
        parameters = _distinct(_plain(i.get("algorithm_params") or {}) for i in identities)
        weights = own["parameters"].unique()
        size = count(float(weights[0])) if len(weights) == 1 else text(_distinct(count(float(n)).text for n in weights))
        source = _distinct(str(i.get("algorithm_code", ""))[:SHORT] for i in identities)
        rows.append([name_of(setting), text(parameters), size, text(source)])
    return Table(
        "algorithms", "Algorithms", "Their parameters, the weights of the network, and a digest of the source code.",
        [NAME, Column("parameters", left=True), Column("weights"), Column("source", left=True)], rows, marks=MARKS,
    )  # fmt: skip


def datasets(evidence: Evidence) -> Table:
    """Return one row per dataset and content: digests of its content and of the code that reads it."""
    found = {
        (
            str(i["dataset"]),
            _plain(i.get("dataset_params") or {}),
            *(str(i.get(key, ""))[:SHORT] for key in ("dataset_content", "dataset_code")),
        )
        for i in _identities(evidence)
    }
    return Table(
        "datasets", "Datasets", "Digests of their content and of the source code that reads them.",
        [_name("dataset"), *(Column(c, left=True) for c in ("parameters", "content", "source"))],
        [list(map(text, row)) for row in sorted(found)],
    )  # fmt: skip


def partitions(evidence: Evidence) -> Table:
    """Return one row per condition, seed and fold: who holds how many cases, and the digest."""
    keys = ["dataset", "unseen", "seed", "fold", "partition"]
    rows = []
    for run in evidence.runs.sort_values(keys).drop_duplicates(keys).itertuples():
        held = json.loads(str(run.provenance)).get("partition") or {}
        clients = "; ".join(
            f"{name}: {len(part.get('train', ()))} + {len(part.get('val', ()))}"
            for name, part in held.get("clients", {}).items()
        )
        fold = int(str(run.fold))
        rows.append([
            text(_title(run)), count(float(str(run.seed))), count(fold) if fold >= 0 else text(NONE), text(clients),
            count(len(held.get("test", ()))), text(str(run.partition)),
        ])  # fmt: skip
    columns = [
        _name("condition"), Column("seed"), Column("fold"), Column("training + validation cases", left=True),
        Column("test cases"), Column("digest", left=True),
    ]  # fmt: skip
    caption = "All algorithms of a condition, seed and fold were trained and tested on the same partition."
    return Table("partitions", "Partitions", caption, columns, rows)


def environment(evidence: Evidence) -> Table:
    """Return versions, machines, commits and dates of the runs; several values where they differ."""
    facts, identities = [json.loads(f) for f in evidence.runs["provenance"]], _identities(evidence)
    rows = {
        "fedbench": _distinct(str(i.get("fedbench", "")) for i in identities),
        "source of the harness": _distinct(str(i.get("harness", ""))[:SHORT] for i in identities),
        "commit": _distinct(_commit(f.get("git") or {}) for f in facts),
    }
    for part in ("versions", "hardware"):
        for key in sorted({key for f in facts for key in f.get(part) or {}} - {"system"}):
            said = ((f.get(part) or {}) | (made.get(part) or {}) for f in facts for made in attempts_of(f))
            rows[key] = _distinct(_plain(values.get(key)) for values in said)
    rows["system"] = _distinct(str((f.get("hardware") or {}).get("system", "")).partition("-")[0] for f in facts)
    rows["device"] = _distinct(str(i.get("device", "")) for i in identities)
    rows["first run started"] = str(evidence.runs["started"].min())
    rows["last run ended"] = str(evidence.runs["ended"].max())
    return Table(
        "environment", "Software and machines", "Several values where runs differ.",
        [_name("what"), Column("value", left=True)], [[text(k), text(v)] for k, v in rows.items() if v],
    )  # fmt: skip


def _identities(evidence: Evidence) -> list[dict[str, Any]]:
    return [json.loads(identity) for identity in evidence.runs["identity"]]


def _name(title: str) -> Column:
    return Column(title, left=True, heads=True)


def _title(run: Any) -> str:
    return Condition(str(run.dataset), str(run.unseen)).title


def _commit(git: Mapping[str, Any]) -> str:
    if not git.get("commit"):
        return "unknown"
    return str(git["commit"])[:SHORT] + (", with changes" if git.get("modified") else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_plain(inner)}" for key, inner in value.items()) or NONE
    if value is None:
        return NONE
    if isinstance(value, str):
        return (
            f"…/{PurePath(value).name}" if PurePath(value).is_absolute() else value
        )  # whose folders is nobody's affair
    return json.dumps(value)


def _distinct(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))
