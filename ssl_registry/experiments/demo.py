"""The demo: one pretext task, a few labels, and the difference that pretraining makes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from torch import Tensor

from ssl_registry.component import explain
from ssl_registry.data.sources import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.errors import ConfigError, DataError, RunError
from ssl_registry.experiments.report import write_report
from ssl_registry.experiments.results import ARMS, Arm, Score
from ssl_registry.pretext import PretextModel
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.callbacks import spell_time
from ssl_registry.training.downstream_model import DownstreamModel
from ssl_registry.training.finetuning import finetune
from ssl_registry.training.preparation import quiet_or_loud
from ssl_registry.training.pretraining import pretrain
from ssl_registry.training.run_folder import RunFolder, read_result
from ssl_registry.training.settings import (
    FinetuneSettings,
    PretrainSettings,
    RunSettings,
    read_settings,
)

FINETUNE_BATCH: Final = 2

R = TypeVar("R", bound=RunSettings)


class DemoSettings(BaseModel):
    """What the demo does; the defaults are made for two CPU cores."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: str = Field("phantoms:120", description="a Decathlon folder, or phantoms:N")
    out: Path = Field(Path("runs/demo"), description="folder of the report and its runs")
    task: str | dict[str, Any] = Field(
        {"name": "rpl3d", "jitter": 1, "questions": 8}, description="the pretext task"
    )
    backbone: dict[str, Any] = Field(
        {"name": "unet3d", "base_filters": 16, "levels": 4}, description="the network"
    )
    downstream: str | dict[str, Any] = Field("segmentation3d", description="the downstream task")
    size: int = Field(32, ge=8, description="side of the volumes in voxels")
    labelled: tuple[int, ...] = Field(
        (2, 4), min_length=1, description="numbers of labelled volumes to fine-tune on"
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="repetitions")
    pretrain_epochs: int = Field(90, ge=1)
    finetune_steps: int = Field(240, ge=1, description="the same for both arms")
    freeze_share: float = Field(
        0.25, ge=0, le=1, description="share of fine-tuning with the pretrained encoder frozen"
    )
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="of pretraining")
    finetune_learning_rate: float = Field(2e-3, gt=0, description="of both arms")

    @classmethod
    def read(cls, **fields: Any) -> Self:
        """Return validated settings.

        Raises:
            ConfigError: a field is unknown or out of bounds.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ConfigError(explain(error, "demo", tuple(cls.model_fields))) from error

    def pretraining(self) -> PretrainSettings:
        """Return the settings of the one pretraining run."""
        fields = {
            "task": self.task,
            "backbone": self.backbone,
            "size": self.size,
            "epochs": self.pretrain_epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "out": self.out / "pretrain",
            **self._shared(),
        }
        return read_settings(PretrainSettings, fields, "demo")

    def finetuning(self, arm: Arm, labelled: int, seed: int, available: int) -> FinetuneSettings:
        """Return the settings of one fine-tuning run; the arms differ in their start alone."""
        batch = min(FINETUNE_BATCH, labelled)
        epochs = max(1, self.finetune_steps // (labelled // batch))
        fields = {
            "downstream": self.downstream,
            "size": self.size,
            "fraction": labelled / available,
            "seed": seed,
            "epochs": epochs,
            "freeze_epochs": round(self.freeze_share * epochs),
            "batch_size": batch,
            "learning_rate": self.finetune_learning_rate,
            "out": self.out / arm / f"{labelled}-labelled-seed-{seed}",
            **self._shared(),
        }
        start = {"encoder": self.out / "pretrain"}
        fields |= start if arm == "pretrained" else {"backbone": self.backbone}
        return read_settings(FinetuneSettings, fields, "demo")

    def _shared(self) -> dict[str, Any]:
        # The demo shows test scores alone, so no case is spent on a validation curve.
        return {"data": self.data, "test_fraction": 0.25, "validation_fraction": 0.0}


def run_demo(settings: DemoSettings, *, quiet: bool = False) -> Path:
    """Run the demo and return the report's path; finished runs in `out` are used again.

    Raises:
        SslRegistryError: the settings or the data cannot be used.
    """
    console = quiet_or_loud(quiet)
    if settings.pretraining().task.spatial_dims != 3:
        raise ConfigError("the demo draws volumes: choose a task that ends in 3d")
    available = _available(settings)
    labelled = [count for count in settings.labelled if count <= available]
    if not labelled:
        raise DataError(
            f"data={settings.data} has {available} labelled training cases, fewer than the "
            f"{min(settings.labelled)} that the demo needs"
        )
    grid = [
        settings.finetuning(arm, count, seed, available)
        for count in labelled
        for seed in settings.seeds
        for arm in ARMS
    ]
    first = settings.pretraining()
    _check_folders(settings.out, [first, *grid])
    console.print(_announce(settings, len(grid), console))
    ensure_run(first, lambda run: pretrain(run, quiet=quiet).result)
    scores = list(_finetune_all(grid, available, console))
    return write_report(settings.out, settings.pretraining(), scores, settings.freeze_share)


def _available(settings: DemoSettings) -> int:
    """Return how many labelled cases there are to train on, test cases left out."""
    run = settings.pretraining()
    split = split_source(
        open_source(run.data, run.task.spatial_dims),
        seed=run.split_seed,
        test_fraction=run.test_fraction,
        validation_fraction=run.validation_fraction,
    )
    return sum(case.labelled for case in split.train)


def _check_folders(out: Path, runs: Sequence[RunSettings]) -> None:
    """See before the first step that nothing in `out` is of other settings.

    Raises:
        RunError: a run there was made with other settings.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"out={out} is a file: name a folder")
    for run in runs:
        folder = RunFolder(run.out)
        if folder.started:
            folder.check_same(run.model_dump(mode="json"))


