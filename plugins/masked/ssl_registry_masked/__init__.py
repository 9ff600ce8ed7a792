"""Masked autoencoding for ssl-registry: what was in the hidden cubes?"""

__version__ = "0.1.0"
