"""FedDA: adversarial feature alignment between clients that hold different modalities.

Zhou et al., 2025, arXiv 2509.23907. Neither the authors' code nor their hyper-parameters were available: what is not in
the paper (discriminator, schedule, both readings of ``exchange``) is a reconstruction, and results must be labelled so.

A discriminator D tells "source" bottleneck maps (local model, local data; label 1) from "target" maps (label 0), and
the encoder learns to make D take its maps for target maps:

    D step:      1/2 [BCE(D(sg(f)), 1) + BCE(D(t), 0)]
    model step:  L_seg + lambda_t * BCE(D(f), 0)            (D frozen; f = bottleneck, so only the encoder feels it)

Target maps come from one peer per round (cyclic) or from all (joint), and are either the target encoder's maps of the
client's own images (``exchange = weights``: only weights travel) or maps that peers computed on their own images
(``exchange = features``: feature maps leave the client, which can leak what the images show).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam, Optimizer

from fedbench.algorithm import MODEL, Client, ClientState, Message, Server, Setup, Step, Upload, pack, unpack
from fedbench.algorithms.fedavg import FedAvg
from fedbench.errors import UserError
from fedbench.parameters import hyperparameter

RAMP = 0.2  # share of the rounds over which lambda rises from 0
TARGET = "target"
FEATURES = "features"


class PatchDiscriminator(nn.Sequential):
    """Fully convolutional, LeakyReLU 0.2, no norm layers: ``(B, channels, ...) -> (B, 1, ...)`` patch logits."""

    def __init__(self, channels: int, spatial_dims: int, width: int = 64) -> None:
        conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        super().__init__(
            conv(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            conv(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            conv(width, 1, 1),
        )


def judge(logits: Tensor, label: float) -> Tensor:
    """Mean binary cross-entropy of patch logits against one label (1 = source, 0 = target)."""
    return binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, label, dtype=torch.float32))


class FedDA(FedAvg):
    """What both variants share; a variant says who the peers are and where the target encoder comes from."""

    is_fedavg_with = {"lam": 0.0}
    terms_move = "encoder"

    class Params(FedAvg.Params):
        lam: float = hyperparameter(0.01, search=[0.001, 0.005, 0.01, 0.05], ge=0, doc="final adversarial weight")
        exchange: Literal["weights", "features"] = hyperparameter("weights", doc="what travels besides the weights")
        bank: int = hyperparameter(64, ge=1, doc="feature maps a client sends per round (exchange=features)")

    def peers(self, index: int, clients: int, round: int) -> list[int]:
        """Return the indices of the clients whose feature maps are the target of client ``index``."""
        raise NotImplementedError("a variant of FedDA names its peers")

    def remembered(self, message: Message) -> Message:
        """Return what the server keeps of an upload to send to peers."""
        return {FEATURES: message[FEATURES]} if self.params.exchange == "features" else {}

    def target_encoder(self, client: Client) -> Message:
        """Return the target encoder's entries with ``exchange = weights``; empty where there is none yet."""
        raise NotImplementedError("a variant of FedDA names its target encoder")

    def check(self, setup: Setup) -> None:
        """Refuse a federation of one: there is nobody to align with."""
        if len(setup.clients) < 2:
            raise UserError(f"algorithm '{self.name}' needs at least two clients; the federation has one.")

    def side_networks(self, setup: Setup) -> dict[str, nn.Module]:
        """The client's discriminator."""
        return {"discriminator": PatchDiscriminator(setup.model.bottleneck_channels, setup.model.spatial_dims)}

    def is_shared(self, owner: nn.Module, name: str) -> bool:
        """The discriminator stays with its client."""
        return not name.startswith("discriminator.")

    def optimizers(self, client: Client, make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> dict[str, Optimizer]:
        """The suite's optimiser for the network, Adam for D."""
        discriminator = client.networks["discriminator"]
        return {
            "main": make(client.model.parameters()),
            "discriminator": Adam(discriminator.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True),
        }

    def upload(self, client: Client) -> Message:
        """The weights and, with ``exchange = features``, bottleneck maps of this client's own images."""
        message = super().upload(client)
        if self.params.exchange == "features":
            images = client.samples_without_augmentation(self.params.bank, client.generator)
            message[FEATURES] = client.frozen({})["model"].encode(images)[0].float()
        return message

    def aggregate(self, server: Server, uploads: Sequence[Upload]) -> None:
        """FedAvg; and the server remembers what each client sent for its peers."""
        super().aggregate(server, uploads)
        for upload in uploads:
            server.memory.update(pack(str(upload.index), self.remembered(upload.message)))

    def download(self, server: Server, client: ClientState, index: int) -> Message:
        """The global weights and what this round's peers last sent (nothing in the first round)."""
        message = super().download(server, client, index)
        peers = self.peers(index, len(self.setup.clients), server.round)
        sent = [unpack(str(peer), server.memory) for peer in peers]
        if all(sent):
            merged = sent[0] if len(sent) == 1 else {FEATURES: torch.cat([maps[FEATURES] for maps in sent])}
            message.update(pack(TARGET, merged))
        return message

    # -- the local objective ----------------------------------------------------------------------------------------

    def begin_round(self, client: Client) -> None:
        """Find this round's source of target maps; in the first round there is none and FedDA is FedAvg."""
        if self.params.exchange == "features":
            bank = unpack(TARGET, client.received).get(FEATURES)
            if bank is not None:
                client.scratch["target"] = lambda images: bank[
                    torch.randint(len(bank), (len(images),), generator=client.generator)
                ]
        elif entries := self.target_encoder(client):
            encoder = client.frozen(entries)["model"]
            client.scratch["target"] = lambda images: encoder.encode(images)[0]

    def local_step(self, step: Step) -> None:
        """One step of D, then one of the network."""
        if "target" in step.client.scratch:
            with torch.no_grad():
                target = step.client.scratch["target"](step.images)
            self.train_discriminator(step, step.features.detach(), target)
        super().local_step(step)

    def train_discriminator(self, step: Step, source: Tensor, target: Tensor) -> None:
        """1/2 [BCE(D(source), 1) + BCE(D(target), 0)]; logs D's loss and its accuracy on patches."""
        discriminator = step.client.networks["discriminator"].requires_grad_(True)
        on_source, on_target = discriminator(source), discriminator(target.to(source.dtype))
        loss = (judge(on_source, 1.0) + judge(on_target, 0.0)) / 2
        step.minimise(step.log("discriminator", loss), "discriminator")
        right = ((on_source > 0).float().mean() + (on_target <= 0).float().mean()) / 2
        step.log("discriminator_accuracy", right)
        discriminator.requires_grad_(False)

    def loss(self, step: Step) -> Tensor:
        """L_seg + lambda_t * BCE(D(f), 0); lambda_t rises linearly over the first fifth of the rounds."""
        loss = super().loss(step)
        if "target" not in step.client.scratch:
            return loss
        adversarial = judge(step.client.networks["discriminator"](step.features), 0.0)
        ramp = min(1.0, step.client.round / (RAMP * step.client.rounds))
        return loss + self.params.lam * ramp * step.log("adversarial", adversarial)


class FedDACyclic(FedDA):
    """Adversarial alignment with one peer per round (reconstruction). Zhou et al. 2025, arXiv 2509.23907."""

    name = "fedda-cyclic"

    def peers(self, index: int, clients: int, round: int) -> list[int]:
        """pi_r(i) = (i + 1 + r mod (N - 1)) mod N: everyone else in turn."""
        return [(index + 1 + round % (clients - 1)) % clients]

    def remembered(self, message: Message) -> Message:
        """Each client's encoder as it was uploaded, or its feature maps."""
        if self.params.exchange == "features":
            return super().remembered(message)
        return {MODEL + name: message[MODEL + name] for name in self.setup.model.encoder_entries()}

    def target_encoder(self, client: Client) -> Message:
        """The peer's last uploaded encoder."""
        return unpack(TARGET, client.received)


class FedDAJoint(FedDA):
    """Adversarial alignment with all clients at once (reconstruction). Zhou et al. 2025, arXiv 2509.23907."""

    name = "fedda-joint"

    def peers(self, index: int, clients: int, round: int) -> list[int]:
        """Everyone else."""
        return [peer for peer in range(clients) if peer != index]

    def target_encoder(self, client: Client) -> Message:
        """The global encoder, from the second round on."""
        return client.received if client.round > 0 else {}
