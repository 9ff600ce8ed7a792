"""What this plugin offers; nothing heavy is imported here."""

from ssl_registry import Entry, hookimpl

API_VERSION = 1


@hookimpl
def ssl_registry_backbones() -> list[Entry]:
    """The encoders of nnU-Net's two families of networks."""
    return [
        Entry(
            "nnunet-plainconv2d",
            "ssl_registry_nnunet.backbones:PlainConv2d",
            dims=2,
            summary="nnU-Net's plain encoder, from a plan's numbers: convolutions with strides",
        ),
        Entry(
            "nnunet-plainconv3d",
            "ssl_registry_nnunet.backbones:PlainConv3d",
            dims=3,
            summary="nnU-Net's plain encoder, from a plan's numbers: convolutions with strides",
        ),
        Entry(
            "nnunet-resenc2d",
            "ssl_registry_nnunet.backbones:ResEnc2d",
            dims=2,
            summary="nnU-Net's residual encoder (ResEnc), from a plan's numbers",
        ),
        Entry(
            "nnunet-resenc3d",
            "ssl_registry_nnunet.backbones:ResEnc3d",
            dims=3,
            summary="nnU-Net's residual encoder (ResEnc), from a plan's numbers",
        ),
    ]
