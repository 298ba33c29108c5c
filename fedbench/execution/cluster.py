"""Joining Ray: on this machine alone, or a cluster whose nodes are first compared with the driver.

A run's bits depend on the harness, on Python and on the packages that compute. A node where one of them is another is
refused before anything runs, in words that say which node and what. They also depend on the CPU's vector instructions,
at bf16 on what computes that, and on the GPU; a node that has others is used, and named.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench.errors import UserError
from fedbench.execution.installation import describer, differences, installation, other_instructions
from fedbench.files import locked, try_lock

TOKENS = ".cluster"  # under the results folder
ALIVE = "fedbench.lock"  # in the folder of a session of Ray that was started here; held as long as its driver lives
PROBE_SECONDS = 120.0  # a node's first worker process imports torch, perhaps from a network drive


CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # unless "0", Ray's servers listen on every interface, on Linux too


@contextlib.contextmanager
def join(address: str | None, cpus: int) -> Iterator[Any]:
    """Connect to the Ray cluster at ``address``, or start Ray on this machine with ``cpus``; yields the module ``ray``.

    Raises:
        UserError: there is no such cluster, this process cannot take part in it, or Ray does not start here.
    """
    set_here = address is None and CLUSTERS not in os.environ
    if set_here:
        os.environ[CLUSTERS] = "0"
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM) if in_main_thread else None
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    held = contextlib.ExitStack()
    left: Path | None = None  # what Ray leaves on the disk: megabytes of logs and sockets for every start
    try:
        if address is None:
            left = _start(ray, cpus, common)
            _remove_dead_sessions(left.parent)
            held.enter_context(locked(left / ALIVE))
        else:
            _connect(ray, address, common)
        if on_sigterm is not None:
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own way is to abort
        yield ray
    finally:
        ray.shutdown()
        held.close()
        if left is not None:
            _remove_session(left)
        if set_here:
            os.environ.pop(CLUSTERS, None)


def _start(ray: Any, cpus: int, common: dict[str, Any]) -> Path:
    """Start Ray on this machine alone; returns the folder of its session."""
    try:
        started = ray.init(
            address="local",  # whatever cluster else this machine or RAY_ADDRESS knows of
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=128 * 1024 * 1024,
            _node_ip_address="127.0.0.1",
            **common,
        )
    except Exception as error:  # Ray raises nothing narrower when one of its processes is late
        raise UserError(
            f"Ray did not start on this machine: {_reason(error)}\nA machine that other work keeps busy may be too "
            "slow for it. Give the command again, which repeats nothing that is finished, or add --workers 0, which "
            f"does without Ray. Ray's logs are in {Path(os.environ.get('RAY_TMPDIR', '/tmp'), 'ray')}."
        ) from None
    return Path(started.address_info["session_dir"])


def _connect(ray: Any, address: str, common: dict[str, Any]) -> None:
    """Connect to the cluster at ``address``."""
    if address.startswith("ray://"):
        raise UserError(f"--address {address}: start fedbench on a node of the cluster and give --address auto.")
    try:
        _knock(address)
        ray.init(address=address, **common)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"no Ray cluster to join at --address {address}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The last line of what Ray says, or what kind of error it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:400]


def _remove_session(folder: Path) -> None:
    """Remove the folder of a Ray that was started here and has ended, and the link to it as the latest."""
    shutil.rmtree(folder, ignore_errors=True)
    latest = folder.with_name("session_latest")
    with contextlib.suppress(OSError):
        if latest.is_symlink() and Path(os.readlink(latest)).name == folder.name:
            latest.unlink()


def _remove_dead_sessions(folder: Path) -> None:
    """Remove the sessions of drivers of fedbench that were killed, which no lock tells to live; nobody else's."""
    for mark in folder.glob(f"session_*/{ALIVE}"):
        with contextlib.suppress(OSError), try_lock(mark) as free:
            if free and not mark.parent.is_symlink():
                _remove_session(mark.parent)


