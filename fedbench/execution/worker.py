"""A worker: a process somewhere in the cluster that takes one run after another."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.errors import UserError
from fedbench.execution.cluster import Token
from fedbench.execution.delivery import Delivery, own_folder, work_apart
from fedbench.execution.installation import Installation, differences, installation
from fedbench.execution.provenance import take_note
from fedbench.execution.runner import Inputs, Options, Outcome, events
from fedbench.execution.shipping import Bytes, Shipment, Sources, has_content, node_cache, unpack_sources, unpack_store
from fedbench.sources import harness_changed
from fedbench.suite import Cell

if TYPE_CHECKING:
    from fedbench.execution.packing import Footprint


@dataclass(frozen=True)
class Briefing:
    """What every worker is told first.

    Attributes:
        root: the driver's results folder.
        driver: what is installed there, and the source that its runs are planned for.
        token: to find out whether ``root`` is the same folder here; None: the worker is on the driver's machine.
        stores: digest of the content of every prepared store, by folder.
    """

    root: str
    driver: Installation
    token: Token | None = None
    stores: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Greeting:
    """What a worker answers: on which node it is, what it cannot see, and in what it differs from the driver."""

    node: str
    apart: bool = False
    lacks: frozenset[str] = frozenset()
    differs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cargo:
    """What travels with a run: data for a worker that lacks it, source that it may lack, a checkpoint to go on from."""

    store: Shipment | None = None
    sources: Sources | None = None
    checkpoint: Bytes | None = None


class Worker:
    """Lives in its own process and runs one cell after another."""

    def __init__(self) -> None:
        self._open = ExitStack()  # what it holds as long as it lives
        self._checked: set[Path] = set()  # prepared stores in the node's cache

    def greet(self, briefing: Briefing) -> Greeting:
        """Look around; say what was found.

        On the driver's machine too it may differ: it imports what is there when it is hired, perhaps hours after.
        """
        import ray

        take_note()
        differs = differences(briefing.driver, installation())
        if harness_changed():
            differs.append("fedbench's source changed while it was imported")

        self.root, self.apart = Path(briefing.root), False
        node = ray.get_runtime_context().get_node_id()
        if briefing.token is None:
            return Greeting(node, differs=tuple(differs))
        self.cache = node_cache()
        self.apart = not briefing.token.seen()
        if self.apart:
            self.root = self._open.enter_context(own_folder(self.cache))
        stores = briefing.stores or {}
        lacks = frozenset(folder for folder, content in stores.items() if not has_content(Path(folder), content))
        return Greeting(node, self.apart, lacks, tuple(differs))

    def work(self, cell: Cell, options: Options, cargo: Cargo) -> Iterator[Delivery | Outcome]:
        """Run ``cell``; yields what the driver must write if it alone sees the results folder, and the outcome last."""
        try:
            inputs = self._inputs(cell, cargo)
            if self.apart:
                yield from work_apart(cell, self.root, options, inputs, cargo.checkpoint)
            else:
                yield from (event for event in events(cell, self.root, options, inputs) if isinstance(event, Outcome))
        except (OSError, UserError) as error:  # no room on this node, or what came is not whole
            yield Outcome(cell.id, "failed", error=f"on node {platform.node()}: {error}")

    def measure(self, cell: Cell, cargo: Cargo) -> Footprint:
        """Return what ``cell`` needs of this worker's GPU."""
        from fedbench.execution import packing

        inputs = self._inputs(cell, cargo)
        return packing.measure(replace(cell, prepared=inputs.prepared, algorithm=inputs.algorithm))

    def _inputs(self, cell: Cell, cargo: Cargo) -> Inputs:
        prepared = cell.prepared
        if cargo.store is not None:
            prepared = str(unpack_store(cargo.store, self.cache, _fetch, self._checked))
        algorithm = cell.algorithm if cargo.sources is None else unpack_sources(cargo.sources, self.cache)
        return Inputs(prepared, algorithm)


def _fetch(reference: Any) -> Bytes:
    import ray

    return ray.get(reference)
