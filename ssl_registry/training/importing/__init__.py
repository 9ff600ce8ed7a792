"""Anybody's weights as an encoder: read safely, recognised, fitted, and written like our own."""
