"""Contrastive predictive coding for ssl-registry: which tile comes further on?"""

__version__ = "0.1.0"
