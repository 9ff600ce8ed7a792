"""nnssl's files: made by the library's own class they come in with equal features, and go out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from ssl_registry_nnunet.backbones import ResEnc3d
from ssl_registry_nnunet.nnssl import images_of, is_resenc_l
from torch import nn

from ssl_registry import export_encoder, import_encoder, load_encoder
from ssl_registry.errors import EncoderFileError
from ssl_registry.heads import UNetDecoder
from ssl_registry.training.files.encoder_summary import read_encoder_summary

NUMBERS: dict[str, Any] = {
    "n_stages": 3, "features_per_stage": [2, 4, 6], "kernel_sizes": [[3] * 3] * 3,
    "strides": [[1] * 3, [2] * 3, [2] * 3], "n_blocks_per_stage": [1, 2, 1],
    "n_conv_per_stage_decoder": [1, 1],
}  # fmt: skip


def network_of(channels: int = 1) -> ResidualEncoderUNet:
    options = {key: value for key, value in NUMBERS.items() if key != "n_conv_per_stage_decoder"}
    return ResidualEncoderUNet(
        channels, **options, num_classes=1, n_conv_per_stage_decoder=[1, 1], conv_op=nn.Conv3d,
        conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    ).eval()  # fmt: skip


def nnssls(network: nn.Module, wrapped: str = "") -> dict[str, Any]:
    configuration = {
        "spacing": [1, 1, 1], "normalization_schemes": ["ZScoreNormalization"],
        "patch_size": [160, 160, 160],
    }  # fmt: skip
    return {
        "network_weights": {f"{wrapped}{n}": v for n, v in network.state_dict().items()},
        "nnssl_adaptation_plan": {
            "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": NUMBERS},
            "pretrain_plan": {
                "dataset_name": "Dataset745_OpenMind", "transpose_forward": [0, 1, 2],
                "configurations": {"onemmiso": configuration},
            },
            "pretrain_num_input_channels": 1,
            "recommended_downstream_patchsize": [160, 160, 160],
            "key_to_encoder": "encoder.stages", "key_to_stem": "encoder.stem",
        },
        "trainer_name": "BaseMAETrainer",
    }  # fmt: skip


@pytest.mark.parametrize("wrapped", ["", "_orig_mod."])
def test_features_are_equal_after_import_and_after_export_and_import(
    tmp_path: Path, wrapped: str
) -> None:
    network = network_of()
    torch.save(nnssls(network, wrapped), tmp_path / "checkpoint.pth")
    done = import_encoder(tmp_path / "checkpoint.pth", tmp_path / "in", seen="OpenMind")
    assert done.format == "nnssl"
    assert done.count("missing") == 0
    fields = done.backbone.model_dump(mode="json")
    assert {key: fields[key] for key in NUMBERS if "decoder" not in key} == {
        key: value for key, value in NUMBERS.items() if "decoder" not in key
    }
    images = torch.rand(1, 1, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    encoder = load_encoder(done.folder)
    with torch.no_grad():
        for ours, theirs in zip(encoder(images), network.encoder(images), strict=True):
            assert torch.equal(ours, theirs)
    summary = read_encoder_summary(done.folder)
    how = summary.preprocessing
    assert (how.spacing, how.intensities) == ((1, 1, 1), "zscore")
    assert summary.size in (160, (160,) * 3)
    assert summary.patches
    assert summary.decoder is not None
    export_encoder(done.folder, tmp_path / "out.pth", to="nnssl", outputs=1)
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    network_of().load_state_dict(content["network_weights"], strict=True)
    plan = content["nnssl_adaptation_plan"]
    known = nnssls(network)["nnssl_adaptation_plan"]
    assert known.keys() <= plan.keys()
    assert known["pretrain_plan"].keys() <= plan["pretrain_plan"].keys()
    assert plan["recommended_downstream_patchsize"] == [160] * 3
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration["spacing"] == [1, 1, 1]
    assert configuration["normalization_schemes"] == ["ZScoreNormalization"]
    again = import_encoder(tmp_path / "out.pth", tmp_path / "again")
    assert again.backbone == done.backbone
    with torch.no_grad():
        for ours, theirs in zip(load_encoder(again.folder)(images), encoder(images), strict=True):
            assert torch.equal(ours, theirs)
    decoder = UNetDecoder(encoder, 1, dims=3)
    names = set(decoder.state_dict()) - {"out.weight", "out.bias"}
    from safetensors.torch import load_file

    kept = set(load_file(done.folder / "decoder.safetensors"))
    assert names & kept


def test_a_network_that_is_not_here_is_named(tmp_path: Path) -> None:
    content = nnssls(network_of())
    content["nnssl_adaptation_plan"]["architecture_plans"] = {"arch_class_name": "PrimusM"}
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(EncoderFileError, match="plan names the network PrimusM; .* ResEncL"):
        import_encoder(tmp_path / "checkpoint.pth", tmp_path / "in")


@pytest.mark.parametrize("size", [[float("inf")] * 3, ["a", "b", "c"], {}, [160] * 40])
def test_a_plan_of_nonsense_is_one_message_or_none(tmp_path: Path, size: Any) -> None:
    content = nnssls(network_of())
    content["nnssl_adaptation_plan"]["recommended_downstream_patchsize"] = size
    torch.save(content, tmp_path / "checkpoint.pth")
    try:
        done = import_encoder(tmp_path / "checkpoint.pth", tmp_path / "in")
    except EncoderFileError:
        assert not (tmp_path / "in").exists()
    else:
        load_encoder(done.folder)


def test_resenc_l_is_known_by_its_numbers_alone() -> None:
    assert is_resenc_l(ResEnc3d())
    assert not is_resenc_l(ResEnc3d(n_stages=3))
    assert ResEnc3d.export_formats == ("nnunet", "nnssl")


def test_normalisations_become_preprocessing() -> None:
    ct = {"spacing": [3.0, 1.0, 0.5], "normalization_schemes": ["CTNormalization"]}
    known = {"0": {"mean": 100.0, "std": 50.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0}}
    assert images_of(ct, known) == {
        "spacing": [0.5, 1.0, 3.0], "window": (-100.0, 300.0), "mean": (0.5,),
        "deviation": (0.125,),
    }  # fmt: skip
    assert images_of({"normalization_schemes": ["NoNormalization"]}) == {}
    mixed = {"normalization_schemes": ["ZScoreNormalization", "CTNormalization"]}
    assert images_of(mixed, known) == {}
