"""nnU-Net's encoders as backbones: the contract, a plan's numbers, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ssl_registry_nnunet.backbones import (
    NnunetBackbone,
    PlainConv2d,
    PlainConv3d,
    ResEnc2d,
    ResEnc3d,
)

from ssl_registry import derive_generator, registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_backbone

TINY: dict[str, Any] = {"n_stages": 3, "features_per_stage": (4, 6, 8)}
KINDS = [PlainConv2d, PlainConv3d, ResEnc2d, ResEnc3d]
THICK: dict[str, Any] = {
    **TINY,
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
}
"""As a plan has them for slices that are thick: along the first axis."""


def images(*shape: int, channels: int = 1) -> torch.Tensor:
    return torch.rand((1, channels, *shape), generator=derive_generator(0, "images"))


@pytest.mark.parametrize(
    "kind",
    [
        PlainConv2d,
        ResEnc3d,
        *(pytest.param(kind, marks=pytest.mark.long) for kind in (PlainConv3d, ResEnc2d)),
    ],
)
def test_it_keeps_the_contract_of_a_backbone(kind: type[NnunetBackbone]) -> None:
    shapes = [(16, 24, 16)[: kind.spatial_dims], (17, 19, 13)[: kind.spatial_dims]]
    check_backbone(kind(**TINY, n_conv_per_stage_decoder=1), image_shapes=shapes, channels=(1, 2))


def test_one_number_may_stand_for_all_stages_and_axes() -> None:
    short = registry.create("nnunet-plainconv3d", **TINY, kernel_sizes=3, n_conv_per_stage=1)
    assert short == PlainConv3d(
        **TINY, kernel_sizes=[[3] * 3] * 3, strides=[1, [2, 2, 2], 2], n_conv_per_stage=[1] * 3,
        n_conv_per_stage_decoder=[2, 2],
    )  # fmt: skip
    assert registry.create(registry.spec_of(short)) == short


def test_by_default_the_residual_one_is_resenc_l() -> None:
    resenc = ResEnc3d()
    assert resenc.features_per_stage == (32, 64, 128, 256, 320, 320)
    assert resenc.n_blocks_per_stage == (1, 3, 4, 6, 6, 6)
    assert resenc.n_conv_per_stage_decoder == (1,) * 5
    assert PlainConv2d(n_stages=8).features_per_stage[-3:] == (512, 512, 512)


def test_strides_and_features_follow_the_axes() -> None:
    as_they_come = PlainConv3d(**THICK).build(1).eval()
    assert as_they_come.strides == ((1, 1, 1), (1, 2, 2), (2, 4, 4))
    turned = PlainConv3d(**THICK, axes=(2, 1, 0)).build(1).eval()
    assert turned.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    turned.load_state_dict(as_they_come.state_dict())
    scan = images(16, 12, 6)
    with torch.no_grad():
        ours, theirs = turned(scan), as_they_come(scan.permute(0, 1, 4, 3, 2))
    assert [tuple(level.shape[2:]) for level in ours] == [(16, 12, 6), (8, 6, 6), (4, 3, 3)]
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other.permute(0, 1, 4, 3, 2))


def test_a_decoder_looks_as_nnunets_own() -> None:
    encoder = PlainConv3d(**THICK, axes=(2, 1, 0), n_conv_per_stage_decoder=[3, 1]).build(1)
    decoder = UNetDecoder(encoder, 2, 3)
    coarse, fine = decoder.fuse
    kinds = ["Conv3d", "InstanceNorm3d", "LeakyReLU"]
    assert [type(layer).__name__ for layer in coarse.children()] == kinds * 3
    assert [type(layer).__name__ for layer in fine.children()] == kinds
    assert fine.get_submodule("0").kernel_size == (3, 3, 1)
    with torch.no_grad():
        assert decoder(encoder(images(16, 12, 6))).shape == (1, 2, 16, 12, 6)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"n_stages": 3, "features_per_stage": [4, 8]}, "features_per_stage has 2 entries"),
        ({**TINY, "strides": [1, 1, 2]}, "each stage after the first is coarser"),
        ({**TINY, "strides": [1, [2, 2], 2]}, "one number for each of 3 axes"),
        ({**TINY, "kernel_sizes": 2}, "widths are odd"),
        ({**TINY, "axes": [0, 0, 1]}, "name each of the axes 0 to 2 once"),
        ({**TINY, "n_conv_per_stage_decoder": [1, 1, 1]}, "n_stages=3 asks for 2"),
        ({"n_stages": 99}, "n_stages"),
        ({"configuration": "3d_fullres"}, "of which plans"),
        ({"plans": "nowhere.json"}, "cannot be read"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        registry.create("nnunet-plainconv3d", **fields)


def test_shapes_that_it_cannot_see_are_refused() -> None:
    with pytest.raises(ImageShapeError, match="multiple of them"):
        ResEnc3d(**TINY).build(1)(images(16, 16, 18))
    with pytest.raises(ImageShapeError, match="a single one"):
        PlainConv3d(**TINY).build(1)(images(4, 4, 4))


def write_plans(folder: Path, **changes: Any) -> Path:
    numbers = {
        **THICK,
        "features_per_stage": [4, 6, 8],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "nonlin": "torch.nn.LeakyReLU",
        **changes,
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": numbers,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    path = folder / "nnUNetPlans.json"
    flat = {"architecture": {**architecture, "arch_kwargs": {**numbers, **FLAT}}}
    configurations = {
        "2d": flat,
        "3d_lowres": {"architecture": architecture},
        "3d_fullres": {"inherits_from": "3d_lowres"},
    }
    said = {
        "transpose_forward": [1, 0, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": configurations,
    }
    path.write_text(json.dumps(said))
    return path


FLAT = {
    "conv_op": "torch.nn.modules.conv.Conv2d",
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 1], [2, 2]],
}


def test_numbers_are_read_from_plans_and_the_file_may_go(tmp_path: Path) -> None:
    plans = write_plans(tmp_path)
    read = registry.create("nnunet-plainconv3d", plans=str(plans))
    plans.unlink()
    # nnU-Net's arrays are z, y, x, here with y in front.
    assert read == PlainConv3d(**THICK, axes=(1, 2, 0))
    assert registry.create(registry.spec_of(read)) == read


def test_a_field_beside_plans_counts_for_more(tmp_path: Path) -> None:
    plans = str(write_plans(tmp_path))
    assert PlainConv3d(plans=plans, features_per_stage=[2, 2, 2]).features_per_stage == (2, 2, 2)


def test_slices_of_plans_have_the_axes_that_are_left(tmp_path: Path) -> None:
    read = PlainConv2d(plans=str(write_plans(tmp_path)))
    assert read.axes == (1, 0)  # (z, x) of slices across y, which are (x, z) here
    assert read.build(1).strides == ((1, 1), (1, 2), (2, 4))


@pytest.mark.parametrize(
    ("backbone", "changes", "complaint"),
    [
        ({"name": "nnunet-resenc3d"}, {}, "plans a PlainConvUNet.*nnunet-plainconv for"),
        ({"configuration": "3d_cascade"}, {}, "no configuration '3d_cascade', but 2d, 3d_fullres"),
        ({"configuration": "2d"}, {}, "Conv2d, and this backbone works in 3D"),
        ({}, {"nonlin": "torch.nn.ReLU"}, "nonlin=torch.nn.ReLU"),
        ({}, {"dropout_op": "torch.nn.Dropout3d"}, "dropout_op=torch.nn.Dropout3d"),
    ],
)
def test_plans_of_another_network_are_refused(
    backbone: dict[str, Any], changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    plans = str(write_plans(tmp_path, **changes))
    with pytest.raises(ConfigError, match=complaint):
        registry.create({"name": "nnunet-plainconv3d", "plans": plans, **backbone})


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"configurations": {"3d_fullres": {}}}'])
def test_files_that_are_no_plans_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plans\.json"):
        registry.create("nnunet-plainconv3d", plans=str(tmp_path / "plans.json"))
