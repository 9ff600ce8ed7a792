"""What a fine-tuning run needs, all checked before it writes anything."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rich.console import Console

from ssl_registry.backbone import Backbone
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.sources.cases import Source
from ssl_registry.data.sources.counted_unit import CountedUnit
from ssl_registry.data.splits import Split, count_units, label_subset
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.registry import registry
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.encoder_summary import EncoderSummary, read_encoder_summary
from ssl_registry.training.files.seen_cases import check_unseen
from ssl_registry.training.finetuning.decoder_transfer import check_transfer
from ssl_registry.training.finetuning.level_transfer import levels_to_take
from ssl_registry.training.preparation.cases import (
    open_split,
    prepare,
    select_prepared,
    skipped_so_far,
)
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import DEFAULT_SIZES, FinetuneSettings


class LabelCount(NamedTuple):
    """How many labels a run learns from, of how many there are; and what is counted."""

    used: int
    available: int
    unit: CountedUnit


@dataclass(frozen=True)
class Plan:
    """A run, ready to start.

    Attributes:
        settings: complete.
        summary: of the encoder's file; None for training from scratch.
        source: where the cases come from.
        split: their division.
        train: cases whose labels may be used.
        validation: cases for the validation curve.
        test: cases for the score.
        available: how many labelled training cases there are, used or not.
        counted: the labels by the unit that `fraction` is a share of.
    """

    settings: FinetuneSettings
    summary: EncoderSummary | None
    source: Source
    split: Split
    train: list[Prepared]
    validation: list[Prepared]
    test: list[Prepared]
    available: int
    counted: LabelCount

    def describe_labels(self) -> str:
        """Return how many labels the run learns from, and of what that is counted."""
        used, available, unit = self.counted
        said = f"{used} of {available} labelled {unit}"
        if self.settings.count == "one-each" and unit == "patients":
            return f"{said}, one case of each"
        return said if used == len(self.train) else f"{said} ({len(self.train)} cases)"

    @property
    def label_values(self) -> tuple[int, ...]:
        """The values of the labels in the order of the classes."""
        return tuple(sorted(self.source.labels))

    @property
    def backbone(self) -> Backbone:
        """The network, of the encoder's file or of the settings."""
        chosen = self.summary.backbone if self.summary else self.settings.backbone
        assert chosen is not None
        return chosen


def complete(settings: FinetuneSettings) -> tuple[FinetuneSettings, EncoderSummary | None]:
    """Fill in what the encoder's file says, or the defaults where there is none.

    Raises:
        EncoderFileError: there is no encoder in the folder named.
        ConfigError: it is of other dimensions than the downstream task, fewer of its levels were
            pretrained than are to be taken over, or it would be frozen to the end.
    """
    summary = read_encoder_summary(settings.encoder) if settings.encoder else None
    dims = settings.downstream.spatial_dims
    filled: dict[str, Any] = {"freeze_epochs": _frozen_epochs(settings)}
    if settings.patches is None:
        # A patch is a part of what it was cut from: a size that is named is that of the whole.
        cut = summary is not None and settings.size is None
        cut = cut and settings.downstream.target_kind == "mask"
        filled["patches"] = summary.patches if summary and cut else 0
    if settings.size is None:
        filled["size"] = summary.size if summary else DEFAULT_SIZES[dims]
    if summary:
        filled |= _read_as(settings, summary)
    if settings.preprocessing is None:
        filled["preprocessing"] = summary.preprocessing if summary else {}
    if summary and summary.levels is not None:
        whose = f"the encoder in {settings.encoder}"
        filled["transfer_levels"] = levels_to_take(settings.transfer_levels, summary.levels, whose)
    check_transfer(settings, summary)
    if summary is None and settings.backbone is None:
        filled["backbone"] = f"unet{dims}d"
    if summary and summary.backbone.spatial_dims != dims:
        raise ConfigError(
            f"the encoder in {settings.encoder} works in {summary.backbone.spatial_dims}D, the "
            f"downstream task in {dims}D"
        )
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    settings = read_settings(FinetuneSettings, {**given, **filled}, "finetune")
    _check_thawed(settings)
    return settings, summary


