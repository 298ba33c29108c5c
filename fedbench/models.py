"""Segmentation networks by name: MONAI architectures with their encoder, bottleneck and decoder declared.

Algorithms that work on features (MOON, FedDA) need to run the encoder alone and to know which state belongs to it, so
each architecture says once how its forward pass splits: ``forward(x) == decode(*encode(x))``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedbench.config import ModelConfig
from fedbench.errors import UserError

if TYPE_CHECKING:  # MONAI takes two seconds to import, and whoever only plans runs builds no network
    from monai.networks.nets import BasicUNet, SegResNet, UNet

NORMS: dict[str, tuple[str, dict[str, object]]] = {
    "batch": ("batch", {}),
    "instance": ("instance", {"affine": True}),
    "instance-plain": ("instance", {"affine": False}),
    "group": ("group", {"num_groups": 4}),
}


class SegmentationNetwork(nn.Module):
    """A MONAI network with its parts declared.

    Attributes:
        divisor: every spatial size fed to the network must be a multiple of it.
        bottleneck_channels: channels of the first element that :meth:`encode` returns.
    """

    def __init__(self, net: nn.Module, bottleneck_channels: int, divisor: int, spatial_dims: int) -> None:
        super().__init__()
        self.net = net
        self.bottleneck_channels = bottleneck_channels
        self.divisor = divisor
        self.spatial_dims = spatial_dims

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the bottleneck map ``(B, bottleneck_channels, ...)`` and the skip maps, finest first."""
        raise NotImplementedError

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return logits ``(B, classes + 1, ...)``."""
        raise NotImplementedError

    def encoder_modules(self) -> list[nn.Module]:
        """The modules whose state is the encoder's."""
        raise NotImplementedError

    def encoder_entries(self) -> set[str]:
        """Names of the state-dict entries (parameters and buffers) that belong to the encoder."""
        inside = {id(module) for top in self.encoder_modules() for module in top.modules()}
        prefixes = tuple(f"{name}." for name, module in self.named_modules() if id(module) in inside)
        return {name for name in self.state_dict() if name.startswith(prefixes)}

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes + 1, *spatial)`` for images ``(B, channels, *spatial)``."""
        bottleneck, skips = self.encode(images)
        return self.decode(bottleneck, skips)


class _BasicUNet(SegmentationNetwork):
    net: BasicUNet

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.net.conv_0(images)]
        for down in (self.net.down_1, self.net.down_2, self.net.down_3, self.net.down_4):
            maps.append(down(maps[-1]))
        return maps[-1], maps[:-1]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        x = bottleneck
        ups = (self.net.upcat_4, self.net.upcat_3, self.net.upcat_2, self.net.upcat_1)
        for up, skip in zip(ups, reversed(skips), strict=True):
            x = up(x, skip)
        return self.net.final_conv(x)

    def encoder_modules(self) -> list[nn.Module]:
        return [self.net.conv_0, self.net.down_1, self.net.down_2, self.net.down_3, self.net.down_4]


class _UNet(SegmentationNetwork):
    """MONAI nests each level as ``Sequential(down, SkipConnection(deeper), up)``; the deepest is the bottleneck."""

    net: UNet

    def _levels(self) -> tuple[list[nn.Module], nn.Module, list[nn.Module]]:
        downs: list[nn.Module] = []
        ups: list[nn.Module] = []
        block: Any = self.net.model
        while isinstance(block, nn.Sequential) and len(block) == 3 and hasattr(block[1], "submodule"):
            downs.append(block[0])
            ups.append(block[2])
            block = block[1].submodule
        return downs, block, ups

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        downs, bottom, _ = self._levels()
        skips, x = [], images
        for down in downs:
            x = down(x)
            skips.append(x)
        return bottom(x), skips

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        x = bottleneck
        for up, skip in zip(reversed(self._levels()[2]), reversed(skips), strict=True):
            x = up(torch.cat([skip, x], dim=1))
        return x

    def encoder_modules(self) -> list[nn.Module]:
        downs, bottom, _ = self._levels()
        return [*downs, bottom]


class _SegResNet(SegmentationNetwork):
    net: SegResNet

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        bottleneck, maps = self.net.encode(images)
        return bottleneck, maps[:-1]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.net.decode(bottleneck, [bottleneck, *reversed(skips)])

    def encoder_modules(self) -> list[nn.Module]:
        return [self.net.convInit, self.net.down_layers]


def _basicunet(config: ModelConfig, in_channels: int, out_channels: int) -> SegmentationNetwork:
    from monai.networks.nets import BasicUNet

    channels = config.channels or (16, 16, 32, 64, 128)
    if len(channels) != 5:
        raise UserError(f"model 'basicunet' takes 5 channels, got {list(channels)}; change [model] channels.")
    net = BasicUNet(config.spatial_dims, in_channels, out_channels, (*channels, channels[0]), norm=NORMS[config.norm])
    for up in (net.upcat_4, net.upcat_3, net.upcat_2, net.upcat_1):
        up.is_pad = False  # sizes are multiples of 16: to pad them by nothing copies every map
    return _BasicUNet(net, channels[-1], 16, config.spatial_dims)


def _unet(config: ModelConfig, in_channels: int, out_channels: int) -> SegmentationNetwork:
    from monai.networks.nets import UNet

    channels = config.channels or (16, 32, 64, 128)
    strides = (2,) * (len(channels) - 1)
    net = UNet(
        config.spatial_dims, in_channels, out_channels, channels, strides, num_res_units=2, norm=NORMS[config.norm]
    )
    return _UNet(net, channels[-1], 2 ** len(strides), config.spatial_dims)


def _segresnet(config: ModelConfig, in_channels: int, out_channels: int) -> SegmentationNetwork:
    from monai.networks.nets import SegResNet

    channels = config.channels or (8, 16, 32, 64)
    first, levels = channels[0], len(channels)
    if tuple(channels) != tuple(first * 2**level for level in range(levels)):
        raise UserError(f"model 'segresnet' doubles its channels at each level, got {list(channels)}.")
    net = SegResNet(
        spatial_dims=config.spatial_dims, init_filters=first, in_channels=in_channels, out_channels=out_channels,
        norm=NORMS[config.norm], blocks_down=(1,) * levels, blocks_up=(1,) * (levels - 1),
    )  # fmt: skip
    return _SegResNet(net, channels[-1], 2 ** (levels - 1), config.spatial_dims)


_BUILDERS: dict[str, Callable[[ModelConfig, int, int], SegmentationNetwork]] = {
    "basicunet": _basicunet,
    "unet": _unet,
    "segresnet": _segresnet,
}


def build_model(config: ModelConfig, in_channels: int, out_channels: int) -> SegmentationNetwork:
    """Return a freshly initialised network; weights come from torch's current global generator.

    Args:
        in_channels: image channels, 1 or 3.
        out_channels: classes plus background.

    Raises:
        UserError: channels or a norm that do not suit the architecture.
    """
    try:
        return _BUILDERS[config.name](config, in_channels, out_channels)
    except ValueError as error:
        raise UserError(
            f"model '{config.name}' with norm '{config.norm}' and {out_channels} outputs: {error}."
        ) from None
