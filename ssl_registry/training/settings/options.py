"""Options of training: what a run says for itself, and an experiment for all of its runs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, model_validator

from ssl_registry.augmentation import Augmentation
from ssl_registry.training.settings.lengths import settle_length
from ssl_registry.training.settings.machine import MachineSettings
from ssl_registry.training.settings.optimisation import OptimisationSettings

Logger: TypeAlias = Literal["auto", "tensorboard", "wandb", "mlflow", "none"]
"""A library that shows runs, or none."""


class Workers(BaseModel):
    """Who prepares and reads the images."""

    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes that prepare the images, and then read them, per device; auto takes "
        "the cores where there is enough to prepare, and reads ahead for a GPU",
    )


class TrainingOptions(Workers, MachineSettings, OptimisationSettings):
    """What pretraining and fine-tuning have in common, alone and in an experiment."""

    batch_size: int = Field(4, ge=1, description="images per step, on each device")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one optimiser step")
    checkpoint_minutes: float = Field(
        1.0, ge=0, description="least time between two checkpoints; 0 writes one after every step"
    )
    logger: Logger = Field(
        "auto",
        description="where a run is logged; auto is TensorBoard where it is installed",
    )


class Passes(BaseModel):
    """How long training goes on."""

    epochs: int = Field(
        100, ge=1, description="passes over the training cases; or `steps` says how long"
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="optimiser steps in all, in place of epochs: divided into about twenty of "
        "them, or into epochs of `steps_per_epoch`",
    )
    steps_per_epoch: int | None = Field(
        None,
        ge=1,
        description="optimiser steps per epoch, few images or many; without it an epoch is one "
        "pass over the training cases",
    )

    @model_validator(mode="before")
    @classmethod
    def _settle_the_length(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        settled = settle_length(values)
        unknown = {"validate_every"} - set(cls.model_fields) - set(values)
        return {name: value for name, value in settled.items() if name not in unknown}


class PretrainingOptions(Passes, TrainingOptions):
    """What pretraining has besides."""

    levels: int | None = Field(
        None,
        ge=1,
        description="how many of the encoder's levels the task sees and trains, the finest first; "
        "fine-tuning takes over these and begins the others anew; all by default",
    )
    watch: int | None = Field(
        None,
        ge=0,
        description="epochs between two looks at the features of a fixed sample (rank, spread, "
        "probes where training patients have labels); 0 for none; as many as cost under 2 % of the "
        "time where nothing is said",
    )
    keep: Literal["last", "best-probe"] = Field(
        "last",
        description="which weights are kept: the last, or those of the best linear probe on "
        "training patients with labels",
    )
    patches: int = Field(
        0, ge=0, description="patches of `size` cut from each image per epoch; 0 fits it as a whole"
    )


class FinetuningOptions(TrainingOptions):
    """What fine-tuning has besides."""

    transfer_levels: int | None = Field(
        None,
        ge=1,
        description="how many of the encoder's levels are taken over, the finest first; the "
        "others begin anew and are never frozen; by default all that were pretrained",
    )
    transfer: Literal["all", "encoder"] | None = Field(
        None,
        description="what is taken over: all is the encoder and the decoder that its pretext task "
        "trained, encoder the encoder alone; by default all that was kept",
    )
    patches: int | None = Field(
        None,
        ge=0,
        description="patches of `size` cut from each image per epoch; windows of `size` are slid "
        "over it for validation and test; 0 fits it as a whole",
    )
    foreground: float = Field(
        0.5, ge=0, le=1, description="share of the patches cut around a labelled voxel"
    )
    select: Literal["best", "last"] = Field(
        "best",
        description="which weights are tested and kept: those of the best validation score, or "
        "the last; the last where there is no validation case",
    )
    augment: Augmentation = Field(
        Augmentation(),
        description="random changes of the training images and their labels: light, nnunet, none, "
        "or a mapping of fields",
    )
