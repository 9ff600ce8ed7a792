"""From the settings of the experiment to those of its runs: the same budget for every line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ssl_registry.backbone import Backbone, check_levels
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.experiments.grid.settings import EfficiencySettings, TaskLine
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.encoder_summary import ReadAs, read_encoder_summary
from ssl_registry.training.finetuning.level_transfer import levels_to_take
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.lengths import VALIDATIONS, divide_steps
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import DEFAULT_SIZES, FinetuneSettings, PretrainSettings
from ssl_registry.training.settings.suited_backbone import suit_backbone

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A line of the figure: how the encoders of its runs start.

    Attributes:
        label: what it is called.
        task: what pretrains its encoders; None for scratch and for encoders that exist.
        encoder: folder of an encoder that exists.
    """

    label: str
    task: TaskLine | None = None
    encoder: Path | None = None

    @property
    def starts_from(self) -> Path | None:
        """Folder of the encoder that exists and that the line goes back to."""
        return self.task.encoder if self.task else self.encoder


def planned_lines(settings: EfficiencySettings) -> tuple[Line, ...]:
    """Return all lines, scratch first."""
    return (
        Line(SCRATCH),
        *(Line(line.label, task=line) for line in settings.tasks),
        *(Line(label, encoder=folder) for label, folder in settings.encoders.items()),
    )


def complete_settings(settings: EfficiencySettings) -> EfficiencySettings:
    """Fill in the network, size and preprocessing: of the encoders that exist, or the defaults.

    Raises:
        EncoderFileError: a folder holds no encoder.
        ConfigError: the encoders differ from one another, or from the network of the others, or
            have fewer levels than are to be pretrained or taken over.
    """
    dims = settings.downstream.spatial_dims
    existing = settings.starting_encoders
    summaries = {label: read_encoder_summary(path) for label, path in existing.items()}
    backbones = {label: summary.backbone for label, summary in summaries.items()}
    size = settings.size or _agreed("size", {la: summary.size for la, summary in summaries.items()})
    preprocessing = settings.preprocessing or _agreed(
        "preprocessing", {label: summary.preprocessing for label, summary in summaries.items()}
    )
    backbone = settings.backbone or _agreed("backbone", backbones) or _usual_backbone(dims)
    patches = settings.finetune.patches or any(
        settings.pretrain_budget(line).patches for line in settings.tasks
    )
    size = size or DEFAULT_SIZES[dims]
    backbone = suit_backbone(backbone, size, preprocessing, int(patches), dims)
    for label, other in backbones.items():
        if other != backbone:
            raise ConfigError(
                f"the encoder of {label} is a {registry.spec_of(other)}, but backbone="
                f"{registry.spec_of(backbone)}: a comparison needs one network for all lines"
            )
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    filled = {
        **_read_as(settings, {label: summary.read_as for label, summary in summaries.items()}),
        "backbone": backbone,
        "size": size,
        "preprocessing": preprocessing or Preprocessing(),
    }
    complete = EfficiencySettings.read(**{**given, **filled})
    _check_levels(complete)
    return complete


def _usual_backbone(dims: int) -> Backbone:
    return registry.backbone(f"unet{dims}d")


def _read_as(settings: EfficiencySettings, encoders: Mapping[str, ReadAs]) -> dict[str, Any]:
    """Return how the data are read where nothing is said: as those that all encoders saw."""
    names = [] if settings.slices is not None else ["slices"]
    if settings.group_column is None and settings.group_pattern is None:
        names += ["group_column", "group_pattern"]
    return {
        name: _agreed(name, {label: getattr(said, name) for label, said in encoders.items()})
        for name in names
    }


def _check_levels(settings: EfficiencySettings) -> None:
    """See that the network has the levels that are to be pretrained and taken over."""
    asked = {
        f"pretrain.levels of {line.label}": settings.pretrain_budget(line).levels
        for line in settings.tasks
    }
    asked["finetune.transfer_levels"] = settings.finetune.transfer_levels
    said = {field: levels for field, levels in asked.items() if levels is not None}
    if said and settings.backbone is not None:
        with lend_to_torch(derive_generator(0, "levels")):
            encoder = settings.backbone.build(in_channels=1)
        for field, levels in said.items():
            check_levels(encoder, levels, field)


def _agreed(name: str, values: Mapping[str, T]) -> T | None:
    """Return what all encoders say; None where there are none."""
    first, *others = values.items() or [("", None)]
    for label, value in others:
        if value != first[1]:
            raise ConfigError(
                f"the encoders of {first[0]} and {label} differ in their {name}: say {name}=..."
            )
    return first[1]


