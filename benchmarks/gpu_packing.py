"""Several runs on one GPU: processes that work in one results folder and take its runs from each other by lock files.

Each is ``fedbench run --workers 0``, so that no scheduler is between the runs and the GPU.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.common import ROOT, CommandFailed, seconds
from benchmarks.gpu_agreement import Bench
from benchmarks.parallel import timeline
from fedbench import store
from fedbench.execution import planning
from fedbench.suite import Cell

RUNS = 16
PROCESSES = (1, 8, 4, 2)  # in this order: what is left out for want of time is what one can guess
A_RUN = 4.0  # seconds of training that a run alone should take
START = 40.0  # seconds that a command takes besides its runs: imports, planning, tables, pictures
QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv", "-l", "1")


def packing(bench: Bench) -> None:
    """Time the same runs with 1, 2, 4 and 8 processes."""
    report, quick = bench.report, bench.settings.quick
    runs, processes = (4, (1, 2)) if quick else (RUNS, PROCESSES)
    folder = bench.settings.scratch / "packing"
    suite = workloads.HEART | {"seeds": list(range(runs))}
    cell = workloads.cells(suite, folder / "plan", bench.device)[0]
    suite = workloads.changed(suite, rounds=2 if quick else rounds_for(A_RUN, cell, bench.device))
    workloads.cells(suite, folder / "plan", bench.device)
    rates: dict[int, float] = {}
    taken = START + runs * A_RUN / 2
    for n in processes:
        name = f"{n} process{'es' * (n > 1)}"
        if bench.left < taken:
            report.fail(f"{name}: runs per hour", "left out: no time was left")
            continue
        begun = time.monotonic()
        try:
            with Sampler() as sampler:
                out = together(n, suite, folder / str(n), folder / "plan", bench.device, bench.left + START)
        except CommandFailed as error:
            report.fail(f"{name}: runs per hour", " ".join(str(error).split()).replace("|", "/"))
            continue
        taken = START + (time.monotonic() - begun) / 2
        line = timeline(out, n)
        ends = sorted(path.stat().st_mtime for path in out.glob(f"*/{store.DONE}"))
        rates[n] = 3600 * runs / line["span"]
        report.add(f"{name}: runs per hour, from the first run's claim to the last one's seal", rates[n])
        if runs > n and ends[-1] > ends[n - 1]:
            steady = 3600 * (runs - n) / (ends[-1] - ends[n - 1])
            report.add(f"{name}: runs per hour, once {n} had ended", steady)
        report.add(f"{name}: a run", line["run"], "s")
        sampled = sampler.between(ends[-1] - line["span"], ends[-1])
        if sampled:
            used, memory = (np.array(column) for column in zip(*sampled, strict=True))
            report.add(f"{name}: utilisation of the GPU, mean", float(used.mean()), "%")
            report.add(f"{name}: memory of the GPU, peak", float(memory.max() - sampler.before) / 1024, "GiB")
        else:
            report.fail(f"{name}: utilisation and memory of the GPU", sampler.problem)
    if 1 in rates and len(rates) > 1:
        best = max(rates, key=lambda n: rates[n])
        report.add(f"{best} process{'es' * (best > 1)}, the best: times the runs per hour of 1", rates[best] / rates[1])
    report.notes.append(
        f"Runs that share the GPU: {runs} of FedAvg on phantom-heart, {suite['training']['rounds']} rounds each, seeds "
        "0, 1, ..., by as many `fedbench run --workers 0 --gpus-per-run` at a time, each on one CPU thread, without "
        "CUDA's multi-process service. Scoring (Dice, HD95, NSD on the CPU) is part of a run. Utilisation is the share "
        "of the time in which the GPU did anything at all, as nvidia-smi samples it each second; memory is what is "
        "used beyond what was used before."
    )


def rounds_for(wanted: float, cell: Cell, device: str) -> int:
    """Return how many rounds, each with its validation, take about ``wanted`` seconds; from 4 to 48."""
    rounds = workloads.start(planning.make_task(cell), device).rounds()
    took = [seconds(lambda: next(rounds)) for _ in range(workloads.HEART["training"]["rounds"])]
    return min(48, max(4, round(wanted / float(np.median(took[2:])))))


def together(n: int, suite: dict[str, Any], folder: Path, plan: Path, device: str, limit: float) -> Path:
    """Run ``suite`` with ``n`` processes on a new results folder and return it.

    Each begins with its own share of the seeds and then looks for what the others have not begun.

    Raises:
        CommandFailed: a run was not finished, or not within ``limit`` seconds.
    """
    out = workloads.fresh_results(folder / "out", plan)
    shares = [suite["seeds"][k::n] for k in range(n)]
    on_gpu = ["--gpus-per-run", f"{1 / n:g}"] if device == "cuda" else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    logs = [folder / f"{k}.log" for k in range(n)]
    with contextlib.ExitStack() as stack:
        started = []
        for k in range(n):
            (folder / str(k)).mkdir()
            seeds = [seed for share in shares[k:] + shares[:k] for seed in share]
            file = workloads.write_suite(suite | {"seeds": seeds}, folder / str(k) / "packing.toml")
            line = [sys.executable, "-m", "fedbench", "run", "--suite", file, "--workers", "0", "--out", out, *on_gpu]
            log = stack.enter_context(logs[k].open("w"))
            process = subprocess.Popen(
                [str(word) for word in line], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(_end, process)
            started.append(process)
        deadline = time.monotonic() + limit
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    done = len(list(out.glob(f"*/{store.DONE}")))
    if done < len(suite["seeds"]):
        said = logs[0].read_text(encoding="utf-8", errors="replace")[-600:]
        raise CommandFailed(f"{done} of {len(suite['seeds'])} runs were finished: {said}")
    return out


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


class Sampler:
    """What nvidia-smi says each second of the first GPU, while it is open: ``(time, utilisation %, memory MiB)``.

    Attributes:
        before: MiB used when it was opened.
        problem: why there is nothing.
    """

    def __init__(self, query: Sequence[str] = QUERY) -> None:
        self.samples: list[tuple[float, float, float]] = []
        self.before = 0.0
        self.problem = f"{query[0]} gave no numbers"
        self._query = list(query)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sampler:
        if shutil.which(self._query[0]) is None:
            self.problem = f"no {self._query[0]} here"
            return self
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"
        self._process = subprocess.Popen(
            [*self._query, f"--id={gpu}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        deadline = time.monotonic() + 5
        while not self.samples and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self.before = self.samples[0][2] if self.samples else 0.0
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            _end(self._process)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if numbers := read_sample(line):
                self.samples.append((time.time(), *numbers))

    def between(self, begun: float, ended: float) -> list[tuple[float, float]]:
        """Return utilisation and memory from one second since the epoch to another."""
        return [(used, memory) for at, used, memory in self.samples if begun <= at <= ended]


def read_sample(line: str) -> tuple[float, float] | None:
    """Read ``37 %, 1024 MiB``; None for a header or anything else."""
    found = re.fullmatch(r"\s*(\d+) %,\s*(\d+) MiB\s*", line)
    return (float(found[1]), float(found[2])) if found else None
