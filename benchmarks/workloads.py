"""The work that is measured: suites, the runs they plan, and the same work in a file for the bare loop and peers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bare import JOB, STATE, Settings
from fedbench import store
from fedbench.data.prepared import PreparedCase
from fedbench.engine import checkpoint
from fedbench.engine.compute import Compute
from fedbench.engine.inference import truth
from fedbench.engine.task import Task, learning_rate
from fedbench.engine.training import Training
from fedbench.execution import planning
from fedbench.federation import ClientData
from fedbench.streams import derive_seed
from fedbench.suite import Cell, make_suite

SHAPES = f"{Path(__file__).with_name('shapes.py')}:Shapes"
PREFIX = "model.net."  # of MONAI's own names in fedbench's states

FOUR_CLIENTS: dict[str, Any] = {
    "algorithms": ["fedavg"],
    "datasets": [f"{SHAPES}[clients=4,patients=6,slices=8,size=64]"],
    "seeds": [0],
    "model": {"name": "unet", "norm": "instance-plain", "channels": [16, 32, 64, 128]},
    "training": {
        "rounds": 5, "batch_size": 8, "optimizer": "sgd", "lr": 1e-3, "schedule": "constant", "augment": False,
        "precision": "fp32", "threads": 1,
    },
    "data": {"test_fraction": 0.17, "val_fraction": 0.17},
}  # fmt: skip
"""4 clients with 32 slices 64x64 (4 patients) to train on, MONAI's UNet as it is by default, plain SGD.

The learning rate is small so that rounding errors do not grow: then programs that add in another order can be compared.
"""

HEART: dict[str, Any] = {
    "algorithms": ["fedavg"],
    "datasets": ["phantom-heart"],
    "seeds": [0],
    "training": {"rounds": 5, "lr": 3e-3},
}
"""What `fedbench run -a fedavg -d phantom-heart` does: fedbench's defaults."""


def changed(suite: Mapping[str, Any], **training: Any) -> dict[str, Any]:
    """Return a copy of ``suite`` with other training settings."""
    new = copy.deepcopy(dict(suite))
    new["training"] = new.get("training", {}) | training
    return new


def write_suite(suite: Mapping[str, Any], file: Path) -> Path:
    """Write ``suite`` as TOML (of its plain values, JSON is TOML too)."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in suite.items() if not isinstance(value, dict)]
    for name, values in suite.items():
        if isinstance(values, dict):
            plain += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    file.write_text("\n".join(plain) + "\n", encoding="utf-8")
    return file


def cells(suite: Mapping[str, Any], out: Path, device: str = "cpu") -> list[Cell]:
    """Plan the runs of ``suite``; data is prepared where ``fedbench run --out OUT`` would look for it."""
    out.mkdir(parents=True, exist_ok=True)
    return planning.plan(make_suite(dict(suite)), out / ".prepared", device)


def fresh_results(out: Path, plan: Path) -> Path:
    """Make an empty results folder that shares the prepared data of ``plan``; return it."""
    out.mkdir(parents=True)
    (out / ".prepared").symlink_to((plan / ".prepared").resolve())
    return out


def task_of(suite: Mapping[str, Any], out: Path, device: str = "cpu") -> Task:
    """Return the task of the first run of ``suite``."""
    return planning.make_task(cells(suite, out, device)[0])


def start(task: Task, device: str = "cpu", at_once: int = 1) -> Training:
    """Return a training of ``task`` that has not begun."""
    return Training(task, Compute.start(task.training, device), at_once)


def export(task: Task, folder: Path, tolerance: float = 3.0) -> Path:
    """Write what a run of ``task`` by FedAvg starts from, for programs that do not know fedbench; return ``folder``.

    ``state.npz``: images and labels of every client, the start weights under MONAI's names, validation and test cases;
    ``job.json``: :class:`benchmarks.bare.Settings`.
    """
    training = start(task)
    arrays: dict[str, np.ndarray] = {}
    for k, (client, samples) in enumerate(zip(training.clients, training.sets, strict=True)):
        everything = range(len(samples))
        images, labels = samples._stack(everything, torch.Generator())
        arrays |= {f"client/{k}/images": images.numpy(), f"client/{k}/labels": labels.numpy()}
        arrays |= _cases(f"val/{k}", client.val)
    arrays |= _cases("test", task.federation.test)
    for name, value in training.server.weights.items():
        arrays[f"start/{name.removeprefix(PREFIX)}"] = value.numpy()
    config = task.training
    settings = Settings(
        network=type(training.networks["model"].net).__name__,
        network_arguments=_network_arguments(task),
        classes=task.classes,
        clients=len(training.clients),
        epochs=config.local_epochs,
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        rates=[learning_rate(config, r) for r in range(config.rounds)],
        seeds=[[_seeds(task, c, r) for c in training.clients] for r in range(config.rounds)],
        augment=config.augment,
        mirror_axes=list(task.mirror_axes),
        bf16=config.precision == "bf16",
        channels_last=config.channels_last,
        threads=config.threads,
        spacing=list(task.federation.test[0].spacing),
        tolerance=tolerance,
    )
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / STATE, allow_pickle=False, **arrays)
    (folder / JOB).write_text(json.dumps(asdict(settings)), encoding="utf-8")
    return folder


def _seeds(task: Task, client: ClientData, round: int) -> list[int]:
    return [derive_seed("batches", task.seed, client.name, round, e) for e in range(task.training.local_epochs)]


def _cases(prefix: str, cases: Sequence[PreparedCase]) -> dict[str, np.ndarray]:
    images = {f"{prefix}/{i}/image": np.array(case.image) for i, case in enumerate(cases)}
    return images | {f"{prefix}/{i}/label": np.array(truth(case)) for i, case in enumerate(cases)}


def _network_arguments(task: Task) -> dict[str, Any]:
    """The arguments of MONAI's class, written down once more so that the comparison would notice a difference."""
    norm = {"batch": ["batch", {}], "instance-plain": ["instance", {"affine": False}]}[task.model.norm]
    common = {"spatial_dims": 2, "in_channels": task.channels, "out_channels": task.classes + 1, "norm": norm}
    if task.model.name == "basicunet":
        widths = list(task.model.channels or (16, 16, 32, 64, 128))
        return common | {"features": [*widths, widths[0]]}
    widths = list(task.model.channels or (16, 32, 64, 128))
    return common | {"channels": widths, "strides": [2] * (len(widths) - 1), "num_res_units": 2}


def weights_of_run(root: Path, run_id: str) -> dict[str, np.ndarray]:
    """Return the final weights of a finished run under MONAI's names."""
    tensors, _ = checkpoint.load(root / run_id / store.CHECKPOINT)
    return monai_names({k.removeprefix("server/weights/"): v for k, v in tensors.items() if "server/weights/" in k})


def monai_names(weights: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return fedbench's state of the segmentation network under MONAI's own names."""
    return {name.removeprefix(PREFIX): value.numpy() for name, value in weights.items()}


def largest_difference(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """Return the largest absolute difference of two states with the same entries."""
    if a.keys() != b.keys():
        raise ValueError(f"different entries: {sorted(a.keys() ^ b.keys())[:4]}")
    return max(float(np.abs(a[name].astype(np.float64) - b[name]).max(initial=0.0)) for name in a)
