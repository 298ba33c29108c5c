"""Real processes, ``python -m fedbench`` and others, that need not import everything first.

A process that trains spends most of a test's time with imports. Here one process imports what they all need and forks
each of them: a process of its own, in a session of its own, that can be killed, stopped and waited for like any other.
What depends on how a process begins (its environment variables, say) is tested with fresh ones.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Warm:
    """A process that was forked; offers what the tests need of :class:`subprocess.Popen`.

    Args:
        command: ``python -m MODULE ...``, whichever Python it names.

    Attributes:
        returncode: None while it runs; minus the number of the signal that ended it.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        assert command[1] == "-m"
        out, err, ended = os.pipe(), os.pipe(), os.pipe()
        request = json.dumps({"command": command[2:], "folder": str(folder), "environment": dict(environment)})
        theirs = [out[1], err[1], ended[1]]
        self.pid = _forker().fork(request, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        self.returncode: int | None = None
        self._ended = ended[0]
        self._texts: dict[int, list[bytes]] = {out[0]: [], err[0]: []}  # what was read so far
        self._open = set(self._texts)

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        return self._wait(0)

    def _wait(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], seconds)[0]:
            self.returncode = int(os.read(self._ended, 100))
            os.close(self._ended)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: (standard output, standard error).

        Raises:
            subprocess.TimeoutExpired: it has not ended, or others still hold its output.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select(list(self._open), [], [], left)[0]
            if not ready:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            for descriptor in ready:
                self._texts[descriptor].append(part := os.read(descriptor, 1 << 16))
                if not part:
                    self._open.discard(descriptor)
                    os.close(descriptor)
        if self._wait(3600 if deadline is None else max(0.0, deadline - time.monotonic())) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        out, err = (b"".join(parts).decode() for parts in self._texts.values())
        return out, err


class Forker:
    """The process that has imported everything, seen from a tester."""

    def __init__(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a request is read whole
        command = [sys.executable, "-m", "tests.warm", str(there.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[there.fileno()], start_new_session=True)
        there.close()
        self._socket = here
        atexit.register(self.stop)

    def fork(self, request: str, descriptors: list[int]) -> int:
        """Return the process id."""
        socket.send_fds(self._socket, [request.encode()], descriptors)
        return int(self._socket.recv(100))

    def stop(self) -> None:
        """It ends when nobody is there to ask."""
        self._socket.close()
        self._process.wait()


_FORKERS: list[Forker] = []


def _forker() -> Forker:
    if not _FORKERS:
        _FORKERS.append(Forker())
    return _FORKERS[0]


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork whenever it is asked for; the process that was forked returns with its request, this one with None."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends: dict[int, int] = {}  # process -> where its exit status is awaited
    while True:
        ready = select.select([asked, woken], [], [])[0]
        if woken in ready:
            woken.recv(1 << 16)
            _tell(ends)
        if asked not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        if not message:
            return None
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (asked, woken, wake, *ends.values()):
                os.close(end if isinstance(end, int) else end.detach())
            return json.loads(message) | {"descriptors": descriptors}
        for descriptor in descriptors[:2]:
            os.close(descriptor)
        ends[pid] = descriptors[2]
        asked.send(str(pid).encode())


def _tell(ends: dict[int, int]) -> None:
    """Write the exit status of each process that has ended."""
    for pid in list(ends):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with contextlib.suppress(BrokenPipeError):
                os.write(ends[pid], str(os.waitstatus_to_exitcode(status)).encode())
            os.close(ends.pop(pid))


def _become(request: dict[str, Any]) -> None:
    """Be ``python -m MODULE`` from here on."""
    out, err, ended = request["descriptors"]
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(descriptor, standard)
    for descriptor in (nothing, out, err, ended):
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv, sys.path[0] = request["command"], request["folder"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import, then serve whoever holds the other end of the socket."""
    import monai.inferers
    import monai.losses
    import monai.networks.nets  # noqa: F401
    import torch._dynamo  # noqa: F401 (the first optimiser imports it)

    import fedbench.cli
    import fedbench.execution.runner  # noqa: F401

    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        _become(request)


if __name__ == "__main__":
    main()
