"""What nodes have room for, and which of them compute otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from fedbench.errors import UserError
from fedbench.execution.cluster import Node, compare_nodes, living_nodes, other_gpus


def listed(*have: dict[str, float], alive: bool = True) -> list[dict[str, Any]]:
    """Nodes with what each has, as Ray lists them."""
    return [
        {
            "NodeID": f"{n + 1:056x}",
            "NodeManagerHostname": f"host{n}",
            "NodeManagerAddress": "",
            "Resources": own,
            "Alive": alive,
        }
        for n, own in enumerate(have)
    ]


def test_workers_that_fit_a_node():
    node = Node("id", "name", cpus=16, gpus=2)
    assert [node.workers(3, 0), node.workers(1, 0.25), node.workers(4, 0.25)] == [5, 8, 4]
    assert [node.workers(1, 1), node.workers(1, 2), node.workers(1, 0.3333), node.workers(1, 0.6666)] == [2, 1, 6, 2]
    assert Node("id", "name", 16, 0).workers(1, 0.5) == 0


def test_gpus_of_another_model_are_named():
    """As Ray lists what nodes have; it does not know every model."""
    have = ({"CPU": 4}, {"GPU": 1, "accelerator_type:A100": 1}, {"GPU": 1, "accelerator_type:H100": 1}, {"GPU": 2})
    nodes = living_nodes(SimpleNamespace(nodes=lambda: listed(*have)))
    (words,) = other_gpus(nodes)
    assert "host2" in words and "has GPUs H100" in words and "host1" in words and "A100: what runs there" in words
    assert other_gpus(nodes[:2]) == other_gpus(nodes[::3]) == []


def test_a_living_node_that_does_not_answer_is_refused_by_name_and_a_lost_one_is_not():
    """A stand-in for Ray, but for its errors: nobody answers in time."""

    def get(_reference, timeout):
        raise ray.exceptions.GetTimeoutError("too late")

    ask = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=object))
    alive = [True]
    stand_in = SimpleNamespace(
        nodes=lambda: listed({"CPU": 4}, alive=alive[0]), remote=lambda **_: lambda _function: ask,
        wait=lambda *_, **__: None, get=get, exceptions=ray.exceptions,
    )  # fmt: skip
    nodes = living_nodes(stand_in)
    with pytest.raises(UserError, match=r"host0 .*: no answer \(GetTimeoutError\)"):
        compare_nodes(stand_in, nodes, bf16=False, gpus=False)
    alive[0] = False
    assert compare_nodes(stand_in, nodes, bf16=False, gpus=False) == []
