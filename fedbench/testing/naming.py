"""Layers under other names: what is shared must not hang on how a library calls its layers."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from fedbench.testing.findings import Broken, rule
from fedbench.testing.subject import Subject

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
# What layers without children are called: normalisation layers, and all others.
CALLED = (("layer", "bn"), ("norm", "unit"), ("bn", "conv"))


@rule(
    "by-type",
    "ask isinstance(owner, _BatchNorm), never the name: MONAI calls these layers '…adn.N', and 'subnet' contains 'bn'.",
)
def by_type(subject: Subject) -> str:
    """Which entries are shared depends on the layer that owns them and its place, not on what the layer is called."""
    main, asked = subject.main.training, 0
    for norm, other in CALLED:
        networks, old_names = _renamed(main.networks, norm, other)
        algorithm = subject.make()
        algorithm.setup = replace(main.task.algorithm.setup, model=networks["model"])  # type: ignore[arg-type]
        algorithm.check(algorithm.setup)
        for prefix, owner in networks.named_modules():
            for leaf in [*dict(owner.named_parameters(recurse=False)), *dict(owner.named_buffers(recurse=False))]:
                was, now = (f"{name}.{leaf}" for name in (old_names[prefix], prefix))
                asked += 1
                if algorithm.is_shared(owner, now) != (was in main.shared):
                    verb = "is shared" if was in main.shared else "stays local"
                    raise Broken(f"{type(owner).__name__} '{was}' {verb}, but not if it is called '{now}'")
    return f"{asked} answers about layers under other names are the same"


def _renamed(networks: nn.ModuleDict, norm: str, other: str) -> tuple[nn.ModuleDict, dict[str, str]]:
    """Return a copy whose layers without children have other names, and the old name of every module."""
    renamed = copy.deepcopy(networks)
    old_names = {id(module): name for name, module in renamed.named_modules()}
    for parent in list(renamed.modules()):
        if parent is not renamed:
            parent._modules = {
                name if child is None or child._modules else f"{norm if isinstance(child, NORMS) else other}{number}":
                child for number, (name, child) in enumerate(parent._modules.items())
            }  # fmt: skip
    return renamed, {name: old_names[id(module)] for name, module in renamed.named_modules()}
