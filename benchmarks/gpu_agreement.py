"""How far a GPU's results are from the CPU's, and from themselves when a run is repeated."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from benchmarks import workloads
from benchmarks.common import Report, Settings
from fedbench import registry
from fedbench.engine.task import Task
from fedbench.execution import planning
from fedbench.suite import Cell

DICE = 0.02  # how far apart the validation Dice of CPU and GPU may be
FP32: dict[str, Any] = {"precision": "fp32"}
BF16: dict[str, Any] = {"precision": "bf16"}
OTHER_LAYOUT = FP32 | {"channels_last": False}
VARIANTS = ("fedda-cyclic[exchange=features]", "fedda-joint[exchange=features]", "moon[feature=decoder]")
NETWORKS: dict[str, dict[str, Any]] = {
    "3-D basicunet": {"model": {"spatial_dims": 3, "channels": [8, 8, 16, 32, 32]}, "training": {"batch_size": 2}},
    "unet, instance norm": {"model": {"name": "unet", "norm": "instance"}, "training": {}},
    "segresnet": {"model": {"name": "segresnet"}, "training": {}},
}
OURS = "fedbench.algorithms"
LR = 3e-4  # small enough that rounding errors do not decide what is learned in a few rounds


class NoTime(Exception):
    """A part was left out since it would not end in time."""


@dataclass(frozen=True)
class Bench:
    """What every part of the benchmark is given.

    Attributes:
        device: ``cuda``.
        ends: when all must be over, on ``time.monotonic``.
    """

    report: Report
    settings: Settings
    device: str
    ends: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def needs(self, seconds: float) -> None:
        """Raise :class:`NoTime` unless ``seconds`` are left."""
        if self.left < seconds:
            raise NoTime("left out: no time was left")


class Trained(NamedTuple):
    """What a training ended with.

    Attributes:
        dice: validation Dice of the last round by client.
        first: the server's weights after the first round; last: all entries of the deployed models; floats only.
        parameters: names in ``last`` that are not buffers.
    """

    dice: dict[str, float]
    first: dict[str, np.ndarray]
    last: dict[str, np.ndarray]
    parameters: frozenset[str]

    @property
    def mean_dice(self) -> float:
        """Over clients."""
        return float(np.mean(list(self.dice.values())))


def task_with(cell: Cell, values: Mapping[str, Any]) -> Task:
    """Return the task of ``cell`` with other training settings."""
    task = planning.make_task(cell)
    return replace(task, training=task.training.model_copy(update=dict(values)))


def trained(cell: Cell, device: str, values: Mapping[str, Any]) -> Trained:
    """Train ``cell`` with the given training settings on ``device``, to the end."""
    training = workloads.start(task_with(cell, values), device)
    first: dict[str, np.ndarray] = {}
    for number in training.rounds():
        if number == 0:
            first = {k: v.numpy().copy() for k, v in training.server.weights.items() if v.is_floating_point()}
    own = {f"model.{name}" for name, _ in training.networks["model"].named_parameters()}
    last: dict[str, np.ndarray] = {}
    parameters: set[str] = set()
    for deployment in training.deployments():
        for name, value in deployment.entries.items():
            if value.is_floating_point():
                last[full := f"{deployment.kind}/{deployment.client}/{name}"] = value.numpy()
                if name in own:
                    parameters.add(full)
    end = training.task.training.rounds - 1
    dice = {r["client"]: r["value"] for r in training.history if (r["metric"], r["round"]) == ("validation dice", end)}
    if broken := [name for name, value in last.items() if not np.isfinite(value).all()]:
        raise ArithmeticError(f"{broken[0]} is not finite")
    return Trained(dice, first, last, frozenset(parameters))


def dice_apart(a: Trained, b: Trained) -> float:
    """Return the largest difference of a client's validation Dice."""
    return max(abs(a.dice[client] - b.dice[client]) for client in a.dice)


def weights_apart(a: Trained, b: Trained) -> float:
    """Return the largest difference of a trainable weight of a deployed model."""
    return workloads.largest_difference(*({k: t.last[k] for k in t.parameters} for t in (a, b)))


def first_apart(a: Trained, b: Trained) -> float:
    """Return the largest difference of an entry of the server's weights after one round; 0 if it has none."""
    return workloads.largest_difference(a.first, b.first) if a.first else 0.0


def different_entries(a: Trained, b: Trained) -> int:
    """Count the numbers in the deployed models that are not the same."""
    return sum(int(np.count_nonzero(a.last[name] != b.last[name])) for name in a.last)


# -- agreement with the CPU ----------------------------------------------------------------------------------------


