"""What determines the bits of results on a machine: packages, harness, and what the CPU computes with."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "monai", "numpy", "scipy", "pandas", "ray")
Installation = Mapping[str, str]  # what -> which
# Of the CPU: no part of what is installed, and no reason to refuse a node. The second is absent where it is not known,
# the third (variables by which a user chooses how the CPU computes) where none is set.
INSTRUCTIONS, BF16, VARIABLES = "instructions", "bf16_instructions", "variables"
NO_VARIABLES = "no variables that choose how"


@cache
def versions() -> Mapping[str, str]:
    """Of what is installed: without Ray, runs can still be made in this process. Read once, as what is imported is."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def describer() -> Callable[[], dict[str, str]]:
    """Return a function that describes where it is called; it needs nothing of the fedbench of that machine."""

    def describe() -> dict[str, str]:
        """What is installed on this node, and what its CPU computes with."""
        import importlib.metadata
        import os
        import platform

        choosing = (  # what torch says of its own instructions tells ATEN_CPU_CAPABILITY
            "ONEDNN_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA",
            "DNNL_CPU_ISA_HINTS", "DNNL_DEFAULT_FPMATH_MODE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
            "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES",
        )  # fmt: skip
        facts, packages = {"python": platform.python_version().rpartition(".")[0]}, ("torch", "monai", "numpy", "scipy")
        if chosen := ", ".join(f"{name}={os.environ[name]}" for name in choosing if os.environ.get(name)):
            facts["variables"] = chosen
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
                flags = next((line.split() for line in lines if line.startswith("flags")), [])
            if flags:
                own = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
                facts["bf16_instructions"] = " and ".join(own) or "none"
        except OSError:
            pass
        try:
            for name in packages:
                facts[name] = importlib.metadata.version(name)
            import torch

            facts["instructions"] = torch.backends.cpu.get_cpu_capability()
            from fedbench import __version__
            from fedbench.sources import harness_digest

            facts |= {"fedbench": __version__, "fedbench's source": harness_digest()[:12]}
        except ImportError as error:  # also: such a package has no metadata
            facts[next((name for name in packages if name not in facts), "fedbench")] = f"missing ({error})"
        return facts

    return describe


def installation() -> Installation:
    """Return what determines the bits of results on this machine, whatever the run."""
    return describer()()


def differences(driver: Installation, node: Installation) -> list[str]:
    """Return what is installed otherwise on a node than at the driver, in words."""
    there = {what: node.get(what, "unknown") for what in driver if what not in (INSTRUCTIONS, BF16, VARIABLES)}
    return [f"{what} is {there[what]}, here {driver[what]}" for what in there if there[what] != driver[what]]


def other_instructions(driver: Installation, node: Installation, bf16: bool) -> str:
    """Say in what a node's CPU computes otherwise than the driver's, at bf16 or without; or nothing."""
    for which, what in ((INSTRUCTIONS, "with"), (BF16, "bf16 with")) if bf16 else ((INSTRUCTIONS, "with"),):
        here, there = driver.get(which), node.get(which)
        if here != there and (which == INSTRUCTIONS or (here and there)):
            return f"computes {what} {there}, this machine with {here}"
    here, there = driver.get(VARIABLES), node.get(VARIABLES)
    return f"computes with {there or NO_VARIABLES}, this machine with {here or NO_VARIABLES}" if here != there else ""
