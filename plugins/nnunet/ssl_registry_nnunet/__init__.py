"""nnU-Net's encoders as backbones for ssl-registry, and back into nnU-Net."""

__version__ = "0.1.0"
