"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Relative patch location, of tiles and of each voxel, in the plane and in space."""
    return [
        Entry(
            "place2d",
            "ssl_registry_rpl.place:Place2d",
            dims=2,
            summary="Where in its picture is each pixel of a crop?",
            family="context",
            traits=("dense", "decoder"),
        ),
        Entry(
            "place3d",
            "ssl_registry_rpl.place:Place3d",
            dims=3,
            summary="Where in its scan is each voxel of a crop?",
            family="context",
            traits=("dense", "decoder"),
        ),
        Entry(
            "rpl2d",
            "ssl_registry_rpl.rpl:Rpl2d",
            dims=2,
            summary="At which of 8 places around the centre tile does a tile belong?",
            family="context",
            traits=("global",),
        ),
        Entry(
            "rpl3d",
            "ssl_registry_rpl.rpl:Rpl3d",
            dims=3,
            summary="At which of 26 places around the centre tile does a tile belong?",
            family="context",
            traits=("global",),
        ),
    ]
