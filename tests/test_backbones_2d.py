"""densenet121 and unet2d: what they share with torchvision's network and with unet3d."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import densenet121

from ssl_registry import registry
from ssl_registry.builtin.densenet import DenseNet121
from ssl_registry.builtin.unet import UNet2d, UNet3d
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.randomness import lend_to_torch

SMALL = DenseNet121(growth=2)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(backbone: Any, channels: int = 1) -> Any:
    with lend_to_torch(stream(1)):
        return backbone.build(channels)


def torchvisions() -> Any:
    """Return the feature part of torchvision's network, drawn from the stream of `build`."""
    with lend_to_torch(stream(1)):
        return densenet121(weights=None).features


@pytest.fixture(scope="module")
def full() -> Any:
    """Return densenet121 as it comes, for colour images; not to be changed."""
    return build(DenseNet121(), channels=3)


def test_equal_streams_give_torchvisions_own_weights(full: Any) -> None:
    theirs = torchvisions().state_dict(prefix="features.")
    ours = full.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "features.conv0.weight" in ours


@pytest.mark.parametrize("shape", [(64, 96), (32, 32)])
@pytest.mark.parametrize("training", [False, True])
def test_multiples_of_32_give_torchvisions_own_features(
    full: Any, shape: tuple[int, int], training: bool
) -> None:
    encoder, features = deepcopy(full).train(training), torchvisions().train(training)
    encoder.load_state_dict(features.state_dict(prefix="features."))
    images = torch.rand(2, 3, *shape, generator=stream(2))
    pyramid = encoder(images)
    kept: dict[str, Tensor] = {}
    x = images
    for name, part in features.named_children():
        x = part(x)
        kept[name] = x.clone()
    torch.testing.assert_close(pyramid[0], kept["relu0"], rtol=0, atol=0)
    for level in (1, 2, 3):
        torch.testing.assert_close(pyramid[level], kept[f"denseblock{level}"], rtol=0, atol=0)
    torch.testing.assert_close(pyramid[4], kept["norm5"].relu(), rtol=0, atol=0)


def test_densenet121_has_its_papers_channels(full: Any) -> None:
    assert full.channels == (64, 256, 512, 1024, 1024)
    assert full.strides == ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
    assert sum(weight.numel() for weight in full.parameters()) == 7_978_856 - 1025 * 1000
    convolutions = [layer for layer in full.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 121 - 1  # the 121st layer is the classifier


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(st.integers(1, 80), st.integers(1, 80)), growth=st.integers(1, 3))
def test_pooling_loses_no_pixel_of_any_view(shape: tuple[int, int], growth: int) -> None:
    encoder = build(DenseNet121(growth=growth)).eval()
    with torch.no_grad():
        pyramid = encoder(torch.rand(1, 1, *shape))
    assert [tuple(level.shape[1:]) for level in pyramid] == [
        (channels, *(math.ceil(side / step) for side, step in zip(shape, stride, strict=True)))
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]


def test_a_transition_averages_the_pixels_there_are() -> None:
    """At an odd edge a pool of two sees one pixel, and must not mix it with zero."""
    pool = build(SMALL).features.transition1.pool
    row = torch.tensor([[[[1.0, 3.0, 5.0]]]])
    assert pool(row).tolist() == [[[[2.0, 5.0]]]]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_change_the_first_convolution_and_nothing_else(
    full: Any, channels: int
) -> None:
    other = build(DenseNet121(), channels).features
    first, conv0 = other.conv0, torchvisions().conv0
    assert first.weight.shape == (64, channels, 7, 7)
    assert (first.stride, first.padding, first.bias) == (conv0.stride, conv0.padding, None)
    # He: variance 2 / (inputs of a unit).
    spread = float(first.weight.detach().std()) * math.sqrt(channels * 49 / 2)
    assert spread == pytest.approx(1, rel=0.05)
    assert other.state_dict().keys() == full.features.state_dict().keys()


