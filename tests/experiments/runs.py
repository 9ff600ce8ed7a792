"""Run folders without a run: real cases, with predictions that are right as often as asked."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.experiments.statistics.rows import PretrainRow, Row
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.finetuning.predictions_file import write_predictions
from ssl_registry.training.settings.runs import FinetuneSettings
from ssl_registry.training.settings.stored import CONFIG, METRICS
from tests.experiments.rows import make_pretrain_row, make_row


def write_run(
    folder: Path,
    line: str,
    fraction: float,
    seed: int,
    right: float,
    *,
    data: str = "phantoms:12",
    downstream: str = "segmentation3d",
    size: int = 24,
) -> Row:
    """Write a run that predicts the share `right` of all voxels or images by their label."""
    settings = FinetuneSettings(
        data=data, downstream=downstream, size=size, fraction=fraction, seed=seed, out=folder,
        backbone=f"unet{downstream[-2]}d", preprocessing=Preprocessing(), epochs=3,
    )  # fmt: skip
    source = open_source(data, settings.downstream.spatial_dims)
    split = split_source(source, seed=0, test_fraction=0.2, validation_fraction=0.1)
    targets = [_target_of(case) for case in split.test]
    rng = np.random.default_rng([seed, round(1000 * fraction), len(line)])
    predictions = [_blunder(target, len(source.labels), right, rng) for target in targets]
    task = settings.downstream
    scores = task.score(predictions, targets)
    labels = {str(value): name for value, name in source.labels.items()}
    run = RunFolder(folder)
    run.write(CONFIG, settings.as_yaml())
    run.write(METRICS, "epoch,step,train_loss\n1,4,0.9\n2,8,0.5\n")
    names = [case.name for case in split.test]
    write_predictions(run, dict(zip(names, predictions, strict=True)))
    run.finish(
        {
            "headline": task.headline,
            "score": scores,
            "labels": labels,
            "cases": {
                name: task.describe_case(p, t)
                for name, p, t in zip(names, predictions, targets, strict=True)
            },
        }
    )
    return make_row(
        line, fraction, seed, scores, labels=labels, headline=task.headline, folder=folder
    )


def _target_of(case: Case) -> torch.Tensor:
    """Return the class of an image, or the label map on the grid of its file, int64."""
    if case.grade is not None:
        return torch.tensor(case.grade)
    label: torch.Tensor = case.read()["label"].data[0]
    return (label[..., 0] if label.shape[-1] == 1 else label).long()


def _blunder(
    target: torch.Tensor, classes: int, right: float, rng: np.random.Generator
) -> torch.Tensor:
    """Return the labels, replaced by random ones where chance says so."""
    kept = rng.random(tuple(target.shape)) < right
    random = rng.integers(classes, size=tuple(target.shape))
    return torch.from_numpy(np.where(kept, target.numpy(), random))


def write_pretraining(
    folder: Path,
    line: str,
    seed: int,
    accuracy: Sequence[float],
    *,
    learnt: bool | None = True,
    note: str = "",
) -> PretrainRow:
    """Write `metrics.csv` of a pretraining run that reached these accuracies, one an epoch."""
    folder.mkdir(parents=True)
    with (folder / METRICS).open("w", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "train_loss", "val_accuracy", "val_loss"])
        for epoch, value in enumerate(accuracy, start=1):
            writer.writerow(
                [
                    epoch,
                    4 * epoch,
                    1 - value,
                    *([value, 3 * (1 - value)] if epoch % 2 else ["", ""]),
                ]
            )
    return make_pretrain_row(line, seed, learnt=learnt, note=note, folder=folder)


def write_experiment(
    out: Path,
    lines: Mapping[str, float],
    *,
    fractions: Sequence[float] = (0.1, 0.5),
    seeds: Sequence[int] = (0, 1, 2),
    data: str = "phantoms:12",
    downstream: str = "segmentation3d",
    size: int = 24,
) -> list[Row]:
    """Write the runs of a whole grid; each line is right as often as said, more with labels."""
    return [
        write_run(
            out / "runs" / line / f"{fraction}-{seed}", line, fraction, seed,
            right + 0.1 * fraction + 0.01 * seed, data=data, downstream=downstream, size=size,
        )
        for line, right in lines.items()
        for fraction in fractions
        for seed in seeds
    ]  # fmt: skip
