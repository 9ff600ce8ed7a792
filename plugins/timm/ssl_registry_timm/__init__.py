"""timm's image models as backbones for ssl-registry."""

__version__ = "0.1.0"
