"""The finest levels of a pretrained encoder are taken over, the coarser ones begin anew."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssl_registry import Encoder, finetune, load_encoder, pretrain, registry
from ssl_registry.cli.app import app
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.hub import card_of
from ssl_registry.training.finetuning.level_transfer import take_over
from tests.experiments.curves import results, run

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}
FINETUNE: dict[str, Any] = {
    "data": "phantoms:10",
    "epochs": 2,
    "batch_size": 2,
    "freeze_epochs": 2,
    "select": "last",
    "quiet": True,
}
BACKBONES = [
    SMALL,
    {"name": "unet2d", "base_filters": 2, "levels": 4, "norm": "instance"},
    {"name": "densenet121", "growth": 4},
    {"name": "timm:resnet10t"},
    {"name": "monai-segresnet3d", "blocks_down": [1, 1, 1]},
    {"name": "monai-basicunet3d", "features": [4, 4, 8, 8, 16]},
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(
        task="rotation3d", backbone=SMALL, data="phantoms:10", size=16, epochs=1, quiet=True,
        out=tmp_path_factory.mktemp("runs") / "pretrained",
    ).folder  # fmt: skip


def built(spec: dict[str, Any], seed: int) -> Encoder:
    torch.manual_seed(seed)
    encoder: Encoder = registry.create(spec).build(1)
    # Statistics that differ from those of a network that has seen nothing.
    for name, buffer in encoder.named_buffers():
        if "running" in name:
            buffer.add_(seed / 100)
    return encoder.eval()


def image_for(spec: dict[str, Any]) -> torch.Tensor:
    shape = {2: (1, 1, 64, 64), 3: (1, 1, 32, 32, 32)}[registry.create(spec).spatial_dims]
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", BACKBONES, ids=lambda spec: spec["name"])
@pytest.mark.parametrize("levels", [1, pytest.param(2, marks=pytest.mark.long)])
def test_finest_levels_answer_as_before_and_the_others_are_the_fresh_ones(
    spec: dict[str, Any], levels: int
) -> None:
    before, fresh, encoder = built(spec, 1), built(spec, 2), built(spec, 1)
    image = image_for(spec)
    kept = take_over(encoder, fresh, levels, image)
    assert kept
    assert not encoder.training
    with torch.no_grad():
        was, now = before(image), encoder(image)
    assert all(torch.equal(a, b) for a, b in zip(was[:levels], now[:levels], strict=True))
    assert not torch.equal(was[-1], now[-1])
    start = fresh.state_dict()
    anew = [name for name, _ in encoder.named_parameters() if name not in kept]
    assert anew
    assert all(torch.equal(encoder.state_dict()[name], start[name]) for name in anew)


@pytest.mark.parametrize("spec", BACKBONES, ids=lambda spec: spec["name"])
def test_all_levels_are_the_whole_encoder(spec: dict[str, Any]) -> None:
    before, encoder = built(spec, 1), built(spec, 1)
    take_over(encoder, built(spec, 2), len(encoder.channels), image_for(spec))
    image = image_for(spec)
    with torch.no_grad():
        pairs = zip(before(image), encoder(image), strict=True)
        assert all(torch.equal(was, now) for was, now in pairs)


def test_what_begins_anew_is_as_in_training_from_scratch_and_is_not_frozen(
    pretrained: Path, tmp_path: Path
) -> None:
    def tuned(name: str, **fields: Any) -> dict[str, torch.Tensor]:
        out = finetune(**FINETUNE, **fields, out=tmp_path / name).folder
        return load_encoder(out).state_dict()

    one = {"encoder": pretrained, "transfer_levels": 1}
    still = {"learning_rate": 1e-30}
    before, learned = load_encoder(pretrained).state_dict(), tuned("learned", **one)
    begun = tuned("begun", **one, **still)
    scratch = tuned("scratch", backbone=SMALL, size=16, **still)
    for name, was in before.items():
        if name.startswith("blocks.0."):
            assert torch.equal(learned[name], was)
        elif name.endswith("weight") and ".body.1" not in name and ".body.4" not in name:
            assert torch.equal(begun[name], scratch[name])
            assert not torch.equal(learned[name], begun[name])
        elif name.endswith("running_mean"):
            assert begun[name].any(), "batch statistics of what begins anew are not frozen"


def test_all_levels_of_a_run_give_the_bits_of_leaving_it_out(
    pretrained: Path, tmp_path: Path
) -> None:
    fields = {**FINETUNE, "freeze_epochs": 1, "encoder": pretrained}
    whole = finetune(**fields, out=tmp_path / "whole")
    three = finetune(**fields, transfer_levels=3, out=tmp_path / "three")
    assert whole.result["score"] == three.result["score"]


def test_too_many_levels_are_refused_before_anything_is_written(
    pretrained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="transfer_levels=4: the encoder has 3 levels"):
        finetune(**FINETUNE, encoder=pretrained, transfer_levels=4, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="no encoder to take levels from"):
        finetune(**FINETUNE, backbone=SMALL, size=16, transfer_levels=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_the_levels_that_it_was_started_with(
    pretrained: Path, tmp_path: Path
) -> None:
    fields = {**FINETUNE, "freeze_epochs": 1, "encoder": pretrained, "out": tmp_path / "run"}
    (finetune(**fields, transfer_levels=1).folder / "result.json").unlink()
    finetune(**fields, resume=True)
    said = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert said["transfer_levels"] == 1
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match="transfer_levels=1; this call says transfer_levels=2"):
        finetune(**fields, transfer_levels=2, resume=True)


def test_an_experiment_takes_over_levels_of_all_encoders_and_leaves_scratch_alone(
    tmp_path: Path,
) -> None:
    out = tmp_path / "curve"
    budget = {"steps": 10, "freeze_share": 0.3, "transfer_levels": 2}
    run(out, finetune=budget, tasks=["rotation3d"], labelled=[1], seeds=[0])
    said = {
        line: yaml.safe_load((out / "runs" / line / "1-labelled-seed-0/config.yaml").read_text())
        for line in ("scratch", "rotation3d")
    }
    assert said["scratch"]["transfer_levels"] is None
    assert said["rotation3d"]["transfer_levels"] == 2


@pytest.mark.parametrize(
    "task",
    ["rotation3d", *(pytest.param(n, marks=pytest.mark.long) for n in ("rpl3d", "exemplar3d"))],
)
def test_a_task_that_sees_the_finest_levels_trains_no_other(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The coarser levels keep the weights that they were drawn with, the finer ones do not."""
    backbone = {**SMALL, "norm": "instance"}
    fields = {"task": task, "backbone": backbone, "data": "phantoms:10", "size": 24, "quiet": True}
    one, more = (
        pretrain(**fields, levels=2, epochs=epochs, out=tmp_path / str(epochs)) for epochs in (1, 2)
    )
    state, later = (load_encoder(run.folder).state_dict() for run in (one, more))
    for name, value in state.items():
        assert torch.equal(value, later[name]) == name.startswith("blocks.2.")
    assert read_encoder_summary(one.folder).levels == 2
    assert "the 2 finest levels were trained" in card_of(read_encoder_summary(one.folder))
    command = ["export", str(one.folder), "--out", str(tmp_path / "weights.safetensors")]
    assert not app(command, standalone_mode=False)
    assert "the 2 finest levels were trained, the coarser" in capsys.readouterr().out


