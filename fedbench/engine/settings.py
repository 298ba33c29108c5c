"""Settings of torch that belong to the process and change bits or time: what they are unless somebody sets them.

A plugin that leaves one behind would change the next run in its process, so each run starts by putting all back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules import module
from torch.optim import optimizer


@dataclass(frozen=True)
class Setting:
    """One setting: how to read it, how to set it, and what it is where nobody did."""

    get: Callable[[], Any]
    set: Callable[[Any], object]
    default: Any


def flushes_denormals() -> bool:
    """Whether this thread's arithmetic takes numbers below the smallest normal one for zero; torch does not tell."""
    return sys.float_info.min / 2 == 0


def _attribute(owner: Any, name: str, default: Any) -> Setting:
    return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), default)


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # it was set for one backend alone, by newer means
        return "mixed"


_PRECISIONS = {  # of which fp32 is made on the CPU; older versions of torch have no such choice
    f"oneDNN's precision of {kind or 'all'}": _attribute(owner, "fp32_precision", "none")
    for kind in ("", "matmul", "conv", "rnn")
    if hasattr(owner := getattr(torch.backends.mkldnn, kind, None) if kind else torch.backends.mkldnn, "fp32_precision")
}
_HOOKS = {  # torch calls these for every module and optimiser of the process
    f"{owner.__name__}.{name}": getattr(owner, name)
    for owner in (module, optimizer)
    for name in sorted(vars(owner))
    if name.startswith("_global_") and isinstance(getattr(owner, name), dict)
}


def _hooks() -> dict[str, dict[Any, Any]]:
    return {name: dict(hooks) for name, hooks in _HOOKS.items()}


def _set_hooks(wanted: dict[str, dict[Any, Any]]) -> None:
    for name, hooks in _HOOKS.items():
        hooks.clear()
        hooks.update(wanted.get(name, {}))
    if not wanted.get(f"{module.__name__}._global_backward_hooks"):
        module._global_is_full_backward_hook = None


SETTINGS = {
    "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "torch's default device": Setting(
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device == torch.device("cpu") else device),
        torch.device("cpu"),
    ),
    "torch's grad mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled, True),
    "torch's anomaly detection": Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False),
    "torch's matmul precision": Setting(_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    "torch's mixed precision": Setting(
        lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on), False
    ),
    "torch's flushing of denormal numbers": Setting(flushes_denormals, torch.set_flush_denormal, False),
    "torch's use of oneDNN": _attribute(torch.backends.mkldnn, "enabled", True),
    "oneDNN's deterministic mode": _attribute(torch.backends.mkldnn, "deterministic", False),
    "torch's use of NNPACK": Setting(torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled, True),
    **_PRECISIONS,
    "torch's hooks for all modules and optimisers": Setting(_hooks, _set_hooks, _hooks()),
}  # fmt: skip


def put_back() -> None:
    """Set everything to what it is where nobody set it."""
    for setting in SETTINGS.values():
        if setting.get() != setting.default:  # to set one may cost more than to ask
            setting.set(setting.default)
