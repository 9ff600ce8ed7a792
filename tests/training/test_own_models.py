"""Tasks with a model of their own: a teacher, a queue, crops of two sizes, patients."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_registry import Chance, Encoder, Moment, PretextModel, PretextTask, pretrain, registry
from ssl_registry.errors import PluginError
from ssl_registry.training.engine.checkpoint import load_checkpoint
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.contrast import Contrast3d, ContrastModel, offer
from tests.kills import Killed, kill_at
from tests.training.test_processes import COMMAND
from tests.training.test_runs import digest

THIRD_PARTY = Path(__file__).parents[1] / "third_party" / "ssl-registry-cutout"
TASKS = {
    "masked-cubes3d": "masked:Masked3d",
    "slow-copy3d": "teacher:Teacher3d",
    "multicrop3d": "multicrop:MultiCrop3d",
    "patients3d": "patients:Patients3d",
}
SMALL: dict[str, Any] = {
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 2},
    "data": "phantoms:8",
    "size": 16,
    "batch_size": 2,
    "validate_every": 1,
    "checkpoint_minutes": 0,
    "device": "cpu",
    "quiet": True,
}


@pytest.fixture(scope="module", autouse=True)
def offered() -> Iterator[None]:
    """Offer the third party's tasks, and the tests' own, in this process."""
    sys.path.insert(0, str(THIRD_PARTY))
    before = dict(registry._registered)
    for name, target in TASKS.items():
        module, _, cls = target.partition(":")
        found = getattr(importlib.import_module(f"cutout_task.{module}"), cls)
        registry.register(found, name=name)
    registry.register(Contrast3d, name="contrast3d")
    yield
    sys.path.remove(str(THIRD_PARTY))
    registry._registered.clear()
    registry._registered.update(before)


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    found = load_checkpoint(RunFolder(folder), quiet_or_loud(quiet=True))
    assert found is not None
    return dict(found["state_dict"])


@pytest.mark.parametrize("name", [*TASKS, "contrast3d"])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = pretrain(task=name, epochs=2, out=tmp_path / "whole", **SMALL)
    assert whole.result["learnt_note"]
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            pretrain(task=name, epochs=2, out=tmp_path / "killed", **SMALL)
    again = pretrain(task=name, epochs=2, out=tmp_path / "killed", resume=True, **SMALL)
    assert digest(again.folder / "encoder.safetensors") == digest(
        whole.folder / "encoder.safetensors"
    )
    assert digest(again.folder / "metrics.csv") == digest(whole.folder / "metrics.csv")


def test_with_several_batches_a_step_the_teacher_moves_once_a_step(tmp_path: Path) -> None:
    fields = {**SMALL, "data": "phantoms:10", "epochs": 2, "accumulate": 3}
    run = pretrain(task="contrast3d", out=tmp_path / "run", **fields)
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    steps = int(rows[-1].split(",")[rows[0].split(",").index("step")])
    assert steps == 2
    assert int(state_of(run.folder)["model.moved"]) == steps


def test_two_processes_have_one_teacher_and_one_queue(tmp_path: Path) -> None:
    """Each shows its images to the other's queue, so both learn against the same negatives."""
    fields = {k: v for k, v in SMALL.items() if k != "quiet"} | {"task": "contrast3d", "epochs": 2}
    fields |= {"data": "phantoms:12", "devices": 2, "out": str(tmp_path / "two")}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(fields))
    words = [str(COMMAND), "pretrain", str(tmp_path / "two.yaml")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=offer(tmp_path / "plugin")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state = state_of(tmp_path / "two")
    assert (state["model.queue.owners"] != 0).all()
    weights = load_file(tmp_path / "two" / "encoder.safetensors")
    moved = [
        name
        for name, value in weights.items()
        if value.is_floating_point()
        and f"model.teacher.network.encoder.{name}" in state
        and not torch.equal(state[f"model.teacher.network.encoder.{name}"], value)
    ]
    assert moved


def test_a_teacher_is_judged_by_its_features(tmp_path: Path) -> None:
    run = pretrain(task="slow-copy3d", epochs=1, out=tmp_path / "run", **SMALL)
    assert "features" in run.result["learnt_note"] or "collaps" in run.result["learnt_note"]


class KeepsAGraph(Contrast3d):
    """A contrast whose model keeps its last loss with the graph."""

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        return CarelessModel(encoder)


class CarelessModel(ContrastModel):
    last: Tensor | None = None

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().forward(images, generator, moment)
        if self.last is not None:
            loss = loss + self.last
        if self.training and torch.is_grad_enabled():
            self.last = loss
        return loss, metrics


def test_a_kept_graph_is_the_plugins_fault_and_said_so(tmp_path: Path) -> None:
    registry.register(KeepsAGraph, name="careless3d")
    with pytest.raises(PluginError, match=r"KeepsAGraph .*\.detach\(\).*my-own-task"):
        pretrain(task="careless3d", epochs=1, out=tmp_path / "run", **SMALL)


class Wrong(PretextModel):
    """A model that does one thing of many wrong."""

    def __init__(self, encoder: Encoder, fault: str) -> None:
        super().__init__(encoder)
        self.fault = fault

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the size of the features, with a fault."""
        loss = self.encoder(images)[-1].square().mean()
        if self.fault == "no gradient":
            return loss.detach(), {}
        if self.fault == "a number for a name":
            return loss, {1: loss.detach()}  # type: ignore[dict-item]
        return loss, {"loss": loss.detach()} if self.fault == "two losses" else {}

    def parts(self) -> dict[str, nn.Module]:
        """Return the encoder, with a fault."""
        kept: dict[str, Any] = super().parts()
        if self.fault == "raises":
            kept["decoder"] = self.nothing
        if self.fault == "a tensor":
            kept["decoder"] = torch.zeros(1)
        if self.fault == "another encoder":
            kept["encoder"] = registry.backbone("unet3d", base_filters=3, levels=2).build(1)
        return kept


class Wrong3d(PretextTask):
    """A task whose model has a fault."""

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    fault: str

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        """Return the model with the fault."""
        if self.fault == "encoder of its own":
            encoder = registry.backbone("unet3d", base_filters=2, levels=2).build(1)
        return Wrong(encoder, self.fault)

    def view_channels(self, image_channels: int) -> int:
        """Return the channels, with a fault."""
        return "1" if self.fault == "a word for channels" else image_channels  # type: ignore[return-value]

    def chance(self, images: int) -> Chance | None:
        """Return what guessing reaches, with a fault."""
        return 0.5 if self.fault == "half" else None  # type: ignore[return-value]

    def judged_by(self) -> Any:
        """Return how it is judged, with a fault."""
        return {"luck": "luck", "no chance": "answers"}.get(self.fault, "features")


@pytest.mark.parametrize(
    ("fault", "said"),
    {
        "no gradient": "the loss has no gradient",
        "two losses": "a metric named 'loss'",
        "raises": "the model's parts failed: AttributeError",
        "a tensor": r"parts\(\) names .* as 'decoder'; a part is an nn.Module",
        "another encoder": "another structure than the backbone's",
        "encoder of its own": "trains another encoder than it was given",
        "a number for a name": "a loss or metric is named 1",
        "a word for channels": "view_channels returned '1'",
        "half": "chance returned 0.5",
        "luck": "judged_by returned 'luck'.*'features'",
        "no chance": "judged_by says 'answers', but chance does not say",
    }.items(),
)
def test_a_fault_of_a_model_is_said_in_words(fault: str, said: str, tmp_path: Path) -> None:
    registry.register(Wrong3d, name="wrong3d")
    with pytest.raises(PluginError, match=f"Wrong3d.*{said}.*my-own-task"):
        pretrain(task={"name": "wrong3d", "fault": fault}, **SMALL, epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
