"""Encoders and models as graphs: equal answers for any number of images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_registry import (
    export_encoder,
    export_graph,
    finetune,
    load_encoder,
    open_images,
    registry,
    save_encoder,
)
from ssl_registry.cli.app import app
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.training.finetuning.model_file import load_model

UNET: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = open_images(data="phantoms:4", size=16)
    made = registry.backbone("unet3d", base_filters=2, levels=2).build(1)
    out = tmp_path_factory.mktemp("graph") / "encoder"
    return save_encoder(out, made, backbone=UNET, images=images)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graph") / "tuned"
    finetune(data="phantoms:6", backbone=UNET, size=16, epochs=1, out=out, quiet=True)
    return out


@pytest.mark.parametrize("count", [1, 5])
def test_an_exported_program_gives_the_pyramid_of_any_number_of_images(
    encoder: Path, tmp_path: Path, count: int
) -> None:
    done = export_graph(encoder, tmp_path / "e.pt2", to="torch-export")
    assert (done.part, done.image_shape) == ("encoder", (1, 16, 16, 16))
    program = torch.export.load(done.path).module()
    images = torch.rand(count, 1, 16, 16, 16)
    with torch.no_grad():
        for ours, theirs in zip(program(images), load_encoder(encoder)(images), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    said = json.loads((tmp_path / "e.pt2.json").read_text())
    assert said["images"]["steps"]


@pytest.mark.parametrize("count", [1, 4])
def test_onnx_gives_the_probabilities_of_a_model(tuned: Path, tmp_path: Path, count: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = export_graph(tuned, tmp_path / "m.onnx")
    assert done.part == "model"
    session = onnxruntime.InferenceSession(done.path.read_bytes())
    images = torch.rand(count, 1, 16, 16, 16)
    (answered,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    model, summary = load_model(tuned)
    with torch.no_grad():
        wanted = summary.downstream.probabilities(model(images)).numpy()
    np.testing.assert_allclose(answered, wanted, atol=1e-5)
    np.testing.assert_allclose(answered.sum(1), 1, atol=1e-5)


def test_the_command_and_what_it_refuses(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tuned), "--to", "torch-export", "--part", "encoder", "--out"]
    app([*words, str(tmp_path / "e.pt2")], standalone_mode=False)
    assert "holds the encoder for any number of images of 1x16x16x16" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="exists"):
        app([*words, str(tmp_path / "e.pt2")], standalone_mode=False)
    with pytest.raises(ConfigError, match=r"ends in \.pt2"):
        app([*words, str(tmp_path / "e.onnx")], standalone_mode=False)
    (tmp_path / "f.pt2.json").touch()
    with pytest.raises(ConfigError, match=r"f\.pt2\.json exists"):
        app([*words, str(tmp_path / "f.pt2")], standalone_mode=False)
    for option in (["--outputs", "3"], ["--in-channels", "3"], ["--names"]):
        with pytest.raises(ConfigError, match=f"{option[0]} is not of graphs"):
            app([*words, str(tmp_path / "g.pt2"), *option], standalone_mode=False)
    with pytest.raises(ConfigError, match="part=decoder: choose encoder or model"):
        export_graph(tuned, tmp_path / "g.pt2", to="torch-export", part="decoder")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"export_graph writes these"):
        export_encoder(tuned, tmp_path / "g.pt", to="onnx")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        export_encoder(tuned, tmp_path / "file" / "g.pt")
    with pytest.raises(ConfigError, match="--part"):
        app(["export", str(tuned), "--part", "model", "--out", "x.pt"], standalone_mode=False)
