"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Masked autoencoding, in the plane and in space."""
    return [
        Entry(
            f"masked{dims}d",
            f"ssl_registry_masked.masked:Masked{dims}d",
            dims=dims,
            summary=f"What was in the hidden {parts}?",
            family="restoration",
            traits=("dense", "decoder"),
        )
        for dims, parts in ((2, "squares"), (3, "cubes"))
    ]
