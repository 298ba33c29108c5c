"""Messages that wait for the aggregation: in memory while they are few, on disk when they are many."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

IN_MEMORY = 8 * 2**20  # bytes of one round's messages that are kept in memory


def message_bytes(message: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors of a message, as they would travel without compression."""
    return sum(value.numel() * value.element_size() for value in message.values())


class _Place(NamedTuple):
    """Where a tensor lies in a message."""

    start: int
    dtype: torch.dtype
    shape: torch.Size


class _Layout:
    """How messages with the same names, types and shapes lie in the file."""

    def __init__(self, message: Mapping[str, Tensor]) -> None:
        self.places: dict[str, _Place] = {}
        self.size = 0
        for name, value in message.items():
            self.places[name] = _Place(self.size, value.dtype, value.shape)
            self.size += value.nbytes

    def suits(self, message: Mapping[str, Tensor]) -> bool:
        """Say whether a message lies like this."""
        return list(message) == list(self.places) and all(
            (value.dtype, value.shape) == self.places[name][1:] for name, value in message.items()
        )


class OnDisk(Mapping[str, Tensor]):
    """A message in the file of :class:`Held`; a tensor is read when it is asked for."""

    def __init__(self, held: Held, start: int, layout: _Layout) -> None:
        self._held, self._round, self._start, self._layout = held, held.round, start, layout

    def __getitem__(self, name: str) -> Tensor:
        start, dtype, shape = self._layout.places[name]
        if self._round != self._held.round:
            raise RuntimeError("this message is of an earlier round; keep a copy of what you need of it")
        value = torch.empty(shape, dtype=dtype)
        self._held.read(self._start + start, _bytes_of(value))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.places)

    def __len__(self) -> int:
        return len(self._layout.places)


def _flat(value: Tensor) -> Tensor:
    return value.detach().cpu().reshape(-1).view(torch.uint8)


def _bytes_of(value: Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor."""
    return _flat(value).numpy().data


class Held:
    """Keeps the messages of one round after the other; those beyond ``IN_MEMORY`` bytes go to a temporary file.

    Use as a context: the file has no name, and is gone when the context or the process ends. A message reads the same
    wherever it lies, until :meth:`clear`.

    Attributes:
        round: how many rounds' messages were cleared away.
    """

    def __init__(self, in_memory: int | None = None) -> None:
        self._in_memory = IN_MEMORY if in_memory is None else in_memory
        self._file: io.BufferedRandom | None = None
        self._layout: _Layout | None = None
        self.round = 0
        self.clear()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.clear()
        if self._file is not None:
            self._file.close()

    def clear(self) -> None:
        """Forget all messages. Their place on disk is used again, which costs less than new pages."""
        self._left, self._end = self._in_memory, 0
        self.round += 1

    def keep(self, message: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the message, or what reads it from disk."""
        self._left -= message_bytes(message)
        if self._left >= 0 or not message:
            return message
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="fedbench-messages-")  # noqa: SIM115 - __exit__ closes it
        if self._layout is None or not self._layout.suits(message):
            self._layout = _Layout(message)
        kept = OnDisk(self, self._end, self._layout)
        self._file.seek(self._end)
        self._end += self._file.write(_bytes_of(torch.cat([_flat(value) for value in message.values()])))
        return kept

    def read(self, start: int, into: memoryview) -> None:
        """Fill ``into`` from the file.

        Raises:
            OSError: it is shorter than what was written.
        """
        assert self._file is not None
        self._file.seek(start)
        if self._file.readinto(into) < into.nbytes:
            raise OSError(f"the temporary file of messages in {tempfile.gettempdir()} was cut short")


def all_finite(state: Mapping[str, Tensor]) -> bool:
    """Say whether no float of a CPU state is NaN or infinite."""
    return first_broken(state) is None


def first_broken(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first entry of a CPU state that holds NaN or an infinity, None if none does.

    One pass over the numbers: whatever is not finite leaves no sum finite. A sum may also overflow, so then every entry
    is looked at.
    """
    floats = {
        name: value if value.element_size() >= 4 else value.float()  # there is no sum of 8 bits
        for name, value in state.items()
        if value.is_floating_point()
    }
    if math.isfinite(sum(value.sum().item() for value in floats.values())):
        return None
    return next((name for name, value in floats.items() if not torch.isfinite(value).all()), None)
