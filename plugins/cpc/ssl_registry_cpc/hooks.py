"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Contrastive predictive coding, in the plane and in space."""
    return [
        Entry(
            f"cpc{dims}d",
            f"ssl_registry_cpc.cpc:Cpc{dims}d",
            dims=dims,
            summary="Which tile comes further on, predicted from those before it?",
            family="context",
            traits=("global",),
        )
        for dims in (2, 3)
    ]
