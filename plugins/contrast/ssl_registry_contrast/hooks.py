"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1

_SUMMARIES = {
    "local": (
        "local:Local",
        "Which voxel of another view shows the same place? Dense, keeps its decoder",
    ),
    "simclr": (
        "simclr:Simclr",
        "Which view of the batch shows the same image? Global, wants large batches",
    ),
    "moco": (
        "moco:Moco",
        "Which key of a queue did a slow copy make of the same image? Global, small batches do",
    ),
    "byol": (
        "byol:Byol",
        "What does a slow copy of the network make of another view? Global, no negatives",
    ),
}


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Dense and global contrast, in the plane and in space."""
    return [
        Entry(f"{name}{dims}d", f"ssl_registry_contrast.{target}{dims}d", dims=dims, summary=said)
        for name, (target, said) in _SUMMARIES.items()
        for dims in (2, 3)
    ]
