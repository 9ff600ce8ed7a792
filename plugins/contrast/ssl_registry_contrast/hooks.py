"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Dense and global contrast, in the plane and in space."""
    return [entry for dims in (2, 3) for entry in _entries(dims)]


def _entries(dims: int) -> list[Entry]:
    return [
        Entry(
            f"local{dims}d",
            f"ssl_registry_contrast.local:Local{dims}d",
            dims=dims,
            summary="Which voxel of another view shows the same place?",
            family="contrast",
            traits=("dense", "decoder"),
        ),
        Entry(
            f"simclr{dims}d",
            f"ssl_registry_contrast.simclr:Simclr{dims}d",
            dims=dims,
            summary="Which view of the batch shows the same image?",
            family="contrast",
            traits=("global", "batch"),
        ),
        Entry(
            f"moco{dims}d",
            f"ssl_registry_contrast.moco:Moco{dims}d",
            dims=dims,
            summary="Which key of a queue did a slow copy make of the same image?",
            family="contrast",
            traits=("global",),
        ),
        Entry(
            f"byol{dims}d",
            f"ssl_registry_contrast.byol:Byol{dims}d",
            dims=dims,
            summary="What does a slow copy of the network make of another view?",
            family="contrast",
            traits=("global", "batch"),
        ),
    ]
