"""One file for all commands: settings with a section for pretraining and one for fine-tuning."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from ssl_registry.training.settings.lengths import with_length

SECTIONS: Final = ("pretrain", "finetune")


def own_settings(
    values: Mapping[str, Any], kind: Literal["pretrain", "finetune"]
) -> dict[str, Any]:
    """Return the settings of a run from a file such as `ssl-registry plan` writes.

    What stands in no section holds for all, that of the other command is left out, and what is
    said outside wins, as words on the command line do. An encoder brings its own network.
    """
    if not any(isinstance(values.get(section), Mapping) for section in SECTIONS):
        return dict(values)
    shared = {key: value for key, value in values.items() if key not in SECTIONS}
    own = dict(values.get(kind) or {})
    if kind == "pretrain":
        shared.pop("downstream", None)
        return with_length(own, shared)
    if shared.get("encoder") is not None:
        shared.pop("backbone", None)
    return with_length(own, shared)
