"""A network applied to a whole case: slices restacked (2-D) or MONAI's sliding window (3-D)."""

from __future__ import annotations

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor
from torch.nn.functional import pad

from fedbench.batches import PADDING
from fedbench.compute import Compute
from fedbench.models import SegmentationNetwork
from fedbench.prepared import PreparedCase

SLICES_AT_ONCE = 32


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
            volume = compute.images(image.permute(1, 2, 3, 0)[None])
            labels = sliding_window_inference(volume, patch, 1, model, overlap=0.25, mode="gaussian")[0].argmax(0)
            labels = labels.to(torch.uint8).cpu()
    prediction = labels.numpy()
    return prediction[..., 0] if len(case.shape) == 2 else prediction


def truth(case: PreparedCase) -> np.ndarray:
    """Return the true label map in the layout of :func:`predict`."""
    label = np.moveaxis(np.asarray(case.label), 0, -1)
    return label[..., 0] if len(case.shape) == 2 else label
