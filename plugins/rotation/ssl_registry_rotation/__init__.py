"""Rotation prediction for ssl-registry: which way was the image turned?"""

__version__ = "0.1.0"
