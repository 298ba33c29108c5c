"""FedAvg for one experiment as one would write it by hand: what fedbench is measured against.

Only PyTorch and MONAI (and, where images are augmented, fedbench's function for it); all training data in the memory of
the device. ``python -m benchmarks.bare JOB OUT.npz [--score] [--device cuda]`` does a job that
:func:`benchmarks.workloads.export` wrote: trains it and writes the final weights; with ``--score`` also validates after
every round and scores the test cases, with MONAI.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks import nets
from torch import Tensor, nn

JOB, STATE = "job.json", "state.npz"


@dataclass(frozen=True)
class Settings:
    """All about a job that is not an array.

    Attributes:
        rates: learning rate by round.
        seeds: of the batches, by round, client and epoch.
    """

    network: str
    network_arguments: dict[str, Any]
    classes: int
    clients: int
    epochs: int
    batch_size: int
    optimizer: str
    momentum: float
    weight_decay: float
    rates: list[float]
    seeds: list[list[list[int]]]
    augment: bool
    mirror_axes: list[int]
    bf16: bool
    channels_last: bool
    threads: int
    spacing: list[float]
    tolerance: float


@dataclass
class Job:
    """A job in memory: on ``device`` what is trained on, on the CPU the rest."""

    settings: Settings
    images: list[Tensor]
    labels: list[Tensor]
    start: dict[str, Tensor]
    val: list[list[tuple[Tensor, np.ndarray]]] = field(default_factory=list)
    test: list[tuple[Tensor, np.ndarray]] = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def network(self) -> nn.Module:
        """Return the network with the start weights."""
        arguments = dict(self.settings.network_arguments)
        arguments["norm"] = tuple(arguments["norm"])
        model = getattr(nets, self.settings.network)(**arguments)
        model.load_state_dict(self.start)
        for module in model.modules():
            if hasattr(module, "is_pad"):
                module.is_pad = False  # BasicUNet pads every upsampled map, by nothing where sizes are even
        return model.to(self.device, memory_format=self.layout)

    @property
    def layout(self) -> torch.memory_format:
        """Of images and convolutions."""
        return torch.channels_last if self.settings.channels_last else torch.contiguous_format


@cache
def load(folder: Path, device: str = "cpu") -> Job:
    """Read a job and put its images and labels on ``device``."""
    settings = Settings(**json.loads((folder / JOB).read_text(encoding="utf-8")))
    with np.load(folder / STATE, allow_pickle=False) as arrays:
        state = {name: arrays[name] for name in arrays.files}
    job = Job(settings, [], [], {k[6:]: torch.from_numpy(v) for k, v in state.items() if k.startswith("start/")})
    job.device = torch.device(device)
    for k in range(settings.clients):
        job.images.append(torch.from_numpy(state[f"client/{k}/images"]).to(device))
        job.labels.append(torch.from_numpy(state[f"client/{k}/labels"]).to(device))
        job.val.append(list(_cases(state, f"val/{k}")))
    job.test = list(_cases(state, "test"))
    return job


def _cases(state: dict[str, np.ndarray], prefix: str) -> Iterator[tuple[Tensor, np.ndarray]]:
    for i in range(sum(name.startswith(f"{prefix}/") for name in state) // 2):
        yield torch.from_numpy(state[f"{prefix}/{i}/image"]), state[f"{prefix}/{i}/label"]


def batches(job: Job, client: int, round: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch, in the order that all programs share."""
    settings, images, labels = job.settings, job.images[client], job.labels[client]
    stream = torch.Generator().manual_seed(settings.seeds[round][client][epoch])
    order = torch.randperm(len(images), generator=stream).to(job.device)
    for chosen in torch.tensor_split(order, math.ceil(len(images) / settings.batch_size)):
        batch = images[chosen], labels[chosen]
        if settings.augment:
            from fedbench.engine.augmentation import augment

            batch = augment(*batch, settings.mirror_axes, stream)
        yield batch[0].contiguous(memory_format=job.layout), batch[1]


