"""Settings of the data-efficiency experiment: which lines, on which labels, at what budget."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    computed_field,
    model_serializer,
    model_validator,
)

from ssl_registry.component import Component, explain
from ssl_registry.data.sources.counted_unit import LabelCounting
from ssl_registry.errors import ConfigError
from ssl_registry.experiments.grid.budgets import FinetuneBudget, PretrainBudget, hand_on
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.field_descriptions import InWords
from ssl_registry.registry import registry
from ssl_registry.training.settings.components import (
    BackboneSpec,
    DownstreamSpec,
    PreprocessingSpec,
    TaskSpec,
    entry_of,
    find_or_create,
)
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.dimensions import check_sides, check_slices
from ssl_registry.training.settings.lengths import with_length
from ssl_registry.training.settings.options import TrainingOptions
from ssl_registry.training.settings.origins import check_installed, origins_of
from ssl_registry.training.settings.paths import absolute_paths
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.size_setting import SizeSetting

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_Share = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Seed = Annotated[int, Field(ge=0)]


class TaskLine(BaseModel):
    """A line of the figure: encoders pretrained by one pretext task.

    In a file it is the task's name, or a mapping with `name`, the task's own fields, and,
    where wanted, `label` (what the line is called), `pretrain` (what differs from the
    experiment's `pretrain`), `encoder` (the folder of an encoder that pretraining goes on from) and
    `transfer` (what fine-tuning takes over, in place of the experiment's `finetune.transfer`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    task: TaskSpec
    pretrain: dict[str, Any] = Field(default_factory=dict)
    transfer: Literal["all", "encoder"] | None = None
    encoder: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_a_name_or_a_mapping(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "task" in value:
            return value
        if "finetune" in value:
            line = value.get("label", value.get("name"))
            raise ConfigError(
                f"tasks: {line} has no finetune of its own, for all lines are fine-tuned alike: "
                "set finetune.KEY=... for the experiment"
            )
        own = ("label", "pretrain", "transfer", "encoder")
        spec = {key: inner for key, inner in value.items() if key not in own}
        task = find_or_create(spec, info)
        said = {key: value[key] for key in own if key in value}
        return {"label": entry_of(task).name, "task": task, **said}

    @model_serializer
    def _as_a_mapping(self) -> dict[str, Any]:
        spec = {**registry.spec_of(self.task), "label": self.label}
        if self.pretrain:
            spec["pretrain"] = dict(self.pretrain)
        if self.encoder is not None:
            spec["encoder"] = str(self.encoder)
        return {**spec, "transfer": self.transfer} if self.transfer else spec


class EfficiencySettings(DataSettings):
    """What is compared: pretext tasks and encoders, against training from scratch.

    Attributes:
        handed_on: settings of both budgets that may be said for the experiment as a whole.
    """

    handed_on: ClassVar[tuple[str, ...]] = tuple(TrainingOptions.model_fields)

    out: Path = Field(description="folder of the runs, the results and the report")
    tasks: Annotated[tuple[TaskLine, ...], InWords("list of pretext tasks")] = Field(
        (), description="pretext tasks: names, or mappings with a name, each perhaps with a label"
    )
    encoders: dict[str, Path] = Field(
        default_factory=dict, description="encoders that exist: a label and the folder of each"
    )
    fractions: tuple[_Share, ...] = Field(
        (0.05, 0.1, 0.25, 0.5, 1.0), description="shares of the labelled training patients"
    )
    labelled: tuple[_Count, ...] | None = Field(
        None, description="numbers of labelled training patients, in place of fractions"
    )
    count: LabelCounting = Field(
        "patients",
        description="what fractions and labelled count: patients with all their cases, or with "
        "one-each; or cases",
    )
    seeds: tuple[_Seed, ...] = Field((0, 1, 2), min_length=1, description="repetitions")
    downstream: DownstreamSpec = Field(
        "segmentation3d",
        description="the downstream task: a name, or a mapping with a name",  # type: ignore[assignment]
    )
    backbone: BackboneSpec | None = Field(
        None, description="the network of all lines; of the encoders, or unet2d or unet3d"
    )
    size: SizeSetting | None = Field(
        None,
        description="side of the prepared image, or its sides along each axis; of the encoders, or "
        "224 or 64",
    )
    preprocessing: PreprocessingSpec | None = Field(None, description="how images are prepared")
    pretrain: PretrainBudget = Field(PretrainBudget(), description="how encoders are pretrained")
    finetune: FinetuneBudget = Field(
        FinetuneBudget(), description="how all lines are fine-tuned, scratch included"
    )
    probes: bool = Field(
        False, description="score frozen features too, by a linear and a nearest-neighbour probe"
    )
    on_changed_data: Literal["stop", "rerun"] = Field(
        "stop",
        description="what to do about runs that were made with other images or labels than there "
        "are now: stop, or delete these runs and begin them again",
    )
    assume_unseen: bool = Field(
        False,
        description="take encoders whose files do not say what they were trained on: I know that "
        "they have not seen the test cases",
    )

    @computed_field(description="where the components came from; a run writes it")  # type: ignore[prop-decorator]
    @property
    def distributions(self) -> dict[str, str]:
        """Which distribution each component came from, with its version."""
        named = {"backbone": self.backbone, "downstream": self.downstream}
        lines = {f"tasks.{line.label}": line.task for line in self.tasks}
        return origins_of({role: part for role, part in {**lines, **named}.items() if part})

    @classmethod
    def read(cls, **fields: Any) -> Self:
        """Return validated settings.

        Raises:
            ConfigError: a field is unknown or out of bounds, or two lines share a label.
            UnknownComponentError, NameConflictError, PluginError: a component's name is.
        """
        origins = fields.pop("distributions", None)
        if isinstance(origins, Mapping):
            check_installed(_by_role(fields), origins, "efficiency")
        return read_settings(cls, fields, "efficiency")

    @model_validator(mode="before")
    @classmethod
    def _spell_out_what_is_short(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("tasks"), str):
            values = {**values, "tasks": [values["tasks"]]}
        return hand_on(values)

    @model_validator(mode="after")
    def _lines_have_names(self) -> Self:
        labels = [*(line.label for line in self.tasks), *self.encoders]
        if not labels:
            raise ConfigError("there is nothing to compare: name tasks=[...] or encoders.LABEL=...")
        for label, count in Counter([SCRATCH, *labels]).items():
            if count > 1:
                raise ConfigError(
                    f"{count} lines are called {label!r}: give a task a label of its own, as in "
                    "{name: rpl3d, label: rpl-small}"
                )
            if not _LABEL.fullmatch(label):
                raise ConfigError(
                    f"label={label!r} names a folder: use letters, digits and . _ + - alone"
                )
        return self

    @model_validator(mode="after")
    def _slices_lie_in_the_plane(self) -> Self:
        check_slices(self, self.downstream)
        return self

    @model_validator(mode="after")
    def _axes_name_each_run_once(self) -> Self:
        for name, axis in {"fractions": self.fractions, "labelled": self.labelled}.items():
            if axis is not None and not axis:
                raise ConfigError(f"{name}=[] leaves nothing to train on")
        axes = {"fractions": self.fractions, "labelled": self.labelled or (), "seeds": self.seeds}
        for name, axis in axes.items():
            twice = [value for value, count in Counter(axis).items() if count > 1]
            if twice:
                raise ConfigError(f"{name} names {twice[0]} twice: leave one out")
        return self

    @model_validator(mode="after")
    def _one_word_on_freezing(self) -> Self:
        if not isinstance(self.downstream, Component):  # found, and not made yet
            return self
        said = self.downstream.freeze_epochs
        default = type(self.downstream).model_fields["freeze_epochs"].default
        if said not in (default, self.finetune.freeze_epochs):
            raise ConfigError(
                f"downstream.freeze_epochs={said}: an experiment says finetune.freeze_share, a "
                "share of its steps"
            )
        return self

    @model_validator(mode="after")
    def _size_suits_the_dimensions(self) -> Self:
        if self.size is not None:
            check_sides(self.size, self.downstream)
        return self

    @model_validator(mode="after")
    def _budgets_are_whole(self) -> Self:
        for line in self.tasks:
            self.pretrain_budget(line)
        return self

    def pretrain_budget(self, line: TaskLine) -> PretrainBudget:
        """Return the budget of a line: the experiment's, but for what the line says itself.

        Raises:
            ConfigError: the line says something that is not a budget.
        """
        try:
            return PretrainBudget(**with_length(self.pretrain.model_dump(), line.pretrain))
        except ValidationError as error:
            owner = f"tasks.{line.label}.pretrain"
            raise ConfigError(explain(error, owner, PretrainBudget)) from error

    @property
    def labels(self) -> tuple[str, ...]:
        """What the lines are called, scratch first."""
        return (SCRATCH, *(line.label for line in self.tasks), *self.encoders)

    @property
    def starting_encoders(self) -> dict[str, Path]:
        """Encoders that exist and that lines start from, by the lines' labels."""
        own = {line.label: line.encoder for line in self.tasks if line.encoder is not None}
        return {**own, **self.encoders}

    def as_yaml(self) -> str:
        """Return all settings, defaults included, as YAML, with paths from the root."""
        return yaml.safe_dump(absolute_paths(self.model_dump(mode="json")), sort_keys=False)


def _by_role(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components of an experiment's `config.yaml` by the names of `distributions`."""
    tasks = fields.get("tasks")
    lines = [line for line in tasks if isinstance(line, Mapping)] if isinstance(tasks, list) else []
    return {**fields, **{f"tasks.{line.get('label')}": line for line in lines}}
