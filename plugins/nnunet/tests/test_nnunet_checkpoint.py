"""The way to nnU-Net: its own `load_pretrained_weights` takes what is exported."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from safetensors.torch import load_file
from ssl_registry_nnunet.backbones import PlainConv3d, ResEnc3d
from ssl_registry_nnunet.checkpoint import fill_decoder
from torch import Tensor, nn

from ssl_registry import (
    Encoder,
    PretextBatch,
    PretextTask,
    derive_generator,
    export_encoder,
    import_encoder,
    load_encoder,
    pretrain,
    registry,
)
from ssl_registry.errors import ConfigError, EncoderFileError
from ssl_registry.heads import DenseHead, UNetDecoder

UNET = "dynamic_network_architectures.architectures.unet."


class Blurred3d(PretextTask):
    """What did the volume look like before noise came on it? It trains a decoder."""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        noise = torch.rand(images.shape, generator=generator, device=generator.device)
        return PretextBatch((images + 0.1 * noise.to(images))[:, None], images, {})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return DenseHead(encoder, encoder.in_channels, dims=3)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (outputs[:, 0].float() - target).square().mean()


@pytest.fixture(scope="module", autouse=True)
def task() -> Iterator[None]:
    registry.register(Blurred3d, name="blurred3d")
    yield
    registry._registered.pop("blurred3d")


def write_plans(path: Path, kind: str, bias: bool = True) -> dict[str, Any]:
    """Write plans as nnU-Net's planner does, of a tiny network for thick slices; return them."""
    own = {"plainconv": "n_conv_per_stage", "resenc": "n_blocks_per_stage"}[kind]
    network = {"plainconv": "PlainConvUNet", "resenc": "ResidualEncoderUNet"}[kind]
    numbers = {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        own: [1, 2, 1],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_bias": bias,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "architecture": {
            "network_class_name": UNET + network,
            "arch_kwargs": numbers,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    }
    plans = {
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": configuration},
    }
    path.write_text(json.dumps(plans))
    return plans


def in_the_plane(plans: dict[str, Any]) -> dict[str, Any]:
    """Return plans whose one configuration is of slices, with the numbers of that of volumes."""
    said = json.loads(json.dumps(plans["configurations"]["3d_fullres"]))
    numbers = said["architecture"]["arch_kwargs"]
    for name in ("kernel_sizes", "strides"):
        numbers[name] = [along[1:] for along in numbers[name]]
    for name in ("conv_op", "norm_op"):
        numbers[name] = numbers[name].replace("3d", "2d")
    return {**plans, "configurations": {"2d": said}}


def network_of(plans: dict[str, Any], channels: int = 1) -> Any:
    """Return the network that nnU-Net builds by plans, as its trainer does."""
    (name,) = plans["configurations"]
    configuration = PlansManager(plans).get_configuration(name)
    return get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        3,
        allow_init=True,
        deep_supervision=True,
    ).eval()


@pytest.fixture(scope="module", params=["plainconv", "resenc"])
def pretrained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("nnunet")
    plans = write_plans(folder / "plans.json", request.param)
    backbone = {"name": f"nnunet-{request.param}3d", "plans": str(folder / "plans.json")}
    run = pretrain(
        task="blurred3d", backbone=backbone, data="phantoms:3", size=[16, 16, 8], epochs=1,
        batch_size=1, validation_fraction=0, test_fraction=0, out=folder / "run", quiet=True,
    )  # fmt: skip
    return run.folder, plans


