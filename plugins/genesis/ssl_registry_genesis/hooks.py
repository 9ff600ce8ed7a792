"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Models Genesis, in the plane and in space."""
    return [
        Entry(
            f"genesis{dims}d",
            f"ssl_registry_genesis.genesis:Genesis{dims}d",
            dims=dims,
            summary=f"What did the {image} look like before it was spoilt?",
            family="restoration",
            traits=("dense", "decoder"),
        )
        for dims, image in ((2, "picture"), (3, "volume"))
    ]