def ensure_run(run: R, start: Callable[[R], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the result of a run: the one in its folder, or that of starting or resuming it."""
    finished = read_result(run.out)
    if finished is not None:
        return finished
    return start(run.model_copy(update={"resume": RunFolder(run.out).started}))


def _finetune_all(
    grid: Sequence[FinetuneSettings], available: int, console: Console
) -> Iterator[Score]:
    started = time.monotonic()
    for done, run in enumerate(grid, start=1):
        result = ensure_run(run, lambda settings: finetune(settings, quiet=True).result)
        score = Score.of(run, result)
        left = (time.monotonic() - started) / done * (len(grid) - done)
        console.print(
            f"{score.arm}, {score.labelled} of {available} labelled, seed {score.seed}: "
            f"{score.headline} {score.value:.3f} ({spell_time(left)} left)"
        )
        yield score


def _announce(settings: DemoSettings, runs: int, console: Console) -> str:
    """Return what the demo will do and how long it will take, measured on a few steps."""
    task, size = settings.pretraining().task, settings.size
    with console.status("measuring how fast this machine is"), lend_to_torch(derive_generator(0)):
        pretext = _seconds_a_pretext_step(settings.pretraining())
        downstream = _seconds_a_finetuning_step(settings.finetuning("scratch", 2, 0, 2))
    scans = _available(settings)
    steps = settings.pretrain_epochs * max(1, scans // settings.batch_size)
    seconds = steps * pretext + runs * settings.finetune_steps * downstream
    return (
        f"This takes about {spell_time(1.2 * seconds)} on this machine: {steps} steps of "
        f"{registry.entry_of(task).name} on {scans} volumes of {size}x{size}x{size} voxels, then "
        f"{runs} fine-tuning runs of {settings.finetune_steps} steps, half of them from scratch."
    )


def _seconds_a_pretext_step(run: PretrainSettings) -> float:
    shape = (run.size,) * run.task.spatial_dims
    model = PretextModel(run.task, run.backbone.build(run.task.view_channels(1)), shape)
    images = torch.rand(run.batch_size, 1, *shape)
    return _seconds(lambda: model(images, derive_generator(0))[0])


def _seconds_a_finetuning_step(run: FinetuneSettings) -> float:
    assert run.backbone is not None
    encoder = run.backbone.build(1)
    model = DownstreamModel(encoder, run.downstream.build_head(encoder, 4))
    images = torch.rand(run.batch_size, 1, *(run.size or 0,) * run.downstream.spatial_dims)
    target = torch.zeros(images[:, 0].shape, dtype=torch.int64)
    return _seconds(lambda: run.downstream.loss(model(images), target))


def _seconds(loss: Callable[[], Tensor]) -> float:
    """Return what a forward and a backward pass take, the first two left out."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        loss().backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - started)
    return sum(times[2:]) / len(times[2:])
