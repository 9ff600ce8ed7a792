"""MONAI's files of weights, made by MONAI's own networks, come in with equal features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR, filter_swinunetr
from torch import Tensor

from ssl_registry import export_encoder, import_encoder, load_encoder
from ssl_registry.errors import EncoderFileError


@pytest.fixture(scope="module")
def swin() -> SwinUNETR:
    return SwinUNETR(in_channels=1, out_channels=2, feature_size=12, depths=(2, 1, 1, 1)).eval()


def volumes(channels: int, side: int) -> Tensor:
    return torch.rand((1, channels, 64, side, side), generator=torch.Generator().manual_seed(0))


def of_5050_scans(model: SwinUNETR) -> dict[str, Any]:
    """Return weights as `model_swinvit.pt` holds them, and what SSL trained beside them."""
    state = {
        "module." + name.replace(".linear1.", ".fc1.").replace(".linear2.", ".fc2."): value
        for name, value in model.swinViT.state_dict().items()
    }
    return {"state_dict": {**state, "module.rotation_head.weight": torch.ones(4, 4)}}


def of_disruptive_autoencoders(model: SwinUNETR) -> dict[str, Any]:
    """Return weights as `ssl_pretrained_weights.pth` holds them, which `filter_swinunetr` reads."""
    state = {"encoder.mask_token": torch.zeros(1), "encoder.norm.weight": torch.ones(3)}
    for name, value in model.swinViT.state_dict().items():
        first, _, rest = name.partition(".")
        inner = name if first == "patch_embed" else f"{first}.0.0.{rest.partition('.')[2]}"
        key = f"encoder.{inner}"
        wanted = filter_swinunetr(key, value)
        assert wanted is not None
        assert wanted[0] == f"swinViT.{name}"
        state[key] = value
    return {"model": state}


@pytest.mark.parametrize("published", [of_5050_scans, of_disruptive_autoencoders])
def test_both_published_files_of_swin_unetr_are_recognised(
    tmp_path: Path, swin: SwinUNETR, published: Any
) -> None:
    torch.save(published(swin), tmp_path / "w.pt")
    with pytest.raises(EncoderFileError, match="encoder1"):
        import_encoder(tmp_path / "w.pt", tmp_path / "out")
    done = import_encoder(tmp_path / "w.pt", tmp_path / "out", allow_missing=True)
    assert done.format == "monai"
    fields = done.backbone.model_dump()
    assert fields == {
        "feature_size": 12, "depths": (2, 1, 1, 1), "num_heads": (3, 6, 12, 24), "window_size": 7,
    }  # fmt: skip
    missing = {row.encoder.partition(".")[0] for row in done.rows if row.fate == "missing"}
    assert missing == {"encoder1", "encoder2", "encoder3", "encoder4", "encoder10"}
    images = volumes(1, 32)
    with torch.no_grad():
        ours = load_encoder(done.folder).get_submodule("swinViT")(images, True)
        theirs = swin.swinViT(images, True)
    assert all(torch.equal(mine, wanted) for mine, wanted in zip(ours, theirs, strict=True))


def coarsest(name: str, model: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        if name == "swinunetr":
            found: Tensor = model.encoder10(model.swinViT(images, model.normalize)[4])
        elif name == "segresnet":
            found = model.encode(images)[0]
        else:
            deeper = model.down_2(model.down_1(model.conv_0(images)))
            found = model.down_4(model.down_3(deeper))
    return found


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("segresnet", lambda: SegResNet(in_channels=2, blocks_down=(1, 2, 1), blocks_up=(1, 1))),
        ("basicunet", lambda: BasicUNet(in_channels=2, features=(4, 4, 8, 8, 16, 4), norm="batch")),
        ("swinunetr", lambda: SwinUNETR(in_channels=2, out_channels=2, feature_size=12)),
    ],
)
def test_a_whole_network_comes_in_and_goes_out_with_equal_features(
    tmp_path: Path, name: str, make: Any
) -> None:
    model = make().eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out")
    assert done.count("missing") == 0
    assert done.count("left") > 0
    images = volumes(2, 32)
    with torch.no_grad():
        assert torch.equal(load_encoder(done.folder)(images)[-1], coarsest(name, model, images))
    weights = export_encoder(done.folder, tmp_path / "again.safetensors")
    again = import_encoder(tmp_path / "again.safetensors", tmp_path / "again")
    assert again.backbone == done.backbone
    ours, back = (load_encoder(one.folder).state_dict() for one in (done, again))
    assert all(torch.equal(ours[key], back[key]) for key in ours)
    assert weights.library == "MONAI"
