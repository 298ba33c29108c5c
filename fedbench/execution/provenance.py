"""What a run's ``run.json`` says besides its result: versions, commit, hardware, times."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fedbench.differing import ATTEMPTS, DECIDING
from fedbench.engine.task import Task
from fedbench.engine.training import Training
from fedbench.execution.installation import BF16, VARIABLES, installation, versions
from fedbench.suite import Cell

PEAK = "peak_memory_bytes"


def take_note() -> None:
    """Read what this process computes with, so that what is installed or checked out from here on changes nothing."""
    versions()
    git_state()
    variables()


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@cache
def git_state() -> Mapping[str, Any]:
    """Commit of the checkout that fedbench runs from, and whether files of it were changed; empty outside one.

    Read once: what is committed or checked out later does not compute in this process.
    """
    folder = Path(__file__).resolve().parents[1]
    found = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            found.append(subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, timeout=10))
        except (OSError, subprocess.SubprocessError):
            return {}
    commit, changes = found
    if commit.returncode or "site-packages" in folder.parts:
        return {}
    return {"commit": commit.stdout.strip(), "modified": bool(changes.stdout.strip())}


def cpu_instructions() -> str:
    """Return the vector instructions that torch computes with here (``AVX2``, ``AVX512``, ...).

    They decide in which order sums are added up, and so the last bits: between CPUs that differ in them a run is
    repeated, but not to the bit.
    """
    return torch.backends.cpu.get_cpu_capability()


@cache
def bf16_instructions() -> str:
    """Return what this CPU computes bf16 with beside them (``avx512_bf16``, ``none``, ...); empty where nobody tells.

    They decide the last bits at bf16, and are not among what :func:`cpu_instructions` says.
    """
    return installation().get(BF16, "")


@cache
def variables() -> str:
    """Return the environment variables that choose how the CPU computes (``ONEDNN_MAX_CPU_ISA=SSE41``); mostly none.

    They decide the last bits as the CPU does, and are not among what :func:`cpu_instructions` says.
    """
    return installation().get(VARIABLES, "")


def bf16_on_cpu(identity: Mapping[str, Any]) -> bool:
    """Say whether a run of this identity computes with bf16 on the CPU."""
    return identity.get("device") == "cpu" and identity.get("training", {}).get("precision") == "bf16"


def _hardware(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "instructions": cpu_instructions(),
        "system": platform.platform(),
    }
    if own := bf16_instructions():
        facts[BF16] = own
    if chosen := variables():
        facts[VARIABLES] = chosen
    if device == "cuda":
        facts["gpu"] = gpu_name()
    return facts


def gpu_name() -> str:
    """Return what the first GPU calls itself; nothing where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def conditions(device: str, clients_at_once: int) -> dict[str, Any]:
    """Return what an attempt at a run computes with, as far as its bits, its seconds and its memory depend on it."""
    hardware = {what: which for what, which in _hardware(device).items() if what != "system"}
    own = {name: versions()[name] for name in DECIDING if name in versions()}
    return {"clients_at_once": clients_at_once, "versions": own, "hardware": hardware}


def with_attempt(earlier: Sequence[dict[str, Any]], round: int, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what computed a run in turn, from which round on: an attempt that begins with ``round`` comes last.

    One under the conditions of the last goes on with it; one that finished no round before the next began is left out.

    Args:
        earlier: as was returned for the attempt before; empty where that did not say.
        own: the attempt's :func:`conditions`.
    """
    kept = [attempt for attempt in earlier if attempt["from_round"] < round]
    same = kept and {key: kept[-1].get(key) for key in own} == own
    return kept if same else [*kept, {"from_round": round, **own}]


def forget_peak_memory() -> None:
    """Let :func:`peak_memory` begin anew: a process takes run after run. Does nothing where only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Return the most memory that this process held since :func:`forget_peak_memory`, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def provenance(
    cell: Cell, task: Task, training: Training, started: float, seconds: float, peak: int,
    attempts: Sequence[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return what ``run.json`` says of a finished run: what it was, on what it ran, and for how long.

    Args:
        started: seconds since the epoch, of this attempt.
        seconds: of training and scoring, of all attempts together.
        peak: the most memory that the process of an attempt held, in bytes.
        attempts: as :func:`with_attempt` returns them; said where they differ, else all are as the last.
    """
    start = datetime.datetime.fromtimestamp(started, datetime.UTC)
    return {
        "run_id": cell.id,
        "label": cell.label,
        "spec": cell.algorithm,
        "identity": cell.identity,
        "declared": cell.declared,
        "partition": {
            "clients": {c.name: {"train": [x.id for x in c.train], "val": [x.id for x in c.val]}
                        for c in task.federation.clients},
            "test": [x.id for x in task.federation.test],
            "unseen": task.federation.unseen,
        },
        "best_validation_round": training.best.round if training.best else None,
        "samples": {s.name: s.samples for s in training.states},
        "steps": training.steps_per_round * task.training.rounds,
        "parameters": sum(p.numel() for p in training.networks["model"].parameters()),
        "versions": versions(),
        "git": git_state(),
        "clients_at_once": len(training.trainers),
        "hardware": _hardware(cell.identity["device"]),
        PEAK: peak,
        "started": start.isoformat(timespec="seconds"),
        "ended": now(),
        "seconds": seconds,
        **({ATTEMPTS: list(attempts)} if len(attempts) > 1 else {}),
    }  # fmt: skip
