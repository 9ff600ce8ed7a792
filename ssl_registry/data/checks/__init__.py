"""Checks of a data set: headers, voxels, label maps, and what lies on both sides of a split."""
