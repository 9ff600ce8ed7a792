"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """The encoders of three of MONAI's segmentation networks."""
    return [
        Entry(
            "monai-basicunet3d",
            "ssl_registry_monai.basic_unet:BasicUnet3d",
            dims=3,
            summary="MONAI's BasicUNet encoder: five levels of two convolutions",
        ),
        Entry(
            "monai-segresnet3d",
            "ssl_registry_monai.segresnet:SegResnet3d",
            dims=3,
            summary="MONAI's SegResNet encoder: residual blocks with group normalisation",
        ),
        Entry(
            "monai-swinunetr3d",
            "ssl_registry_monai.swin_unetr:SwinUnetr3d",
            dims=3,
            summary="MONAI's SwinUNETR encoder: windows of self-attention in four stages",
        ),
    ]
