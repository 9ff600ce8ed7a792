"""Exemplar networks for ssl-registry: which of these is the same image?"""

__version__ = "0.1.0"
