"""What this plugin offers."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Two questions, and three tasks with a model of their own."""
    offered = {
        "cutout3d": ("cutout:Cutout3d", "What was in the box that is hidden?"),
        "masked-cubes3d": ("masked:Masked3d", "What was in the cubes that are hidden?"),
        "slow-copy3d": ("teacher:Teacher3d", "What does a slow copy of the network say?"),
        "multicrop3d": ("multicrop:MultiCrop3d", "Is this crop of the same volume?"),
        "patients3d": ("patients:Patients3d", "Which scan is the same patient's?"),
    }
    return [
        Entry(name, f"cutout_task.{target}", dims=3, summary=summary)
        for name, (target, summary) in offered.items()
    ]


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """One backbone."""
    summary = "Three convolutions"
    return [Entry("tiny3d", "cutout_task.tiny:Tiny3d", dims=3, summary=summary)]
