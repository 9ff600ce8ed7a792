"""MONAI's 3D networks as backbones for ssl-registry."""

__version__ = "0.1.0"
