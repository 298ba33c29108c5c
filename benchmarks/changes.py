"""What single changes brought, each against what it replaced: also those that brought little.

Both ways do the same work in turn in one process on one thread; a ratio above 1 says how many times slower the way is
that fedbench does not take.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks import workloads
from benchmarks.common import Report, Settings, interleave, main, ratios, seconds
from fedbench.algorithm import weighted_mean
from fedbench.engine.arrays import ResidentArrays
from fedbench.engine.batches import TrainingSet
from fedbench.engine.compute import to_cpu
from fedbench.engine.held import Held, _bytes_of, all_finite
from fedbench.engine.training import Training

TITLE = "what single changes brought"


def measure(settings: Settings) -> Report:
    """Measure the parts of a client's round, then the parts of a step."""
    report = Report()
    training = workloads.start(workloads.task_of(workloads.HEART, settings.scratch))
    next(training.rounds())
    times = 20 if settings.quick else 200
    _around_a_round(report, training, times)
    _in_a_step(report, training, times // 5)
    report.notes.append("BasicUNet on phantom-heart, 64x64, batch 8, fedbench's defaults for this machine.")
    return report


def _compare(report: Report, what: str, now: Callable[[], Any], other: Callable[[], Any], times: int) -> None:
    taken = interleave({"now": lambda: seconds(now), "other": lambda: seconds(other)}, times, warmups=3)
    name, _, instead = what.partition(" instead of ")
    report.add(name, [1000 * value for value in taken["now"]], "ms")
    report.add(f"{instead}, instead", [1000 * value for value in taken["other"]], "ms")
    report.add("... times slower", ratios(taken["other"], taken["now"]))


def _around_a_round(report: Report, training: Training, times: int) -> None:
    networks, algorithm = training.networks, training.task.algorithm
    full = to_cpu(training.trainers[0].entries)
    floats = {name: value for name, value in full.items() if value.is_floating_point()}
    _compare(
        report, "a client's weights loaded by copying into live entries instead of `load_state_dict`",
        lambda: training.trainers[0]._load(full), lambda: networks.load_state_dict(full), times,
    )  # fmt: skip
    _compare(
        report, "an upload picked from live entries instead of `state_dict` and asking again what is shared",
        lambda: {name: value for name, value in training.trainers[0].entries.items() if name in training.shared},
        lambda: (algorithm.shared_names(networks), networks.state_dict()), times,
    )  # fmt: skip
    _compare(
        report, "mean of 8 uploads, message by message in place instead of entry by entry",
        lambda: weighted_mean([full] * 8, range(1, 9)), lambda: _entry_by_entry([floats] * 8, list(range(1, 9))), times,
    )  # fmt: skip
    _compare(
        report, "the mean checked to be finite once instead of entry by entry",
        lambda: all_finite(full), lambda: all(torch.isfinite(value).all() for value in floats.values()), times,
    )  # fmt: skip
    _on_disk(report, full, times)


def _on_disk(report: Report, full: dict[str, Tensor], times: int) -> None:
    """A message that waits on disk."""
    with Held(in_memory=0) as held, tempfile.TemporaryFile() as file:

        def over() -> None:
            held.clear()
            held.keep(full)

        def at_the_end() -> None:
            file.truncate(0)  # new pages, as in a file of its own for each round
            file.seek(0)
            for value in full.values():
                file.write(_bytes_of(value))

        what = "a message written as one block over an older one instead of tensor by tensor into new pages"
        _compare(report, what, over, at_the_end, times)


def _entry_by_entry(states: list[dict[str, Tensor]], weights: list[int]) -> dict[str, Tensor]:
    mean = {}
    for name, first in states[0].items():
        sums = torch.zeros_like(first, dtype=torch.float64)
        for state, weight in zip(states, weights, strict=True):
            sums += state[name].double() * (weight / sum(weights))
        mean[name] = sums.to(first.dtype)
    return mean


def _in_a_step(report: Report, training: Training, times: int) -> None:
    samples = training.sets[0]
    images, labels = next(samples.batches(torch.Generator().manual_seed(0), augmented=False))
    images = training.compute.images(images)
    labels = labels.long()
    networks = {name: copy.deepcopy(training.networks["model"]).train() for name in ("now", "padded", "strides")}
    for module in networks["padded"].modules():
        if hasattr(module, "is_pad"):
            module.is_pad = True
    for parameter in networks["strides"].parameters():  # of one input channel, as `contiguous` leaves them
        if parameter.dim() == 4:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def passes(network: nn.Module) -> Callable[[], None]:
        def both() -> None:
            with training.compute.autocast():
                logits = network(images)
            training.trainers[0].segmentation_loss(logits, labels).backward()
            network.zero_grad(set_to_none=True)

        return both

    now = passes(networks["now"])
    _compare(report, "forward and backward without padding by nothing instead of BasicUNet as it comes", now,
             passes(networks["padded"]), times)  # fmt: skip
    _compare(report, "... with channels-last strides throughout instead of not for weights of one channel", now,
             passes(networks["strides"]), times)  # fmt: skip
    _optimisers(report, networks["now"], now, times)
    _reading(report, training, times)


def _optimisers(report: Report, network: nn.Module, both: Callable[[], None], times: int) -> None:
    gradients = {name: torch.randn_like(p) for name, p in network.named_parameters()}

    def steps(**how: bool) -> Callable[[], None]:
        model = copy.deepcopy(network)
        optimizer = Adam(model.parameters(), lr=1e-3, **how)
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone(memory_format=torch.preserve_format)
        return lambda: optimizer.step() and None

    fused = steps(fused=True)
    _compare(report, "a step of Adam, fused instead of parameter by parameter", fused, steps(foreach=False), times)
    _compare(report, "a step of Adam, fused again instead of `foreach`", fused, steps(foreach=True), times)


def _reading(report: Report, training: Training, times: int) -> None:
    mapped = training.sets[0]
    held = TrainingSet(training.clients[0], mapped.size, 8, 1, mapped.mirror_axes,
                       ResidentArrays(training.clients[0].train, torch.device("cpu")))  # fmt: skip

    def epoch(samples: TrainingSet, *, augmented: bool) -> Callable[[], None]:
        return lambda: [None for _ in samples.batches(torch.Generator().manual_seed(0), augmented=augmented)] and None

    _compare(report, "an epoch's batches read from the memory-mapped store instead of from arrays in memory",
             epoch(mapped, augmented=False), epoch(held, augmented=False), times)  # fmt: skip
    taken = [1000 * seconds(epoch(mapped, augmented=True)) for _ in range(times)]
    report.add("... read and augmented", taken, "ms")


if __name__ == "__main__":
    main("changes", TITLE, measure)
