"""What a worker says of where it is."""

from __future__ import annotations

from types import SimpleNamespace

import ray

from fedbench.execution.cluster import token_in
from fedbench.execution.installation import installation
from fedbench.execution.worker import Briefing, Greeting, Worker


def test_a_worker_says_in_what_it_differs_from_the_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setenv("FEDBENCH_CACHE", str(tmp_path / "cache"))
    driver = installation() | {"torch": "0.1"}
    with token_in(tmp_path) as token:
        greeting = Worker().greet(Briefing(str(tmp_path), driver, token))
    assert greeting == Greeting("here", differs=(f"torch is {installation()['torch']}, here 0.1",))
