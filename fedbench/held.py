"""Messages that wait for the aggregation: in memory while they are few, on disk when they are many."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

IN_MEMORY = 16 * 2**20  # bytes of one round's messages that are kept in memory


def message_bytes(message: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors of a message, as they would travel without compression."""
    return sum(value.numel() * value.element_size() for value in message.values())


class _Place(NamedTuple):
    """Where a tensor lies in the file."""

    start: int
    dtype: torch.dtype
    shape: torch.Size


class OnDisk(Mapping[str, Tensor]):
    """A message in a file; a tensor is read when it is asked for."""

    def __init__(self, file: io.BufferedRandom, message: Mapping[str, Tensor]) -> None:
        self._file = file
        self._places: dict[str, _Place] = {}
        file.seek(0, os.SEEK_END)
        for name, value in message.items():
            self._places[name] = _Place(file.tell(), value.dtype, value.shape)
            file.write(_bytes_of(value.detach().cpu().contiguous()))

    def __getitem__(self, name: str) -> Tensor:
        start, dtype, shape = self._places[name]
        value = torch.empty(shape, dtype=dtype)
        self._file.seek(start)
        if self._file.readinto(_bytes_of(value)) < value.nbytes:
            raise OSError(f"the temporary file of messages in {tempfile.gettempdir()} was cut short")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _bytes_of(value: Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor."""
    return value.reshape(-1).view(torch.uint8).numpy().data


class Held:
    """Keeps the messages of one round; those beyond ``IN_MEMORY`` bytes go to a temporary file.

    Use as a context: the file has no name, and is gone when the context or the process ends. A message reads the same
    wherever it lies.
    """

    def __init__(self, in_memory: int | None = None) -> None:
        self._left = IN_MEMORY if in_memory is None else in_memory
        self._file: io.BufferedRandom | None = None

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, message: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the message, or what reads it from disk."""
        self._left -= message_bytes(message)
        if self._left >= 0:
            return message
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="fedbench-messages-")  # noqa: SIM115 - __exit__ closes it
        return OnDisk(self._file, message)


def all_finite(state: Mapping[str, Tensor]) -> bool:
    """Say whether no float of a state is NaN or infinite."""
    sums = [value.sum(dtype=torch.float64) for value in state.values() if value.is_floating_point()]
    return not sums or bool(torch.isfinite(torch.stack(sums)).all())
