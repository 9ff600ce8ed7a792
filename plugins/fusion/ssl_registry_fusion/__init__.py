"""Volume fusion for ssl-registry: how much of another image is in this voxel?"""

__version__ = "0.1.0"
