"""Files of images: which formats there are, what their headers say, how their voxels are read."""
