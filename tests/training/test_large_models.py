"""Gradient checkpointing and FSDP2: the same learning in less memory."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from ssl_registry import load_encoder, pretrain, registry
from ssl_registry.errors import ConfigError
from ssl_registry.experiments.grid.budgets import FinetuneBudget, PretrainBudget
from ssl_registry.training.engine.arrangement import arrange_step
from ssl_registry.training.engine.equality import relative_errors, step
from ssl_registry.training.engine.recomputing import recompute
from ssl_registry.training.engine.units import units_of
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from tests.training.test_processes import COMMAND, FINETUNE, PRETRAIN, agree, run_two

CPU = torch.device("cpu")
UNET = {"name": "unet3d", "base_filters": 2, "levels": 3, "dropout": 0.1}
"""With batch statistics, which must not move twice, and chance, which must fall twice alike."""


FSDP: dict[str, Any] = {"strategy": "fsdp", "gradient_checkpointing": True, "checkpoint_minutes": 0}


def module_for(task: Any, backbone: Any, side: int, **fields: Any) -> Pretraining:
    said = {"task": task, "backbone": backbone, "size": side, "out": Path("run"), "device": "cpu"}
    settings = read_settings(PretrainSettings, {**said, **fields}, "pretrain")
    torch.manual_seed(0)
    channels = settings.task.view_channels(1)
    encoder = settings.backbone.build(channels)
    return Pretraining(settings.task.build_model(encoder, settings.image_shape), settings)


TASKS: list[tuple[Any, Any, int]] = [
    ("rotation3d", UNET, 16),
    ("masked3d", UNET, 16),
    ("exemplar3d", UNET, 16),
    ("rotation2d", {"name": "densenet121", "growth": 4}, 64),
]


@pytest.mark.parametrize(("task", "backbone", "side"), TASKS)
def test_what_is_computed_twice_gives_the_same_gradients_and_batch_statistics(
    task: Any, backbone: Any, side: int
) -> None:
    module = module_for(task, backbone, side)
    batch = torch.rand(4, 1, *module.settings.image_shape)
    errors = relative_errors(
        step(module, lambda _: None, batch, CPU), step(module, recompute, batch, CPU)
    )
    assert any("gradient" in name for name in errors)
    assert any("running_mean" in name for name in errors)
    assert max(errors.values()) <= 1e-6


def kept_bytes(module: Pretraining, batch: Tensor) -> int:
    """Return how many bytes a forward pass keeps for the backward pass, weights aside."""
    kept: dict[int, int] = {}
    weights = {one.data_ptr() for one in module.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module.model(batch, torch.Generator().manual_seed(0))
    return sum(kept.values())


def test_less_is_kept_for_the_backward_pass() -> None:
    module, batch = module_for("rotation3d", UNET, 16), torch.rand(2, 1, 16, 16, 16)
    plain = kept_bytes(module, batch)
    recompute(module)
    assert kept_bytes(module, batch) < plain / 2


def test_units_are_blocks_and_never_lie_within_each_other() -> None:
    densenet = registry.backbone("densenet121", growth=4).build(1)
    units = units_of(densenet)
    assert {type(unit).__name__ for unit in units} == {"_DenseLayer", "_Transition"}
    assert sum(type(unit).__name__ == "_DenseLayer" for unit in units) == 6 + 12 + 24 + 16
    within = [inner for unit in units for inner in unit.modules() if inner is not unit]
    assert not {id(unit) for unit in units} & {id(inner) for inner in within}


def test_a_network_whose_recomputation_differs_is_refused() -> None:
    module = module_for({"name": "masked3d", "sparse": True}, UNET, 16)
    settings = module.settings.model_copy(update={"gradient_checkpointing": True})
    with pytest.raises(ConfigError, match=r"gradient_checkpointing=true: .*; leave it out"):
        arrange_step(module, torch.rand(2, 1, 16, 16, 16), settings, Console(quiet=True))


def test_a_run_that_recomputes_ends_with_the_bits_of_one_that_does_not(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        **PRETRAIN, "backbone": UNET, "size": 16, "epochs": 2, "quiet": True,
    }  # fmt: skip
    plain = pretrain(**said, out=tmp_path / "plain").folder
    twice = pretrain(**said, gradient_checkpointing=True, out=tmp_path / "twice").folder
    assert (plain / "metrics.csv").read_text() == (twice / "metrics.csv").read_text()
    weights, others = (load_file(one / "encoder.safetensors") for one in (plain, twice))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_every_budget_of_an_experiment_takes_the_settings_of_large_models() -> None:
    said: dict[str, Any] = {"gradient_checkpointing": True, "strategy": "fsdp", "devices": 2}
    for budget in (PretrainBudget(**said), FinetuneBudget(**said)):
        assert said.items() <= budget.for_a_run().items()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"strategy": "fsdp"}, {"precision": "16-mixed"}),
        ({"strategy": "fsdp"}, {"compile": True}),
        ({"compile": True}, {"gradient_checkpointing": True}),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=" does not go with "):
        pretrain(**{**PRETRAIN, **first, **second}, out=tmp_path / "run", quiet=True)


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one process, and one of two that share out the weights, with equal batches."""
    folder = tmp_path_factory.mktemp("runs")
    pretrain(**PRETRAIN, accumulate=2, out=folder / "one", quiet=True)
    run_two("pretrain", {**PRETRAIN, **FSDP}, folder / "fsdp")
    return folder / "one", folder / "fsdp"


