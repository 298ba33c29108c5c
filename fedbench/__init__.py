"""fedbench: federated aggregation algorithms compared on identical modality partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "load_results"]

if TYPE_CHECKING:
    from fedbench.analysis.loading import load_results
    from fedbench.execution.trained import load_model


def __getattr__(name: str) -> Any:
    if name == "load_results":  # lazy: pandas is not needed to print a help text
        from fedbench.analysis.loading import load_results

        return load_results
    if name == "load_model":  # nor is torch
        from fedbench.execution.trained import load_model

        return load_model
    raise AttributeError(f"module 'fedbench' has no attribute '{name}'")
