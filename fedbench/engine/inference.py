"""A network applied to a whole case: slices restacked (2-D) or MONAI's sliding window (3-D)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from fedbench.data.prepared import PreparedCase
from fedbench.engine.batches import PADDING
from fedbench.engine.compute import Compute
from fedbench.models import SegmentationNetwork

SLICES_AT_ONCE = 32
SLICES_FOR_FEATURES = 8


def _padded(images: Tensor, divisor: int) -> Tensor:
    """Pad the end of every spatial axis up to a multiple of ``divisor``."""
    missing = [(-length) % divisor for length in images.shape[2:]]
    return pad(images, [amount for length in reversed(missing) for amount in (0, length)], value=PADDING)


@torch.inference_mode()
def predict(model: SegmentationNetwork, case: PreparedCase, compute: Compute, patch: tuple[int, ...]) -> np.ndarray:
    """Return the predicted label map ``(X, Y, Z)`` (or ``(X, Y)`` for a 2-D image), uint8, on the prepared grid.

    Args:
        model: put into eval mode by this call.
        patch: window of a 3-D model.
    """
    model.eval()
    image = torch.from_numpy(np.array(case.image))
    x, y = image.shape[2:]
    with compute.autocast():
        if model.spatial_dims == 2:
            parts = [
                model(compute.images(_padded(chunk, model.divisor))).argmax(1)[:, :x, :y].to(torch.uint8).cpu()
                for chunk in image.split(SLICES_AT_ONCE)
            ]
            labels = torch.cat(parts).permute(1, 2, 0)
        else:
            from monai.inferers import sliding_window_inference

            volume = compute.images(image.permute(1, 2, 3, 0)[None])
            logits = sliding_window_inference(volume, patch, 1, model, overlap=0.25, mode="gaussian", cval=PADDING)
            labels = logits[0].argmax(0).to(torch.uint8).cpu()
    prediction = labels.numpy()
    return prediction[..., 0] if len(case.shape) == 2 else prediction


@torch.inference_mode()
def pooled_features(
    model: SegmentationNetwork, case: PreparedCase, compute: Compute, patch: tuple[int, ...]
) -> np.ndarray:
    """Return bottleneck maps averaged over space, float32 ``(S, C')``: of up to 8 slices, or of the centre patch.

    Args:
        model: put into eval mode by this call.
        patch: of a 3-D model.
    """
    model.eval()
    depth = len(case.image)
    if model.spatial_dims == 2:
        shown = np.unique(np.linspace(0, depth - 1, min(depth, SLICES_FOR_FEATURES)).round().astype(int))
        images = torch.from_numpy(np.array(case.image[shown]))
    else:
        volume = np.moveaxis(np.asarray(case.image), 0, -1)  # (C, X, Y, Z)
        corners = [max(0, (n - w) // 2) for n, w in zip(volume.shape[1:], patch, strict=True)]
        window = tuple(slice(corner, corner + w) for corner, w in zip(corners, patch, strict=True))
        images = torch.from_numpy(np.array(volume[:, *window]))[None]
    with compute.autocast():
        maps = model.encode(compute.images(_padded(images, model.divisor)))[0]
    return maps.float().flatten(2).mean(2).cpu().numpy()


def truth(case: PreparedCase) -> np.ndarray:
    """Return the true label map in the layout of :func:`predict`."""
    label = np.moveaxis(np.asarray(case.label), 0, -1)
    return label[..., 0] if len(case.shape) == 2 else label
