"""Settings of the machine: which devices train, and how they compute a step."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from ssl_registry.errors import ConfigError


class MachineSettings(BaseModel):
    """Devices, processes, precision, and what makes a step faster or smaller."""

    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    devices: int = Field(1, ge=1, description="GPUs, or processes on a CPU, of each machine")
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = Field(
        "auto",
        description="Lightning's, for several devices; auto is ddp, and looks for parameters "
        "without a gradient where the model has some; fsdp shares out weights, gradients and the "
        "optimiser's state (FSDP2)",
    )
    sync_batchnorm: bool = Field(
        False, description="batch statistics over all GPUs instead of over each one's images"
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="numerical precision; auto is bfloat16 where the processor has it and it is "
        "proven right for every layer of the model, and float32 elsewhere",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep the inputs of blocks alone and compute the rest again in the backward "
        "pass: less memory, about a third more time, equal results",
    )
    compile: bool = Field(
        False,
        description="let torch.compile make programs of the encoder and the heads, once they are "
        "proven to give equal gradients",
    )
    channels_last: Literal["auto"] | bool = Field(
        "auto",
        description="let weights lie channels last; auto does on a CPU, and true anywhere where "
        "gradients are proven equal",
    )
    cudnn_benchmark: bool = Field(
        True, description="let cuDNN try its algorithms on a GPU and keep the fastest"
    )

    @model_validator(mode="after")
    def _strategies_go_together(self) -> Self:
        if self.strategy == "fsdp":
            if self.precision == "16-mixed":
                raise ConfigError(
                    "strategy=fsdp does not go with precision=16-mixed, whose scale each process "
                    "would find for itself: set precision=auto, bf16-mixed or 32-true"
                )
            if self.compile:
                raise ConfigError(
                    "strategy=fsdp does not go with compile=true: leave one of them out"
                )
        if self.compile and self.gradient_checkpointing:
            raise ConfigError(
                "compile=true does not go with gradient_checkpointing=true, which torch.compile "
                "cannot make a program of: leave one of them out"
            )
        return self
