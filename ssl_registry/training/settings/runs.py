"""Settings of a run: what the YAML file, the command line and Python calls may say."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    computed_field,
    field_validator,
    model_validator,
)

from ssl_registry.component import Component, explain
from ssl_registry.data.formats.limits import VARIABLE, most_voxels
from ssl_registry.data.preparing.preprocessing_fields import PreprocessingFields
from ssl_registry.data.preparing.sizes import Size, sides_of, written
from ssl_registry.data.preparing.slice_axes import SliceAxis, SlicesSpec
from ssl_registry.data.sources.counted_unit import CountedUnit
from ssl_registry.data.sources.layouts import LayoutName, Reading, patterns_in
from ssl_registry.errors import ConfigError
from ssl_registry.field_descriptions import Otherwise
from ssl_registry.registry import registry
from ssl_registry.training.settings.components import (
    FIRST_LOOK,
    BackboneSpec,
    DownstreamSpec,
    PreprocessingSpec,
    TaskSpec,
    entry_of,
    find_or_create,
    named,
)
from ssl_registry.training.settings.options import (
    FinetuningOptions,
    Passes,
    PretrainingOptions,
    TrainingOptions,
    Workers,
)
from ssl_registry.training.settings.origins import STARTED_FROM, check_installed, origins_of
from ssl_registry.training.settings.paths import absolute_paths
from ssl_registry.training.settings.sections import own_settings
from ssl_registry.training.settings.size_setting import SizeSetting
from ssl_registry.training.settings.suited_backbone import suit_in_settings

DEFAULT_SIZES: Final[Mapping[int, int]] = {2: 224, 3: 64}
"""Side in pixels or voxels where neither the user nor an encoder file says one."""


class DataSettings(BaseModel):
    """Which images, and how they are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: str = Field(
        "phantoms",
        description="a Decathlon folder, a table of graded pictures, class folders, images with "
        "masks, a MedMNIST archive, a folder of images, phantoms, phantoms:N",
    )
    group_column: str | None = Field(
        None, description="column of the table that names the patient; no patient is split"
    )
    group_pattern: str | None = Field(
        None, description="the same from the names: a regular expression such as '(.+)_'"
    )
    layout: LayoutName = Field(
        "auto",
        description="how the data are to be read where they can be read in several ways; auto "
        "finds it out, and says which it took",
    )
    channels: tuple[str, ...] = Field(
        (),
        description="files of the channels, in order, for channels in files of their own: patterns "
        "such as '{case}_t1.nii.gz,{case}_t2.nii.gz', or, of BIDS, suffixes such as 'T1w,FLAIR'",
    )
    label_maps: str | None = Field(
        None, description="file of the label map, as a pattern such as '{case}_seg.nii.gz'"
    )
    slices: SlicesSpec = Field(
        None,
        description="take volumes by their slices, for tasks and networks in the plane: thick is "
        "across the axis of the largest spacing, or x, y or z; none takes pictures",
    )
    split: Path | None = Field(
        None,
        description="file that says which cases train, validate and test: a .csv of case,part, or "
        "nnU-Net's splits_final.json; new cases train",
    )
    test_cases: Path | None = Field(
        None,
        description="file that fixes the test set: a case a line, or a .csv with a column case",
    )
    on_bad_data: Literal["stop", "skip"] = Field(
        "stop", description="what to do about files that cannot be used: stop, or leave them out"
    )
    verify: bool = Field(
        False, description="read all files anew, whatever their sizes, dates and inode numbers say"
    )
    test_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the labelled cases kept for the test score; folds know their own",
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of the labelled cases kept for the validation curve"
    )
    split_seed: int = Field(0, ge=0, description="which cases these are")
    folds: int = Field(
        1, ge=1, description="divide the labelled cases into so many test sets; 1 holds one out"
    )

    @model_validator(mode="before")
    @classmethod
    def _data_is_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("data"), Path):
            values = {**values, "data": str(values["data"])}
        return values

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_a_list(cls, value: Any) -> Any:
        """Take channels that are one text with commas, as on a command line."""
        return patterns_in(value) if isinstance(value, str) else value

    @property
    def reading(self) -> Reading:
        """How the data are to be read."""
        return Reading(self.layout, self.channels, self.label_maps)

    @property
    def across(self) -> SliceAxis | None:
        """Across which axis volumes are seen by their slices; None sees images whole."""
        return None if self.slices == "none" else self.slices

    @model_validator(mode="after")
    def _reading_goes_together(self) -> Self:
        _ = self.reading
        return self

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if self.split is not None and self.test_cases is not None:
            raise ConfigError("split and test_cases both fix the test set: keep one")
        if self.test_cases is not None and self.folds > 1:
            raise ConfigError(
                f"test_cases fixes one test set, but folds={self.folds} asks for several: keep one"
            )
        return self

    @model_validator(mode="after")
    def _splits_leave_something(self) -> Self:
        test, named = self.test_fraction, f"test_fraction={self.test_fraction}"
        if self.folds > 1:
            test, named = 1 / self.folds, f"folds={self.folds}"
        if test + self.validation_fraction >= 1:
            raise ConfigError(
                f"{named} and validation_fraction={self.validation_fraction} leave nothing to "
                "train on: change one of them"
            )
        if self.group_column is not None and self.group_pattern is not None:
            raise ConfigError("group_column and group_pattern both name the patient: keep one")
        return self


