"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Rotation prediction, in the plane and in space."""
    return [
        Entry(
            "rotation2d",
            "ssl_registry_rotation.rotation:Rotation2d",
            dims=2,
            summary="By which of 4 quarter turns was the image turned?",
            family="context",
            traits=("global",),
        ),
        Entry(
            "rotation3d",
            "ssl_registry_rotation.rotation:Rotation3d",
            dims=3,
            summary="About which axis and by how much was the volume turned? 10 classes",
            family="context",
            traits=("global",),
        ),
    ]
