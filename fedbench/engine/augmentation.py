"""Light augmentation of a whole batch at once: flips, a small affine, intensity. Drawn from the client's own stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from fedbench.engine.arrays import moved

ROTATION = math.radians(10)
SCALE = 0.1
SHIFT = 0.05  # of the field of view
GAIN = 0.1
OFFSET = 0.1
NOISE = 0.03
BEYOND = {"repeat": "border", "background": "zeros"}  # torch's words


def _uniform(n: int, bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=generator) * 2 - 1) * bound


def affine_matrices(n: int, size: Sequence[int], mirror_axes: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return ``(n, d, d + 1)``: random flips along ``mirror_axes``, rotation in plane, isotropic scale and shift.

    Coordinates are torch's: the last image axis first, and from -1 to 1 whatever its length. Of a sample of ``size``
    ``(X, Y)`` or ``(X, Y, Z)``, Y and X are the last two.
    """
    spatial_dims, longer = len(size), size[0] / size[1]
    angle = _uniform(n, ROTATION, generator)
    scale = 1 + _uniform(n, SCALE, generator)
    drawn = 1 - 2 * torch.randint(0, 2, (n, 2), generator=generator).float()
    flips = torch.ones(n, 2)
    for axis in mirror_axes:
        flips[:, 1 - axis] = drawn[:, 1 - axis]
    matrices = torch.eye(spatial_dims).repeat(n, 1, 1)
    a, b = spatial_dims - 2, spatial_dims - 1
    matrices[:, a, a] = torch.cos(angle) * flips[:, 0]
    matrices[:, a, b] = -torch.sin(angle) * flips[:, 1] * longer
    matrices[:, b, a] = torch.sin(angle) * flips[:, 0] / longer
    matrices[:, b, b] = torch.cos(angle) * flips[:, 1]
    matrices = matrices * scale[:, None, None]
    shift = _uniform(n * spatial_dims, SHIFT, generator).reshape(n, spatial_dims, 1)
    return torch.cat([matrices, shift], dim=2)


def augment(
    images: Tensor,
    labels: Tensor,
    mirror_axes: Sequence[int],
    generator: torch.Generator,
    label_edges: str = "repeat",
) -> tuple[Tensor, Tensor]:
    """Return randomly transformed copies.

    Args:
        images: ``(B, C, *size)``; interpolated linearly, edges repeated.
        labels: ``(B, 1, *size)`` integer; nearest neighbour, so no value is invented.
        mirror_axes: in-plane image axes (0 = X, 1 = Y) that may be flipped.
        label_edges: ``repeat`` treats labels beyond the edge as the image; ``background`` makes them 0, also where the
            image shows a structure that was cut off.
        generator: CPU stream; every draw is made on the CPU, so that devices see the same numbers.
    """
    n = len(images)
    theta = moved(affine_matrices(n, images.shape[2:], mirror_axes, generator), images.device)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    turned = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    turned_labels = grid_sample(
        labels.to(images.dtype), grid, mode="nearest", padding_mode=BEYOND[label_edges], align_corners=False
    )
    column = (n, *[1] * (images.dim() - 1))
    drawn = [
        1 + _uniform(n, GAIN, generator),
        _uniform(n, OFFSET, generator),
        torch.rand(n, generator=generator) * NOISE,
    ]
    gain, offset, sigma = (values.reshape(column) for values in moved(torch.stack(drawn), images.device))
    noise = moved(torch.randn(images.shape, generator=generator), images.device)
    return turned * gain + offset + sigma * noise, turned_labels.round().to(labels.dtype)
