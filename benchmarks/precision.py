"""Precision, memory layout and compilation: seconds per step, and what the trained model is worth.

The settings train side by side on phantom-heart, one round each in turn on one thread, from the same weights over the
same batches; at the end each is validated. ``compile`` wraps the network's two halves in torch.compile; it is tried,
not offered by fedbench.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._dynamo.config
import torch._inductor.config

from benchmarks import workloads
from benchmarks.common import Report, Settings, interleave, main, seconds
from fedbench.engine.training import Training
from fedbench.execution.planning import resolve

TITLE = "precision, memory layout and compilation on this CPU"


class Setting(NamedTuple):
    """One way to compute."""

    precision: str
    channels_last: bool
    compiled: bool

    def __str__(self) -> str:
        return self.precision + ", channels last" * self.channels_last + ", compiled" * self.compiled


SETTINGS = [
    Setting(precision, layout, compiled)
    for compiled in (False, True)
    for precision in ("fp32", "bf16")
    for layout in (False, True)
]


def measure(settings: Settings) -> Report:
    """Train all settings round by round in turn, for several seeds."""
    report = Report()
    rounds, seeds = (4, 1) if settings.quick else (24, 3)
    took: dict[Setting, list[float]] = {setting: [] for setting in SETTINGS}
    dice: dict[Setting, list[float]] = {setting: [] for setting in SETTINGS}
    threads = 1
    for seed in range(seeds):
        trainings = {setting: start(settings, setting, rounds, seed) for setting in list(took) if setting in dice}
        for setting in [s for s in trainings if s.compiled]:
            if problem := compiled(trainings[setting], report, setting):
                report.fail(f"{setting}: a step", problem)
                for table in (took, dice, trainings):
                    table.pop(setting)
        steps = {setting: training.rounds() for setting, training in trainings.items()}
        turns: dict[str, Callable[[], float]] = {
            str(setting): lambda own=own: seconds(lambda: next(own)) for setting, own in steps.items()
        }
        times = interleave(turns, rounds)
        for setting, training in trainings.items():
            threads = training.task.training.threads
            took[setting] += [x / training.steps_per_round for x in times[str(setting)][1:-1]]  # the last one validates
            last = [row["value"] for row in training.history if row["metric"] == "validation dice"]
            dice[setting].append(float(np.mean(last)))
    for setting in took:
        report.add(f"{setting}: a step", [1000 * x for x in took[setting]], "ms")
    for setting in took:
        report.add(f"{setting}: validation Dice after {rounds} rounds", dice[setting])
    config = trainings[SETTINGS[0]].task.training
    chosen = Setting(resolve(config.model_copy(update={"precision": "auto"}), "cpu").precision, True, False)
    fastest = min((s for s in took if not s.compiled), key=lambda s: float(np.median(took[s])))
    slower = float(np.median(took[chosen]) / np.median(took[fastest]))
    report.add(f"a step of the default ({chosen}) over one of the fastest ({fastest})", slower, target=("<=", 1.05))
    loss = float(np.mean(dice[Setting("fp32", False, False)]) - np.mean(dice[chosen]))
    report.add("mean Dice that the default loses against plain fp32", loss, target=("<=", 0.01))
    report.notes.append(
        f"BasicUNet as by default, batches of 8 slices 48x48, {threads} thread, {seeds} seed{'s' * (seeds > 1)}; a "
        "repeat of a step is a round's mean. A compiled step does not count the time of compiling."
    )
    return report


def start(settings: Settings, setting: Setting, rounds: int, seed: int) -> Training:
    """Return a training that has not begun."""
    changes: dict[str, Any] = {"precision": setting.precision, "channels_last": setting.channels_last}
    suite = workloads.changed(workloads.HEART, rounds=rounds, validate_every=rounds, **changes) | {"seeds": [seed]}
    return workloads.start(workloads.task_of(suite, settings.scratch))


def compiled(training: Training, report: Report, setting: Setting) -> str:
    """Compile the network of ``training`` by one step forward and backward; return what went wrong, if anything did."""
    torch._dynamo.config.recompile_limit = 64  # all settings share the compiled functions' code
    torch._inductor.config.layout_optimization = False  # with it no setting compiles on the CPU (torch 2.13)
    model: Any = training.networks["model"]
    model.encode, model.decode = (torch.compile(half, dynamic=False) for half in (model.encode, model.decode))
    begun = time.perf_counter()
    try:
        for images, _ in training.sets[0].batches(torch.Generator(), augmented=False):
            with training.compute.autocast():
                logits = model.decode(*model.encode(training.compute.images(images)))
            logits.float().mean().backward()
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.startswith("Error in op")] or [""]
        return f"does not compile here: {type(error).__name__}. {lines[0]}".strip()
    report.facts[f"seconds to compile, {setting}"] = time.perf_counter() - begun
    return ""


if __name__ == "__main__":
    main("precision", TITLE, measure)
