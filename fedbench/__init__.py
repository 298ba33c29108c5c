"""fedbench: federated aggregation algorithms compared on identical modality partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]

if TYPE_CHECKING:
    from fedbench.analysis.evidence import load_results


def __getattr__(name: str) -> Any:
    if name == "load_results":  # lazy: pandas is not needed to print a help text
        from fedbench.analysis.evidence import load_results

        return load_results
    raise AttributeError(f"module 'fedbench' has no attribute '{name}'")
