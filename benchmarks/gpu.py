"""The CUDA path on one GPU: the CPU's results, the same bits twice, steps per second, and several runs at a time.

Parts that fail say so in the table and do not stop the others; so do parts for which no time is left. How far GPU and
CPU agree is in :mod:`benchmarks.gpu_agreement`, runs that share the GPU are in :mod:`benchmarks.gpu_packing`.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic

import fedbench.engine.arrays
from benchmarks import bare, gpu_agreement, gpu_packing, workloads
from benchmarks.common import NotHere, Report, Settings, console, figure, interleave, main, ratios, seconds
from benchmarks.gpu_agreement import Bench
from fedbench.engine.training import Training
from fedbench.execution import planning
from fedbench.suite import Cell

TITLE = "the CUDA path: agreement with the CPU, bits, steps per second, several runs on a GPU"
BUDGET, QUICK_BUDGET = 490.0, 110.0  # seconds for all parts
RATIO = 1 / 0.95  # of training time to the bare loop's
TOLERANCE = 1e-5
WARMUPS = 3
Target = tuple[str, float] | None

LARGER: dict[str, Any] = workloads.FOUR_CLIENTS | {
    "datasets": [f"{workloads.SHAPES}[clients=4,patients=6,slices=16,size=192]"],
    "model": {},
    "training": {"lr": 1e-3},
}
WORKLOADS = {
    "phantom-heart, 2 clients x 10 steps of 8 slices 48x48": workloads.HEART,
    "4 clients x 8 steps of 8 slices 192x192": LARGER,
}
TRIED = LARGER | {"datasets": workloads.FOUR_CLIENTS["datasets"]}
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "channels_last": False},
    "fp32, channels last": {"precision": "fp32", "channels_last": True},
    "bf16": {"precision": "bf16", "channels_last": False},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "bf16, channels last, not augmented": {"precision": "bf16", "channels_last": True, "augment": False},
}
COMPILED = {"bf16, channels last, compiled": None, "bf16, channels last, compiled to CUDA graphs": "reduce-overhead"}
SECONDS_TO_COMPILE = 60.0


def measure(settings: Settings) -> Report:
    """Verify and measure the CUDA path.

    Raises:
        NotHere: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise NotHere(f"no GPU that torch {torch.__version__} can use here; nothing was measured.")
    return measure_on("cuda", settings)


def measure_on(device: str, settings: Settings) -> Report:
    """Do all parts on ``device``; with ``cpu`` only to see that they work."""
    report = Report(hardware=gpu_facts() if device == "cuda" else {})
    bench = Bench(report, settings, device, time.monotonic() + (QUICK_BUDGET if settings.quick else BUDGET))
    parts: dict[str, tuple[Callable[[Bench], None], Target]] = {
        "agreement with the CPU": (gpu_agreement.agreement, ("<=", gpu_agreement.DICE)),
        "bits": (gpu_agreement.bits, ("<=", 0)),
        "steps per second": (steps, ("<=", RATIO)),
        "runs that share the GPU": (gpu_packing.packing, None),
        "settings": (tried, None),
    }
    for name, (part, target) in parts.items():
        shown, begun = len(report.rows), time.monotonic()
        try:
            bench.needs(10)
            part(bench)
        except Exception as error:
            report.fail(name, in_words(error), target=target)
            report.facts[f"traceback of '{name}'"] = traceback.format_exc()
        report.facts[f"seconds of '{name}'"] = round(time.monotonic() - begun, 1)
        for row in report.rows[shown:]:  # at once: a job that is stopped has shown what it knew
            console.print(f"{row.what}: {f'{figure(row.measured.median)} {row.unit}' if row.measured else row.note}")
        forget(device)
    return report