def make_loss() -> nn.Module:
    """Return the loss that all programs share."""
    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def train_client(job: Job, model: nn.Module, client: int, round: int) -> None:
    """Train ``model`` for one client's round."""
    settings, loss = job.settings, make_loss()
    model.train()
    if settings.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(
            model.parameters(), settings.rates[round], weight_decay=settings.weight_decay, fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), settings.rates[round], settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    for epoch in range(settings.epochs):
        for images, labels in batches(job, client, round, epoch):
            with torch.autocast(job.device.type, torch.bfloat16, enabled=settings.bf16):
                logits = model(images)
            optimizer.zero_grad(set_to_none=True)
            loss(logits.float(), labels).backward()
            optimizer.step()


class FedAvg:
    """The whole algorithm: one network, trained by one client after the other, and a running mean of the results."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = job.network()
        self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def round(self, number: int) -> None:
        """Train all clients and average their weights by their numbers of images, in float64 as fedbench does."""
        total = sum(len(images) for images in self.job.images)
        mean = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in self.weights.items() if v.is_floating_point()}
        for client, images in enumerate(self.job.images):
            self.model.load_state_dict(self.weights)
            train_client(self.job, self.model, client, number)
            state = self.model.state_dict()
            for name, value in mean.items():
                value.add_(state[name].double(), alpha=len(images) / total)
        for name, value in self.weights.items():  # of counters, which have no mean, the last client's
            self.weights[name] = mean[name].to(value.dtype) if name in mean else state[name].clone()

    @torch.inference_mode()
    def predict(self, image: Tensor) -> np.ndarray:
        """Return the label map ``(X, Y, Z)`` of a case ``(Z, C, X, Y)``."""
        self.model.eval()
        with torch.autocast(self.job.device.type, torch.bfloat16, enabled=self.job.settings.bf16):
            logits = self.model(image.to(self.job.device).contiguous(memory_format=self.job.layout))
        return logits.argmax(1).permute(1, 2, 0).cpu().numpy()

    def validate(self) -> float:
        """Return the mean over clients of their mean Dice on their validation cases."""
        self.model.load_state_dict(self.weights)
        return float(np.mean([np.nanmean([self._dice(*case) for case in cases]) for cases in self.job.val]))

    def _dice(self, image: Tensor, label: np.ndarray) -> list[float]:
        predicted, dice = self.predict(image), []
        for value in range(1, self.job.settings.classes + 1):
            a, b = predicted == value, label == value
            size = np.count_nonzero(a) + np.count_nonzero(b)
            dice.append(2 * np.count_nonzero(a & b) / size if size else float("nan"))
        return dice

    def score(self) -> list[dict[str, float]]:
        """Return Dice, HD95 and NSD of every test case and class, as MONAI computes them."""
        from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
        from monai.networks.utils import one_hot

        settings, rows = self.job.settings, []
        self.model.load_state_dict(self.weights)
        for image, label in self.job.test:
            maps = (torch.from_numpy(np.ascontiguousarray(m))[None, None].long() for m in (self.predict(image), label))
            masks = [one_hot(m, settings.classes + 1) for m in maps]
            common = {"include_background": False, "spacing": tuple(settings.spacing)}
            dice = compute_dice(*masks, include_background=False)[0]
            hd95 = compute_hausdorff_distance(*masks, percentile=95, **common)[0]
            nsd = compute_surface_dice(*masks, [settings.tolerance] * settings.classes, **common)[0]
            for scores in zip(dice.tolist(), hd95.tolist(), nsd.tolist(), strict=True):
                rows.append(dict(zip(("dice", "hd95", "nsd"), scores, strict=True)))
        return rows


def main() -> None:
    """Do a job from start to end and say how long its rounds took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    job = load(options.job, options.device)
    torch.set_num_threads(job.settings.threads)
    algorithm, ends, dice = FedAvg(job), [time.time()], []
    for number in range(options.rounds or len(job.settings.rates)):
        algorithm.round(number)
        if options.score:
            dice.append(algorithm.validate())
        ends.append(time.time())
    if options.score:
        options.out.with_suffix(".json").write_text(json.dumps({"dice": dice, "cases": algorithm.score()}))
    finish(options.out, {name: value.cpu() for name, value in algorithm.weights.items()}, ends)


def finish(out: Path, weights: dict[str, Any], ends: list[float]) -> None:
    """Write the final weights and the ends of the rounds (the first value: of the preparations)."""
    np.savez(out, allow_pickle=False, **{k: np.asarray(v) for k, v in weights.items()}, ends=np.asarray(ends))


if __name__ == "__main__":
    main()
