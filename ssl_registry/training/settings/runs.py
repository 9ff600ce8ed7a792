"""Settings of a run: what the YAML file, the command line and Python calls may say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import Field, ValidationInfo, computed_field, field_validator, model_validator

from ssl_registry.component import Component
from ssl_registry.data.preparing.preprocessing_fields import PreprocessingFields
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.sources.counted_unit import LabelCounting
from ssl_registry.errors import ConfigError
from ssl_registry.field_descriptions import Otherwise
from ssl_registry.registry import registry
from ssl_registry.training.settings.components import (
    BackboneSpec,
    DownstreamSpec,
    PreprocessingSpec,
    TaskSpec,
    find_or_create,
    named,
)
from ssl_registry.training.settings.data_settings import SplitSettings
from ssl_registry.training.settings.dimensions import check_dims, check_sides, check_slices
from ssl_registry.training.settings.options import (
    FinetuningOptions,
    Passes,
    PretrainingOptions,
    TrainingOptions,
)
from ssl_registry.training.settings.origins import RECORDED, origins_of
from ssl_registry.training.settings.paths import absolute_paths
from ssl_registry.training.settings.sections import own_settings
from ssl_registry.training.settings.size_setting import SizeSetting
from ssl_registry.training.settings.suited_backbone import suit_in_settings

DEFAULT_SIZES: Final[Mapping[int, int]] = {2: 224, 3: 64}
"""Side in pixels or voxels where neither the user nor an encoder file says one."""

DEFAULT_TASKS: Final[Mapping[int, str]] = {2: "place2d", 3: "place3d"}
"""The pretext task where the user names none: what helps in the demo, if not everywhere
(docs/results.md)."""


class RunSettings(Passes, TrainingOptions, SplitSettings):
    """What pretraining and fine-tuning have in common."""

    out: Path = Field(description="folder of the run")
    seed: int = Field(0, ge=0, description="seed of all that is random in the run")
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
        """Leave out what `config.yaml` says of components, encoder and data as they were then."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key not in RECORDED}

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

    task: Annotated[
        TaskSpec, Otherwise("place2d where slices or a backbone for 2D are asked for, or place3d")
    ] = Field(description="the pretext task: a name, or a mapping with a name")
    encoder: Path | None = Field(
        None,
        description="folder of an encoder to go on from, which brings its network, preprocessing "
        "and size; without it weights are drawn at random",
    )
    transfer: Literal["all", "encoder"] | None = Field(
        None,
        description="what is taken over of it: all is the encoder and the decoder that was kept "
        "beside it, encoder the encoder alone; by default all that fits",
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
        values = _with_task(own_settings(values, "pretrain"), info)
        made = {"task": find_or_create(values["task"], info)} if "task" in values else {}
        dims = getattr(made.get("task"), "spatial_dims", None) or 3
        backbone = named(values.get("backbone", {}), f"unet{dims}d")
        return {"size": DEFAULT_SIZES[dims], **values, "backbone": backbone, **made}

    @model_validator(mode="after")
    def _dimensions_agree(self) -> Self:
        check_transfer_has_source(self)
        check_dims(self.task, self.backbone)
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


def check_transfer_has_source(settings: "PretrainSettings | FinetuneSettings") -> None:
    """See that there is an encoder where `transfer` says what is taken over of it.

    Raises:
        ConfigError: there is none.
    """
    if settings.encoder is None and settings.transfer is not None:
        raise ConfigError(
            f"transfer={settings.transfer}: there is no encoder to take over; name one, or leave "
            "it out"
        )


def _with_task(values: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Add the default task, of the dimensions asked for, where none is named.

    Whoever goes on from an encoder says which task: what it was pretrained on is one as well.
    """
    if "task" in values or values.get("encoder") is not None:
        return dict(values)
    network = values.get("backbone")
    if isinstance(network, str) or (isinstance(network, Mapping) and "name" in network):
        dims = getattr(find_or_create(network, info), "spatial_dims", None) or 3
    else:
        dims = 3 if values.get("slices") is None else 2
    return {"task": DEFAULT_TASKS[dims], **values}


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
    count: LabelCounting = Field(
        "patients",
        description="of what `fraction` is a share: patients with all their cases, or with "
        "one-each; or cases",
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
        check_transfer_has_source(self)
        if self.encoder is None and self.transfer_levels is not None:
            raise ConfigError(
                f"transfer_levels={self.transfer_levels}: there is no encoder to take levels from; "
                "name one, or leave it out"
            )
        if self.backbone is not None:
            check_dims(self.downstream, self.backbone)
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
        whole = self.patches == 0 or (self.patches is None and self.encoder is None)
        if whole and self.foreground != type(self).model_fields["foreground"].default:
            raise ConfigError(
                f"foreground={self.foreground:g} is a share of the patches, and none are cut: say "
                "how many of each image, as in patches=2, or leave foreground out"
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
