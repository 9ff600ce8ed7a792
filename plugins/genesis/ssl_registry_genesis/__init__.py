"""Models Genesis for ssl-registry: what did the image look like before it was spoilt?"""

__version__ = "0.1.0"
