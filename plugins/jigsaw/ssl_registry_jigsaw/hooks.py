"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Jigsaw puzzles, in the plane and in space."""
    return [
        Entry(
            "jigsaw2d",
            "ssl_registry_jigsaw.jigsaw:Jigsaw2d",
            dims=2,
            summary="In which of 100 orders are the 9 tiles of the image?",
            family="context",
            traits=("global",),
        ),
        Entry(
            "jigsaw3d",
            "ssl_registry_jigsaw.jigsaw:Jigsaw3d",
            dims=3,
            summary="In which of 100 orders are the 27 tiles of the volume?",
            family="context",
            traits=("global",),
        ),
    ]
