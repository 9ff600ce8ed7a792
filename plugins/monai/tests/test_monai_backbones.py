"""MONAI's encoders as backbones: pyramids, limits, and the way back to MONAI."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ssl_registry_monai.basic_unet import BasicUnet3d
from ssl_registry_monai.segresnet import SegResnet3d
from ssl_registry_monai.swin_unetr import SwinUnetr3d

from ssl_registry import Backbone, derive_generator, export_encoder, pretrain, registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_backbone

SEGRESNET = SegResnet3d(blocks_down=(1, 1, 1))
BASIC = BasicUnet3d(features=(4, 4, 8, 8, 16))
SWIN = SwinUnetr3d(feature_size=12, depths=(1, 1, 1, 1))
SMALL = [(SEGRESNET, (32, 24, 17)), (BASIC, (32, 32, 33)), (SWIN, (64, 32, 32))]
NAMES = ["segresnet", "basicunet", "swinunetr"]


def volumes(shape: tuple[int, ...], channels: int = 1) -> torch.Tensor:
    return torch.rand((1, channels, *shape), generator=derive_generator(0, "volumes"))


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [*SMALL[:2], pytest.param(*SMALL[2], marks=pytest.mark.long)],  # windows take long
    ids=NAMES,
)
def test_it_keeps_the_contract_of_a_backbone(backbone: Backbone, shape: tuple[int, ...]) -> None:
    check_backbone(backbone, image_shapes=[shape, (20, 20, 20)], channels=(1, 2))


@pytest.mark.parametrize(("backbone", "shape"), SMALL, ids=NAMES)
def test_a_decoder_labels_every_voxel(backbone: Backbone, shape: tuple[int, ...]) -> None:
    encoder = backbone.build(1).eval()
    with torch.no_grad():
        scores = UNetDecoder(encoder, 3, dims=3).eval()(encoder(volumes(shape)))
    assert scores.shape == (1, 3, *shape)


def features_there(name: str, model: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the pyramid that MONAI's own network computes on the way."""
    if name == "segresnet":
        return list(model.encode(images)[1])
    kept: list[torch.Tensor] = []
    parts = {
        "basicunet": ["conv_0", "down_1", "down_2", "down_3", "down_4"],
        "swinunetr": ["encoder1", "encoder2", "encoder3", "encoder4", "encoder10"],
    }[name]
    for part in parts:
        model.get_submodule(part).register_forward_hook(lambda *call: kept.append(call[-1]))
    model(images)
    if name == "swinunetr":
        kept.insert(4, model.swinViT(images, model.normalize)[3])
    return kept


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    ("name", "backbone", "shape"),
    [
        ("segresnet", SEGRESNET, (32, 32, 32)),
        ("basicunet", BASIC, (32, 32, 48)),
        ("swinunetr", SWIN, (64, 32, 32)),
    ],
)
def test_its_weights_load_in_monai_strictly_and_give_equal_features(
    name: str, backbone: Backbone, shape: tuple[int, ...], channels: int
) -> None:
    encoder = backbone.build(channels).eval()
    weights = backbone.library_weights(encoder, outputs=3)
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    model = names["model"].eval()
    model.load_state_dict(dict(weights.state), strict=True)
    images = volumes(shape, channels)
    ours = set(encoder.state_dict())
    assert weights.drawn == weights.state.keys() - ours
    with torch.no_grad():
        coarsest = eval(weights.features, {"model": model, "images": images})
        torch.testing.assert_close(coarsest, encoder(images)[-1], rtol=0, atol=0)
        assert model(images).shape == (1, 3, *shape)
        pairs = zip(encoder(images), features_there(name, model, images), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("backbone", [SEGRESNET, BASIC, SWIN], ids=NAMES)
def test_without_outputs_the_last_layer_hands_its_input_on(backbone: Backbone) -> None:
    weights = backbone.library_weights(backbone.build(1), outputs=0)
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    model = names["model"].eval()
    model.load_state_dict(dict(weights.state), strict=True)
    with torch.no_grad():
        assert model(volumes((64, 32, 32))).shape[1] > 1


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [(BASIC, (16, 16, 16)), (BASIC, (64, 64, 15)), (SWIN, (32, 32, 32)), (SWIN, (64, 64, 40))],
)
def test_views_that_are_too_small_are_refused_in_words(
    backbone: Backbone, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ImageShapeError, match="size"):
        backbone.build(1)(volumes(shape))


def test_channels_that_do_not_fit_are_refused_when_they_are_said() -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        registry.create("monai-segresnet3d", init_filters=12)
    with pytest.raises(ConfigError, match="multiple of 12"):
        registry.create("monai-swinunetr3d", feature_size=16)


def test_a_pretrained_encoder_goes_on_in_monai(tmp_path: Path) -> None:
    from monai.networks.nets import SegResNet

    done = pretrain(
        task="rpl3d", backbone={"name": "monai-segresnet3d", "blocks_down": (1, 1)},
        data="phantoms:4", size=24, epochs=1, batch_size=2, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    export_encoder(done.folder, tmp_path / "segresnet.safetensors", outputs=4)
    from safetensors.torch import load_file

    model = SegResNet(in_channels=1, out_channels=4, blocks_down=(1, 1), blocks_up=(1,))
    untouched = model.convInit.conv.weight.detach().clone()
    model.load_state_dict(load_file(tmp_path / "segresnet.safetensors"), strict=True)
    assert not torch.equal(model.convInit.conv.weight, untouched)
