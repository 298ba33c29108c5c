"""Where training samples are read: the memory-mapped store, or the GPU while all of them fit on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from fedbench.data.prepared import PreparedCase

SHARE = 0.2  # of a GPU's free memory that training images may take: several runs may share it


class MappedArrays:
    """Cases as the store holds them; batches are made on the CPU and moved to the device."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")

    def of(self, case: PreparedCase) -> tuple[Any, Any]:
        """Return image ``(Z, C, X, Y)`` float32 and label ``(Z, X, Y)`` uint8, as arrays that slices are taken from."""
        return case.image, case.label

    def batch(self, windows: Sequence[Any]) -> Tensor:
        """Stack windows of equal shape to a tensor on the device."""
        return moved(torch.from_numpy(np.stack(windows)), self.device)


class ResidentArrays(MappedArrays):
    """Cases on a GPU: read once, then cut and augmented there."""

    def __init__(self, cases: Iterable[PreparedCase], device: torch.device) -> None:
        super().__init__(device)
        self._cases = {
            case.id: tuple(torch.from_numpy(np.array(array)).to(device) for array in (case.image, case.label))
            for case in cases
        }

    def of(self, case: PreparedCase) -> tuple[Any, Any]:
        """Return image and label as tensors on the device."""
        return self._cases[case.id]  # type: ignore[return-value]

    def batch(self, windows: Sequence[Any]) -> Tensor:
        """Stack windows of equal shape."""
        return torch.stack(list(windows))


def arrays_on(device: torch.device, cases: Sequence[PreparedCase]) -> MappedArrays:
    """Return resident arrays if the device is a GPU with room for the cases, else mapped ones."""
    if device.type != "cuda":
        return MappedArrays(device)
    needed = sum(case.image.nbytes + case.label.nbytes for case in cases)
    free, _ = torch.cuda.mem_get_info(device)
    return ResidentArrays(cases, device) if needed <= SHARE * free else MappedArrays(device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on ``device``; a GPU takes it without making the CPU wait."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def window(array: Any, corner: Sequence[int], size: Sequence[int], fill: float) -> Any:
    """Return ``array[:, corner : corner + size]``; what lies outside is ``fill``. A view where nothing does.

    Args:
        array: numpy array or tensor ``(C, *spatial)``.
    """
    inside, outside = [slice(None)], []
    for start, width, length in zip(corner, size, array.shape[1:], strict=True):
        low, high = max(start, 0), min(start + width, length)
        inside.append(slice(low, high))
        outside.append((low - start, start + width - high))
    part = array[tuple(inside)]
    if not any(any(widths) for widths in outside):
        return part
    if isinstance(part, Tensor):
        return pad(part, [width for widths in reversed(outside) for width in widths], value=fill)
    return np.pad(part, [(0, 0), *outside], constant_values=fill)
