"""Averages that are right for parameters and wrong for BatchNorm's buffers."""

from __future__ import annotations

from fedbench.algorithms.fedavg import FedAvg

CAUGHT_BY = {
    "ParametersOnly": ["buffers"],
    "FirstClientsBuffers": ["buffers", "order"],
    "MeanOfCounts": ["buffers"],
    "BeyondTheMean": ["buffers"],
}


class ParametersOnly(FedAvg):
    """Averages parameters(); running statistics stay what they were."""

    name = "parameters-only"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        learned = {f"model.{name}" for name, _ in self.setup.model.named_parameters()}
        server.weights = {name: value if name in learned else before[name] for name, value in server.weights.items()}


class FirstClientsBuffers(FedAvg):
    """Averages parameters() and takes the buffers of the client that came first."""

    name = "first-clients-buffers"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        for name, _ in self.setup.model.named_buffers():
            server.weights[f"model.{name}"] = uploads[0].message[f"model.{name}"]


class MeanOfCounts(FedAvg):
    """Averages num_batches_tracked as if it were a weight."""

    name = "mean-of-counts"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        for name in [name for name in server.weights if name.endswith("num_batches_tracked")]:
            counts = [upload.message[name] for upload in uploads]
            server.weights[name] = sum(counts) // len(counts)


class BeyondTheMean(FedAvg):
    """Takes twice the way to the mean with everything, running statistics too."""

    name = "beyond-the-mean"

    def aggregate(self, server, uploads):
        before = server.weights
        super().aggregate(server, uploads)
        for name, value in server.weights.items():
            if value.is_floating_point():
                server.weights[name] = before[name].lerp(value, 2.0)
