"""Prepared images on disk, read once and memory-mapped ever after."""
