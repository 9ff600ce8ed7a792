"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Volume contrast, in the plane and in space."""
    return [
        Entry(
            f"voco{dims}d",
            f"ssl_registry_voco.voco:Voco{dims}d",
            dims=dims,
            summary=f"In which parts of this {image}, and of others, does a crop lie?",
            family="contrast",
            traits=("global", "batch"),
        )
        for dims, image in ((2, "picture"), (3, "volume"))
    ]
