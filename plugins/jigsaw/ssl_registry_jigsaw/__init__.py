"""Jigsaw puzzles for ssl-registry: in which order are the tiles?"""

__version__ = "0.1.0"
