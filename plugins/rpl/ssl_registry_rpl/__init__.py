"""Relative patch location for ssl-registry: where does this tile belong?"""

__version__ = "0.1.0"
