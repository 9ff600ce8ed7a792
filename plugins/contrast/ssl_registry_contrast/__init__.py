"""Contrast for ssl-registry: which two views show one image, or one place of it?"""

__version__ = "0.1.0"