class SplitSettings(Workers, DataSettings):
    """Which of the divisions that the data settings allow."""

    fold: int = Field(0, ge=0, description="which of the `folds` is the test set, from 0")

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        # A splits_final.json knows its own folds.
        if self.fold >= self.folds and (self.split is None or self.folds > 1):
            raise ConfigError(f"fold={self.fold}: folds={self.folds} are counted from 0")
        return self


class RunSettings(Passes, TrainingOptions, SplitSettings):
    """What pretraining and fine-tuning have in common."""

    out: Path = Field(description="folder of the run")
    seed: int = Field(0, ge=0, description="where all chance of the run comes from")
    resume: bool = Field(False, description="go on with the unfinished run in `out`")
    validate_every: int = Field(5, ge=1, description="epochs between two validations")
    num_nodes: int = Field(1, ge=1, description="machines")

    @computed_field(description="where the components came from; a run writes it")  # type: ignore[prop-decorator]
    @property
    def distributions(self) -> dict[str, str]:
        """Which distribution each component came from, with its version."""
        return origins_of({name: value for name, value in self if isinstance(value, Component)})

    @model_validator(mode="before")
    @classmethod
    def _leave_out_distributions(cls, values: Any) -> Any:
        """Leave out what `config.yaml` says about where components and encoder came from then."""
        if not isinstance(values, dict):
            return values
        recorded = ("distributions", STARTED_FROM)
        return {key: value for key, value in values.items() if key not in recorded}

    @property
    def processes(self) -> int:
        """How many processes share the work."""
        return self.devices * self.num_nodes

    def as_yaml(self) -> str:
        """Return all settings, defaults included, as the YAML of `config.yaml`.

        Paths are from the root, so that the file works from any directory.
        """
        return yaml.safe_dump(absolute_paths(self.model_dump(mode="json")), sort_keys=False)


