"""Settings of a call and those of the run that it resumes; torch is not imported for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from ssl_registry.documents import brief, read_yaml
from ssl_registry.errors import ConfigError, RunError, spell
from ssl_registry.training.settings.lengths import prolong
from ssl_registry.training.settings.paths import check_places
from ssl_registry.training.settings.reading import check_settings

METRICS: Final = "metrics.csv"
"""File of a run's folder that has a row for each epoch."""

CONFIG: Final = "config.yaml"
"""File of a run's folder that holds its settings."""


def fill_up(stored: Any, said: Any) -> Any:
    """Return what was said, filled up from what is stored, as deep as both go."""
    if not isinstance(stored, Mapping):
        return said
    if isinstance(said, str) and said.rpartition(":")[2] == stored.get("name"):
        return stored
    if not isinstance(said, Mapping) or said.get("name", stored.get("name")) != stored.get("name"):
        return said
    return {**stored, **{key: fill_up(stored.get(key), value) for key, value in said.items()}}


def check_same_kind(cls: type[BaseModel], stored: Any, place: Path) -> None:
    """See that the settings of a run are of the command that is to go on with it.

    Raises:
        RunError: it pretrained, and was asked to fine-tune, or the other way round.
    """
    kinds = {"task": "pretraining", "downstream": "fine-tuning"}
    known = set(cls.model_fields)
    for field, kind in kinds.items():
        if isinstance(stored, Mapping) and field in stored and field not in known:
            command = {"task": "pretrain", "downstream": "finetune"}[field]
            raise RunError(
                f"out={spell(place)} holds a run of {kind}: `ssl-registry {command} "
                f"out={spell(place)} resume=true` goes on with it; name another folder for this one"
            )


def check_frozen_once(said: Mapping[str, Any]) -> None:
    """See that a call does not say one thing by `freeze_epochs`, and another by the field.

    Raises:
        ConfigError: it does.
    """
    short, downstream = said.get("freeze_epochs"), said.get("downstream")
    field = downstream.get("freeze_epochs") if isinstance(downstream, Mapping) else None
    if short is not None and field is not None and short != field:
        raise ConfigError(
            f"freeze_epochs={brief(short)} is a shorthand for downstream.freeze_epochs="
            f"{brief(field)}, and they differ: say one of the two"
        )


def check_call(cls: type[BaseModel], said: Mapping[str, Any], command: str) -> None:
    """See all of a call that can be seen without importing a component, or torch.

    A call that resumes a run says what it changes; where there is no run, that is said later.

    Raises:
        ConfigError, UnknownComponentError, NameConflictError: as `read_settings`.
        RunError: the run's settings cannot be read.
        DataError, EncoderFileError: a file or folder that it names is not there.
    """
    check_frozen_once(said)
    if said.get("resume") is True and isinstance(said.get("out"), (str, Path)):
        config = Path(said["out"]) / CONFIG
        if not config.is_file():
            return
        stored = read_yaml(config, RunError)
        check_same_kind(cls, stored, Path(said["out"]))
        said = prolong(stored, said, fill_up(stored, said), Path(said["out"]) / METRICS)
    check_settings(cls, said, command)
    if said.get("resume") is not True:  # which may find its data moved, and says so
        check_places(said)
