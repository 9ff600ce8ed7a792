"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Exemplar networks, in the plane and in space."""
    return [
        Entry(
            "exemplar2d",
            "ssl_registry_exemplar.exemplar:Exemplar2d",
            dims=2,
            summary="Which picture is an altered copy of this one?",
            family="contrast",
            traits=("global",),
        ),
        Entry(
            "exemplar3d",
            "ssl_registry_exemplar.exemplar:Exemplar3d",
            dims=3,
            summary="Which volume is an altered copy of this one?",
            family="contrast",
            traits=("global",),
        ),
    ]
