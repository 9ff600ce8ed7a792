"""The settings of a call that resumes a run: those of the run, and what the call changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.lengths import prolong
from ssl_registry.training.settings.origins import RECORDED
from ssl_registry.training.settings.stored import (
    METRICS,
    check_frozen_once,
    check_same_kind,
    fill_up,
)


def with_stored(cls: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call; one that resumes a run keeps all that it leaves out.

    What it does say is compared later, as everything else: `check` refuses what contradicts.

    Args:
        cls: the settings of the command.
        fields: what the call says.

    Raises:
        ConfigError: it says one thing twice, and differently.
        RunError: there is no run to resume, or it is one of another command.
    """
    check_frozen_once(fields)
    if fields.get("resume") is not True or not isinstance(fields.get("out"), (str, Path)):
        return dict(fields)
    folder = RunFolder(Path(fields["out"]))
    folder.check_started()
    stored = {key: value for key, value in folder.settings().items() if key not in RECORDED}
    check_same_kind(cls, stored, folder.path)
    return prolong(stored, fields, fill_up(stored, fields), folder.path / METRICS)
