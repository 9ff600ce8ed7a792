"""An encoder for other input channels gives what the original gave, on equal channels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssl_registry import Backbone, Encoder, finetune, load_encoder, pretrain, registry
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.errors import EncoderFileError
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.files.input_channels import convert_input, convert_weight

STRUCTURES: list[dict[str, Any]] = [
    {"name": "unet3d", "base_filters": 4, "levels": 3},
    {"name": "unet2d", "base_filters": 4, "levels": 3},
    {"name": "densenet121", "growth": 4},
]


def saved(folder: Path, backbone: Backbone, channels: int) -> Encoder:
    """Write an encoder whose batch statistics are not the initial ones, and return it."""
    encoder = backbone.build(channels)
    shape = (64,) * backbone.spatial_dims if backbone.spatial_dims == 2 else (16,) * 3
    encoder.train()(torch.rand(2, channels, *shape))
    write_encoder(
        folder,
        encoder.eval(),
        backbone=backbone,
        task=None,
        preprocessing=Preprocessing(),
        size=shape[0],
        data={},
        versions={},
    )
    return encoder


def grey(backbone: Backbone) -> Tensor:
    side = 64 if backbone.spatial_dims == 2 else 16
    return torch.rand(2, 1, *[side] * backbone.spatial_dims)


def repeated(image: Tensor, channels: int) -> Tensor:
    return image.expand(-1, channels, *image.shape[2:])


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda said: said["name"])
@pytest.mark.parametrize(
    ("old", "new"), [(1, 3), (3, 1), (2, 4), (9, 1), (27, 3), (3, 2), (2, 3), (1, 1)]
)
def test_equal_channels_give_equal_features(
    tmp_path: Path, structure: dict[str, Any], old: int, new: int
) -> None:
    backbone = registry.create(structure)
    encoder = saved(tmp_path, backbone, old)
    converted = load_encoder(tmp_path, in_channels=new)
    assert converted.in_channels == new
    image = grey(backbone)
    with torch.inference_mode():
        wanted = encoder(repeated(image, old))
        given_ = converted(repeated(image, new))
    for one, other in zip(given_, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@given(old=st.integers(1, 12), new=st.integers(1, 12), kernel=st.sampled_from([(3, 3), (3, 1, 2)]))
def test_the_sum_over_the_channels_stays(old: int, new: int, kernel: tuple[int, ...]) -> None:
    weight = torch.rand(5, old, *kernel, generator=torch.Generator().manual_seed(old))
    converted = convert_weight(weight, new)
    assert converted.shape == (5, new, *kernel)
    torch.testing.assert_close(converted.sum(1), weight.sum(1))


def test_colours_keep_their_place_when_stacked_tiles_are_added_up() -> None:
    weight = torch.zeros(1, 27, 1, 1)
    weight[0, 1::3] = 1.0  # green, of every tile
    assert convert_weight(weight, 3).flatten().tolist() == [0, 9, 0]


def test_two_modalities_stand_for_four() -> None:
    weight = torch.tensor([2.0, 6.0]).reshape(1, 2, 1, 1)
    assert convert_weight(weight, 4).flatten().tolist() == [1, 3, 1, 3]


def test_what_is_no_input_layer_is_not_touched(tmp_path: Path) -> None:
    backbone = registry.create(STRUCTURES[0])
    encoder = saved(tmp_path, backbone, 1)
    converted = load_encoder(tmp_path, in_channels=3).state_dict()
    changed = [
        name
        for name, value in encoder.state_dict().items()
        if value.shape != converted[name].shape or not torch.equal(value, converted[name])
    ]
    assert changed == ["blocks.0.body.0.weight", "blocks.0.shortcut.weight"]


def test_a_weight_that_differs_otherwise_is_refused() -> None:
    encoder = registry.create(STRUCTURES[0]).build(3)
    weights = registry.create({**STRUCTURES[0], "base_filters": 2}).build(1).state_dict()
    with pytest.raises(EncoderFileError, match=r"cannot be converted, for its weight blocks\.0"):
        convert_input(weights, encoder, 1)


def test_early_fusion_fine_tunes_on_single_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"data": "phantoms:8", "epochs": 1, "batch_size": 2}
    pretrain(
        task={"name": "rpl3d", "jitter": 1, "fusion": "early"},
        backbone=STRUCTURES[0],
        size=20,
        out=tmp_path / "pretrained",
        quiet=True,
        **small,
    )
    done = finetune(encoder=tmp_path / "pretrained", out=tmp_path / "tuned", **small)
    said = capsys.readouterr().out
    assert "takes 2 channels, the images have 1: its first convolution was converted" in said
    assert 0 <= done.result["score"]["dice"] <= 1
    assert load_encoder(tmp_path / "tuned").in_channels == 1
