"""What nodes have room for, and which of them compute otherwise."""

from __future__ import annotations

from types import SimpleNamespace

from fedbench.execution.cluster import Node, living_nodes, other_gpus


def test_workers_that_fit_a_node():
    node = Node("id", "name", cpus=16, gpus=2)
    assert [node.workers(3, 0), node.workers(1, 0.25), node.workers(4, 0.25)] == [5, 8, 4]
    assert [node.workers(1, 1), node.workers(1, 2), node.workers(1, 0.3333), node.workers(1, 0.6666)] == [2, 1, 6, 2]
    assert Node("id", "name", 16, 0).workers(1, 0.5) == 0


def test_gpus_of_another_model_are_named():
    """As Ray lists what nodes have; it does not know every model."""
    have = ({"CPU": 4}, {"GPU": 1, "accelerator_type:A100": 1}, {"GPU": 1, "accelerator_type:H100": 1}, {"GPU": 2})
    listed = [
        {
            "NodeID": f"id{n}",
            "NodeManagerHostname": f"host{n}",
            "NodeManagerAddress": "",
            "Resources": own,
            "Alive": True,
        }
        for n, own in enumerate(have)
    ]
    nodes = living_nodes(SimpleNamespace(nodes=lambda: listed))
    (words,) = other_gpus(nodes)
    assert "host2" in words and "has GPUs H100" in words and "host1" in words and "A100: what runs there" in words
    assert other_gpus(nodes[:2]) == other_gpus(nodes[::3]) == []
