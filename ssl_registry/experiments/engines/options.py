"""What is asked of an engine: which one, where it is, and what each run needs there."""

import re
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ssl_registry.component import explain
from ssl_registry.errors import ConfigError

_BYTES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_TIMES: Final = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def parse_bytes(said: object) -> object:
    """Return a number of bytes that is written as `16GB`, `16GiB` or `500M`.

    Raises:
        ValueError: it is written in another way.
    """
    if not isinstance(said, str):
        return said
    found = _SIZE.fullmatch(said.strip())
    unit = found[2].lower() if found else "?"
    if found is None or unit not in {**_BYTES, **_BINARY}:
        raise ValueError(f"{said!r} is not a size: write 16GB or 500MiB")
    return round(float(found[1]) * {**_BYTES, **_BINARY}[unit])


def parse_minutes(said: object) -> object:
    """Return minutes, from a time as SLURM writes it: `90`, `12:00:00`, `1-12` or `2-00:30:00`.

    Raises:
        ValueError: it is written in another way.
    """
    if not isinstance(said, str):
        return said
    found = _TIMES.fullmatch(said.strip())
    if found is None:
        raise ValueError(f"{said!r} is not a time: write minutes, 12:00:00 or 2-00:00:00")
    days, first, second, third = (int(part) if part else None for part in found.groups())
    assert first is not None
    if days is not None:
        hours, minutes, seconds = first, second or 0, third or 0
    elif third is not None:
        hours, minutes, seconds = first, second or 0, third
    else:
        hours, minutes, seconds = 0, first, second or 0
    total = 60 * (24 * (days or 0) + hours) + minutes
    return total + (1 if seconds else 0)


_Memory: TypeAlias = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]
_Minutes: TypeAlias = Annotated[int, BeforeValidator(parse_minutes), Field(gt=0)]


class EngineOptions(BaseModel):
    """What each run needs of the machine that it runs on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs a run; 0.5 lets two runs share one; without it one for each of its "
        "devices, where Ray sees GPUs, and under SLURM with device=gpu",
    )
    cpus: int | None = Field(
        None,
        ge=1,
        description="cores a run, which are its threads too; without it as many as one run has "
        "here, or its machine",
    )
    memory: _Memory | None = Field(None, description="memory a run, such as 16GB")

    @classmethod
    def read(cls, **said: Any) -> Self:
        """Return validated options.

        Raises:
            ConfigError: one is unknown or out of bounds.
        """
        try:
            return cls(**said)
        except ValidationError as error:
            raise ConfigError(explain(error, f"--on {cls.engine()}", cls)) from error

    @classmethod
    def engine(cls) -> str:
        """Return what the engine is called."""
        raise NotImplementedError


class RayOptions(EngineOptions):
    """Runs as tasks of a Ray cluster."""

    address: str | None = Field(
        None,
        description="of the cluster: auto or HOST:PORT; without it that of RAY_ADDRESS, or a "
        "cluster of this machine alone",
    )

    @classmethod
    def engine(cls) -> str:
        """Return what the engine is called."""
        return "ray"


class SlurmOptions(EngineOptions):
    """Runs as jobs of SLURM, submitted in arrays by submitit."""

    time: _Minutes = Field(60, description="limit of a job: minutes, 12:00:00 or 2-00:00:00")
    partition: str | None = Field(None, description="where to queue")
    parameters: dict[str, str | Literal[True]] = Field(
        default_factory=dict,
        description="further options of sbatch, such as account or qos; true for a flag",
    )
    executor: Literal["slurm", "local"] = Field(
        "slurm", description="of submitit; local runs the jobs here, to try them out"
    )

    @classmethod
    def engine(cls) -> str:
        """Return what the engine is called."""
        return "slurm"


ENGINES: Final[dict[str, type[RayOptions] | type[SlurmOptions]]] = {
    "ray": RayOptions,
    "slurm": SlurmOptions,
}


def read_options(engine: str, **said: Any) -> RayOptions | SlurmOptions:
    """Return the options of an engine; what is None is not said.

    Raises:
        ConfigError: there is no such engine, or it knows no such option.
    """
    if engine not in ENGINES:
        raise ConfigError(f"--on {engine}: there are {' and '.join(ENGINES)}")
    kind = ENGINES[engine]
    given = {key: value for key, value in said.items() if value not in (None, {})}
    foreign = [key for key in given if key not in kind.model_fields]
    if foreign:
        raise ConfigError(
            f"--on {engine} knows no {foreign[0]}: it knows {', '.join(kind.model_fields)}"
        )
    return kind.read(**given)
