"""Scans: where they come from, how they are checked, prepared, kept and divided."""