def test_dropout_acts_in_training_only() -> None:
    encoder = build(DenseNet121(growth=2, dropout=0.5))
    images = torch.rand(2, 1, 48, 48, generator=stream(2))

    def features() -> Tensor:
        pyramid: list[Tensor] = encoder(images)
        return pyramid[-1]

    with lend_to_torch(stream(3)):
        encoder.train()
        assert not torch.equal(features(), features())
        encoder.eval()
        assert torch.equal(features(), features())


def test_batch_normalisation_of_a_single_value_is_refused() -> None:
    encoder = build(SMALL)
    view = torch.rand(1, 1, 32, 32)
    with pytest.raises(ImageShapeError, match="`size`.*`batch_size`"):
        encoder.train()(view)
    assert encoder(torch.rand(1, 1, 32, 33))[-1].shape[2:] == (1, 2)
    assert encoder(torch.cat([view, view]))[-1].shape == (2, 64, 1, 1)
    assert encoder.eval()(view)[-1].shape == (1, 64, 1, 1)


@settings(max_examples=15, deadline=None)
@given(halves=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_the_decoder_gives_densenets_pyramid_the_images_shape(halves: tuple[int, int]) -> None:
    shape = (2 * halves[0], 2 * halves[1])
    encoder = build(SMALL).eval()
    head = UNetDecoder(encoder, 3, dims=2).eval()
    with torch.no_grad():
        assert head(encoder(torch.rand(1, 1, *shape))).shape == (1, 3, *shape)


def test_unet2d_has_unet3ds_fields() -> None:
    def fields(cls: type[UNet2d | UNet3d]) -> dict[str, Any]:
        return cls.model_json_schema()["properties"]

    assert fields(UNet2d) == fields(UNet3d)
    assert UNet2d().model_dump() == UNet3d().model_dump()


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("residual", [True, False])
def test_unet2d_is_unet3d_with_one_axis_less(norm: str, residual: bool) -> None:
    fields = {"base_filters": 2, "levels": 3, "norm": norm, "residual": residual}
    flat, deep = (build(registry.create(f"unet{dims}d", **fields)) for dims in (2, 3))
    assert flat.channels == deep.channels
    assert flat.strides == tuple(level[:2] for level in deep.strides)
    ours, theirs = flat.state_dict(), deep.state_dict()
    assert list(ours) == list(theirs)
    for name, weight in ours.items():
        axis = weight.ndim > 1
        assert weight.shape == (theirs[name].shape[:-1] if axis else theirs[name].shape)


def test_unet2d_on_a_slice_is_unet3d_on_a_volume_of_one_slice() -> None:
    """With kernels that look at the middle plane only, both compute the same."""
    flat, deep = (build(registry.create(f"unet{d}d", base_filters=2, levels=3)) for d in (2, 3))
    weights = deep.state_dict()
    for name, weight in flat.state_dict().items():
        if weight.ndim > 1:
            weights[name].zero_()[..., weights[name].shape[-1] // 2] = weight
    images = torch.rand(2, 1, 21, 14, generator=stream(2))
    for level, slab in zip(flat(images), deep(images[..., None]), strict=True):
        torch.testing.assert_close(level, slab[..., 0])


def test_unet3ds_weights_keep_their_names() -> None:
    """Encoder files of released versions hold these."""
    names = list(build(UNet3d(base_filters=2, levels=1)).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert names == [
        "blocks.0.body.0.weight",
        *(f"blocks.0.body.1.{name}" for name in norm),
        "blocks.0.body.3.weight",
        *(f"blocks.0.body.4.{name}" for name in norm),
        "blocks.0.shortcut.weight",
    ]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_level_too_small_is_named_with_its_network(dims: int) -> None:
    encoder = build(registry.create(f"unet{dims}d", base_filters=2, levels=4, norm="instance"))
    with pytest.raises(ImageShapeError, match=rf"level 4 of unet{dims}d has a single voxel"):
        encoder(torch.rand(1, 1, *(8,) * dims))
