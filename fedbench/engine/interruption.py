"""Ctrl-C while clients train side by side: their threads are asked to end, and one in which a plugin hangs is left."""

from __future__ import annotations

import os
import sys
import threading

CLIENT_THREAD = "client of a round"  # how the names of these threads begin
PATIENCE = 5.0  # seconds for a step that is under way


def end_if_clients_hang(status: int) -> None:
    """End the process if a client's thread is still there: Python would wait for it, for ever where it hangs."""
    for thread in threading.enumerate():
        if thread.name.startswith(CLIENT_THREAD):
            thread.join(1)
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
