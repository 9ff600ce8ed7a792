"""U-Nets pool the axes that are fine enough, say so in their fields, and come back from them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_registry import registry
from ssl_registry.builtin.pooling import pooling_strides
from ssl_registry.builtin.unet import UNet2d, UNet3d
from ssl_registry.errors import ConfigError
from ssl_registry.heads import UNetDecoder


def test_thick_slices_are_pooled_late() -> None:
    """ACDC's spacing and nnU-Net's patch for it, in our order of axes."""
    found = pooling_strides((256, 224, 16), (1.5625, 1.5625, 10.0), 6)
    assert found == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1))


def test_without_a_spacing_few_voxels_are_thick_ones() -> None:
    flat = ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 1), (2, 2, 1))
    assert pooling_strides((128, 128, 8), None, 5) == flat
    assert pooling_strides((32, 32, 8), None, 5) == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2))
    assert pooling_strides((8, 8, 4), None, 5) == ((1, 1, 1), (2, 2, 1))


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(*[st.integers(4, 200)] * 3),
    spacing=st.none() | st.tuples(*[st.floats(0.3, 12)] * 3),
    levels=st.integers(1, 8),
)
def test_no_axis_is_pooled_below_four_voxels_or_while_it_is_coarse(
    sides: tuple[int, ...], spacing: tuple[float, ...] | None, levels: int
) -> None:
    thickness = list(spacing or [max(sides) / side for side in sides])
    left = list(sides)
    found = pooling_strides(sides, spacing, levels)
    assert 1 <= len(found) <= levels
    for step in found[1:]:
        able = [t for t, n in zip(thickness, left, strict=True) if n >= 8]
        for axis, stride in enumerate(step):
            if stride == 2:
                assert thickness[axis] < 2 * min(able)
            left[axis] = math.ceil(left[axis] / stride)
            thickness[axis] *= stride
            assert left[axis] >= 4
        assert max(step) == 2


@pytest.mark.parametrize("size", [(64, 64, 64), (16, 16, 16)])
def test_a_cube_keeps_the_network_it_has_always_had(size: tuple[int, ...]) -> None:
    network = UNet3d(base_filters=4).for_shape(size)
    assert network == UNet3d(base_filters=4)
    assert network.build(1).strides == tuple((2**level,) * 3 for level in range(5))
    assert UNet3d(strides=((1,) * 3, *[(2,) * 3] * 4)) == UNet3d()
    assert UNet2d().for_shape((224, 224)) == UNet2d()


def test_an_uneven_shape_is_written_into_the_fields_and_read_back() -> None:
    network = UNet3d(base_filters=2).for_shape((32, 32, 8))
    assert (network.levels, network.strides) == (4, ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)))
    encoder = network.build(1)
    assert encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 2))
    again: Any = registry.create(registry.spec_of(network))
    assert again == network
    assert again.for_shape((64, 64, 64)) == network
    pyramid = encoder(torch.rand(2, 1, 30, 32, 9))
    assert [tuple(level.shape[2:]) for level in pyramid] == [
        (30, 32, 9), (15, 16, 9), (8, 8, 9), (4, 4, 5),
    ]  # fmt: skip
    assert UNetDecoder(encoder, 3, dims=3)(pyramid).shape == (2, 3, 30, 32, 9)


def test_patches_of_known_spacing_follow_it() -> None:
    cubic = UNet3d(levels=3).for_shape((64, 64, 32), (1.0, 1.0, 1.0))
    assert cubic == UNet3d(levels=3)
    thick = UNet3d(levels=3).for_shape((32, 32, 32), (1.0, 1.0, 5.0))
    assert thick.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 1))


def test_strides_may_be_said() -> None:
    said = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
    network = registry.backbone("unet3d", base_filters=2, strides=said)
    assert network.levels == 3  # type: ignore[attr-defined]
    assert network.for_shape((128, 128, 8)) is network
    assert network.build(1).strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    flat = registry.backbone("unet2d", base_filters=2, strides=[[1, 1], [2, 1]])
    assert flat.build(1).strides == ((1, 1), (2, 1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"strides": [[1, 1], [2, 2]]}, "each level has 3 numbers"),
        ({"strides": [[1, 1, 1], [2, 2, 1]], "levels": 3}, "those of 2 levels, but levels=3"),
        ({"strides": [[2, 2, 2], [2, 2, 1]]}, "first level is the image's own"),
        ({"strides": [[1, 1, 1], [1, 1, 1]]}, "pools one axis at least"),
        ({"strides": [[1, 1, 1], [2, 2, 9]]}, "less than or equal to 4"),
        ({"strides": 2}, "strides"),
        ({"strides": [2, 2]}, "strides"),
    ],
)
def test_strides_that_build_nothing_are_refused_in_words(fields: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.create("unet3d", **fields)
