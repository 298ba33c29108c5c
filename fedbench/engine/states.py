"""Where lies what clients keep between rounds: in memory while it is little, in files when it is much.

Nothing here changes a number, so it is no part of a run's identity.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedbench.algorithm import ClientState, State
from fedbench.engine.held import message_bytes
from fedbench.errors import UserError

IN_MEMORY = 32 * 2**20  # bytes of all clients' local entries, or of their memories, that stay in memory
ALIGNMENT = 64  # bytes, as torch's own memory: what is computed on a tensor may depend on where it begins
ZEROS = memoryview(bytes(2**16))


def kept(states: Sequence[ClientState]) -> list[ClientState]:
    """Return states that are used like these, whose tensors lie in files if those of all take more than ``IN_MEMORY``.

    Raises:
        UserError: there is no room for the files; also later, when a state is given tensors.
    """
    pieces = Pieces()
    return [_Kept(state, IN_MEMORY // len(states), pieces) for state in states]


class _Kept(ClientState):
    """A client's state; what it is given is put into a file if it takes more than ``in_memory`` bytes."""

    def __init__(self, state: ClientState, in_memory: int, pieces: Pieces) -> None:
        self._in_memory, self._pieces = in_memory, pieces
        super().__init__(state.name, state.samples, state.local, state.memory)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("local", "memory") and message_bytes(value) > self._in_memory:
            value = self._pieces.put(value)
        super().__setattr__(name, value)


class Pieces:
    """Files without names, mapped into memory; each holds the tensors of one state, as long as one of them is used.

    Their memory is the system's: it writes pages back and takes them away when it needs room. A file is used again for
    the next state of its size, which costs less than new memory.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = {}  # whole files that nobody uses, by their bytes

    def put(self, state: Mapping[str, Tensor]) -> State:
        """Return copies of CPU tensors, in a file; they may be used, and changed, like any others.

        Raises:
            UserError: there is no room for the file.
        """
        starts = [0]
        for value in state.values():
            starts.append(starts[-1] + -(-value.nbytes // ALIGNMENT) * ALIGNMENT)
        storage = self._piece(starts[-1]).untyped_storage()
        copies = {}
        for start, (name, value) in zip(starts, state.items(), strict=False):
            room = torch.empty(0, dtype=value.dtype)  # no view of another tensor, which takes more memory
            room.set_(storage, start // value.element_size(), value.shape)  # type: ignore[call-overload]
            copies[name] = room.copy_(value)
        return copies

    def _piece(self, size: int) -> Tensor:
        """Return bytes of a file, which is free again when the last tensor on them is gone."""
        free = self._free.setdefault(size, [])
        try:
            whole = free.pop()
        except IndexError:
            whole = _file(size)
        array = whole.numpy()[:]  # an object of its own, which the tensors on it keep alive
        weakref.finalize(array, free.append, whole).atexit = False
        return torch.from_numpy(array)


def _file(size: int) -> Tensor:
    """Return the bytes of a new file without a name."""
    try:
        with tempfile.TemporaryFile(prefix="fedbench-states-") as file:
            for start in range(0, size, len(ZEROS)):  # no hole: a full disk says so here, and later kills the process
                file.write(ZEROS[: size - start])
            file.flush()
            return torch.from_file(f"/dev/fd/{file.fileno()}", shared=True, size=size, dtype=torch.uint8)
    except OSError as error:
        raise UserError(
            f"what clients keep between rounds found no room in {tempfile.gettempdir()} ({error.strerror}). Free some, "
            "or set TMPDIR to a folder with more; the run goes on from its last checkpoint."
        ) from None
