"""A run repeated, two runs compared: what differs in configuration, data, code, versions, results; the same bits?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedbench import store
from fedbench.config import EARLIER, section_of
from fedbench.data.prepared import FACTS, is_store
from fedbench.differing import ATTEMPTS, DECIDING, attempts_of, differing_rows, flat, short, untimed
from fedbench.engine import checkpoint
from fedbench.errors import UserError
from fedbench.execution.installation import BF16, NO_VARIABLES, VARIABLES, versions
from fedbench.execution.prepared_data import refuse_damage
from fedbench.execution.provenance import bf16_instructions, bf16_on_cpu, cpu_instructions, gpu_name, variables
from fedbench.execution.runner import Options, execute
from fedbench.reading import read_arrays, read_table
from fedbench.sources import harness_digest
from fedbench.suite import Cell

SHOWN = 6
MISSING = "absent"
Array = np.ndarray | Tensor


@dataclass(frozen=True)
class Difference:
    """One thing that differs: where, and its value in both runs."""

    what: str
    first: str
    second: str


# -- bits ----------------------------------------------------------------------------------------------------------


def differing_bits(first: Path, second: Path) -> list[str]:
    """Return what differs between two run folders in scores, training curves, weights, slices and features.

    Times are not compared. A file that is in one folder only is not compared either (published runs have fewer).
    """
    found: list[str] = []
    comparisons: dict[str, Callable[[Path, Path], Iterator[str]]] = {
        store.CASES: lambda a, b: differing_rows("scores", read_table(a), read_table(b)),
        store.ROUNDS: lambda a, b: differing_rows("training curves", *(untimed(read_table(file)) for file in (a, b))),
        store.CHECKPOINT: lambda a, b: _arrays("weights", checkpoint.load(a)[0], checkpoint.load(b)[0]),
        store.PREDICTIONS: lambda a, b: _arrays("predicted slices", read_arrays(a), read_arrays(b)),
        store.FEATURES: lambda a, b: _arrays("features", read_arrays(a), read_arrays(b)),
    }
    for name, compare in comparisons.items():
        if (first / name).is_file() and (second / name).is_file():
            found += compare(first / name, second / name)
    return found


def _arrays(what: str, first: Mapping[str, Array], second: Mapping[str, Array]) -> Iterator[str]:
    if only := sorted(first.keys() ^ second.keys()):
        yield f"{what}: {len(only)} are in one of the runs only, such as {only[0]}"
    apart = {name: _apart(first[name], second[name]) for name in first.keys() & second.keys()}
    different = sorted(name for name, distance in apart.items() if distance != 0)
    if different:
        worst, count = max(apart[name] for name in different), f"{len(different)} of {len(apart)}"
        yield f"{what}: {count} arrays differ, at most {worst:.3g} apart, such as {different[0]}"


def _apart(a: Array, b: Array) -> float:
    """The largest distance; 0 only if all bytes are the same, infinite if the shapes are not."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if _bytes(a) == _bytes(b):
        return 0.0
    return max(float(np.nanmax(np.abs(_numbers(a) - _numbers(b)))), np.finfo(float).tiny)


def _bytes(array: Array) -> bytes:
    if isinstance(array, Tensor):
        array = array.reshape(-1).view(torch.uint8).numpy()  # as bytes: numpy knows no bfloat16
    return array.tobytes()


def _numbers(array: Array) -> np.ndarray:
    return array.double().numpy() if isinstance(array, Tensor) else array.astype(np.float64)


# -- again ---------------------------------------------------------------------------------------------------------


def repeat(cell: Cell, recorded: Path) -> list[str]:
    """Execute ``cell`` anew, by today's code, in a temporary folder; return what differs from the ``recorded`` run's.

    Raises:
        UserError: the run cannot be repeated here: another version of the plugin, other or damaged data, or it fails
            now.
    """
    refuse_damage([cell.prepared])
    with tempfile.TemporaryDirectory(prefix="fedbench-verify-") as folder:
        outcome = execute(cell, Path(folder), Options())
        if outcome.status != "done":
            raise UserError(f"{cell.id} fails now: {outcome.error}")
        return differing_bits(recorded, Path(folder) / cell.id)


def other_code(cell: Cell) -> str:
    """Say by which other version of the code that computes a cell was made; empty if by this one."""
    made_by, here = cell.identity["harness"], harness_digest()
    return "" if made_by == here else f"made by other code of fedbench ({made_by[:12]}, this is {here[:12]})"