def test_fine_tuning_takes_over_the_levels_that_were_pretrained(tmp_path: Path) -> None:
    shallow = pretrain(
        task="rotation3d", backbone=SMALL, data="phantoms:10", size=16, epochs=1, levels=1,
        quiet=True, out=tmp_path / "shallow",
    ).folder  # fmt: skip
    tuned = finetune(**FINETUNE, encoder=shallow, out=tmp_path / "tuned")
    said = yaml.safe_load((tuned.folder / "config.yaml").read_text())
    assert said["transfer_levels"] == 1
    assert read_encoder_summary(tuned.folder).levels is None
    with pytest.raises(ConfigError, match="only the 1 finest levels were pretrained"):
        finetune(**FINETUNE, encoder=shallow, transfer_levels=2, out=tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_an_experiment_whose_tasks_see_the_finest_levels_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "curve"
    task = {"name": "rotation3d", "pretrain": {"levels": 2}}
    fields: dict[str, Any] = {"labelled": [1], "seeds": [0]}
    run(out, tasks=[task], **fields)
    first = results(out)
    run(out, tasks=[task], **fields)
    assert results(out) == first
    tuned = out / "runs" / "rotation3d" / "1-labelled-seed-0" / "config.yaml"
    assert yaml.safe_load(tuned.read_text())["transfer_levels"] == 2
    encoders = {"again": out / "pretrain" / "rotation3d" / "seed-0"}
    run(tmp_path / "again", tasks=[], encoders=encoders, **fields)
    run(tmp_path / "again", tasks=[], encoders=encoders, **fields)
    scores = {row["line"]: row["dice"] for row in results(tmp_path / "again")}
    assert scores["again"] == next(row["dice"] for row in first if row["line"] == "rotation3d")


def test_a_head_sees_no_more_levels_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="levels=4: the encoder has 3 levels"):
        pretrain(
            task="rotation3d", backbone=SMALL, data="phantoms:10", size=16, levels=4, quiet=True,
            out=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_runs_and_encoders_from_before_there_were_such_settings_go_on(
    pretrained: Path, tmp_path: Path
) -> None:
    """What lacks the settings means all levels, as it did then."""
    encoder = Path(shutil.copytree(pretrained, tmp_path / "encoder"))
    fields = {**FINETUNE, "freeze_epochs": 1, "encoder": encoder, "out": tmp_path / "run"}
    run_before = finetune(**fields)
    without(run_before.folder / "config.yaml", "transfer_levels: null\n")
    without(encoder / "encoder.json", '  "levels": null,\n')
    (run_before.folder / "result.json").unlink()
    assert finetune(**fields, resume=True).result["score"] == run_before.result["score"]


def without(path: Path, line: str) -> None:
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, ""))