def _knock(address: str) -> None:
    """Raise :class:`OSError` at once where nobody listens; Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10).close()


# -- nodes ---------------------------------------------------------------------------------------------------------


GPU_MODEL = "accelerator_type:"  # how Ray's resources name a node's GPUs


@dataclass(frozen=True)
class Node:
    """A living node: Ray's id of it, what people call it, and what it has; the model of its GPUs where Ray knows it."""

    id: str
    name: str
    cpus: float
    gpus: float
    model: str = ""

    def workers(self, threads: int, gpus: float) -> int:
        """How many workers of ``threads`` CPUs and a share ``gpus`` of a GPU fit on it."""
        by_cpu = int(self.cpus // threads)
        if gpus <= 0:
            return by_cpu
        per_gpu = int(1 / gpus + 1e-3) if gpus < 1 else 1  # no worker has parts of two GPUs
        return min(by_cpu, int(self.gpus // max(gpus, 1)) * per_gpu)


def living_nodes(ray: Any) -> list[Node]:
    """Return the nodes that Ray believes alive, by name."""
    nodes = [
        Node(
            n["NodeID"],
            f"{n['NodeManagerHostname']} ({n['NodeManagerAddress']}, node {n['NodeID'][:8]})",
            n["Resources"].get("CPU", 0.0),
            n["Resources"].get("GPU", 0.0),
            next((what.removeprefix(GPU_MODEL) for what in sorted(n["Resources"]) if what.startswith(GPU_MODEL)), ""),
        )
        for n in ray.nodes()
        if n["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.name, node.id))


# -- the same installation -----------------------------------------------------------------------------------------


def other_gpus(nodes: Sequence[Node]) -> list[str]:
    """Say in words which nodes have GPUs of another model than the first node with any; Ray knows not every model."""
    known = [node for node in nodes if node.gpus and node.model]
    return [
        f"{node.name} has GPUs {node.model}, {known[0].name} {known[0].model}: what runs there is not the same to the "
        "last bit"
        for node in known
        if node.model != known[0].model
    ]


def compare_nodes(ray: Any, nodes: Sequence[Node], bf16: bool, gpus: bool) -> list[str]:
    """Ask every node what is installed there; return in words which compute with another processor.

    Args:
        bf16: whether runs compute with it on the CPU.
        gpus: whether runs compute on GPUs.

    Raises:
        UserError: a node differs from this machine, or does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    # a function defined in a function travels as code, not as a name: nodes with another fedbench can run it
    ask = ray.remote(num_cpus=0, max_retries=0)(describer())
    answers = {ask.options(scheduling_strategy=OnNode(node_id=node.id, soft=False)).remote(): node for node in nodes}
    own, problems, others = installation(), [], []
    ray.wait(list(answers), num_returns=len(answers), timeout=PROBE_SECONDS)
    for reference, node in answers.items():
        try:
            there = ray.get(reference, timeout=0)
            problems += [f"{node.name}: {words}" for words in differences(own, there)]
            if words := other_instructions(own, there, bf16):
                others.append(f"{node.name} {words}: what runs there on the CPU is not the same to the last bit")
        except ray.exceptions.RayError as error:
            if node in living_nodes(ray):  # one that was lost meanwhile harms nobody
                problems.append(f"{node.name}: no answer ({type(error).__name__})")
    if problems:
        raise UserError(
            "these nodes would not give the same bits as this machine: " + "; ".join(problems)
            + ". Install the same there, or take them out of the cluster."
        )  # fmt: skip
    return others + (other_gpus(nodes) if gpus else [])


# -- a folder that is seen from elsewhere --------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A file that the driver wrote: whoever reads the same there sees the same folder."""

    path: str
    text: str

    def seen(self) -> bool:
        """Say whether it is visible on this machine."""
        try:
            return Path(self.path).read_text(encoding="utf-8") == self.text
        except (OSError, UnicodeDecodeError):
            return False


@contextlib.contextmanager
def token_in(root: Path) -> Iterator[Token]:
    """Write a token under ``root``; it is gone afterwards."""
    text = secrets.token_hex(16)
    path = root / TOKENS / text  # a name of its own: network drives remember that a name was not there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        yield Token(str(path), text)
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another driver's token lies there
            path.parent.rmdir()
