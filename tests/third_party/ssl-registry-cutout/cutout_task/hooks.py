"""What this plugin offers."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """One task."""
    summary = "What was in the box that is hidden?"
    return [Entry("cutout3d", "cutout_task.cutout:Cutout3d", dims=3, summary=summary)]


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """One backbone."""
    summary = "Three convolutions"
    return [Entry("tiny3d", "cutout_task.tiny:Tiny3d", dims=3, summary=summary)]