class PretrainSettings(PretrainingOptions, RunSettings):
    """Settings of `pretrain`."""

    task: TaskSpec = Field(description="the pretext task: a name, or a mapping with a name")
    encoder: Path | None = Field(
        None,
        description="folder of an encoder to go on from, which brings its network, preprocessing "
        "and size; without it weights are drawn at random",
    )
    transfer: Literal["all", "encoder"] | None = Field(
        None,
        description="what is taken over of it: all is the encoder and the decoder that was kept "
        "beside it, encoder the encoder alone; all that fits where nothing is said",
    )
    size: Annotated[SizeSetting, Otherwise("224 pixels or 64 voxels")] = Field(
        description="side of the prepared image, or of a patch; or its sides along each axis, such "
        "as [96,96,16]"
    )
    preprocessing: PreprocessingSpec = Field(  # type: ignore[assignment]
        PreprocessingFields(), description="how images are prepared"
    )
    backbone: Annotated[BackboneSpec, Otherwise("unet2d or unet3d")] = Field(
        description="the network to pretrain: a name, or a mapping with a name"
    )

    @field_validator("backbone")
    @classmethod
    def _backbone_suits_the_images(cls, backbone: Any, info: ValidationInfo) -> Any:
        return suit_in_settings(backbone, info.data, "task")

    @model_validator(mode="before")
    @classmethod
    def _suit_the_dimensions(cls, values: Any, info: ValidationInfo) -> Any:
        """Fill in the backbone and the size that go with the task's dimensions."""
        if not isinstance(values, dict):
            return values
        values = own_settings(values, "pretrain")
        made = {"task": find_or_create(values["task"], info)} if "task" in values else {}
        dims = getattr(made.get("task"), "spatial_dims", None) or 3
        backbone = named(values.get("backbone", {}), f"unet{dims}d")
        return {"size": DEFAULT_SIZES[dims], **values, "backbone": backbone, **made}

    @model_validator(mode="after")
    def _dimensions_agree(self) -> Self:
        _check_dims(self.task, self.backbone)
        check_slices(self, self.task)
        check_sides(self.size, self.task)
        return self

    @property
    def prepared_size(self) -> Size | None:
        """Size of the prepared images; None where they keep their own, for patches."""
        return None if self.patches else self.size

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Spatial shape of what the network learns from: a prepared image, or a patch."""
        return sides_of(self.size, self.task.spatial_dims)


class FinetuneSettings(FinetuningOptions, RunSettings):
    """Settings of `finetune`.

    What is left out comes from the encoder's file: backbone, preprocessing, and size with
    patches.
    """

    downstream: DownstreamSpec = Field(
        "segmentation3d",
        description="the downstream task: a name, or a mapping with a name",  # type: ignore[assignment]
    )
    encoder: Path | None = Field(
        None, description="folder of a pretraining run; without it training starts from scratch"
    )
    assume_unseen: bool = Field(
        False,
        description="take an encoder whose file does not say what it was trained on: I know that "
        "it has not seen the test cases",
    )
    size: SizeSetting | None = Field(
        None,
        description="side of the prepared image, or of a patch; or its sides along each axis, such "
        "as [96,96,16]",
    )
    preprocessing: PreprocessingSpec | None = Field(None, description="how images are prepared")
    backbone: BackboneSpec | None = Field(
        None, description="the network, where there is no encoder"
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the labelled training patients that may be used"
    )
    count: CountedUnit = Field(
        "patients",
        description="of what `fraction` is a share: patients, with all their cases, or cases",
    )
    steps_per_epoch: int | None = Field(
        None,
        ge=1,
        description="optimiser steps an epoch, few labels or many; without it an epoch is one pass "
        "over the training cases",
    )
    freeze_epochs: int | None = Field(
        None, ge=0, description="shorthand for downstream.freeze_epochs; fewer than epochs"
    )

    @field_validator("backbone")
    @classmethod
    def _backbone_suits_the_images(cls, backbone: Any, info: ValidationInfo) -> Any:
        return suit_in_settings(backbone, info.data, "downstream")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_names(cls, values: Any, info: ValidationInfo) -> Any:
        """Let fields without a name be those of the defaults, and freeze the encoder."""
        if not isinstance(values, dict):
            return values
        values = own_settings(values, "finetune")
        downstream = find_or_create(named(values.get("downstream", {}), "segmentation3d"), info)
        if isinstance(downstream, Component) and isinstance(values.get("freeze_epochs"), int):
            frozen = {"freeze_epochs": values["freeze_epochs"]}
            downstream = registry.create({**registry.spec_of(downstream), **frozen})
        dims = getattr(downstream, "spatial_dims", None)
        if dims and "backbone" in values:
            values = {**values, "backbone": named(values["backbone"], f"unet{dims}d")}
        return {**values, "downstream": downstream}

    @model_validator(mode="after")
    def _one_backbone(self) -> Self:
        if self.encoder is not None and self.backbone is not None:
            raise ConfigError("an encoder brings its own backbone: leave out one of the two")
        if self.encoder is None and self.transfer_levels is not None:
            raise ConfigError(
                f"transfer_levels={self.transfer_levels}: there is no encoder to take levels from; "
                "name one, or leave it out"
            )
        if self.backbone is not None:
            _check_dims(self.downstream, self.backbone)
        if self.size is not None:
            check_sides(self.size, self.downstream)
        return self

    @model_validator(mode="after")
    def _augmentation_suits_the_dimensions(self) -> Self:
        check_slices(self, self.downstream)
        if dims := self.downstream.spatial_dims:
            self.augment.check(dims)
        return self

    @model_validator(mode="after")
    def _patches_have_labels(self) -> Self:
        target_kind = getattr(self.downstream, "target_kind", None)  # none before it is made
        if self.patches and target_kind == "class":
            raise ConfigError(
                f"patches={self.patches}: a class belongs to the whole image, not to a part of it; "
                "leave patches out"
            )
        return self

    @property
    def prepared_size(self) -> Size | None:
        """Size of the prepared images; None where they keep their own, for patches."""
        return None if self.patches else self.size

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Spatial shape of what the network learns from: a prepared image, or a patch."""
        assert self.size is not None
        return sides_of(self.size, self.downstream.spatial_dims)


