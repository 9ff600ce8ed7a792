"""Where the runs of a grid run: on this machine, on a Ray cluster, or under SLURM."""
