"""Settings of a run, and components as settings."""