def elsewhere(run: Mapping[str, Any]) -> str:
    """Say how the machine that made a run (its ``run.json``) differs from this one in what bits depend on; or nothing.

    Bits depend on versions, on the CPU's vector instructions, at bf16 on those for bf16 (of which older runs say
    nothing), on environment variables that choose among them, and on the GPU: they decide in which order sums are
    added. A run that went on elsewhere has had several.
    """
    bf16 = bf16_on_cpu(run.get("identity") or {})
    attempts = [_elsewhere(attempt, bf16) for attempt in attempts_of(run)]
    found = dict.fromkeys(words for attempt in attempts for words in attempt)
    return f"made {'' if all(attempts) else 'in part '}with {'; '.join(found)}" if found else ""


def _elsewhere(made_with: Mapping[str, Any], at_bf16: bool) -> list[str]:
    made, here, hardware = made_with.get("versions") or {}, versions(), made_with.get("hardware") or {}
    found = [f"{n} {made[n]}, here {here[n]}" for n in DECIDING if n in made and n in here and made[n] != here[n]]
    instructions = hardware.get("instructions", "unknown instructions")
    if instructions != cpu_instructions():
        found.append(f"a CPU with {instructions}, here {cpu_instructions()}")
    bf16, own_bf16 = hardware.get(BF16), bf16_instructions()
    if bf16 and own_bf16 and bf16 != own_bf16 and at_bf16:
        found.append(f"a CPU with {bf16} for bf16, here {own_bf16}")
    if (chosen := hardware.get(VARIABLES, "")) != (now := variables()):
        found.append(f"{chosen or NO_VARIABLES}, here {now or NO_VARIABLES}")
    if (gpu := hardware.get("gpu")) and gpu != (own := gpu_name()):
        found.append(f"a {gpu}, here {f'a {own}' if own else 'no GPU'}")
    return found


def prepared_folder(content: str, cache: Path) -> Path | None:
    """Return the prepared store under ``cache`` whose content has this digest."""
    for folder in sorted(cache.iterdir()) if cache.is_dir() else []:
        if has_content(folder, content):
            return folder
    return None


def has_content(folder: Path, content: str) -> bool:
    """Say whether ``folder`` is a prepared store whose content has this digest."""
    return is_store(folder) and (store.read_json(folder / FACTS) or {}).get("content") == content


# -- what differs --------------------------------------------------------------------------------------------------


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Compare two ``run.json``: the identity key by key, then versions, commit and machine.

    What a run does not say because it is older than the choice is what it did.
    """
    found = []
    for section in ("identity", "versions", "git", "hardware"):
        a, b = (dict(flat(_said(run, section))) for run in (first, second))
        for key in sorted(a.keys() | b.keys()):
            untold = key == BF16 and MISSING in (a.get(key, MISSING), b.get(key, MISSING))  # by older runs
            if a.get(key, MISSING) != b.get(key, MISSING) and not untold:
                name = key if section == "identity" else f"{section}.{key}"
                found.append(Difference(name, short(a.get(key, MISSING)), short(b.get(key, MISSING))))
    return found


def _said(run: Mapping[str, Any], section: str) -> dict[str, Any]:
    said = (run.get(section) or {}) | _in_turn(run, section)
    return said | {name: section_of(said, name) for name in EARLIER} if section == "identity" else said


def _in_turn(run: Mapping[str, Any], section: str) -> dict[str, str]:
    """Return what of a section changed between attempts at a run: every value, and from which round on."""
    said = [(attempt["from_round"], attempt.get(section) or {}) for attempt in run.get(ATTEMPTS) or ()]
    keys = {key for _, values in said for key in values}
    return {
        key: ", ".join(f"{values.get(key, MISSING)} from round {first}" for first, values in said)
        for key in keys
        if len({values.get(key, MISSING) for _, values in said}) > 1
    }


def mean_scores(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return mean Dice, HD95 and NSD of two runs' last round by deployment and relation, side by side."""
    keys = ["deployment", "relation"]
    means = [
        frame[frame["selection"] == "last"].groupby(keys)[["dice", "hd95", "nsd"]].mean().add_suffix(f" {which}")
        for frame, which in ((first, "first"), (second, "second"))
    ]
    return means[0].join(means[1], how="outer").reset_index()
