"""Whether a run that is resumed is the run that was begun: its settings and labels compared."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.errors import RunError, spell
from ssl_registry.training.settings.origins import STARTED_FROM
from ssl_registry.training.settings.paths import absolute_paths

MAY_CHANGE: Final = {
    "resume", "out", "checkpoint_minutes", "workers", "logger", "distributions", "verify", "data",
    "encoder", "assume_unseen", "gradient_checkpointing", "compile", "channels_last",
    "cudnn_benchmark",
    STARTED_FROM,
}  # fmt: skip
"""Settings that a resumed run may change: but for rounding they do not change what it computes, or,
as with the folders of data and encoder, contents are compared instead."""

FILLED_IN: Final = {"backbone", "freeze_epochs", "patches", "preprocessing", "size"}
"""Settings that a run completes by itself before it keeps them, where None is said."""


def check_same_settings(
    out: Path,
    started: Mapping[str, Any],
    settings: Mapping[str, Any],
    started_from: str | None = None,
    *,
    may_be_longer: bool = False,
) -> None:
    """See that a run was started with these settings.

    None stands for any where a run fills in what is not said, and `auto` for any precision.
    Data and encoder may lie elsewhere now.

    Args:
        out: folder of the run.
        started: what its `config.yaml` says.
        settings: to compare with those of the run.
        started_from: digest of the encoder; None compares none.
        may_be_longer: whether there may be more epochs or steps.

    Raises:
        RunError: it was not.
    """
    free = MAY_CHANGE | {key for key in FILLED_IN if settings.get(key) is None}
    if settings.get("precision") == "auto":
        free.add("precision")
    if bool(started.get("encoder")) != bool(settings.get("encoder")):
        free.discard("encoder")
    if may_be_longer and is_longer(settings, started):
        free |= {"epochs", "steps"}
    now_said, was_said = absolute_paths(settings), absolute_paths(started)
    other = [k for k in sorted(set(settings) - free) if was_said.get(k) != now_said[k]]
    if other:
        was = ", ".join(f"{key}={started.get(key)!r}" for key in other)
        now = ", ".join(f"{key}={settings.get(key)!r}" for key in other)
        raise RunError(
            f"the run in out={out} was started with {was}; this call says {now}: use the "
            "settings it was started with, or name another folder"
        )
    if started_from is not None and started.get(STARTED_FROM) != started_from:
        raise RunError(
            f"the run in out={out} started from another encoder than the one that is now "
            f"in {settings.get('encoder')}: name the one it started from, or another folder"
        )


def check_same_labels(out: Path, started: object, labels: Mapping[int, str]) -> None:
    """See that data have the labels that a run learns, for which its head was built.

    Args:
        out: folder of the run.
        started: the labels that its `config.yaml` names, if it names any.
        labels: of the data now.

    Raises:
        RunError: they have not.
    """
    now = {str(value): name for value, name in labels.items()}
    if isinstance(started, Mapping) and dict(started) != now:
        raise RunError(
            f"the run in out={out} learns the labels {_spell_labels(started)}; the data "
            f"have {_spell_labels(now)} now: put them back as they were, or begin a new run in "
            "another folder"
        )


def _spell_labels(labels: Mapping[str, str]) -> str:
    return spell(", ".join(f"{value} {name}" for value, name in labels.items()))


def is_longer(settings: Mapping[str, Any], started: Mapping[str, Any]) -> bool:
    """Return whether more epochs or steps are asked for than the run was started with."""

    def length(said: Mapping[str, Any]) -> tuple[float, float]:
        return said["epochs"], said.get("steps") or math.inf

    known = all(isinstance(said.get("epochs"), int) for said in (settings, started))
    return known and length(settings) > length(started)
