"""FedDA whose discriminator looks at the decoder's maps, so that the adversarial gradient leaks into the decoder."""

from __future__ import annotations

import torch

from fedbench.algorithms.fedavg import FedAvg
from fedbench.algorithms.fedda import FedDAJoint, PatchDiscriminator, judge

CAUGHT_BY = {"LeakingDiscriminator": ["reach"]}


class LeakingDiscriminator(FedDAJoint):
    """D judges logits."""

    name = "leaking-discriminator"

    def side_networks(self, setup):
        return {"discriminator": PatchDiscriminator(3, setup.model.spatial_dims)}

    def begin_round(self, client):
        if client.round > 0:
            client.scratch["target"] = client.frozen(client.received)["model"]

    def local_step(self, step):
        if "target" in step.client.scratch:
            with torch.no_grad():
                target = step.client.scratch["target"](step.images)
            self.train_discriminator(step, step.logits.detach(), target)
        FedAvg.local_step(self, step)

    def loss(self, step):
        loss = FedAvg.loss(self, step)
        if "target" not in step.client.scratch:
            return loss
        return loss + self.params.lam * judge(step.client.networks["discriminator"](step.logits), 0.0)
