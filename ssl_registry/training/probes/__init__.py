"""What frozen features are worth: the two models of the probes, and what they look at."""