def label_counts(
    settings: EfficiencySettings, available: tuple[int, ...], unit: str, fold: int
) -> list[tuple[float, int]]:
    """Return the fractions of the labels and the numbers of patients or cases that they mean.

    Args:
        settings: of the experiment.
        available: number of labelled training patients or cases, for each fold.
        unit: which of the two.
        fold: which one to count for. Where numbers were asked for, the fractions are those
            of the smallest fold, so that they are the same for all.

    Raises:
        DataError: there are fewer than asked for.
        ConfigError: two fractions mean the same number.
    """
    there = available[fold]
    if settings.labelled is not None:
        least = min(available)
        if max(settings.labelled) > least:
            raise DataError(
                f"labelled={max(settings.labelled)}: data={settings.data} has {least} labelled "
                f"training {unit} beside those for validation and test: ask for fewer"
            )
        return [(count / least, count) for count in settings.labelled]
    if there == 0:
        raise DataError(
            f"data={settings.data} leaves no labelled case to train on: lower test_fraction or "
            "validation_fraction"
        )
    counts = [(fraction, max(1, round(fraction * there))) for fraction in settings.fractions]
    means: dict[int, float] = {}
    for fraction, count in counts:
        if count in means:
            raise ConfigError(
                f"fractions {means[count]:g} and {fraction:g} both mean {count} of {there} "
                f"labelled training {unit}: leave one out, or say how many, as in labelled=[1,2,4]"
            )
        means[count] = fraction
    return counts


def pretraining_of(
    settings: EfficiencySettings,
    line: TaskLine,
    seed: int,
    fold: int,
    like: PretrainSettings | None = None,
) -> PretrainSettings:
    """Return the settings of a pretraining run.

    Args:
        settings: of the experiment.
        line: that the encoder is of.
        seed: of the run.
        fold: whose test cases it may not see.
        like: those of another repetition of the line, from which it only has to differ:
            a large experiment has thousands.

    Raises:
        ConfigError: the task and the network do not go together.
        ImageShapeError: the task cannot work on images of this size.
    """
    out = settings.out / "pretrain" / line.label / _repetition(settings, seed, fold)
    if like is not None:
        return like.model_copy(update={"out": out, "seed": seed, "fold": fold})
    budget = settings.pretrain_budget(line)
    fields = {
        **budget.for_a_run(),
        "task": line.task,
        "encoder": line.encoder,
        "validate_every": max(1, budget.epochs // VALIDATIONS),
        "backbone": settings.backbone,
        "out": out,
        **_shared(settings, seed, fold),
    }
    run = read_settings(PretrainSettings, fields, "efficiency")
    line.task.view_shape(run.image_shape)
    return run


def finetuning_of(
    settings: EfficiencySettings,
    line: Line,
    seed: int,
    fold: int,
    labelled: int,
    available: int,
    like: FinetuneSettings | None = None,
) -> FinetuneSettings:
    """Return the settings of a fine-tuning run: those of the lines differ in their start alone.

    Args:
        settings: of the experiment.
        line: how the encoder starts.
        seed: of the run.
        fold: which test set.
        labelled: number of labelled patients, or cases.
        available: how many there are.
        like: those of another run of the line, from which it only has to differ.

    Raises:
        ConfigError: the downstream task and the network do not go together, or fewer levels were
            pretrained than are to be taken over.
    """
    name = f"{labelled}-labelled-{_repetition(settings, seed, fold)}"
    encoder, pretrained = line.encoder, None
    if line.task:
        encoder = settings.out / "pretrain" / line.label / _repetition(settings, seed, fold)
    differs = {
        "encoder": encoder,
        "fraction": labelled / available,
        "out": settings.out / "runs" / line.label / name,
        "seed": seed,
        "fold": fold,
    }
    if like is not None:
        return like.model_copy(update=differs)
    budget = settings.finetune
    epochs, steps, every = divide_steps(budget.steps)
    if line.task:
        pretrained = settings.pretrain_budget(line.task).levels
    elif encoder:
        pretrained = read_encoder_summary(encoder).levels
    take = levels_to_take(budget.transfer_levels, pretrained, f"the encoders of {line.label}")
    fields = {
        **budget.for_a_run(),
        "downstream": settings.downstream,
        "transfer_levels": take if encoder else None,
        "assume_unseen": settings.assume_unseen and line.starts_from is not None,
        "transfer": _transfer(settings, line) if encoder else None,
        "backbone": None if encoder else settings.backbone,
        "count": settings.count,
        "epochs": epochs,
        "steps_per_epoch": steps,
        "validate_every": every,
        "freeze_epochs": budget.freeze_epochs,
        **_shared(settings, seed, fold),
        **differs,
    }
    return read_settings(FinetuneSettings, fields, "efficiency")


def _transfer(settings: EfficiencySettings, line: Line) -> Literal["all", "encoder"] | None:
    """Return what a line takes over: what it says itself, or the experiment."""
    own = line.task.transfer if line.task else None
    return own or settings.finetune.transfer


def _repetition(settings: EfficiencySettings, seed: int, fold: int) -> str:
    return f"seed-{seed}-fold-{fold}" if settings.folds > 1 else f"seed-{seed}"


def _shared(settings: EfficiencySettings, seed: int, fold: int) -> dict[str, Any]:
    data = set(DataSettings.model_fields) - {"verify"}  # which was done when the grid was made
    names = (*data, "size", "preprocessing")
    return {**{name: getattr(settings, name) for name in names}, "seed": seed, "fold": fold}
