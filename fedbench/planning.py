"""Suite -> cells: prepares the data, draws the partitions, and refuses impossible combinations before anything runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench import __version__, registry
from fedbench.algorithm import Algorithm
from fedbench.compute import Compute
from fedbench.config import DataConfig, EvaluationConfig, ModelConfig, TrainingConfig, digest
from fedbench.dataset import Dataset
from fedbench.errors import UserError
from fedbench.federation import partition
from fedbench.preparation import PreparedDataset, load, prepare
from fedbench.suite import Cell, Suite
from fedbench.training import Task, Training


@dataclass(frozen=True)
class _Entry:
    spec: registry.Spec
    cls: type[Any]
    code: str


def plan(suite: Suite, cache: Path, device: str = "cpu") -> list[Cell]:
    """Return the cells of ``suite`` in the order they run: dataset, seed, algorithm.

    Args:
        cache: where prepared datasets are kept.
        device: ``cpu`` or ``cuda``; part of a run's identity, since it changes the bits.

    Raises:
        UserError: anything about the suite, its plugins or its data that would make a run fail.
    """
    training = resolve(suite.training, device)
    algorithms = [_entry("algorithm", text) for text in suite.algorithms]
    datasets = [_entry("dataset", text) for text in suite.datasets]
    for entry in algorithms:  # parameters first: cheap to check, and data may take minutes to prepare
        make_algorithm(entry.spec, entry.cls)
    cells = []
    for entry in datasets:
        prepared, folder = prepare_entry(entry, suite.data, cache)
        for seed in suite.seeds:
            federation = partition(prepared, suite.data, seed)
            for algorithm in algorithms:
                identity = {
                    "fedbench": __version__,
                    "harness": registry.harness_digest(),
                    "dataset": entry.cls.name,
                    "dataset_params": dict(entry.spec.params),
                    "dataset_code": entry.code,
                    "dataset_content": prepared.content,
                    "partition": federation.digest,
                    "algorithm": algorithm.cls.name,
                    "algorithm_params": make_algorithm(algorithm.spec, algorithm.cls).params.model_dump(),
                    "algorithm_code": algorithm.code,
                    "seed": seed,
                    "device": device,
                    "model": suite.model.model_dump(mode="json"),
                    "training": training.model_dump(mode="json"),
                    "data": suite.data.model_dump(mode="json"),
                    "evaluation": {"nsd_tolerance_mm": suite.evaluation.nsd_tolerance_mm},
                }
                label = algorithm.cls.name + algorithm.spec.text.removeprefix(algorithm.spec.name)
                cell = Cell(identity, _absolute(algorithm.spec), str(folder.resolve()), label)
                if seed == suite.seeds[0]:
                    Training(make_task(cell, prepared), Compute.start(training, "cpu"))
                cells.append(cell)
    ids = [cell.id for cell in cells]
    if len(set(ids)) < len(ids):
        raise UserError("two algorithms of the suite are the same run; drop one of them.")
    return cells


def resolve(training: TrainingConfig, device: str) -> TrainingConfig:
    """Replace ``auto`` by what suits the machine: bf16 where it is computed in hardware, else fp32."""
    if training.precision != "auto":
        return training
    return training.model_copy(update={"precision": "bf16" if _has_bf16(device) else "fp32"})


def _has_bf16(device: str) -> bool:
    if device != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return sys.platform == "darwin"
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _entry(kind: registry.Kind, text: str) -> _Entry:
    spec = registry.parse_spec(text)
    cls = registry.load(kind, registry.find(kind, spec.name))
    return _Entry(spec, cls, registry.code_digest(cls))


def _absolute(spec: registry.Spec) -> str:
    if ".py" not in spec.name:
        return spec.text
    path, _, class_name = spec.name.rpartition(":") if not spec.name.endswith(".py") else (spec.name, "", "")
    name = str(Path(path).expanduser().resolve()) + (f":{class_name}" if class_name else "")
    return registry.Spec(name, spec.params).text


def make_algorithm(spec: registry.Spec, cls: type[Algorithm]) -> Algorithm:
    """Return the algorithm with its parameters checked."""
    return cls(**dict(spec.params))


def prepare_entry(entry: _Entry, config: DataConfig, cache: Path) -> tuple[PreparedDataset, Path]:
    """Return the prepared dataset and its folder."""
    dataset: Dataset = entry.cls(entry.spec.path, **dict(entry.spec.params))
    folder = prepare(dataset, digest([entry.code, registry.harness_digest()]), cache, config.spacing)
    return load(folder), folder


def sample_size(prepared: PreparedDataset, model: ModelConfig, data: DataConfig) -> tuple[int, ...]:
    """Return the spatial size of a training sample: from the suite, else the dataset's (3-D: with a depth of 16).

    Raises:
        UserError: not as many numbers as the model has axes, or not multiples of 16.
    """
    size = data.size or (prepared.size if model.spatial_dims == 2 else (*prepared.size[:2], 16))
    if len(size) != model.spatial_dims:
        raise UserError(f"[data] size has {len(size)} numbers, the model is {model.spatial_dims}-D.")
    whole = tuple(int(n) for n in size)
    if any(n % 16 for n in whole):
        raise UserError(f"[data] size {list(whole)}: every number must be a multiple of 16.")
    return whole


def make_task(cell: Cell, prepared: PreparedDataset | None = None) -> Task:
    """Rebuild from a cell what a run needs; used when planning and again in the worker.

    Raises:
        UserError: the data or the plugin no longer is what was planned.
    """
    identity = cell.identity
    prepared = prepared or load(Path(cell.prepared))
    data = DataConfig(**identity["data"])
    model = ModelConfig(**identity["model"])
    federation = partition(prepared, data, identity["seed"])
    if federation.digest != identity["partition"]:
        raise UserError(f"run {cell.id}: the prepared data in {cell.prepared} changed since the run was planned.")
    spec = registry.parse_spec(cell.algorithm)
    cls = registry.load("algorithm", registry.find("algorithm", spec.name))
    if registry.code_digest(cls) != identity["algorithm_code"]:
        raise UserError(f"run {cell.id}: the source of '{spec.name}' changed since the run was planned; start again.")
    return Task(
        federation=federation,
        algorithm=make_algorithm(spec, cls),
        seed=identity["seed"],
        classes=len(prepared.classes),
        channels=prepared.channels,
        size=sample_size(prepared, model, data),
        mirror_axes=prepared.mirror_axes,
        model=model,
        training=TrainingConfig(**identity["training"]),
        data=data,
    )


def evaluation_of(cell: Cell) -> EvaluationConfig:
    """Return how a cell is scored."""
    return EvaluationConfig(**cell.identity["evaluation"])
