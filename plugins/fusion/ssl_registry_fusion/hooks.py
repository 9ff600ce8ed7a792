"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Volume fusion, in the plane and in space."""
    return [
        Entry(
            f"fusion{dims}d",
            f"ssl_registry_fusion.fusion:Fusion{dims}d",
            dims=dims,
            summary=f"How much of another image is in each {element}?",
            family="mixing",
            traits=("dense", "decoder", "batch"),
        )
        for dims, element in ((2, "pixel"), (3, "voxel"))
    ]