def _read_as(settings: FinetuneSettings, summary: EncoderSummary) -> dict[str, Any]:
    """Return how the data are read where nothing is said: as those were that the encoder saw."""
    before, filled = summary.read_as, dict[str, Any]()
    if settings.slices is None and summary.backbone.spatial_dims == 2:
        filled["slices"] = before.slices
    if settings.group_column is None and settings.group_pattern is None:
        filled["group_column"] = before.group_column
        filled["group_pattern"] = before.group_pattern
    return filled


def _frozen_epochs(settings: FinetuneSettings) -> int:
    """Return for how many epochs an encoder is frozen: a default leaves one to train in."""
    task = settings.downstream
    if settings.encoder is None or "freeze_epochs" in task.model_fields_set:
        return task.freeze_epochs
    return min(task.freeze_epochs, settings.epochs - 1)


def _check_thawed(settings: FinetuneSettings) -> None:
    """See that a pretrained encoder is trained at all; levels that begin anew always are."""
    frozen = settings.downstream.freeze_epochs
    whole = settings.encoder is not None and settings.transfer_levels is None
    if whole and frozen >= settings.epochs:
        raise ConfigError(
            f"freeze_epochs={frozen} of epochs={settings.epochs}: the encoder would be frozen to "
            "the end and never fine-tuned. Lower freeze_epochs, or train for more epochs; what "
            "frozen features are worth is what the probes of an experiment show (probes=true)"
        )


def open_cases(
    settings: FinetuneSettings, summary: EncoderSummary | None, console: Console
) -> tuple[Source, Split]:
    """Return the source and its division, once it is seen that the run can learn from them.

    Raises:
        DataError: the data cannot be used, or leaves no test case.
        ConfigError: its labels are of another kind than the task learns from, or the encoder
            was pretrained on test cases.
    """
    source, split = open_split(settings, settings.downstream.spatial_dims, console)
    _check_labels(settings, source)
    if not split.test:
        if settings.split or settings.test_cases:
            raise DataError(f"{settings.split or settings.test_cases} names no test case")
        raise DataError(
            f"data={settings.data}: test_fraction={settings.test_fraction:g} of "
            f"{len(source.labelled)} labelled cases leaves no test case; raise it"
        )
    _check_leak(settings, summary, source, split)
    if summary is not None:
        what, learned = f"the encoder in {settings.encoder}", learned_channels(summary.data)
        for note in check_channels(what, learned, source.name, source.channel_names):
            console.print(note)
    return source, split


def make_plan(settings: FinetuneSettings, summary: EncoderSummary | None, console: Console) -> Plan:
    """Return the cases of a run, prepared, and what it starts from.

    Raises:
        DataError, ConfigError: as for `open_cases`, or an image cannot be used.
    """
    source, split = open_cases(settings, summary, console)
    usable = [case for case in split.train if case.labelled]
    grades = [case.grade for case in usable]
    patients = None if settings.count == "cases" else [source.group_of(case) for case in usable]
    chosen = label_subset(
        usable,
        settings.fraction,
        settings.seed,
        grades,
        patients,
        settings.fold,
        one_each=settings.count == "one-each",
    )
    assert settings.preprocessing is not None
    skipped = skipped_so_far(source, settings)
    cases = prepare(
        [*chosen, *split.validation, *split.test],
        settings.preprocessing,
        settings.prepared_size,
        console,
        settings.workers,
        skipped,
        settings.across,
    )
    train, test = select_prepared(cases, chosen), select_prepared(cases, split.test)
    if not train or not test:
        part = "training" if not train else "test"
        raise DataError(f"data={settings.data}: no {part} image can be used")
    return Plan(
        settings,
        summary,
        replace(source, skipped=tuple(skipped or ())),
        split,
        train,
        select_prepared(cases, split.validation),
        test,
        available=len(usable),
        counted=LabelCount(
            count_units(source, [case.case for case in train], settings.count),
            count_units(source, usable, settings.count),
            source.unit_of(settings.count),
        ),
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
            f"data={settings.data} has {words[there]}: set downstream={instead}{source.dims}d"
        )


def _check_leak(
    settings: FinetuneSettings, summary: EncoderSummary | None, source: Source, split: Split
) -> None:
    """Refuse to score an encoder on images that it was trained on, by whatever name."""
    if summary is not None:
        what = f"the encoder in {settings.encoder}"
        check_unseen(what, summary.data, source, split.test, assume_unseen=settings.assume_unseen)
