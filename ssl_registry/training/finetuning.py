"""Fine-tuning: an encoder and a new head learn a downstream task from few labels."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.backbone import Backbone
from ssl_registry.data.cache import LabelledImages, Prepared
from ssl_registry.data.cases import Source
from ssl_registry.data.splits import Split, label_subset
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.downstream_model import DownstreamModel, Finetuning, predict
from ssl_registry.training.encoder_file import (
    EncoderSummary,
    load_encoder,
    read_encoder_summary,
    write_encoder,
)
from ssl_registry.training.loop import (
    check_device,
    evaluation_loader,
    parameters_of,
    train,
    training_loader,
)
from ssl_registry.training.preparation import open_split, prepare, quiet_or_loud
from ssl_registry.training.run_folder import CONFIG, RunFolder, RunResult, write_whole
from ssl_registry.training.settings import DEFAULT_SIZES, FinetuneSettings, read_settings

PREDICTIONS = "predictions.npz"
"""Labels predicted for each test case, uint8: `[*S]` on the prepared grid, or a class, `[]`."""


@dataclass(frozen=True)
class _Plan:
    """All that a run needs, checked, before it writes anything."""

    settings: FinetuneSettings
    summary: EncoderSummary | None
    source: Source
    split: Split
    train: list[Prepared]
    validation: list[Prepared]
    test: list[Prepared]
    available: int

    @property
    def backbone(self) -> Backbone:
        chosen = self.summary.backbone if self.summary else self.settings.backbone
        assert chosen is not None
        return chosen


def finetune(
    settings: FinetuneSettings | None = None, /, *, quiet: bool = False, **fields: Any
) -> RunResult:
    """Fine-tune an encoder, or train from scratch, and score it on held-out cases.

        finetune(encoder="runs/rpl", data="Task04_Hippocampus", fraction=0.1, out="runs/rpl-10")

    Args:
        settings: all of them; or else
        **fields: those that differ from the defaults of `FinetuneSettings`.
        quiet: print nothing.

    Returns:
        The run's folder and what its `result.json` says: `score` holds the test score.

    Raises:
        SslRegistryError: the settings or the data cannot be used. Nothing was written.
    """
    if settings is None:
        settings = read_settings(FinetuneSettings, fields, "finetune")
    console = quiet_or_loud(quiet)
    check_device(settings)
    settings, summary = _complete(settings)
    folder = RunFolder(settings.out)
    folder.check(settings.model_dump(mode="json"), settings.resume)
    plan = _plan(settings, summary, console)
    model = _build(plan)
    _say_plan(plan, model, console)
    folder.write(CONFIG, settings.as_yaml())
    return _run(plan, model, folder, console)


def _complete(settings: FinetuneSettings) -> tuple[FinetuneSettings, EncoderSummary | None]:
    """Fill in what the encoder's file says, or the defaults where there is none."""
    summary = read_encoder_summary(settings.encoder) if settings.encoder else None
    dims = settings.downstream.spatial_dims
    filled: dict[str, Any] = {"freeze_epochs": settings.downstream.freeze_epochs}
    if settings.size is None:
        filled["size"] = summary.size if summary else DEFAULT_SIZES[dims]
    if settings.preprocessing is None:
        filled["preprocessing"] = summary.preprocessing if summary else {}
    if summary is None and settings.backbone is None:
        filled["backbone"] = f"unet{dims}d"
    if summary and summary.backbone.spatial_dims != dims:
        raise ConfigError(
            f"the encoder in {settings.encoder} works in {summary.backbone.spatial_dims}D, the "
            f"downstream task in {dims}D"
        )
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    return read_settings(FinetuneSettings, {**given, **filled}, "finetune"), summary


def _plan(settings: FinetuneSettings, summary: EncoderSummary | None, console: Console) -> _Plan:
    source, split = open_split(settings, settings.downstream.spatial_dims, console)
    _check_labels(settings, source)
    if not split.test:
        raise DataError(
            f"data={settings.data}: test_fraction={settings.test_fraction:g} of "
            f"{len(source.labelled)} labelled cases leaves no test case; raise it"
        )
    _check_leak(settings, summary, source, split)
    usable = [case for case in split.train if case.labelled]
    grades = [case.grade for case in usable]
    chosen = label_subset(usable, settings.fraction, settings.seed, grades)
    assert settings.preprocessing is not None and settings.size is not None  # noqa: PT018
    cases = prepare(
        [*chosen, *split.validation, *split.test], settings.preprocessing, settings.size, console
    )
    first, second = len(chosen), len(chosen) + len(split.validation)
    return _Plan(
        settings,
        summary,
        source,
        split,
        cases[:first],
        cases[first:second],
        cases[second:],
        available=len(usable),
    )


def _check_labels(settings: FinetuneSettings, source: Source) -> None:
    """See that there are labels, of the kind that the downstream task learns from."""
    if not source.labelled:
        raise DataError(
            f"data={settings.data} holds no labels to learn from: name a Decathlon folder whose "
            "dataset.json lists them, a table of graded images, class folders, or images with masks"
        )
    wanted, there = settings.downstream.target_kind, "class" if source.graded else "mask"
    if wanted != there:
        words = {"class": "one class for each image", "mask": "label maps"}
        instead = {"class": "classification", "mask": "segmentation"}[there]
        raise ConfigError(
            f"{registry.entry_of(settings.downstream).name} learns from {words[wanted]}, but "
            f"data={settings.data} has {words[there]}: say downstream={instead}{source.dims}d"
        )


