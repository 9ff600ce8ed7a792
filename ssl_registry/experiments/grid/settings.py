"""Settings of the data-efficiency experiment: which lines, on which labels, at what budget."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    computed_field,
    model_serializer,
    model_validator,
)

from ssl_registry.augmentation import Augmentation
from ssl_registry.component import explain
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import CountedUnit
from ssl_registry.errors import ConfigError
from ssl_registry.experiments.statistics.rows import SCRATCH
from ssl_registry.registry import registry
from ssl_registry.training.settings.components import BackboneSpec, DownstreamSpec, TaskSpec
from ssl_registry.training.settings.origins import check_installed, origins_of
from ssl_registry.training.settings.runs import DataSettings

VALIDATIONS: Final = 20
"""About how often a run is validated, so that its best weights can be found."""

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_Share = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Seed = Annotated[int, Field(ge=0)]


class Budget(BaseModel):
    """What all training of one kind has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    batch_size: int = Field(4, ge=1, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's, at the start of a cosine decay")


class PretrainBudget(Budget):
    """How long and how fast the encoders are pretrained."""

    epochs: int = Field(100, ge=1, description="passes over the training images")
    levels: int | None = Field(
        None, ge=1, description="finest levels that the tasks see and train; all if not said"
    )


class FinetuneBudget(Budget):
    """How long and how fast all lines learn from the labels, scratch included."""

    batch_size: int = Field(2, ge=1, description="images a step")
    steps: int = Field(600, ge=1, description="optimiser steps of every run, few labels or many")
    freeze_share: float = Field(
        0.0, ge=0, lt=1, description="share of the steps with a pretrained encoder frozen"
    )
    transfer_levels: int | None = Field(
        None, ge=1, description="finest levels taken over; all that were pretrained if not said"
    )

    augment: Augmentation = Field(
        Augmentation(),
        description="random changes of the training images, the same for all lines: light, nnunet, "
        "none, or a mapping of fields",
    )

    @property
    def freeze_epochs(self) -> int:
        """The share in epochs; the last epoch is never frozen."""
        epochs = divide_steps(self.steps)[0]
        return min(round(self.freeze_share * epochs), epochs - 1)


def divide_steps(steps: int) -> tuple[int, int, int]:
    """Return epochs, steps an epoch, and epochs between two validations: `VALIDATIONS` or so.

    Epochs times steps are exactly `steps`. Where no number of epochs from half to twice
    `VALIDATIONS` divides them, an epoch is one step.
    """
    near = range(VALIDATIONS // 2, 2 * VALIDATIONS + 1)
    divisors = [epochs for epochs in near if steps % epochs == 0]
    if not divisors:
        return steps, 1, max(1, steps // VALIDATIONS)
    epochs = min(divisors, key=lambda epochs: abs(epochs - VALIDATIONS))
    return epochs, steps // epochs, 1


class TaskLine(BaseModel):
    """A line of the figure: encoders pretrained by one pretext task.

    In a file it is the task's name, or a mapping with `name`, the task's own fields, and,
    where wanted, `label` (what the line is called) and `pretrain` (what differs from the
    experiment's `pretrain`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    task: TaskSpec
    pretrain: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_a_name_or_a_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "task" in value:
            return value
        spec = {key: inner for key, inner in value.items() if key not in ("label", "pretrain")}
        task = registry.create(spec)
        label = value.get("label", registry.entry_of(task).name)
        return {"label": label, "task": task, "pretrain": value.get("pretrain", {})}

    @model_serializer
    def _as_a_mapping(self) -> dict[str, Any]:
        spec = {**registry.spec_of(self.task), "label": self.label}
        return {**spec, "pretrain": dict(self.pretrain)} if self.pretrain else spec


class EfficiencySettings(DataSettings):
    """What is compared: pretext tasks and encoders, against training from scratch."""

    out: Path = Field(description="folder of the runs, the results and the report")
    tasks: tuple[TaskLine, ...] = Field(
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
    count: CountedUnit = Field(
        "patients",
        description="what fractions and labelled count: patients, with all their cases, or cases",
    )
    seeds: tuple[_Seed, ...] = Field((0, 1, 2), min_length=1, description="repetitions")
    downstream: DownstreamSpec = Field(
        "segmentation3d",
        description="the downstream task: a name, or a mapping with a name",  # type: ignore[assignment]
    )
    backbone: BackboneSpec | None = Field(
        None, description="the network of all lines; of the encoders, or unet2d or unet3d"
    )
    size: int | None = Field(
        None, ge=8, description="side of the prepared image; of the encoders, or 224 or 64"
    )
    preprocessing: Preprocessing | None = Field(None, description="how images are prepared")
    pretrain: PretrainBudget = Field(PretrainBudget(), description="the budget of pretraining")
    finetune: FinetuneBudget = Field(FinetuneBudget(), description="the budget of every run")
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
    checkpoint_minutes: float = Field(1.0, ge=0, description="least time between checkpoints")
    workers: int = Field(0, ge=0, description="processes that read the cache, for each run")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto", description="of the arithmetic, chosen by the same rule for every run"
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
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ConfigError(explain(error, "efficiency", tuple(cls.model_fields))) from error

    @model_validator(mode="before")
    @classmethod
    def _one_task_is_a_list_of_one(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("tasks"), str):
            values = {**values, "tasks": [values["tasks"]]}
        return values

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
        said = self.downstream.freeze_epochs
        default = type(self.downstream).model_fields["freeze_epochs"].default
        if said not in (default, self.finetune.freeze_epochs):
            raise ConfigError(
                f"downstream.freeze_epochs={said}: an experiment says finetune.freeze_share, a "
                "share of its steps"
            )
        return self

    @model_validator(mode="after")
    def _budgets_are_whole(self) -> Self:
        for line in self.tasks:
            self.pretrain_budget(line)
        return self

    def pretrain_budget(self, line: TaskLine) -> PretrainBudget:
        """Return the budget of a line: the experiment's, but for what the line says itself.

        Raises:
            ConfigError: the line says something that is no budget.
        """
        try:
            return PretrainBudget(**{**self.pretrain.model_dump(), **line.pretrain})
        except ValidationError as error:
            known = tuple(PretrainBudget.model_fields)
            raise ConfigError(explain(error, f"tasks.{line.label}.pretrain", known)) from error

    @property
    def labels(self) -> tuple[str, ...]:
        """What the lines are called, scratch first."""
        return (SCRATCH, *(line.label for line in self.tasks), *self.encoders)

    def as_yaml(self) -> str:
        """Return all settings, defaults included, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _by_role(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components of an experiment's `config.yaml` by the names of `distributions`."""
    tasks = fields.get("tasks")
    lines = [line for line in tasks if isinstance(line, Mapping)] if isinstance(tasks, list) else []
    return {**fields, **{f"tasks.{line.get('label')}": line for line in lines}}
