"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """One backbone for all of timm: `timm:resnet18` is `timm` with `model="resnet18"`."""
    return [
        Entry(
            "timm",
            "ssl_registry_timm.features:Timm",
            dims=2,
            summary="Any of timm's models with a feature pyramid: timm:resnet18",
            argument="model",
        )
    ]
