"""The core's own components, offered through the same hooks as everybody's."""

from ssl_registry.entry import Entry
from ssl_registry.hookspecs import hookimpl


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    """Pretext tasks of the core."""
    return [
        Entry(
            "joint",
            "ssl_registry.builtin.joint:Joint",
            dims=None,
            summary="Several pretext tasks on one encoder, each with a head and a weight",
        ),
    ]


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """Backbones of the core."""
    return [
        Entry(
            "densenet121",
            "ssl_registry.builtin.densenet:DenseNet121",
            dims=2,
            summary="torchvision's DenseNet-121 as a feature pyramid",
        ),
        Entry(
            "unet2d",
            "ssl_registry.builtin.unet:UNet2d",
            dims=2,
            summary="2D U-Net encoder with residual blocks",
        ),
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
            "classification2d",
            "ssl_registry.builtin.classification:Classification2d",
            dims=2,
            summary="One grade per image; cross-entropy, scored by quadratic weighted kappa",
        ),
        Entry(
            "classification3d",
            "ssl_registry.builtin.classification:Classification3d",
            dims=3,
            summary="One grade per volume; cross-entropy, scored by quadratic weighted kappa",
        ),
        Entry(
            "segmentation2d",
            "ssl_registry.builtin.segmentation:Segmentation2d",
            dims=2,
            summary="Pixel labels; soft Dice loss, scored by Dice per foreground class",
        ),
        Entry(
            "segmentation3d",
            "ssl_registry.builtin.segmentation:Segmentation3d",
            dims=3,
            summary="Voxel labels; soft Dice loss, scored by Dice per foreground class",
        ),
    ]
