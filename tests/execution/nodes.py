"""A real Ray cluster on one machine: every node has its own processes, and some see less of the disk than others.

A node lives in a PID namespace: killing its first process is like pulling the plug, and nothing of it is left behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.machine import PATIENCE

RAY = Path(sys.executable).with_name("ray")
APART = (
    "setpriv", "--pdeathsig", "KILL",  # a node goes when the tests do, however they end
    "unshare", *(() if os.getuid() == 0 else ("--map-root-user",)), "--mount", "--pid", "--fork", "--kill-child",
)  # fmt: skip
QUICK_TO_NOTICE = {  # a node that is gone is missed after two seconds in place of twenty
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def possible() -> bool:
    """Say whether this machine lets a process have mounts and process ids of its own."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    return subprocess.run([*APART, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


class Cluster:
    """Nodes that are started by hand and gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{_free_port()}"
        self.temporary = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: sockets lie in it
        self.environment = (
            os.environ | QUICK_TO_NOTICE | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        )
        self.nodes: list[subprocess.Popen[bytes]] = []

    def head(self, cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start the first node, the one that drivers join."""
        port = self.address.rpartition(":")[2]
        arguments = ["--head", "--port", port, "--temp-dir", str(self.temporary), "--include-dashboard", "false"]
        return self._start(arguments, "127.0.0.1", cpus, (), {})

    def node(
        self, number: int, cpus: int = 1, hidden: Sequence[Path] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start another node, to which the folders ``hidden`` look empty."""
        own = self.folder / f"node{number}"
        own.mkdir(exist_ok=True)
        environment = {"HOME": str(own), "FEDBENCH_CACHE": str(own / "cache")} | environment
        return self._start(["--address", self.address], f"127.0.0.{number}", cpus, hidden, environment)

    def _start(
        self, arguments: list[str], ip: str, cpus: int, hidden: Sequence[Path], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        ray = [
            str(RAY), "start", "--block", *arguments, "--node-ip-address", ip, "--disable-usage-stats",
            "--num-cpus", str(cpus), "--num-gpus", "0", "--object-store-memory", str(100 * 2**20),
            "--min-worker-port", "0", "--max-worker-port", "0",
        ]  # fmt: skip
        hide = "".join(f"mount -t tmpfs none {shlex.quote(str(path))} && " for path in hidden)
        log = self.folder / f"ray-{len(self.nodes)}.log"
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                [*APART, "--mount-proc", "sh", "-c", f"{hide}exec {shlex.join(ray)}"], stdin=subprocess.DEVNULL,
                stdout=stream, stderr=stream, start_new_session=True, env=self.environment | environment,
            )  # fmt: skip
        self.nodes.append(process)
        deadline = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return process


def pull_the_plug(node: subprocess.Popen[bytes]) -> None:
    """SIGKILL a node: raylet, workers, everything at once."""
    node.kill()
    node.wait()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster without nodes; at the end no process of it is left, whatever happened."""
    found = Cluster(folder)
    try:
        yield found
    finally:
        for node in found.nodes:
            pull_the_plug(node)
        shutil.rmtree(found.temporary, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
