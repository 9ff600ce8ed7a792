"""Settings of how training optimises: of every run, and of every line of an experiment."""

from typing import Final, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ssl_registry.errors import ConfigError

MOMENTUM: Final = 0.9
ADAMW_DECAY: Final = 0.01


class OptimisationSettings(BaseModel):
    """The optimiser, and how fast it may go when."""

    learning_rate: float = Field(
        3e-3, gt=0, description="the peak of the schedule, reached after the warm-up"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adamw", description="the optimiser; sgd has Nesterov momentum"
    )
    momentum: float = Field(MOMENTUM, ge=0, lt=1, description="of sgd alone")
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="pull of the weights towards zero; norms, biases and other vectors are left "
        f"out; where nothing is said, {ADAMW_DECAY} by adamw and none by the others",
    )
    schedule: Literal["cosine", "poly", "constant"] = Field(
        "cosine",
        description="how the learning rate falls to zero over the run, or that it does not",
    )
    warmup: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the steps over which the learning rate warms up",
    )
    clip: float = Field(
        1.0, ge=0, description="norm to which larger gradients are clipped; 0 never clips"
    )

    @model_validator(mode="after")
    def _momentum_has_a_use(self) -> Self:
        if self.momentum != MOMENTUM and self.optimizer != "sgd":
            raise ConfigError(
                f"momentum={self.momentum} is for optimizer=sgd alone, not for "
                f"{self.optimizer}: leave one out"
            )
        return self

    @property
    def decay(self) -> float:
        """The weight decay that was asked for, or the optimiser's own."""
        return decay_of(self.optimizer, self.weight_decay)


def decay_of(optimizer: str, weight_decay: float | None) -> float:
    """Return the weight decay that was asked for, or where nothing was said the optimiser's own."""
    if weight_decay is not None:
        return weight_decay
    return ADAMW_DECAY if optimizer == "adamw" else 0.0