def agreement(bench: Bench) -> None:
    """Train every algorithm and network on CPU and GPU from the same start, at fp32, and on the GPU at bf16."""
    report, cells = bench.report, agreement_cells(bench)
    wrong: list[str] = []
    fp32: dict[str, Trained] = {}
    bf16: dict[str, Trained] = {}
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), get_context("spawn")) as pool:
        here: dict[str, tuple[Future[Trained], Future[Trained]]] = {
            name: (pool.submit(trained, cell, "cpu", FP32), pool.submit(trained, cell, "cpu", OTHER_LAYOUT))
            for name, cell in cells.items()
        }
        for into, values in ((fp32, FP32), (bf16, BF16)):
            for name, cell in cells.items():
                try:
                    into[name] = trained(cell, bench.device, values)
                except Exception as error:
                    wrong.append(f"{name} at {values['precision']}: {type(error).__name__}: {str(error)[:150]}")
        reference = {name: tuple(future.result() for future in futures) for name, futures in here.items()}
    report.facts["agreement"] = {
        name: {
            "dice, CPU": reference[name][0].dice, "dice, GPU": found.dice,
            "dice, GPU, bf16": bf16[name].dice if name in bf16 else None,
            "weights apart": weights_apart(reference[name][0], found),
            "weights apart, two layouts on the CPU": weights_apart(*reference[name]),
        }
        for name, found in fp32.items()
    }  # fmt: skip
    every = f"{len(cells)} trainings of every algorithm"
    report.add(f"fp32, {every}: ended on the GPU", len(fp32), target=(">=", len(cells)))
    report.add(f"bf16, {every}: ended on the GPU", len(bf16), target=(">=", len(cells)))
    pairs = {name: (reference[name][0], found) for name, found in fp32.items()}
    _largest(report, "fp32: largest difference of validation Dice, CPU and GPU", dice_apart, pairs, ("<=", DICE))
    _largest(report, "fp32: the same, two memory layouts on the CPU", dice_apart, reference)
    _largest(report, "fp32: largest difference of an entry after one round, CPU and GPU", first_apart, pairs)
    _largest(report, "fp32: the same, two memory layouts on the CPU", first_apart, reference)
    _largest(report, "fp32: largest difference of a final weight, CPU and GPU", weights_apart, pairs)
    _largest(report, "fp32: the same, two memory layouts on the CPU", weights_apart, reference)
    both = {name: (fp32[name], bf16[name]) for name in fp32.keys() & bf16.keys()}
    _largest(report, "GPU: largest difference of validation Dice, fp32 and bf16", dice_apart, both)
    failed = f"Failed: {'; '.join(wrong)}." if wrong else "None failed."
    report.notes.append(
        f"Agreement: all built-in algorithms, variants and networks ({', '.join(cells)}) on phantom-heart, "
        f"{_rounds(bench)} rounds, Adam at {LR:g}, the same start and batches. What rounding alone does to a training "
        f"shows between two memory layouts on the CPU. {failed}"
    )


def agreement_cells(bench: Bench) -> dict[str, Cell]:
    """Plan every built-in algorithm, and FedAvg with other networks."""
    quick = bench.settings.quick
    built_in = sorted(name for name, found in registry.discover("algorithm").items() if found.module.startswith(OURS))
    algorithms = ["fedavg", "moon", "fedda-cyclic"] if quick else [*built_in, *VARIANTS]
    base = workloads.changed(workloads.HEART, rounds=_rounds(bench), lr=LR)
    folder = bench.settings.scratch / "agreement"
    cells = {cell.label: cell for cell in workloads.cells(base | {"algorithms": algorithms}, folder, bench.device)}
    for name, other in list(NETWORKS.items())[: 1 if quick else None]:
        suite = workloads.changed(base, **other["training"]) | {"model": other["model"]}
        (cells[f"fedavg, {name}"],) = workloads.cells(suite, folder, bench.device)
    return cells


def _rounds(bench: Bench) -> int:
    return 2 if bench.settings.quick else 4


def _largest(report: Report, what: str, measure: Any, pairs: Mapping[str, Any], target: Any = None) -> None:
    if not pairs:
        report.fail(what, "nothing to compare", target=target)
        return
    found = {name: measure(*pair) for name, pair in pairs.items()}
    worst = max(found, key=lambda name: found[name])
    report.add(f"{what} ({worst})", found[worst], target=target)


# -- bits ----------------------------------------------------------------------------------------------------------


def bits(bench: Bench) -> None:
    """Repeat runs: with deterministic kernels to the same bits, without them to see how far they spread."""
    report, quick = bench.report, bench.settings.quick
    rounds = 2 if quick else 12
    algorithms = ["fedavg"] if quick else ["fedavg", "moon", "fedda-cyclic"]
    suite = workloads.changed(workloads.HEART, rounds=rounds, validate_every=rounds) | {"algorithms": algorithms}
    cells = workloads.cells(suite, bench.settings.scratch / "bits", bench.device)
    for cell in cells:
        one, two = (trained(cell, bench.device, {"deterministic": True}) for _ in range(2))
        total = sum(value.size for value in one.last.values())
        what = f"{cell.label}, the same run twice, {rounds} rounds: different numbers of {total}"
        report.add(f"deterministic = true, {what}", different_entries(one, two), target=("<=", 0))
        if cell is cells[0]:
            report.add(f"deterministic = true, {cell.label}: mean validation Dice", one.mean_dice)
    repeats = [trained(cells[0], bench.device, {"deterministic": False}) for _ in range(bench.settings.repeats)]
    dice = [run.mean_dice for run in repeats]
    label = f"deterministic = false, {cells[0].label}, the same run {len(dice)} times"
    report.add(f"{label}: mean validation Dice", dice)
    report.add(f"{label}: spread of validation Dice", max(dice) - min(dice))