@pytest.mark.long
def test_shared_weights_learn_to_the_curve_of_whole_ones(shared_out: tuple[Path, Path]) -> None:
    agree(*shared_out)


@pytest.mark.long
def test_the_encoder_of_shared_weights_is_written_whole(shared_out: tuple[Path, Path]) -> None:
    whole, shared = (load_encoder(folder) for folder in shared_out)
    states = whole.state_dict(), shared.state_dict()
    assert {name: value.shape for name, value in states[0].items()} == {
        name: value.shape for name, value in states[1].items()
    }
    state = torch.load(shared_out[1] / "last.ckpt", weights_only=True)
    for index, weight in enumerate(state["optimizer"]["state"].values()):
        assert type(weight["exp_avg"]) is Tensor, index


def kill_two(command: str, fields: dict[str, Any], out: Path) -> None:
    """Kill both processes of a run when it has its first checkpoint."""
    (out.parent / f"{out.name}.yaml").write_text(yaml.safe_dump(fields))
    words = [str(COMMAND), command, f"{out}.yaml", "devices=2", f"out={out}"]
    with subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL) as run:
        while not (out / "last.ckpt").exists():
            assert run.poll() is None
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
    assert not (out / "result.json").exists()


@pytest.mark.long
def test_a_run_of_shared_weights_goes_on_where_it_was_killed(
    shared_out: tuple[Path, Path], tmp_path: Path
) -> None:
    fields = {**PRETRAIN, **FSDP}
    kill_two("pretrain", fields, tmp_path / "killed")
    run_two("pretrain", {**fields, "resume": True}, tmp_path / "killed")
    weights, others = (
        load_file(folder / "encoder.safetensors") for folder in (shared_out[1], tmp_path / "killed")
    )
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.long
def test_shared_weights_are_finetuned_from_an_encoder_that_is_frozen_first(
    shared_out: tuple[Path, Path], tmp_path: Path
) -> None:
    fields = {**FINETUNE, "encoder": str(shared_out[1])}
    run_two("finetune", fields, tmp_path / "ddp")
    run_two("finetune", {**fields, **FSDP}, tmp_path / "fsdp")
    agree(tmp_path / "ddp", tmp_path / "fsdp", validation=0.01)
    scores = [
        json.loads((tmp_path / name / "result.json").read_text())["score"]
        for name in ("ddp", "fsdp")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.01)


@pytest.mark.long
def test_a_teacher_follows_shared_weights(tmp_path: Path) -> None:
    teacher = {"name": "byol3d", "keep": "teacher", "momentum": 0.5}
    # Small steps: at 0.01 what is rounded otherwise grows to 0.0001 of the loss in three epochs.
    fields = {**PRETRAIN, "task": teacher, "watch": 0, "learning_rate": 0.001}
    run_two("pretrain", fields, tmp_path / "ddp")
    run_two("pretrain", {**fields, **FSDP}, tmp_path / "fsdp")
    agree(tmp_path / "ddp", tmp_path / "fsdp", validation=0.001)


def test_the_features_of_a_teacher_that_is_kept_are_watched(tmp_path: Path) -> None:
    teacher = {"name": "byol3d", "keep": "teacher"}
    said = {**PRETRAIN, "task": teacher, "size": 16, "epochs": 1, "watch": 1, "quiet": True}
    watched = pretrain(**said, out=tmp_path / "run").result["watched"]
    assert watched["last"]["watch_rank"] > 1
