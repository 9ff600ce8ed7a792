"""The grid of an experiment: which runs it takes, and how they are run."""
