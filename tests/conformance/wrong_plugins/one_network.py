"""Ditto whose personal model is the global one under another name."""

from __future__ import annotations

from fedbench.algorithms.ditto import Ditto

CAUGHT_BY = {"OneNetwork": ["batches", "side-networks"]}  # whose parameters two optimisers step


class OneNetwork(Ditto):
    """Has no personal model but the global one under another name."""

    name = "one-network"

    def side_networks(self, setup):
        return {"personal": setup.model}
