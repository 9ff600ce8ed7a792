"""Budgets: what an experiment says of all its pretraining, and of all its fine-tuning.

A budget has every setting of a run but those that the experiment decides itself. They are the
run's own: `PretrainingOptions` and `FinetuningOptions` say them once for both.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ssl_registry.errors import ConfigError
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.lengths import VALIDATIONS, divide_steps
from ssl_registry.training.settings.options import (
    FinetuningOptions,
    Logger,
    PretrainingOptions,
    TrainingOptions,
)

FOLLOWED: Final = "what the runs are followed with; an experiment has many, so none by default"

_AT_THE_TOP: Final = "it is the same for all lines: say it for the whole experiment, as {name}=..."

DECIDED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(DataSettings.model_fields, _AT_THE_TOP),
        **dict.fromkeys(
            ("assume_unseen", "count", "downstream", "backbone", "size", "preprocessing"),
            _AT_THE_TOP,
        ),
        "task": "a line of the experiment says it: tasks=[...]",
        "encoder": "a line of the experiment says it: encoders.LABEL=FOLDER",
        "out": "each run has its folder within that of the experiment, out=...",
        "seed": "each repetition has its own: seeds=[...]",
        "transfer": "pretraining that goes on from an encoder takes over all that was kept",
        "fold": "the experiment runs each of its folds=...",
        "resume": "an experiment goes on with every run that it finds unfinished",
        "fraction": "the experiment goes through fractions=[...] or labelled=[...]",
        "num_nodes": "each run of an experiment trains on one machine, with devices=...",
        "validate_every": f"every run is validated about {VALIDATIONS} times, whatever its length",
    }
)
"""Settings of a run that an experiment decides, and how it does."""


class Budget(TrainingOptions):
    """What all training of one kind has in common.

    Attributes:
        kind: how settings call the budget.
        options: the settings of such a run that it has.
        decided: those that the experiment decides, and how it does.
    """

    kind: ClassVar[str]
    options: ClassVar[type[TrainingOptions]]
    decided: ClassVar[Mapping[str, str]] = DECIDED

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_to_the_experiment_what_it_decides(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name in cls.decided and name not in cls.model_fields:
                why = cls.decided[name].format(name=name)
                raise ConfigError(f"{cls.kind}.{name} is not a setting of an experiment: {why}")
        return values

    def for_a_run(self) -> dict[str, Any]:
        """Return what is a setting of a run as it stands."""
        return {name: getattr(self, name) for name in self.options.model_fields}


class PretrainBudget(PretrainingOptions, Budget):
    """How the encoders are pretrained."""

    kind: ClassVar[str] = "pretrain"
    options: ClassVar[type[TrainingOptions]] = PretrainingOptions

    logger: Logger = Field("none", description=FOLLOWED)


class FinetuneBudget(FinetuningOptions, Budget):
    """How all lines learn from the labels, scratch included."""

    kind: ClassVar[str] = "finetune"
    options: ClassVar[type[TrainingOptions]] = FinetuningOptions
    decided: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **DECIDED,
            "epochs": "finetune.steps says how long, with few labels or many",
            "steps_per_epoch": "finetune.steps says how long, with few labels or many",
            "freeze_epochs": "finetune.freeze_share says it, as a share of the steps",
        }
    )

    logger: Logger = Field("none", description=FOLLOWED)
    batch_size: int = Field(2, ge=1, description="images per step, on each device")
    steps: int = Field(600, ge=1, description="optimiser steps of every run, few labels or many")
    freeze_share: float = Field(
        0.0, ge=0, lt=1, description="share of the steps with a pretrained encoder frozen"
    )

    @property
    def freeze_epochs(self) -> int:
        """The share in epochs; the last epoch is never frozen."""
        epochs = divide_steps(self.steps)[0]
        return min(round(self.freeze_share * epochs), epochs - 1)


def hand_on(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's settings with what is said for all training in both budgets.

    `optimizer=adamw` is short for `pretrain.optimizer=adamw finetune.optimizer=adamw`; what a
    budget says itself stands.
    """
    shared = {key: values[key] for key in values if key in TrainingOptions.model_fields}
    kept = {key: value for key, value in values.items() if key not in shared}
    for kind in ("pretrain", "finetune") if shared else ():
        said = kept.get(kind, {})
        if isinstance(said, BaseModel):
            said = said.model_dump(exclude_unset=True)
        if isinstance(said, Mapping):
            kept[kind] = {**shared, **said}
    return kept
