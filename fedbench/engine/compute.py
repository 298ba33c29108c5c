"""Where and how a run computes: device, precision, memory layout, threads. The only place that names them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from fedbench.config import TrainingConfig
from fedbench.engine.arrays import moved
from fedbench.engine.settings import put_back


@dataclass(frozen=True)
class Compute:
    """A device with a precision and a layout."""

    device: torch.device
    bf16: bool
    channels_last: bool

    @classmethod
    def start(cls, config: TrainingConfig, device: str) -> Compute:
        """Fix, for this process, the thread count (it changes the last bits of sums) and deterministic kernels.

        What else an earlier run's plugin may have set in this process is put back, or it would change this run.
        """
        torch.set_num_threads(config.threads)
        put_back()
        if torch.are_deterministic_algorithms_enabled():  # to set it costs a second, even to what it is
            torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
        if device == "cuda" and config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        elif device == "cuda":
            torch.backends.cudnn.deterministic = False
            torch.backends.cudnn.benchmark = True
        return cls(torch.device(device), config.precision == "bf16", config.channels_last)

    def autocast(self) -> torch.autocast:
        """Mixed precision for a forward pass; does nothing at fp32.

        Without torch's cache of cast weights, which all threads share: when one leaves its block, the others' are
        forgotten too, and whether a weight that is used twice is cast once or twice decides how gradients are added.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

    def _layout(self, dims: int) -> torch.memory_format:
        if not self.channels_last or dims not in (4, 5):
            return torch.contiguous_format
        return torch.channels_last if dims == 4 else torch.channels_last_3d

    def images(self, images: Tensor) -> Tensor:
        """Move a batch ``(B, C, *size)`` to the device in the chosen layout."""
        there = images if images.device.type == self.device.type else moved(images, self.device)
        return there.contiguous(memory_format=self._layout(images.dim()))

    def networks(self, networks: nn.ModuleDict, spatial_dims: int) -> nn.ModuleDict:
        """Move networks to the device in the chosen layout."""
        layout = self._layout(spatial_dims + 2)
        if layout != torch.contiguous_format:
            networks.to(memory_format=layout)  # type: ignore[call-overload]
        return networks.to(self.device)

    def state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move a state to the device (a copy where the device differs)."""
        return {name: value.to(self.device, non_blocking=True) for name, value in state.items()}


def to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a detached, contiguous CPU copy that shares no memory with a live network."""
    copies = {
        name: value.detach().to("cpu", copy=True, non_blocking=True, memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    if any(value.is_cuda for value in state.values()):
        torch.cuda.synchronize()
    return copies


@contextlib.contextmanager
def own_stream(seed: int) -> Iterator[None]:
    """Run a block (network initialisation) with torch's global generator set to ``seed``, then put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
