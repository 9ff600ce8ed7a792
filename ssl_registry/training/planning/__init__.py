"""Plans: settings that suit a data set and a machine, after nnU-Net's fingerprint and rules."""
