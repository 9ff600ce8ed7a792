"""Pretraining that goes on from an encoder, and lines of an experiment that do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry import (
    finetune,
    import_encoder,
    load_encoder,
    open_images,
    pretrain,
    registry,
    save_encoder,
)
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.experiments import EfficiencySettings, run_efficiency
from ssl_registry.experiments.efficiency import run_missing, show_grid
from ssl_registry.heads import UNetDecoder
from ssl_registry.training.files.encoder_file import digest_of
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.preparation.cases import quiet_or_loud

UNET: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}
RUN: dict[str, Any] = {
    "task": "rotation3d", "data": "phantoms:6", "epochs": 1, "batch_size": 2, "quiet": True,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("rotation")


@pytest.fixture(scope="module")
def rotation() -> None:
    pytest.importorskip("ssl_registry_rotation")


def made(folder: Path, part: str) -> Path:
    """Return an encoder with a decoder, which has seen one part of eight phantoms."""
    images = open_images(
        data="phantoms:8", size=16, preprocessing={"percentiles": (1, 99)}, split_seed=3, part=part
    )
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(5)  # type: ignore[attr-defined]
        encoder = registry.backbone("unet3d", base_filters=2, levels=2).build(1)
        decoder = UNetDecoder(encoder, 1, dims=3)
    return save_encoder(folder, encoder, backbone=UNET, images=images, decoder=decoder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("start") / "encoder", "train")


def test_it_starts_from_the_weights_and_settings_of_the_encoder(
    encoder: Path, tmp_path: Path
) -> None:
    done = pretrain(**RUN, encoder=encoder, learning_rate=1e-9, out=tmp_path / "on")
    summary, before = read_encoder_summary(done.folder), read_encoder_summary(encoder)
    assert summary.backbone == before.backbone
    assert (summary.size, summary.preprocessing) == (before.size, before.preprocessing)
    ours, theirs = load_encoder(done.folder).state_dict(), load_encoder(encoder).state_dict()
    for name, value in theirs.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6)
    assert done.result["started_from"] == digest_of(encoder)


def test_a_chain_forgets_nothing(encoder: Path, tmp_path: Path) -> None:
    first = pretrain(**RUN, encoder=encoder, out=tmp_path / "first")
    second = pretrain(**{**RUN, "split_seed": 4}, encoder=first.folder, out=tmp_path / "second")
    seen = [set(read_encoder_summary(one).data["seen"]) for one in (encoder, first.folder)]
    now = read_encoder_summary(second.folder)
    assert set(now.data["seen"]) >= seen[0] | seen[1]
    assert seen[1] > seen[0]
    assert now.data["complete"] is True
    assert [one["digest"] for one in now.history] == [digest_of(encoder), digest_of(first.folder)]
    assert now.history[1]["task"]["name"] == "rotation3d"
    with pytest.raises(ConfigError, match="of the test cases were used to pretrain"):
        finetune(
            encoder=second.folder, data="phantoms:8", epochs=1, freeze_epochs=0, split_seed=3,
            test_fraction=0.5, out=tmp_path / "no", quiet=True,
        )  # fmt: skip


def test_a_resumed_run_compares_the_encoder(encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "on"
    pretrain(**RUN, encoder=encoder, out=out)
    (out / "result.json").unlink()
    other = save_encoder(
        tmp_path / "other", registry.backbone("unet3d", base_filters=2, levels=2).build(1),
        backbone=UNET, images=None, size=16,
    )  # fmt: skip
    with pytest.raises(RunError, match="started from another encoder"):
        pretrain(out=out, resume=True, encoder=other, quiet=True)
    pretrain(out=out, resume=True, quiet=True)


def test_another_network_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave backbone out"):
        pretrain(**RUN, encoder=encoder, backbone={**UNET, "levels": 3}, out=tmp_path / "no")
    with pytest.raises(ConfigError, match="no encoder to take over"):
        pretrain(**RUN, transfer="encoder", out=tmp_path / "no")
    with pytest.raises(ConfigError, match="nothing of the decoder"):
        pretrain(**RUN, encoder=encoder, transfer="all", out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_images_of_another_shape_leave_the_network_as_it_is(encoder: Path, tmp_path: Path) -> None:
    other = {**RUN, "task": {"name": "rotation3d"}, "size": [16, 16, 8]}
    done = pretrain(**other, encoder=encoder, out=tmp_path / "on")
    assert read_encoder_summary(done.folder).backbone == read_encoder_summary(encoder).backbone


def test_a_kept_decoder_goes_on_too(tmp_path: Path) -> None:
    pytest.importorskip("ssl_registry_fusion")
    dense = {**RUN, "task": "fusion3d", "backbone": UNET, "size": 16, "validation_fraction": 0}
    first = pretrain(**dense, out=tmp_path / "first")
    on = {key: value for key, value in dense.items() if key not in ("backbone", "size")}
    done = pretrain(
        **on, encoder=first.folder, transfer="all", learning_rate=1e-9, out=tmp_path / "on"
    )
    one, two = ((tmp_path / name / "decoder.safetensors") for name in ("first", "on"))
    from safetensors.torch import load_file

    before, after = load_file(one), load_file(two)
    assert before.keys() == after.keys()
    for name, value in before.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert done.result["kind"] == "pretrain"


def test_imported_weights_go_on_and_stay_declared(tmp_path: Path) -> None:
    torch.save(registry.backbone("unet3d", base_filters=2, levels=2).build(1).state_dict(),
               tmp_path / "w.pth")  # fmt: skip
    folder = import_encoder(
        tmp_path / "w.pth", tmp_path / "in", backbone=UNET, seen="other people's scans"
    ).folder
    done = pretrain(**RUN, encoder=folder, size=16, out=tmp_path / "on")
    data = read_encoder_summary(done.folder).data
    assert data["declared"] == "other people's scans"
    assert data["complete"] is True
    by_voxels = [content for content in data["seen"] if "-" not in content]
    assert len(by_voxels) == done.result["cases"]["train"]


def test_a_line_of_an_experiment_may_start_from_an_encoder(encoder: Path, tmp_path: Path) -> None:
    settings = EfficiencySettings.read(
        tasks=[
            {"name": "rotation3d", "label": "fresh"},
            {"name": "rotation3d", "label": "on", "encoder": str(encoder)},
        ],
        encoders={"theirs": encoder}, data="phantoms:8", split_seed=3, labelled=[1], seeds=[0],
        pretrain={"epochs": 1}, finetune={"steps": 2}, out=tmp_path / "curve",
    )  # fmt: skip
    assert EfficiencySettings.read(**json.loads(settings.model_dump_json())) == settings
    run_missing(settings, 1, quiet_or_loud(quiet=True))
    on, fresh = (
        json.loads((tmp_path / "curve" / "pretrain" / label / "seed-0" / "result.json").read_text())
        for label in ("on", "fresh")
    )
    assert on["started_from"] == digest_of(encoder)
    assert fresh["started_from"] is None
    lines = (tmp_path / "curve" / "results.csv").read_text()
    assert all(f"{label}," in lines for label in ("scratch", "fresh", "on", "theirs"))


def test_images_prepared_otherwise_than_the_encoder_saw_are_said(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "saw images with preprocessing.crop=True, and these have False"
    chosen: dict[str, Any] = {"data": "phantoms:8", "split_seed": 3}
    show_grid(
        EfficiencySettings.read(
            **chosen,
            encoders={"theirs": encoder},
            preprocessing={"crop": False},
            labelled=[1],
            seeds=[0],
            finetune={"steps": 2},
            out=tmp_path / "curve",
        )
    )
    assert f"the encoder of theirs {words}" in " ".join(capsys.readouterr().out.split())
    pretrain(
        **{**RUN, **chosen, "quiet": False}, encoder=encoder, preprocessing={"crop": False},
        out=tmp_path / "on",
    )  # fmt: skip
    assert words in " ".join(capsys.readouterr().out.split())
    finetune(
        **chosen, encoder=encoder, preprocessing={"crop": False}, epochs=1, freeze_epochs=0,
        out=tmp_path / "tuned",
    )  # fmt: skip
    assert words in " ".join(capsys.readouterr().out.split())


def test_a_line_whose_start_has_seen_the_test_cases_is_refused_before_any_run(
    tmp_path: Path,
) -> None:
    encoder = made(tmp_path / "all", "all")
    settings = EfficiencySettings.read(
        tasks=[{"name": "rotation3d", "encoder": str(encoder)}], data="phantoms:8", split_seed=0,
        labelled=[1], seeds=[0], pretrain={"epochs": 1}, finetune={"steps": 2},
        out=tmp_path / "curve",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="of the test cases were used to pretrain"):
        run_efficiency(settings, quiet=True)
    assert not (tmp_path / "curve" / "pretrain").exists()