def check_sides(size: Size, asked: Component) -> None:
    """See that a size suits a component, and that such an image may be taken into memory.

    Raises:
        ConfigError: it has more or fewer sides than the component's images have axes, or too
            many voxels.
    """
    if not asked.spatial_dims:  # a joint's are known once it is made
        return
    voxels = math.prod(sides_of(size, asked.spatial_dims, f"the images of {entry_of(asked).name}"))
    if voxels > most_voxels():
        raise ConfigError(
            f"size={written(size)} makes images of {voxels:,} voxels, more than the "
            f"{most_voxels():,} that one may have: lower it, or set {VARIABLE} to a higher number"
        )


def check_slices(settings: DataSettings, asked: Component) -> None:
    """See that slices are asked for by what works in the plane.

    Raises:
        ConfigError: they are not.
    """
    if settings.across is not None and asked.spatial_dims == 3:
        raise ConfigError(
            f"slices={settings.slices}: {entry_of(asked).name} works in 3D and takes volumes "
            "whole: leave slices out, or choose a task for 2D (`ssl-registry list --dims 2`)"
        )


def _check_dims(asked: Component, backbone: Component) -> None:
    known = asked.spatial_dims and backbone.spatial_dims  # a joint's are, once it is made
    if known and asked.spatial_dims != backbone.spatial_dims:
        raise ConfigError(
            f"{entry_of(asked).name} works in {asked.spatial_dims}D and "
            f"{entry_of(backbone).name} in {backbone.spatial_dims}D: choose a backbone for "
            f"{asked.spatial_dims}D (`ssl-registry list` shows them)"
        )


M = TypeVar("M", bound=BaseModel)


def read_settings(cls: type[M], values: Mapping[str, Any], command: str) -> M:
    """Return validated settings; what needs no component is refused before one is imported.

    Raises:
        ConfigError: a key is unknown, missing or out of bounds.
        UnknownComponentError, NameConflictError, PluginError: a component's name is.
    """
    check_settings(cls, values, command)
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, command, cls)) from error


def check_settings(cls: type[BaseModel], values: Mapping[str, Any], command: str) -> None:
    """See all of the settings that can be seen without importing a component, or torch.

    Raises:
        ConfigError, UnknownComponentError, NameConflictError: as `read_settings`.
    """
    origins = values.get("distributions")
    if isinstance(origins, Mapping):
        check_installed(values, origins, command)
    try:
        cls.model_validate(dict(values), context=FIRST_LOOK)
    except ValidationError as error:
        raise ConfigError(explain(error, command, cls)) from error