def gpu_facts() -> dict[str, Any]:
    """Name the GPU and its software."""
    properties = torch.cuda.get_device_properties(0)
    capability = ".".join(map(str, torch.cuda.get_device_capability(0)))
    return {
        "gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "compute_capability": capability, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


def in_words(error: Exception) -> str:
    """Return an error on one line that a table can show."""
    line = " ".join(str(error).split())[:300].replace("|", "/")
    return line if isinstance(error, gpu_agreement.NoTime) else f"failed: {type(error).__name__}: {line}"


def forget(device: str) -> None:
    """Free what a part kept on the device."""
    bare.load.cache_clear()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


# -- steps per second ----------------------------------------------------------------------------------------------


def steps(bench: Bench) -> None:
    """Rounds of fedbench and of the bare loop in turn, with the fastest kernels and with deterministic ones."""
    for name, suite in WORKLOADS.items():
        fast = _pace(bench, f"{name}, fastest kernels", suite, deterministic=False)
        slow = _pace(bench, f"{name}, deterministic kernels (default)", suite, deterministic=True)
        times = float(np.median(slow) / np.median(fast))
        bench.report.add(f"{name}: deterministic kernels, times the time of the fastest", times)
    bench.report.notes.append(
        "A round of each takes its turn in one process on one CPU thread, at bf16 and channels last; both programs "
        "have the same kernels to choose from, and training images in the GPU's memory. `not resident`: batches are "
        "made on the CPU, pinned and copied, as where images do not fit. `memory filled`: torch fills uninitialised "
        "memory where kernels are deterministic, unless it is told not to, as fedbench does. Deterministic and fastest "
        "kernels were not timed in turn."
    )


def _pace(bench: Bench, name: str, suite: dict[str, Any], *, deterministic: bool) -> list[float]:
    """Add the rows of one workload; return fedbench's seconds of a round."""
    report, device, folder = bench.report, bench.device, bench.settings.scratch
    rounds = 3 if bench.settings.quick else 25
    last = rounds + WARMUPS + 1  # is never reached: it validates
    planned = workloads.changed(suite, rounds=last, validate_every=last, deterministic=deterministic)
    (cell,) = workloads.cells(planned, folder / "steps", device)
    job = bare.load(workloads.export(planning.make_task(cell), folder / f"job {name}"), device)
    loop, numbers = bare.FedAvg(job), itertools.count()
    through = workloads.start(planning.make_task(cell), device)
    tasks = {"fedbench": turn(through, device), "bare": _timed(lambda: loop.round(next(numbers)), device)}
    if deterministic:
        tasks["memory filled"] = _filled(turn(workloads.start(planning.make_task(cell), device), device))
    else:
        with share(0.0):
            tasks["not resident"] = turn(workloads.start(planning.make_task(cell), device), device)
    times = interleave(tasks, rounds, warmups=WARMUPS)
    for program in ("fedbench", "bare"):
        report.add(f"{name}: steps per second, {program}", [through.steps_per_round / t for t in times[program]])
    ratio = ratios(times["fedbench"], times["bare"])
    report.add(f"{name}: fedbench, times the time of the bare loop", ratio, target=("<=", RATIO))
    for other in list(tasks)[2:]:
        report.add(f"{name}: {other}, times the time of fedbench", ratios(times[other], times["fedbench"]))
    if deterministic:
        theirs = {k: v.cpu().numpy() for k, v in loop.weights.items() if v.is_floating_point()}
        ours = {k: v for k, v in workloads.monai_names(through.server.weights).items() if k in theirs}
        difference = workloads.largest_difference(ours, theirs)
        what = f"weights of fedbench and the bare loop after {rounds + WARMUPS} rounds, largest difference"
        report.add(f"{name}: {what}", difference, target=("<=", TOLERANCE))
    return times["fedbench"]


def turn(training: Training, device: str) -> Callable[[], float]:
    """Return what trains one more round and returns its seconds."""
    rounds = training.rounds()
    return _timed(lambda: next(rounds), device)


def _timed(task: Callable[[], Any], device: str) -> Callable[[], float]:
    def one() -> float:
        task()
        if device == "cuda":
            torch.cuda.synchronize()

    return lambda: seconds(one)


def _filled(task: Callable[[], float]) -> Callable[[], float]:
    def one() -> float:
        before = torch.utils.deterministic.fill_uninitialized_memory
        torch.utils.deterministic.fill_uninitialized_memory = True
        try:
            return task()
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = before

    return one


@contextlib.contextmanager
def share(of_free_memory: float) -> Iterator[None]:
    """Let training images take another share of the GPU's free memory; none: they are not resident."""
    before = fedbench.engine.arrays.SHARE
    fedbench.engine.arrays.SHARE = of_free_memory
    try:
        yield
    finally:
        fedbench.engine.arrays.SHARE = before


# -- settings ------------------------------------------------------------------------------------------------------


def tried(bench: Bench) -> None:
    """Precision, memory layout, augmentation and compilation; the last is tried, not offered by fedbench."""
    rounds = 3 if bench.settings.quick else 15
    last = rounds + WARMUPS + 1
    suite = workloads.changed(TRIED, rounds=last, validate_every=last, deterministic=False)
    (cell,) = workloads.cells(suite, bench.settings.scratch / "tried", bench.device)
    trainings = {name: _set(cell, values, bench.device) for name, values in SETTINGS.items()}
    for name, mode in {} if bench.settings.quick else COMPILED.items():
        training = _set(cell, SETTINGS["bf16, channels last"], bench.device)
        try:
            bench.needs(SECONDS_TO_COMPILE + 20)
            taken = compiled(training, mode)
        except Exception as error:
            bench.report.fail(f"{name}: a step", in_words(error))
            continue
        bench.report.facts[f"seconds to compile, {name}"] = taken
        trainings[name] = training
    times = interleave({name: turn(t, bench.device) for name, t in trainings.items()}, rounds, warmups=WARMUPS)
    for name, training in trainings.items():
        bench.report.add(f"{name}: a step", [1000 * t / training.steps_per_round for t in times[name]], "ms")
    bench.report.notes.append(
        "Settings: BasicUNet as by default, 4 clients x 4 steps of 8 slices 64x64, fastest kernels; a repeat is a "
        "round's mean. A compiled step does not count the time of compiling: "
        + (", ".join(f"{v:.0f} s" for k, v in bench.report.facts.items() if k.startswith("seconds to comp")) or "none")
        + "."
    )


def _set(cell: Cell, values: dict[str, Any], device: str) -> Training:
    return workloads.start(gpu_agreement.task_with(cell, values), device)


def compiled(training: Training, mode: str | None) -> float:
    """Compile the network's two halves by one step forward and backward; return the seconds it took."""
    model: Any = training.networks["model"]
    model.encode, model.decode = (
        torch.compile(half, dynamic=False, mode=mode) for half in (model.encode, model.decode)
    )
    begun = time.perf_counter()
    images, _ = next(training.sets[0].batches(torch.Generator(), augmented=False))
    model.train()
    with training.compute.autocast():
        logits = model.decode(*model.encode(training.compute.images(images)))
    logits.float().mean().backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main("gpu", TITLE, measure)
