"""Suite -> cells: prepares the data, draws the partitions, and refuses impossible combinations before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from fedbench import __version__, registry
from fedbench.config import SCORING, DataConfig, EvaluationConfig, ModelConfig, TrainingConfig, section_of
from fedbench.data.prepared import PreparedDataset, load
from fedbench.engine.compute import Compute
from fedbench.engine.task import Task, sample_size
from fedbench.engine.training import Training
from fedbench.errors import UserError, nearest
from fedbench.execution.named import Entry, entry_of, label_of, make_algorithm, refusing_broken
from fedbench.execution.prepared_data import Watch, prepare_entry, silent
from fedbench.execution.provenance import take_note
from fedbench.federation import partition
from fedbench.models import SegmentationNetwork
from fedbench.sources import code_digest, harness_changed, harness_digest
from fedbench.suite import Cell, Suite

EACH = "each"  # leave_out: every modality in turn


def plan(
    suite: Suite, cache: Path, device: str = "cpu", watch: Watch = silent,
    is_done: Callable[[str], bool] = lambda _: False,
) -> list[Cell]:  # fmt: skip
    """Return the cells of ``suite`` in the order they run: dataset, modality left out, fold, seed, algorithm.

    Args:
        cache: where prepared datasets are kept.
        device: ``cpu`` or ``cuda``; part of a run's identity, since it changes the bits.
        is_done: of which runs, by id, it need not be tried whether they can be set up.

    Raises:
        UserError: anything about the suite, its plugins or its data that would make a run fail, or fedbench itself was
            edited while it was imported.
    """
    take_note()
    if harness_changed():
        raise UserError("the source of fedbench changed since it was imported; start again.")
    training = resolve(suite.training, device)
    algorithms, datasets = plugins_of(suite)
    cells: list[Cell] = []
    for entry in datasets:
        narrow: bool | None = None  # a bottleneck of one voxel: whether a run can be set up depends on its seed too
        prepared, folder = prepare_entry(entry, suite.data, cache, watch)
        if prepared.name in {cell.identity["dataset"] for cell in cells}:
            raise UserError(
                f"two datasets of the suite are named '{prepared.name}'; run them apart, with another --out."
            )
        if suite.model.spatial_dims == 3 and all(len(case.shape) == 2 for case in prepared.cases):
            raise UserError(
                f"[model] spatial_dims = 3, but the images of '{prepared.name}' have two axes; use spatial_dims = 2."
            )
        for data in variants(suite.data, prepared):
            for seed in suite.seeds:
                federation = partition(prepared, data, seed)
                shared = {
                    "fedbench": __version__,
                    "harness": harness_digest(),
                    "dataset": prepared.name,
                    "dataset_params": dict(entry.spec.params),
                    "dataset_code": entry.code,
                    "dataset_content": prepared.content,
                    "partition": federation.digest,
                    "seed": seed,
                    "device": device,
                    "model": suite.model.model_dump(mode="json"),
                    "training": training.model_dump(mode="json"),
                    "data": data.model_dump(mode="json"),
                    "evaluation": suite.evaluation.model_dump(mode="json", include=set(SCORING)),
                }
                for algorithm in algorithms:
                    cell = _cell(algorithm, shared, folder, suite)
                    if (seed == suite.seeds[0] or narrow is not False) and not is_done(cell.id):
                        with refusing_broken(algorithm.spec, algorithm.cls):
                            tried = Training(make_task(cell, prepared), Compute.start(training, "cpu"))
                        narrow = _refuse_size(tried)
                    cells.append(cell)
    first: dict[str, Cell] = {}
    for cell in cells:
        if first.setdefault(cell.id, cell) is not cell:
            both = f"'{first[cell.id].label}' and '{cell.label}'"
            raise UserError(f"two algorithms of the suite are the same run: {both}; drop one of them.")
    return cells


def plugins_of(suite: Suite) -> tuple[list[Entry], list[Entry]]:
    """Return the algorithms and datasets of ``suite``; nothing is prepared or written.

    Raises:
        UserError: one does not exist or shares its name with another, or a parameter of an algorithm is refused.
    """
    algorithms = [entry_of("algorithm", text) for text in suite.algorithms]
    datasets = [entry_of("dataset", text) for text in suite.datasets]
    _refuse_shared_names(algorithms)
    _refuse_unknown_reference(suite, [entry.cls.name for entry in algorithms])
    for entry in algorithms:
        make_algorithm(entry.spec, entry.cls)
    return algorithms, datasets


SPATIAL_NORMS = ("instance", "instance-plain")  # whose statistics are of one sample's voxels in one channel


def _refuse_size(training: Training) -> bool:
    """Refuse samples that the network's levels cannot halve, or of which they leave one value to normalise.

    Returns:
        whether they leave one voxel of a sample, so that BatchNorm needs two samples in every batch.
    """
    size, divisor = training.task.size, cast(SegmentationNetwork, training.networks["model"]).divisor
    norm, narrow = training.task.model.norm, all(length == divisor for length in size)
    if narrow and norm in SPATIAL_NORMS:
        raise UserError(
            f"[data] size {list(size)}: the network of [model] halves it to a single voxel, of which norm '{norm}' "
            "makes nothing; give a larger --size, or fewer levels."
        )
    alone = [s.name for s, own in zip(training.states, training.sets, strict=True) if len(own) // own.steps == 1]
    if narrow and norm == "batch" and alone:
        raise UserError(
            f"[data] size {list(size)}: the network of [model] halves it to a single voxel, of which norm 'batch' "
            f"makes nothing in a batch of one sample, as client '{alone[0]}' has; give a larger --size, fewer levels, "
            "or another training.batch_size."
        )
    if any(length % divisor for length in size):
        raise UserError(
            f"[data] size {list(size)}: with its levels the network of [model] takes multiples of {divisor}; give "
            "another --size, or fewer levels."
        )
    return narrow


def _refuse_shared_names(algorithms: list[Entry]) -> None:
    """Refuse two algorithms of one name, such as a plugin called as one of ours: tables could not tell them apart."""
    first: dict[str, Entry] = {}
    for entry in algorithms:
        other = first.setdefault(entry.cls.name, entry)
        if other.code != entry.code:
            raise UserError(
                f"two algorithms of the suite are named '{entry.cls.name}': '{other.spec.text}' and "
                f"'{entry.spec.text}'; give one of them another name."
            )


def _refuse_unknown_reference(suite: Suite, own: list[str]) -> None:
    """Refuse a reference that is no algorithm at all, before anything is trained; which runs there are is not asked."""
    known = {*own, *registry.discover("algorithm")}
    try:
        name = registry.parse_spec(suite.evaluation.reference.partition(" (")[0]).name
    except UserError as error:
        raise UserError(f"[evaluation] reference = '{suite.evaluation.reference}': {error}") from None
    if name not in known:
        raise UserError(
            f"[evaluation] reference = '{suite.evaluation.reference}': no such algorithm{nearest(name, known)}"
        )


def _cell(algorithm: Entry, shared: dict[str, Any], folder: Path, suite: Suite) -> Cell:
    identity = shared | {
        "algorithm": algorithm.cls.name,
        "algorithm_params": make_algorithm(algorithm.spec, algorithm.cls).params.model_dump(),
        "algorithm_code": algorithm.code,
    }
    label = label_of(algorithm.spec, algorithm.cls)
    declared = {"suite": suite.name, **suite.evaluation.model_dump(mode="json", exclude=set(SCORING))}
    return Cell(identity, _absolute(algorithm.spec), str(folder.resolve()), label, declared)


def variants(data: DataConfig, prepared: PreparedDataset) -> list[DataConfig]:
    """Return one configuration per modality left out (``leave_out = "each"``) and fold (``folds`` without ``fold``)."""
    unseen = sorted(prepared.modalities) if data.leave_out == EACH else [data.leave_out]
    folds = [data.fold] if data.folds is None or data.fold is not None else range(data.folds)
    return [DataConfig(**data.model_dump() | {"leave_out": m, "fold": f}) for m in unseen for f in folds]


def resolve(training: TrainingConfig, device: str) -> TrainingConfig:
    """Replace ``auto`` by what suits this machine: bf16 where it is computed in hardware, else fp32.

    A driver without a GPU of its own takes those of its cluster for such as compute bf16.
    """
    if training.precision != "auto":
        return training
    return training.model_copy(update={"precision": "bf16" if _has_bf16(device) else "fp32"})


def _has_bf16(device: str) -> bool:
    if device != "cpu":
        import torch

        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return sys.platform == "darwin"
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _absolute(spec: registry.Spec) -> str:
    if ".py" not in spec.name:
        return spec.text
    path, _, class_name = spec.name.rpartition(":") if not spec.name.endswith(".py") else (spec.name, "", "")
    name = str(Path(path).expanduser().resolve()) + (f":{class_name}" if class_name else "")
    return registry.Spec(name, spec.params).text


def make_task(cell: Cell, prepared: PreparedDataset | None = None) -> Task:
    """Rebuild from a cell what a run needs; used when planning and again in the worker.

    Raises:
        UserError: the data or the plugin no longer is what was planned.
    """
    identity = cell.identity
    prepared = prepared or load(Path(cell.prepared))
    data = DataConfig(**section_of(identity, "data"))
    model = ModelConfig(**identity["model"])
    federation = partition(prepared, data, identity["seed"])
    if federation.digest != identity["partition"]:
        raise UserError(f"run {cell.id}: the prepared data in {cell.prepared} changed since the run was planned.")
    spec, cls = registry.named("algorithm", cell.algorithm)
    if code_digest(cls) != identity["algorithm_code"]:
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
        training=TrainingConfig(**section_of(identity, "training")),
        data=data,
    )


def evaluation_of(cell: Cell) -> EvaluationConfig:
    """Return how a cell is scored."""
    return EvaluationConfig(**cell.identity["evaluation"])
