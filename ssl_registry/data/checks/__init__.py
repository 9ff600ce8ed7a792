"""Checks of a data set: headers, voxels, label maps, and what lies in several parts of a split."""
