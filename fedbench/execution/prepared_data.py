"""The prepared data that a suite's datasets mean: found, made where it is not there, and refused if it is another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from fedbench.config import DataConfig
from fedbench.data.preparation import Progress, prepare
from fedbench.data.prepared import FACTS, PreparedDataset, damage, is_store, load
from fedbench.data.resampling import same_grid
from fedbench.data.sealing import edited
from fedbench.dataset import Dataset
from fedbench.errors import UserError
from fedbench.execution.named import Entry, entry_of, make_dataset, preparing_code
from fedbench.parameters import validate
from fedbench.store import read_json

Watch = Callable[[str], Progress]  # dataset -> what is told while it is prepared


def silent(_dataset: str) -> Progress:
    """Tell nothing while a dataset is prepared."""
    return lambda done, total: None


def prepare_entry(entry: Entry, config: DataConfig, cache: Path, watch: Watch = silent) -> tuple[PreparedDataset, Path]:
    """Return the prepared dataset and its folder; a path that is a prepared store is taken as it is.

    Raises:
        UserError: the store was edited, is of another dataset, or not as ``config`` asks for.
    """
    given = Path(entry.spec.path).expanduser() if entry.spec.path else None
    if given is not None and is_store(given):
        prepared = _opened(given)
        _check_store(prepared, given, entry, config)
        return prepared, given
    dataset = make_dataset(entry.spec, entry.cls)
    folder = prepare(dataset, preparing_code(entry.code), cache, config, progress=watch(dataset.name))
    return _opened(folder), folder


def _opened(folder: Path) -> PreparedDataset:
    prepared = load(folder)
    if problems := edited(folder):
        raise UserError(problems[0])
    return prepared


def _check_store(prepared: PreparedDataset, folder: Path, entry: Entry, config: DataConfig) -> None:
    if prepared.name != entry.cls.name and not prepared.name.startswith(f"{entry.cls.name}-"):
        raise UserError(f"{folder} is a prepared store of '{prepared.name}', not of '{entry.cls.name}'.")
    made_with = (read_json(folder / FACTS) or {}).get("params", {})
    asked = validate(entry.cls.Params, dict(entry.spec.params), f"dataset '{entry.cls.name}'")
    for name, value in asked.model_dump(mode="json", exclude_unset=True).items():
        if made_with.get(name) != value:
            has = f"with {name} = {made_with[name]}" if name in made_with else f"and keeps no {name}"
            raise UserError(f"{folder} was prepared {has}, not {value}; drop [{name}=...], or prepare it again.")
    grids = {case.spacing for case in prepared.cases}
    if config.spacing is not None and any(not same_grid(grid, config.spacing[: len(grid)]) for grid in grids):
        has = " or ".join(str(list(grid)) for grid in sorted(grids))
        raise UserError(f"{folder} was prepared with spacing {has}, not {list(config.spacing)}; prepare it again.")
    if {"grey": 1, "rgb": 3}.get(config.colour, prepared.channels) != prepared.channels:
        raise UserError(
            f"{folder} was prepared with {prepared.channels} channels, not {config.colour}; prepare it again."
        )
    if prepared.label_resampling != config.label_resampling:
        raise UserError(
            f"{folder} was prepared with label_resampling = {prepared.label_resampling}, not "
            f"{config.label_resampling}; set it in [data], or prepare it again."
        )


def prepared_of(text: str, config: DataConfig, cache: Path, watch: Watch = silent) -> PreparedDataset:
    """Return the prepared dataset that ``text`` (``sts=PATH``) names, preparing it if it is not there."""
    return prepare_entry(entry_of("dataset", text), config, cache, watch)[0]


def prepared_folder_of(text: str, config: DataConfig, cache: Path, watch: Watch = silent) -> Path:
    """Return the folder of the prepared dataset that ``text`` names, preparing it if it is not there."""
    return prepare_entry(entry_of("dataset", text), config, cache, watch)[1]


def dataset_entry(text: str) -> tuple[Dataset, str]:
    """Return the dataset that ``text`` (``sts=PATH``) names, and the digest of what prepares it."""
    entry = entry_of("dataset", text)
    return make_dataset(entry.spec, entry.cls), preparing_code(entry.code)


def refuse_damage(stores: Iterable[str], stems: Collection[str] | None = None) -> None:
    """Read every array of these prepared stores, which are what runs are identified by, and what says whose they are.

    Args:
        stems: the cases that matter, by :attr:`fedbench.data.prepared.PreparedCase.stem`; None: all.

    Raises:
        UserError: an array is missing or does not match its checksum, or the store was edited.
    """
    folders = [Path(store) for store in dict.fromkeys(stores)]
    damaged = [problem for folder in folders for problem in damage(folder)]
    if stems is not None:
        damaged = [problem for problem in damaged if any(problem.startswith(f"{stem}.") for stem in stems)]
    if problems := [*(problem for folder in folders for problem in edited(folder)), *damaged]:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")
