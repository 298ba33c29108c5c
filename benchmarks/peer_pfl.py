"""The job of :mod:`benchmarks.bare` by pfl-research; runs in the peers' environment, without fedbench.

``python -m benchmarks.peer_pfl JOB OUT.npz ROUNDS``. One process, as many threads as the job says.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from benchmarks import bare


def with_loss(model: nn.Module) -> nn.Module:
    """Give a MONAI network the two methods that pfl asks for."""
    criterion = bare.make_loss()

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        model.train()
        return criterion(model(images), labels)

    model.loss = loss
    model.metrics = lambda images, labels: {"loss": Weighted(0.0, len(images))}
    return model


class Clock(TrainingProcessCallback):
    """Notes when rounds end."""

    def __init__(self) -> None:
        self.ends = [time.time()]

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        """Called by pfl."""
        self.ends.append(time.time())
        return False, Metrics()


def main() -> None:
    """Do the job from start to end."""
    job, out, rounds = bare.load(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    settings = job.settings
    torch.set_num_threads(settings.threads)
    seen: Counter[int] = Counter()

    def data_of(client: int) -> Dataset:
        """One epoch of a client in the order all programs share; pfl cuts it into batches."""
        stream = torch.Generator().manual_seed(settings.seeds[seen[client]][client][0])
        seen[client] += 1
        order = torch.randperm(len(job.images[client]), generator=stream)
        images = job.images[client][order].contiguous(memory_format=job.layout)
        return Dataset([images, job.labels[client][order]], user_id=str(client))

    users = itertools.cycle(range(settings.clients))
    training = FederatedDataset(data_of, lambda: next(users))
    network = with_loss(job.network())
    model = PyTorchModel(
        network,
        local_optimizer_create=lambda parameters, lr: torch.optim.SGD(parameters, lr, settings.momentum, fused=True),
        central_optimizer=torch.optim.SGD(network.parameters(), 1.0),
    )
    assert all(len(images) % settings.batch_size == 0 for images in job.images)  # else pfl's batches would be others
    parameters = NNAlgorithmParams(
        central_num_iterations=rounds, evaluation_frequency=math.inf, train_cohort_size=settings.clients,
        val_cohort_size=None,
    )  # fmt: skip
    local = NNTrainHyperParams(
        local_num_epochs=1, local_learning_rate=settings.rates[0], local_batch_size=settings.batch_size
    )
    clock = Clock()
    FederatedAveraging().run(
        parameters, SimulatedBackend(training, training), model, local, callbacks=[clock],
        send_metrics_to_platform=False,
    )  # fmt: skip
    bare.finish(out, {k: v.detach().numpy() for k, v in network.state_dict().items()}, clock.ends)


if __name__ == "__main__":
    main()
