"""Networks split where they say they split."""

from __future__ import annotations

import pytest
import torch

from fedbench.config import MODELS, ModelConfig
from fedbench.errors import UserError
from fedbench.models import build_model

ALL = [(name, dims) for name in MODELS for dims in (2, 3)]


@pytest.mark.parametrize(("name", "dims"), ALL)
@pytest.mark.parametrize("norm", ["batch", "instance", "instance-plain", "group"])
def test_decode_after_encode_is_the_original_forward_pass(name, dims, norm):
    model = build_model(ModelConfig(name=name, spatial_dims=dims, norm=norm), 1, 4).eval()
    images = torch.randn(2, 1, *[32] * dims, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(images), model.net(images))
    assert model.encode(images)[0].shape[1] == model.bottleneck_channels


@pytest.mark.parametrize(("name", "dims"), ALL)
def test_encoder_entries_are_exactly_what_the_bottleneck_depends_on(name, dims):
    """Parameters with a gradient from the bottleneck are the encoder's, and only they."""
    model = build_model(ModelConfig(name=name, spatial_dims=dims), 1, 3)
    model.encode(torch.randn(2, 1, *[32] * dims))[0].square().sum().backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    parameters = {n for n, _ in model.named_parameters()}
    assert model.encoder_entries() & parameters == reached
    assert 0 < len(reached) < len(parameters)


def test_groups_that_do_not_divide_the_output_channels_are_refused_in_words():
    with pytest.raises(UserError, match="norm 'group' and 3 outputs"):
        build_model(ModelConfig(name="unet", norm="group"), 1, 3)


@pytest.mark.parametrize(("name", "channels"), [("basicunet", (8, 16)), ("segresnet", (8, 12, 16))])
def test_channels_that_do_not_suit_are_refused(name, channels):
    with pytest.raises(UserError, match=name):
        build_model(ModelConfig(name=name, channels=channels), 1, 3)
