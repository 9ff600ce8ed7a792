"""Plans: settings for a data set and a machine, after nnU-Net's fingerprint and rules."""
