"""Messages that wait for the aggregation: in memory while they are few, on disk when they are many."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

IN_MEMORY = 256 * 2**20  # bytes of one round's messages that are kept in memory


def message_bytes(message: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors of a message, as they would travel without compression."""
    return sum(value.numel() * value.element_size() for value in message.values())


class OnDisk(Mapping[str, Tensor]):
    """A message in a file; a tensor is read when it is asked for."""

    def __init__(self, file: Path, message: Mapping[str, Tensor]) -> None:
        self._file = file
        self._names = tuple(message)
        save_file(dict(message), file)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._file, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Held:
    """Keeps the messages of one round; those beyond ``IN_MEMORY`` bytes go to a temporary folder.

    Use as a context: the folder is gone afterwards. A message reads the same wherever it lies.
    """

    def __init__(self, in_memory: int | None = None) -> None:
        self._left = IN_MEMORY if in_memory is None else in_memory
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def keep(self, message: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the message, or what reads it from disk."""
        self._left -= message_bytes(message)
        if self._left >= 0:
            return message
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fedbench-messages-")
        self._count += 1
        distinct = {name: value.contiguous() for name, value in message.items()}
        return OnDisk(Path(self._folder.name) / f"{self._count}.safetensors", distinct)


def all_finite(state: Mapping[str, Tensor]) -> bool:
    """Say whether no float of a state is NaN or infinite."""
    sums = [value.sum(dtype=torch.float64) for value in state.values() if value.is_floating_point()]
    return not sums or bool(torch.isfinite(torch.stack(sums)).all())
