"""Everything a suite can set about a run: validated, immutable, hashable as canonical JSON. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from fedbench.errors import nearest
from fedbench.parameters import Parameters

MODELS = {
    "basicunet": "MONAI BasicUNet, five levels (Falk et al. 2019); the default",
    "unet": "MONAI UNet with residual units (Kerfoot et al. 2018)",
    "segresnet": "MONAI SegResNet without its autoencoder branch (Myronenko 2018)",
}

Selection = Literal["last", "best-validation"]  # which round's models
SELECTIONS: tuple[str, ...] = get_args(Selection)


class ModelConfig(Parameters):
    """What network to train. ``channels``: encoder widths from input to bottleneck; None is the network's default."""

    name: str = "basicunet"
    norm: Literal["batch", "instance", "instance-plain", "group"] = "batch"
    spatial_dims: Literal[2, 3] = 2
    channels: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(None, min_length=2)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MODELS:
            raise ValueError(f"no model named '{name}'{nearest(name, MODELS)}")
        return name


class TrainingConfig(Parameters):
    """The budget and the local training, the same for every algorithm of a suite.

    ``lr`` decays over the rounds; within a round it is constant. ``precision = "auto"`` is resolved once, where the
    runs are planned, and the resolved value is part of the run's identity. On CPUs of the same vector instructions (at
    bf16 also of the same ones for bf16) a run gives the same bits; on a GPU only as far as ``deterministic`` kernels
    exist, and faster without them.
    ``label_edges``: what labels are where ``augment`` reaches beyond a sample, whose image repeats its edge there:
    repeated too, or background.
    """

    rounds: int = Field(30, ge=1)
    local_epochs: int = Field(1, ge=1)
    batch_size: int = Field(8, ge=1)
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd only
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    augment: bool = True
    label_edges: Literal["repeat", "background"] = "repeat"
    validate_every: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    deterministic: bool = True
    threads: int = Field(1, ge=1, le=1024)


class DataConfig(Parameters):
    """Grid, split and partition. None takes what the dataset declares.

    Grid: ``spacing`` is the common voxel size of all modalities in mm (px for pictures), ``size`` the voxels of a
    training sample per axis (2-D: in plane; 3-D models: the patch), ``colour`` what a model sees: one channel, three,
    or three only if an image has them (auto). ``label_resampling``: the class that has most of a voxel, or that
    of the nearest raw voxel, which lies half a raw voxel off the image where the grid gets coarser by an even factor.

    Split: ``split_seed`` fixes the test patients for all seeds of a suite; ``folds`` makes every patient a test patient
    once, ``fold`` (set by the planner) says when.

    Partition: one client per modality; ``clients_per_modality`` divides each, evenly or skewed by Dirichlet
    distributions (``size_skew``, ``class_skew``: their concentration, smaller is more uneven); ``modality_mix`` is the
    share of a modality's patients that stay with its clients; ``clients = "site"`` makes one client per hospital.

    ``hide_test`` (set by ``tune``, refused in suites) keeps test cases from a run: the same clients, no scores.
    """

    spacing: tuple[float, ...] | None = None
    size: tuple[int, ...] | None = None
    colour: Literal["auto", "grey", "rgb"] = "auto"
    label_resampling: Literal["majority", "nearest"] = "majority"
    patches_per_case: int = Field(4, ge=1)  # per epoch: patches of a volume (3-D models); most crops of a 2-D picture
    test_fraction: float = Field(0.3, gt=0, lt=1)
    val_fraction: float = Field(0.15, gt=0, lt=1)
    split_seed: int = 0
    folds: int | None = Field(None, ge=2)
    fold: int | None = Field(None, ge=0)
    leave_out: str | None = None
    clients: Literal["modality", "site"] = "modality"
    clients_per_modality: int = Field(1, ge=1)
    size_skew: float | None = Field(None, gt=0)
    class_skew: float | None = Field(None, gt=0)
    modality_mix: float | None = Field(None, gt=0, le=1)
    unlabelled_share: float = 0.0
    hide_test: bool = False

    @field_validator("spacing", "size")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (len(value) not in (2, 3) or min(value) <= 0):
            raise ValueError("needs 2 or 3 positive numbers")
        return value

    @field_validator("unlabelled_share")
    @classmethod
    def _all_labelled(cls, value: float) -> float:
        if value:
            raise ValueError(
                "learning from unlabelled cases is not what fedbench compares: every training case has its mask. For a "
                "client with few labelled cases make the sizes uneven (clients_per_modality with size_skew)"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError("test_fraction + val_fraction must be below 1: no patient is left to train on")
        if self.fold is not None and self.folds is None:
            raise ValueError(f"fold {self.fold} is one of how many? Set folds, alone to run all of them")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"there is no fold {self.fold} of {self.folds}: they count from 0, so the last one is "
                f"{self.folds - 1}; give folds alone to run all of them"
            )
        if self.clients_per_modality == 1 and (self.size_skew or self.class_skew):
            raise ValueError("size_skew and class_skew divide a modality among clients: set clients_per_modality")
        if self.clients == "site" and (self.clients_per_modality > 1 or self.modality_mix is not None):
            raise ValueError(
                'clients = "site" takes the hospitals as they are: drop clients_per_modality, modality_mix'
            )
        return self


class EvaluationConfig(Parameters):
    """How deployed models are scored, and what will be compared, declared before anything is looked at.

    ``selection`` is the rule tables use: the last round or the best validation. The primary endpoint is ``metric`` on
    the modalities of ``relation`` (``in``: a client's own, ``cross``: the others', ``unseen``: nobody's); ``reference``
    is the algorithm that all others are compared with. ``reestimate`` also scores models for everybody with the
    statistics of their BatchNorm layers taken anew from the training images of the modality in question.
    """

    nsd_tolerance_mm: float = Field(3.0, gt=0)
    nsd_tolerance_px: float = Field(2.0, gt=0)  # of pictures, whose pixels have no size in mm
    reestimate: bool = False
    selection: Selection = "last"
    relation: Literal["in", "cross", "unseen"] = "cross"
    metric: Literal["dice", "hd95", "nsd"] = "dice"
    reference: str = "fedavg"


EARLIER: dict[str, dict[str, Any]] = {
    "training": {"label_edges": "background"},
    "data": {"label_resampling": "nearest"},
}  # what runs did whose identity does not say, because they are older than the choice
SCORING = ("nsd_tolerance_mm", "nsd_tolerance_px", "reestimate")  # determine scores; the rest says what is compared


def section_of(identity: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return a section of a run's identity, with what runs did that are older than a key: :data:`EARLIER`."""
    return EARLIER.get(section, {}) | identity.get(section, {})


def canonical(value: Any) -> str:
    """Return ``value`` (plain types only) as JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 hex digest of :func:`canonical`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