def test_nnunet_loads_what_was_pretrained_into_the_network_of_its_plans(
    pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run, plans = pretrained
    weights = export_encoder(run, tmp_path / "nnunet.pth", to="nnunet")
    assert weights.remark == "the decoder is the pretrained one, but for the layers that answer"
    assert {name.partition(".seg_layers.")[0] for name in weights.drawn} == {"decoder"}
    network = network_of(plans)
    load_pretrained_weights(network, str(tmp_path / "nnunet.pth"))

    encoder = load_encoder(run).eval()
    network.encoder.load_state_dict(saved_encoder(tmp_path / "nnunet.pth"), strict=True)
    scan = torch.rand((1, 1, 16, 12, 8), generator=derive_generator(0, "scan"))
    with torch.no_grad():
        ours = encoder(scan)
        theirs = network.encoder(scan.permute(0, 1, 4, 3, 2))  # x, y, z to z, y, x
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.equal(mine, other.permute(0, 1, 4, 3, 2))


@pytest.mark.parametrize("kind", ["plainconv", "resenc"])
def test_a_network_of_slices_is_loaded_too(kind: str, tmp_path: Path) -> None:
    plans = in_the_plane(write_plans(tmp_path / "volumes.json", kind))
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    backbone: Any = registry.create(f"nnunet-{kind}2d", plans=str(tmp_path / "plans.json"))
    encoder = backbone.build(1).eval()
    weights = backbone.export_weights("nnunet", encoder, None, 3)
    torch.save(weights.content, tmp_path / "nnunet.pth")
    network = network_of(plans)
    load_pretrained_weights(network, str(tmp_path / "nnunet.pth"))
    network.encoder.load_state_dict(saved_encoder(tmp_path / "nnunet.pth"), strict=True)
    slices = torch.rand((2, 1, 16, 12), generator=derive_generator(0, "slices"))
    with torch.no_grad():
        theirs = network.encoder(slices.mT)  # x, y to y, x
        for mine, other in zip(encoder(slices), theirs, strict=True):
            assert torch.equal(mine, other.mT)


def saved_encoder(path: Path) -> dict[str, Tensor]:
    saved = torch.load(path, weights_only=True)["network_weights"]
    start = "encoder."
    return {name[len(start) :]: saved[name] for name in saved if name.startswith(start)}


def test_there_and_back_again_the_features_are_the_same(
    pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = pretrained
    export_encoder(run, tmp_path / "nnunet.pth", to="nnunet")
    back = import_encoder(tmp_path / "nnunet.pth", tmp_path / "back")
    assert back.format == "nnunet"
    assert back.count("missing") == 0
    assert equal(load_encoder(back.folder), load_encoder(run))
    decoder, first = (load_file(folder / "decoder.safetensors") for folder in (back.folder, run))
    assert decoder.keys() == {name for name in first if not name.startswith("out.")}
    assert all(torch.equal(value, first[name]) for name, value in decoder.items())


def equal(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


def write_checkpoint(path: Path, plans: dict[str, Any]) -> Any:
    """Write what nnU-Net's trainer writes of a network with random weights; return it."""
    network = network_of(plans)
    state = {name: torch.rand_like(value) for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "current_epoch": 1000,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
    }
    torch.save(checkpoint, path)
    return network


@pytest.mark.parametrize("kind", ["plainconv", "resenc"])
def test_a_network_that_nnunet_trained_goes_on_here(kind: str, tmp_path: Path) -> None:
    plans = write_plans(tmp_path / "plans.json", kind)
    network = write_checkpoint(tmp_path / "checkpoint_final.pth", plans)
    back = import_encoder(tmp_path / "checkpoint_final.pth", tmp_path / "back", seen="phantoms")
    encoder = load_encoder(back.folder)
    assert encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    decoder = UNetDecoder(encoder, 3, dims=3).eval()
    kept = load_file(back.folder / "decoder.safetensors")
    assert not decoder.load_state_dict(kept, strict=False).unexpected_keys
    decoder.out.load_state_dict(network.decoder.seg_layers[-1].state_dict())
    scan = torch.rand((1, 1, 16, 12, 8), generator=derive_generator(0, "scan"))
    with torch.no_grad():
        theirs = network(scan.permute(0, 1, 4, 3, 2))[0].permute(0, 1, 4, 3, 2)
        torch.testing.assert_close(decoder(encoder(scan)), theirs, atol=1e-4, rtol=1e-4)


def test_an_encoder_of_another_shape_is_refused_with_both(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "nnunet.pth", write_plans(tmp_path / "plans.json", "plainconv"))
    wider = {
        "name": "nnunet-plainconv3d", "plans": str(tmp_path / "plans.json"),
        "features_per_stage": [4, 6, 10],
    }  # fmt: skip
    with pytest.raises(EncoderFileError, match=r"\[8, 6, 3, 3, 3\].*\[10, 6, 3, 3, 3\]"):
        import_encoder(tmp_path / "nnunet.pth", tmp_path / "back", backbone=wider)


def test_the_resenc_l_of_nnssl_is_known_without_its_numbers() -> None:
    plan = {
        "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None},
        "pretrain_plan": {
            "dataset_name": "Dataset745_OpenMind",
            "transpose_forward": [0, 1, 2],
            "configurations": {
                "onemmiso": {
                    "spacing": [1, 1, 2],
                    "patch_size": [160] * 3,
                    "normalization_schemes": ["ZScoreNormalization"],
                },
            },
        },
        "recommended_downstream_patchsize": [160, 160, 128],
    }
    content = {"network_weights": {}, "nnssl_adaptation_plan": plan}
    known = ResEnc3d.recognise(content)
    assert known == ResEnc3d()  # of cubes alone, so it takes axes as they come
    assert PlainConv3d.recognise(content) is None
    assert ResEnc3d.recognise({"network_weights": {"encoder.stem": 3}}) is None
    network = tiny = ResEnc3d(n_stages=2, features_per_stage=(2, 2), axes=(2, 1, 0))
    whole = network.library_weights(tiny.build(1), 1).state
    read = tiny.read_weights({**content, "network_weights": whole})
    assert read is not None
    assert (read.format, read.size, read.patches) == ("nnssl", (128, 160, 160), True)
    assert (dict(read.images), read.learned_from) == (
        {"spacing": [2, 1, 1], "intensities": "zscore"},
        "Dataset745_OpenMind",
    )
    assert set(read.names.values()) == set(tiny.build(1).state_dict())


@pytest.mark.parametrize("kind", ["plainconv", "resenc"])
def test_the_decoder_answers_in_nnunet_as_it_did_here(kind: str, tmp_path: Path) -> None:
    plans = write_plans(tmp_path / "plans.json", kind)
    backbone: Any = registry.create(f"nnunet-{kind}3d", plans=str(tmp_path / "plans.json"))
    encoder = backbone.build(1).eval()
    decoder = UNetDecoder(encoder, 3, dims=3).eval()
    weights = backbone.export_weights("nnunet", encoder, decoder.state_dict(), 3)
    network = network_of(plans)
    network.load_state_dict(weights.state)
    finest = network.decoder.seg_layers[-1]
    finest.load_state_dict(decoder.out.state_dict())
    scan = torch.rand((1, 1, 16, 12, 8), generator=derive_generator(0, "scan"))
    with torch.no_grad():
        theirs = network(scan.permute(0, 1, 4, 3, 2))[0].permute(0, 1, 4, 3, 2)
        torch.testing.assert_close(decoder(encoder(scan)), theirs, atol=1e-5, rtol=1e-5)


def test_without_a_decoder_that_is_drawn_anew_and_said(tmp_path: Path) -> None:
    plans = write_plans(tmp_path / "plans.json", "plainconv")
    backbone = {"name": "nnunet-plainconv3d", "plans": tmp_path / "plans.json"}
    run = pretrain(
        task="rotation3d", backbone=backbone,
        data="phantoms:3", size=16, epochs=1, batch_size=1, validation_fraction=0,
        test_fraction=0, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    weights = export_encoder(run.folder, tmp_path / "two.pth", to="nnunet", in_channels=2)
    assert "decoder is drawn anew" in weights.remark
    assert any(name.startswith("decoder.stages.") for name in weights.drawn)
    assert not any(name.startswith("encoder.") for name in weights.drawn)
    load_pretrained_weights(network_of(plans, channels=2), str(tmp_path / "two.pth"))


def test_a_decoder_that_does_not_fit_is_left_and_said(tmp_path: Path) -> None:
    plans = write_plans(tmp_path / "plans.json", "plainconv", bias=False)
    backbone: Any = registry.create("nnunet-plainconv3d", plans=str(tmp_path / "plans.json"))
    encoder = backbone.build(1)
    decoder, theirs = UNetDecoder(encoder, 3, dims=3).state_dict(), network_of(plans).decoder
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert "upsample.0.bias, and nnU-Net's has nothing" in fill_decoder(theirs, decoder, (2, 1, 0))
    narrow = {**decoder, "fuse.0.0.weight": torch.zeros(6, 6, 3, 3, 3)}
    assert "[6, 6, 3, 3, 3] where" in fill_decoder(theirs, narrow, (2, 1, 0))
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())


def test_other_backbones_say_what_they_are_exported_to(tmp_path: Path) -> None:
    run = pretrain(
        task="rotation3d", backbone={"name": "unet3d", "base_filters": 2, "levels": 2},
        data="phantoms:3", size=16, epochs=1, batch_size=1, validation_fraction=0,
        test_fraction=0, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="unet3d is exported to library; .*nnunet-plainconv3d"):
        export_encoder(run.folder, tmp_path / "nnunet.pth", to="nnunet")
    with pytest.raises(ConfigError, match=r"\.pth"):
        export_encoder(run.folder, tmp_path / "nnunet.safetensors", to="nnunet")