def _check_leak(
    settings: FinetuneSettings, summary: EncoderSummary | None, source: Source, split: Split
) -> None:
    """Refuse to score an encoder on images that it was pretrained on."""
    if summary is None or summary.data.get("fingerprint") != source.fingerprint:
        return
    held_out = set(summary.data.get("held_out", []))
    seen = [case.name for case in split.test if case.name not in held_out]
    if seen:
        raise ConfigError(
            f"{len(seen)} of the test cases ({seen[0]}, ...) were used to pretrain "
            f"{settings.encoder}: use the split_seed, test_fraction, validation_fraction, "
            "group_column and group_pattern that it was pretrained with"
        )


def _build(plan: _Plan) -> DownstreamModel:
    settings = plan.settings
    channels = plan.train[0].channels
    with lend_to_torch(derive_generator(settings.seed, "finetune", "encoder")):
        if settings.encoder is None:
            encoder = plan.backbone.build(channels)
        else:
            encoder = load_encoder(settings.encoder, in_channels=channels)
    # The head starts from the same weights whether the encoder is pretrained or not.
    with lend_to_torch(derive_generator(settings.seed, "finetune", "head")):
        head = settings.downstream.build_head(encoder, len(plan.source.labels))
    return DownstreamModel(encoder, head).train()


def _say_plan(plan: _Plan, model: DownstreamModel, console: Console) -> None:
    settings = plan.settings
    start = f"from {settings.encoder}" if settings.encoder else "from scratch"
    if plan.summary and plan.summary.in_channels != model.encoder.in_channels:
        console.print(
            f"the encoder in {settings.encoder} takes {plan.summary.in_channels} channels, the "
            f"images have {model.encoder.in_channels}: its first convolution was converted (see "
            "load_encoder)"
        )
    if plan.source.graded:
        console.print(f"classes (training, test): {_count_classes(plan)}")
    console.print(
        f"{registry.entry_of(settings.downstream).name} with "
        f"{registry.entry_of(plan.backbone).name} ({parameters_of(model):,} parameters) {start}: "
        f"{len(plan.train)} of {plan.available} labelled images, {settings.epochs} epochs in "
        f"batches of {settings.batch_size}, seed {settings.seed}; tested on {len(plan.test)} others"
    )


def _count_classes(plan: _Plan) -> str:
    train, test = (Counter(c.case.grade for c in cases) for cases in (plan.train, plan.test))
    return ", ".join(
        f"{name}: {train[grade]}, {test[grade]}" for grade, name in plan.source.labels.items()
    )


def _run(plan: _Plan, model: DownstreamModel, folder: RunFolder, console: Console) -> RunResult:
    settings, task = plan.settings, plan.settings.downstream
    started = time.monotonic()
    module = Finetuning(model, task, settings)
    rows = train(
        module,
        training_loader(LabelledImages(plan.train), settings),
        evaluation_loader(LabelledImages(plan.validation), settings) if plan.validation else None,
        folder,
        "fine-tuning" if settings.encoder else "training from scratch",
        console,
    )
    predictions = predict(module, plan.test)
    targets = [case.label() for case in plan.test]
    score = task.score(predictions, targets)
    _write_predictions(folder, plan.test, predictions)
    assert settings.preprocessing is not None and settings.size is not None  # noqa: PT018
    write_encoder(
        folder.path,
        model.encoder,
        backbone=plan.backbone,
        task=dict(plan.summary.task) if plan.summary and plan.summary.task else None,
        preprocessing=settings.preprocessing,
        size=settings.size,
        data=_provenance(plan),
    )
    result = {
        "kind": "finetune",
        "headline": task.headline,
        "score": score,
        "labels": {str(value): name for value, name in plan.source.labels.items()},
        "cases": _score_cases(task, plan.test, predictions, targets),
        "counts": {
            "train": len(plan.train),
            "available": plan.available,
            "validation": len(plan.validation),
            "test": len(plan.test),
        },
        "trained_on": sorted(case.case.name for case in plan.train),
        "metrics": rows[-1],
        "seconds": round(time.monotonic() - started, 1),
        "torch": torch.__version__,
    }
    folder.write_result(result)
    return RunResult(folder.path, result)


def _provenance(plan: _Plan) -> dict[str, Any]:
    return {
        "name": plan.source.name,
        "fingerprint": plan.source.fingerprint,
        "cases": len(plan.train),
        "image_channels": plan.train[0].channels,
        "held_out": sorted(case.name for case in [*plan.split.validation, *plan.split.test]),
    }


def _score_cases(
    task: DownstreamTask,
    cases: Sequence[Prepared],
    predictions: list[Tensor],
    targets: list[Tensor],
) -> Mapping[str, dict[str, float]]:
    return {
        case.case.name: task.describe_case(predicted, target)
        for case, predicted, target in zip(cases, predictions, targets, strict=True)
    }


def _write_predictions(
    folder: RunFolder, cases: Sequence[Prepared], predictions: list[Tensor]
) -> None:
    arrays = {
        case.case.name: predicted.to(torch.uint8).numpy()
        for case, predicted in zip(cases, predictions, strict=True)
    }

    def save(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_whole(folder.path / PREDICTIONS, save)
