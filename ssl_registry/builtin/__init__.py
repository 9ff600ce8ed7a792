"""The core's own components, offered through the same hooks as everybody's."""

from ssl_registry.entry import Entry
from ssl_registry.hookspecs import hookimpl


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """Backbones of the core."""
    return [
        Entry(
            "unet3d",
            "ssl_registry.builtin.unet:UNet3d",
            dims=3,
            summary="3D U-Net encoder with residual blocks",
        ),
    ]


@hookimpl
def ssl_registry_downstream_tasks() -> list[Entry]:
    """Downstream tasks of the core."""
    return [
        Entry(
            "segmentation3d",
            "ssl_registry.builtin.segmentation:Segmentation3d",
            dims=3,
            summary="Voxel labels; soft Dice loss, scored by Dice per foreground class",
        ),
    ]
